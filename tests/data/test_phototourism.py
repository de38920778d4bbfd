"""Phototourism folders: the table's split, the model's ids, bounds of each photo."""

import numpy as np
import pytest

from taichi_nerf.data import load_scene
from taichi_nerf.errors import UserError

from .captures import write_phototourism

pytest.importorskip("pycolmap")


def test_the_split_is_the_tables_and_ids_are_the_models(tmp_path):
    model = write_phototourism(tmp_path)
    scene = load_scene(tmp_path)
    assert (scene.format, scene.held_out) == ("phototourism", False)
    assert scene.splits["test"].images.names == ("view_000", "view_005")
    for name, members in (("train", [1, 2, 3, 4, 6, 7, 8, 9]), ("test", [0, 5])):
        split = scene.splits[name]
        np.testing.assert_allclose(split.cameras.camera_to_world, model.poses[members, :3], atol=1e-6)
        np.testing.assert_array_equal(split.ids["appearance"], [100 - n for n in members])
        np.testing.assert_array_equal(split.ids["camera"], [7 + n for n in members])
        distance = np.linalg.norm(split.cameras.position[:, None] - scene.points.position, axis=2)
        np.testing.assert_allclose(split.bounds, np.quantile(distance, (0.001, 0.999), axis=1).T, rtol=1e-5)
    assert "1 images of the table are not in the model and not used" in scene.notes


def test_every_applies_to_the_test_images(tmp_path):
    write_phototourism(tmp_path)
    scene = load_scene(tmp_path, splits=["test"], every={"test": 2})
    assert list(scene.splits) == ["test"] and scene.splits["test"].images.names == ("view_000",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file\tnumber\n1\t2\n", "lacks one of the columns"),
        ("filename\tid\tsplit\tdataset\nview_000.png\t1\tvalidation\tgate\n", "line 2 .* not train or test"),
        ("filename\tid\tsplit\tdataset\n", "names no image"),
        ("filename\tid\tsplit\tdataset\nother.png\t1\ttrain\tgate\n", "names no image of the model"),
        ("filename\tid\tsplit\tdataset\nview_001.png\t1\ttrain\tgate\n", "one camera only"),
        ('filename\tid\tsplit\n"view\t1\ttrain', "no table of columns"),
        ("filename\tid\tsplit\nview_000.png\n", "names no image"),
    ],
)
def test_tables_that_do_not_fit_are_refused(tmp_path, text, message):
    write_phototourism(tmp_path)
    (tmp_path / "gate.tsv").write_text(text)
    with pytest.raises(UserError, match=message):
        load_scene(tmp_path)
