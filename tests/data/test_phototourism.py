"""Phototourism folders: the table's split, the model's ids, bounds of each photo."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import load_scene
from taichi_nerf.data.photometry import judge_light
from taichi_nerf.errors import UserError

from .captures import write_phototourism

pycolmap = pytest.importorskip("pycolmap")


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


def test_without_a_table_every_image_by_name_is_held_out_and_that_is_said(tmp_path):
    write_phototourism(tmp_path)
    (tmp_path / "gate.tsv").unlink()
    scene = load_scene(tmp_path)
    assert (scene.format, scene.held_out) == ("phototourism", True)
    assert scene.splits["test"].images.names == ("view_000", "view_008")
    np.testing.assert_array_equal(scene.splits["test"].ids["appearance"], [100, 92])
    assert "without a table (*.tsv) of its split: every 8th image is held out" in " | ".join(scene.notes)
    assert len(load_scene(tmp_path, test_every=0).splits["train"]) == 10


def test_what_undistorting_leaves_beside_a_model_is_no_such_folder(tmp_path):
    """COLMAP's workspace has a folder dense, too."""
    model = write_phototourism(tmp_path)
    (tmp_path / "gate.tsv").unlink()
    model.write_binary(tmp_path / "sparse" / "0")
    (tmp_path / "dense" / "images").rename(tmp_path / "images")
    (tmp_path / "dense" / "images").mkdir()
    assert load_scene(tmp_path).format == "colmap"


@pytest.mark.slow
def test_photos_of_a_church_by_ten_people(real_data, tmp_path):
    """By its table; and without it, by the names. Ids are those of the model, which COLMAP itself reads here."""
    folder = real_data("phototourism_mini/sacre_coeur_10")
    model = pycolmap.Reconstruction(folder / "dense" / "sparse").images.values()
    ids = {image.name.removesuffix(".jpg"): image.image_id for image in model}
    names = sorted(ids)
    (tmp_path / "dense").symlink_to(folder / "dense")
    scenes = load_scene(folder), load_scene(tmp_path)
    held_out = [name for name in names if name in ("17295357_9106075285", "60584745_2207571072")], names[::8]
    for scene, tests in zip(scenes, held_out):
        assert scene.format == "phototourism" and scene.splits["test"].images.names == tuple(tests)
        assert sorted([*scene.splits["train"].images.names, *tests]) == names
        for split in scene.splits.values():
            for n, name in enumerate(split.images.names):
                assert split.ids["appearance"][n] == ids[name]
                with Image.open(folder / "dense" / "images" / f"{name}.jpg") as photo:
                    assert tuple(split.cameras.size[n]) == photo.size
                    assert split.images.image(n).shape[:2] == photo.size[::-1]
    assert [scene.held_out for scene in scenes] == [False, True]
    assert "without a table (*.tsv) of its split: every 8th image is held out" in " | ".join(scenes[1].notes)
    light = judge_light(scenes[0].splits["train"])
    assert light.differing == "codes" and "the photos have 7 sizes" in light.why


@pytest.mark.slow
def test_hundreds_of_photos_of_many_sizes_stay_as_they_are_and_on_disk(tmp_path):
    """No photo is made the size of another, and the memory does not hold their pixels."""
    count, random = 300, np.random.default_rng(0)
    model = write_phototourism(tmp_path, count)
    sizes = random.integers((96, 64), (193, 129), (count, 2))
    for number, (name, size) in enumerate(zip(model.names, sizes)):
        Image.fromarray(np.full((size[1], size[0], 3), number % 256, np.uint8)).save(tmp_path / "dense/images" / name)
    for number, camera in enumerate(model.cameras):
        model.cameras[camera] = ("PINHOLE", 1, (90.0, 90.0, *sizes[number] / 2))
    model.write_binary(tmp_path / "dense" / "sparse", sizes=sizes)
    load_scene(tmp_path, cache="disk")
    tracemalloc.start()
    scene = load_scene(tmp_path, cache="disk")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    train = scene.splits["train"]
    assert len(train) == 240 and len({tuple(size) for size in train.cameras.size.tolist()}) > 200
    numbers = [int(name.removeprefix("view_")) for name in train.images.names]
    np.testing.assert_array_equal(train.cameras.size, sizes[numbers])
    assert all(int(train.images.image(n)[5, 5, 0]) == numbers[n] % 256 for n in range(0, 240, 17))
    assert most < train.images.pixels.nbytes / 2
