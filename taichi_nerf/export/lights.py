"""The lights of photos as a map: each photo stands where its code of appearance lies along the two axes in which the
codes differ most. Lights that are alike stand together."""

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from ..data.scene import Split
from ..pictures import legible

__all__ = ["light_map", "principal_places"]

SIDE, MOST = 1200, 250  # pixels of the map; photos that it shows
THUMBNAIL, LARGEST = 72, 160  # pixels of a photo in it: of many, and of few at the most
LINE, LETTER = 11, 5  # pixels of the line of a name below its photo, and of a letter: of a name the last ones that fit


def principal_places(codes: np.ndarray) -> np.ndarray:
    """[N, 2] in [0, 1] of codes [N, A]: along the two directions of largest variance, at one scale."""
    centred = codes - codes.mean(axis=0)
    *_, axes = np.linalg.svd(centred, full_matrices=False)
    places = np.zeros((len(codes), 2))
    found = centred @ axes[:2].T
    places[:, : found.shape[1]] = found
    return 0.5 + 0.5 * places / max(abs(places).max(), 1e-12)


def light_map(codes: Tensor, split: Split) -> np.ndarray:
    """[H, SIDE, 3] uint8, H as much of SIDE as there is something in, of the codes [N, A] of the N images of `split`,
    each above its name, the larger the fewer they are. Of many every so many-th is shown. What is transparent lets
    those below it be seen."""
    every = -(-len(split) // MOST)
    side = int(np.clip(SIDE / (3 * (len(split) / every) ** 0.5), THUMBNAIL, LARGEST))
    places = principal_places(codes.detach().cpu().double().numpy())[::every]
    canvas = Image.new("RGB", (SIDE, SIDE), "white")
    draw, font, highest, below = ImageDraw.Draw(canvas), ImageFont.load_default(9), SIDE, {}
    for number, (x, y) in zip(range(0, len(split), every), places):
        rgba = Image.fromarray(split.images.image(number))
        rgba.thumbnail((side, side), Image.BOX)
        left, top = round(x * (SIDE - rgba.width)), round((1 - y) * (SIDE - LINE - rgba.height))
        canvas.paste(rgba, (left, top), mask=rgba)
        highest, below[number] = min(highest, top), (left, top + rgba.height)
    for number, (left, top) in below.items():  # last, so that no photo covers a name
        name, letters = legible(split.images.names[number]), side // LETTER
        name = name if len(name) <= letters else f"..{name[-letters:]}"
        draw.text((min(left, SIDE - round(draw.textlength(name, font=font))), top), name, fill=(40, 40, 40), font=font)
    return np.asarray(canvas)[highest : max(top for _, top in below.values()) + LINE]
