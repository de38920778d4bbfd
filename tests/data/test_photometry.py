"""Whether the light of photos differs, and how, by their files and by their pixels."""

import dataclasses
import warnings

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data import with_scales
from taichi_nerf.data.builtin import builtin_scene
from taichi_nerf.data.disturb import jitter_exposure
from taichi_nerf.data.exif import Taken, taken
from taichi_nerf.data.perturb import perturbed
from taichi_nerf.data.photometry import Light, judge_light
from taichi_nerf.data.scene import Images, Sightings


@pytest.fixture(scope="module")
def split():
    return builtin_scene(resolution=32, views=(40, 0, 1), samples_per_pixel=1).splits["train"]


def photo(path, camera: str | None = None, seconds: float | None = None):
    """A file as a camera leaves it."""
    exif = Image.Exif()
    if camera is not None:
        exif[0x010F], exif[0x0110] = "Maker", camera
    if seconds is not None:
        exif.get_ifd(0x8769).update({0x829A: seconds, 0x829D: 2.0, 0x8827: 400})
    Image.new("RGB", (8, 8)).save(path, exif=exif)
    return path


def test_photos_in_one_light_need_nothing(split):
    light = judge_light(split)
    assert light.differing is None and "next to nothing" in light.why
    exposed, _ = jitter_exposure(split, 1.0)
    sizes = builtin_scene(resolution=32, views=(1, 0, 0), samples_per_pixel=1)
    scaled = with_scales(dataclasses.replace(sizes, splits={"train": exposed}), 2).splits["train"]
    assert judge_light(scaled).why == judge_light(exposed).why  # a view is not compared with itself in another size
    pair = judge_light(split.subset([0, 1]))
    assert pair.differing is None and "too few" in pair.why


def test_gains_are_exposures_and_other_light_wants_codes(split):
    exposed, _ = jitter_exposure(split, 1.0)
    light = judge_light(exposed)
    assert light.differing == "exposure" and "exposure and white balance" in light.why
    assert judge_light(perturbed(split, "colour")).differing == "codes"
    crowd = builtin_scene("crowd", resolution=32, views=(40, 0, 1), samples_per_pixel=1).splits["train"]
    assert judge_light(crowd).differing == "codes"


def test_what_a_camera_wrote_into_a_photo_is_read(tmp_path):
    found = taken(photo(tmp_path / "a.jpg", "One", 0.01))
    assert found.camera == "Maker One" and found.stops == pytest.approx(0.0)
    assert taken(photo(tmp_path / "b.jpg")) == Taken(size=(8, 8)) and taken(tmp_path / "nowhere.jpg") == Taken()
    (tmp_path / "c.jpg").write_bytes(b"no image")
    assert taken(tmp_path / "c.jpg") == Taken()
    assert taken(photo(tmp_path / "d.jpg", "One", 0.0)).stops is None


def test_what_is_damaged_of_it_says_nothing(tmp_path):
    exif = Image.Exif()
    exif[0x010F], exif[0x0110] = "Maker", "One"
    exif.get_ifd(0x8769).update({0x829A: 0.01, 0x829D: 2.0, 0x8827: 400})
    whole = exif.tobytes()
    for length in range(len(b"Exif\0\0"), len(whole)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            Image.new("RGB", (8, 8)).save(tmp_path / "cut.jpg", exif=whole[:length])
            warnings.simplefilter("error")
            found = taken(tmp_path / "cut.jpg")
        assert found.camera in (None, "Maker", "Maker One") and found.size == (8, 8)


def test_other_cameras_want_codes_and_other_exposures_of_one_the_exposure_model(split, tmp_path):
    def with_photos(**known):
        paths = [photo(tmp_path / f"{n}.jpg", **{name: values(n) for name, values in known.items()})
                 for n in range(len(split))]
        return dataclasses.replace(split, paths=tuple(paths))

    light = judge_light(with_photos(camera=lambda n: f"C{n % 3}"))
    assert light.differing == "codes" and "by 3 cameras" in light.why
    light = judge_light(with_photos(camera=lambda n: "C", seconds=lambda n: 0.01 * 2.0 ** (n % 2)))
    assert light.differing == "exposure" and "differs by 1.0 stops" in light.why
    assert judge_light(with_photos(camera=lambda n: "C", seconds=lambda n: 0.01)).differing is None


def test_photos_of_many_sizes_are_those_of_many_people(split):
    images = [np.ascontiguousarray(split.images.image(n)[: 20 + n % 12]) for n in range(len(split))]
    cropped = dataclasses.replace(
        split, images=type(split.images).from_list(images), cameras=split.cameras.resized(
            [(32, 20 + n % 12) for n in range(len(split))]), depth=None, normals=None)
    light = judge_light(cropped)
    assert light.differing == "codes" and "12 sizes" in light.why


def test_photos_that_are_made_smaller_have_the_sizes_of_their_files(split, tmp_path):
    """A preview at an eighth of the size has the same settings as the training."""
    for n in range(len(split)):
        Image.new("RGB", (40 + n % 12, 40)).save(tmp_path / f"{n}.png")
    paths = tuple(tmp_path / f"{n}.png" for n in range(len(split)))
    light = judge_light(dataclasses.replace(split, paths=paths))
    assert light.differing == "codes" and "12 sizes" in light.why
    paths[3].unlink()
    assert judge_light(dataclasses.replace(split, paths=paths)).differing is None


def test_where_points_are_known_photos_are_compared_by_them(split):
    """All photos see the same points, here as one picture."""
    random = np.random.default_rng(0)
    blocks = np.kron(random.integers(10, 200, (8, 8, 3), dtype=np.uint8), np.ones((4, 4, 1), np.uint8))
    picture = np.concatenate([blocks, np.full((32, 32, 1), 255, np.uint8)], axis=2)
    place = np.stack(np.meshgrid(*[np.arange(8) * 4 + 2.0] * 2), axis=-1).reshape(-1, 2)
    seen = Sightings(point=np.arange(64), pixel=place)
    images = Images.from_list([picture] * len(split), split.images.names)
    same = dataclasses.replace(split, images=images, sightings=(seen,) * len(split))
    assert judge_light(same) == Light(None, "photos of the same points differ by 0.00 stops, which is next to nothing")
    assert judge_light(jitter_exposure(same, 0.8)[0]).differing == "exposure"
    light = judge_light(perturbed(same, "colour"))
    assert light.differing == "codes" and "of the same points" in light.why
    nothing = dataclasses.replace(same, sightings=(Sightings(point=np.zeros(0), pixel=np.zeros((0, 2))),) * len(split))
    assert "of neighbouring cameras" in judge_light(nothing).why
