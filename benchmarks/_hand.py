"""The pixels of `nerfies/nrnerf_hand` that show the hand, which is what moves there besides a dark sleeve.

No mask comes with the capture. That skin is redder than wall, wood and sleeve, and less so than the red books, tells
them apart by colour alone: no model has a say in what it is scored on.
"""

import numpy as np
from scipy import ndimage

RED, BLUE = (0.41, 0.57), 0.185  # of red + green + blue, of skin: red between, blue above
BRIGHT = 110  # red + green + blue, above which a colour has a hue
UPPER = 0.62  # of the picture has the hand in it, and above the wood


def hand_pixels(photo: np.ndarray) -> np.ndarray:
    """[H, W] bool of an 8-bit photo [H, W, 3]: the largest patch of skin in its upper part, without holes."""
    blurred = ndimage.uniform_filter(photo.astype(np.float64), (3, 3, 1))
    total = blurred.sum(axis=2).clip(min=1)
    red, _, blue = np.moveaxis(blurred / total[..., None], 2, 0)
    skin = (red > RED[0]) & (red < RED[1]) & (blue > BLUE) & (total > BRIGHT)
    skin = ndimage.binary_opening(skin)
    skin[round(UPPER * len(skin)):] = False
    patches, count = ndimage.label(skin)
    sizes = np.bincount(patches.ravel(), minlength=count + 1)[1:]
    return ndimage.binary_fill_holes(patches == 1 + sizes.argmax()) if count else skin
