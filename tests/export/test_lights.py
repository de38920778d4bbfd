"""The map of lights: photos of like light stand side by side."""

import numpy as np
import torch

from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.export.lights import LARGEST, LINE, SIDE, THUMBNAIL, light_map, principal_places


def test_the_axes_are_those_in_which_codes_differ_most():
    codes = np.zeros((5, 4))
    codes[:, 2], codes[:, 0] = [-2, -1, 0, 1, 2], [0, 0.5, 0, -0.5, 0]
    places = principal_places(codes)
    assert places.min() >= 0 and places.max() <= 1
    np.testing.assert_allclose(abs(places - 0.5)[[0, 2, 4]], [[0.5, 0], [0, 0], [0.5, 0]], atol=0.12)
    steps = np.diff(places[:, 0])
    assert abs(places[0, 0] - places[4, 0]) > 0.95 and (abs(steps) > 0.15).all() and len(set(np.sign(steps))) == 1
    assert (principal_places(np.ones((3, 2))) == 0.5).all() and principal_places(np.ones((1, 1))).shape == (1, 2)


def test_each_photo_is_on_the_map_where_its_code_is():
    split = builtin_scene(resolution=16, views=(3, 0, 1), samples_per_pixel=1).splits["train"]
    codes = torch.tensor([[0.0, 0.0, 0.0], [4.0, 0.0, 0.0], [8.0, 0.0, 0.0]])
    canvas = light_map(codes, split)
    assert canvas.shape == (16 + LINE, SIDE, 3)  # no higher than what is on it
    middle = (SIDE - 16) // 2
    shown = [canvas[:16, left : left + 16] for left in (0, middle, SIDE - 16)]
    for image in (0, 2):
        rgba = split.images.image(image).astype(float) / 255
        expected = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        assert min(abs(patch / 255 - expected).max() for patch in (shown[0], shown[2])) < 0.01
    assert (canvas[17 : 16 + LINE, middle : middle + 20] < 128).any()  # its name


def test_what_is_transparent_covers_no_other_photo():
    split = builtin_scene(resolution=16, views=(2, 0, 1), samples_per_pixel=1).splits["train"]
    rgba = [split.images.image(number) for number in (0, 1)]
    seen = light_map(torch.zeros(2, 3), split)[:16, (SIDE - 16) // 2 :][:, :16]
    alone = [light_map(torch.zeros(1, 3), split.subset([number]))[:16, (SIDE - 16) // 2 :][:, :16] for number in (0, 1)]
    below, above = (image[..., 3] == 255 for image in rgba)
    shows = below & (rgba[1][..., 3] == 0)
    assert shows.any() and (seen[shows] == alone[0][shows]).all() and (seen[above] == alone[1][above]).all()


def test_few_photos_are_larger_than_many():
    split = builtin_scene(resolution=160, views=(1, 0, 0), samples_per_pixel=1).splits["train"]

    def wide(count: int) -> int:
        """Pixels of the photos on a map of so many in one light, which all lie on its middle."""
        opaque = split.subset([0] * count)
        opaque.images.pixels[:, 3] = 255
        canvas = light_map(torch.zeros(count, 2), opaque)
        return int((canvas[len(canvas) // 2 - 6] < 255).any(axis=1).sum())

    assert wide(4) == LARGEST and wide(100) == THUMBNAIL and THUMBNAIL < wide(12) < LARGEST
