"""Training images made worse as in the study of NeRF in the Wild (Martin-Brualla et al. 2021, supplement D): each has
colours of its own, or something that stands before the scene, or both. The first stays as it is, and test images do.

Image n of the training images, of W x H pixels:

    colour       clip(s c + b, 0, 1) of its sRGB values c, with s uniform in [0.8, 1.2]^3 and b in [-0.2, 0.2]^3;
                 what is transparent stays so
    occluders    an opaque square, a quarter of the shorter side wide, its upper left corner uniform in
                 [W/4, W/2) x [H/4, H/2), of ten upright stripes in random colours

Random numbers are those of the published re-implementation (kwea123/nerf_pl, branch nerfw), a function of n alone, and
of images of 800 x 800 pixels each pixel is. The square is drawn on the images as they are loaded: a smaller image has
it in the same place, and each of its pixels is in it or not.
"""

from dataclasses import replace

import numpy as np

from ..config import Perturbation
from ..errors import UserError
from .scene import Scene, Split

__all__ = ["occluder", "perturbed", "recoloured", "with_perturbed_training"]

CANVAS, SIDE, STRIPES = 800, 200, 10  # of the original images: pixels across, of the square, and stripes in it


def with_perturbed_training(scene: Scene, how: Perturbation, every: int = 1) -> Scene:
    """`scene` with its training images perturbed, if it has any; these are every `every`-th of all.

    Raises UserError where images are the same view in several sizes.
    """
    if "train" not in scene.splits:
        return scene
    if scene.splits["train"].scale is not None:
        raise UserError(f"{scene.name} has its views in several sizes, which --perturb would make differ; leave it out")
    train = perturbed(scene.splits["train"], how, every)
    what = {"colour": "colours of their own", "occluders": "an occluder each",
            "both": "colours of their own and an occluder each"}[how]
    return replace(scene, splits={**scene.splits, "train": train},
                   notes=[*scene.notes, f"perturbed: training images but the first have {what}"])


def perturbed(split: Split, how: Perturbation, every: int = 1) -> Split:
    """The views with their images perturbed, and `occluded` where that covers them; view n is image n `every`."""
    from .. import runtime  # which loads PyTorch: whoever reads a scene from a disk needs none

    images = split.images
    runtime.require_memory(images.pixels.nbytes, "a copy of the training images, perturbed,",
                           "use a larger --downscale")
    changed = replace(images, pixels=images.pixels.copy())
    occluded = [np.zeros(changed.image(n).shape[:2], bool) for n in range(len(split))]
    for n in range(len(split)):
        number, image = n * every, changed.image(n)
        if number == 0:
            continue
        if how != "occluders":
            image[..., :3] = recoloured(image[..., :3], number)
        if how != "colour":
            colour, occluded[n] = occluder(number, image.shape[1], image.shape[0])
            image[occluded[n]] = colour[occluded[n]]
    changed = replace(changed, has_alpha=bool((changed.pixels[:, 3] < 255).any()))
    return replace(split, images=changed, occluded=split.occluded if how == "colour" else tuple(occluded))


def recoloured(rgb: np.ndarray, number: int) -> np.ndarray:
    """Colours [.., 3] uint8 of image `number`, as its lens and its light have them."""
    random = np.random.RandomState(number)
    gain, shift = random.uniform(0.8, 1.2, size=3), random.uniform(-0.2, 0.2, size=3)
    values = np.arange(256)[:, None] / 255  # all that a channel can be
    table = (255 * np.clip(gain * values + shift, 0, 1)).astype(np.uint8)  # [256, 3]
    return np.stack([table[rgb[..., c], c] for c in range(3)], axis=-1)


def occluder(number: int, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """The picture [H, W, 4] uint8 of the square in image `number`, and where it is [H, W] bool."""
    random = np.random.RandomState(number)
    left, top = random.randint(CANVAS // 4, CANVAS // 2), random.randint(CANVAS // 4, CANVAS // 2)
    across, down = _from_corner(left, width, height), _from_corner(top, height, width)
    covered = ((down >= 0) & (down <= SIDE))[:, None] & (across >= 0) & (across <= SIDE)
    stripe = np.clip(across // (SIDE // STRIPES), 0, STRIPES - 1).astype(np.int64)  # [W]
    colours = [np.random.RandomState(STRIPES * number + k).choice(256, 3) for k in range(STRIPES)]
    picture = np.full((height, width, 4), 255, np.uint8)
    picture[..., :3] = np.array(colours)[stripe]
    return picture, covered


def _from_corner(corner: int, length: int, other: int) -> np.ndarray:
    """[length]: how far the pixels along an axis lie behind `corner` of the canvas, where the square is SIDE wide; the
    other axis has `other` pixels."""
    place = (np.arange(length) + 0.5) * CANVAS / length - 0.5
    return (place - corner) * (length / min(length, other))
