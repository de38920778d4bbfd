"""The built-in scene: its geometry against independent formulas, its pictures, its way to disk and back."""

import numpy as np
import pytest
import torch

from taichi_nerf import runtime
from taichi_nerf.data import load_scene
from taichi_nerf.data.builtin import BUILTIN_SCENES, builtin_scene, hemisphere_cameras, ring_cameras
from taichi_nerf.data.builtin.open_field import open_field, sunlight
from taichi_nerf.data.builtin.renderer import render
from taichi_nerf.data.builtin.world import (
    BOX,
    CAPSULE,
    CHECKER,
    CYLINDER,
    FRUSTUM,
    SPHERE,
    TORUS,
    Light,
    Material,
    Solid,
    World,
    axis_frame,
    solids_of,
)
from taichi_nerf.data.computed import BUILTIN_NAMES
from taichi_nerf.data.export import write_blender
from taichi_nerf.errors import UserError

MATT = Material(colour=(0.5, 0.4, 0.3))
BURIED = Solid(kind=SPHERE, size=(0.3,), material=MATT, position=(0, 0, -0.5))
TILTED = axis_frame((0.3, -0.2, 0.8))
SOLIDS = {
    "sphere": Solid(kind=SPHERE, size=(0.6,), material=MATT, position=(0.2, -0.1, 0.1)),
    "capsule": Solid(kind=CAPSULE, size=(0.15, 0.5), material=MATT, rotation=TILTED),
    "box": Solid(kind=BOX, size=(0.5, 0.4, 0.3, 0.05), material=MATT, rotation=TILTED),
    "cylinder": Solid(kind=CYLINDER, size=(0.5, 0.3), material=MATT, rotation=TILTED),
    "rounded cylinder": Solid(kind=CYLINDER, size=(0.5, 0.3, 0.1), material=MATT, rotation=TILTED),
    "torus": Solid(kind=TORUS, size=(0.5, 0.15), material=MATT, rotation=TILTED),
    "frustum": Solid(kind=FRUSTUM, size=(0.5, 0.2, 0.4), material=MATT, rotation=TILTED),
}


@pytest.fixture(scope="module", autouse=True)
def _on_the_cpu():
    """These tests choose backends themselves; what ran before them runs again after them."""
    before = runtime.current()
    runtime.init("cpu")
    yield
    runtime.init(before.backend, before.dtype, before.threads)


@pytest.fixture(scope="module")
def scene(_on_the_cpu):
    return builtin_scene(resolution=96, views=(3, 1, 2))


@pytest.fixture(scope="module")
def field(_on_the_cpu):
    return builtin_scene("open-field", resolution=64, views=(6, 1, 2), samples_per_pixel=4)


def rays(cameras, view):
    """Origin [3] and unit directions [H, W, 3] through the pixel centres."""
    width, height = cameras.size[view]
    u, v = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    x, y = ((p - c) / f for p, c, f in zip((u, v), cameras.principal[view], cameras.focal[view]))
    pose = cameras.camera_to_world[view].astype(float)
    directions = np.stack([x, -y, -np.ones_like(x)], axis=-1) @ pose[:, :3].T
    return pose[:, 3], directions / np.linalg.norm(directions, axis=-1, keepdims=True)


def points_of(cameras, view, depth):
    origin, directions = rays(cameras, view)
    return origin + np.where(np.isfinite(depth), depth, np.nan)[..., None] * directions


def pictures_of(solid, count=2, resolution=64, samples=1):
    cameras = hemisphere_cameras(count, resolution)
    return cameras, render(World(groups=[[solid]]), cameras, Light(), samples)


def test_depth_of_a_sphere_is_the_root_of_its_quadratic():
    cameras, pictures = pictures_of(SOLIDS["sphere"])
    for view in range(2):
        origin, d = rays(cameras, view)
        to_centre = np.array((0.2, -0.1, 0.1)) - origin
        b = d @ to_centre
        discriminant = b**2 - to_centre @ to_centre + 0.6**2
        with np.errstate(invalid="ignore"):
            expected = np.where(discriminant > 0, b - np.sqrt(discriminant), np.inf)
        assert (np.isfinite(expected) == np.isfinite(pictures.depth[view])).all()
        hit = discriminant > 1e-4
        assert hit.sum() > 500
        assert np.abs(pictures.depth[view][hit] - expected[hit]).max() < 2e-5
        normal = (origin + expected[hit][:, None] * d[hit] - (0.2, -0.1, 0.1)) / 0.6
        assert np.abs(pictures.normals[view][hit] - normal).max() < 1e-4


def test_depth_of_a_plate_is_where_the_ray_meets_its_plane():
    plate = Solid(kind=CYLINDER, size=(1.0, 0.05), material=MATT, position=(0, 0, -0.35))
    cameras, pictures = pictures_of(plate)
    for view in range(2):
        origin, d = rays(cameras, view)
        t = (-0.30 - origin[2]) / d[..., 2]
        point = origin + t[..., None] * d
        top = np.hypot(point[..., 0], point[..., 1]) < 0.999
        assert top.sum() > 300
        assert np.abs(pictures.depth[view][top] - t[top]).max() < 2e-5
        assert np.abs(pictures.normals[view][top] - (0, 0, 1)).max() < 1e-6


@pytest.mark.parametrize("solid", SOLIDS.values(), ids=SOLIDS.keys())
def test_every_solid_has_unit_normals_that_agree_with_its_depth(solid):
    cameras, pictures = pictures_of(solid, resolution=128)
    for view in range(2):
        depth, normals = pictures.depth[view], pictures.normals[view]
        hit = np.isfinite(depth)
        assert hit.sum() > 500 and not normals[~hit].any()
        assert np.abs(np.linalg.norm(normals[hit], axis=-1) - 1).max() < 1e-5
        points = points_of(cameras, view, depth)
        _, d = rays(cameras, view)
        assert (np.einsum("hwc,hwc->hw", d, normals)[hit] < 1e-3).all()
        right, down = points[1:-1, 2:] - points[1:-1, :-2], points[2:, 1:-1] - points[:-2, 1:-1]
        estimate = np.cross(down, right)
        estimate /= np.linalg.norm(estimate, axis=-1, keepdims=True)
        cosine = np.einsum("hwc,hwc->hw", estimate, normals[1:-1, 1:-1])
        cosine = cosine[np.isfinite(cosine)]
        assert np.median(cosine) > 0.9995 and (cosine > 0.95).mean() > 0.85


@pytest.mark.parametrize("solid", SOLIDS.values(), ids=SOLIDS.keys())
def test_no_ray_passes_through_the_bounding_sphere_of_a_solid_outside_it(solid):
    cameras, pictures = pictures_of(solid)
    for view in range(2):
        points = points_of(cameras, view, pictures.depth[view])
        distance = np.linalg.norm(points - np.asarray(solid.position), axis=-1)
        assert np.nanmax(distance) < solid.bounding_radius() + 1e-4
        assert np.nanmax(distance) > 0.6 * solid.bounding_radius()


def test_alpha_is_the_share_of_a_pixel_that_is_covered(scene):
    alpha = scene.splits["train"].images.pixels[:, 3]
    partly = ((alpha > 0) & (alpha < 255)).mean()
    assert 0.005 < partly < 0.1 and (alpha == 0).mean() > 0.3 and (alpha == 255).mean() > 0.1
    _, fine = pictures_of(SOLIDS["sphere"], 1, 64, 8)
    _, coarse = pictures_of(SOLIDS["sphere"], 1, 64, 1)
    expected = (coarse.rgba[0, ..., 3] / 255).sum()
    assert abs((fine.rgba[0, ..., 3] / 255).sum() - expected) < 0.01 * expected
    inside = np.isfinite(fine.depth[0])
    edge = (fine.rgba[0, ..., 3] > 0) & (fine.rgba[0, ..., 3] < 255)
    assert (fine.rgba[0][inside & ~edge, 3] == 255).all() and (fine.rgba[0][~inside & ~edge, 3] == 0).all()


def test_partly_covered_pixels_keep_the_colour_of_what_covers_them():
    grey = Solid(kind=SPHERE, size=(0.6,), material=Material(colour=(0.5, 0.5, 0.5)))
    _, pictures = pictures_of(grey, 1, 64, 4)
    rgba = pictures.rgba[0].astype(int)
    edge = (rgba[..., 3] > 0) & (rgba[..., 3] < 255)
    assert edge.sum() > 50 and rgba[edge][:, :3].min() > 60  # not mixed with black


def test_a_ball_casts_a_soft_shadow_on_the_plate_below_the_light():
    plate = Solid(kind=CYLINDER, size=(1.0, 0.05), material=MATT, position=(0, 0, -0.35))
    ball = Solid(kind=SPHERE, size=(0.2,), material=MATT, position=(0, 0, 0.2))
    cameras = hemisphere_cameras(1, 128, offset=0.5)
    light = Light(position=(0, 0, 4.0), radius=0.8)
    pictures = render(World(groups=[[plate], [ball]]), cameras, light, 1)
    points = points_of(cameras, 0, pictures.depth[0])
    radius = np.hypot(points[..., 0], points[..., 1])
    plane = np.abs(points[..., 2] + 0.30) < 1e-3
    brightness = pictures.rgba[0, ..., 1].astype(float)

    def ring(low, high):
        return brightness[plane & (radius > low) & (radius < high)].mean()

    # similar triangles: umbra to 0.128, penumbra to 0.332
    dark, half, bright = ring(0.0, 0.10), ring(0.20, 0.25), ring(0.40, 0.60)
    assert dark < 0.75 * bright and dark + 5 < half < bright - 5
    assert abs(ring(0.5, 0.6) - ring(0.6, 0.7)) < 3


def test_the_highlight_moves_with_the_eye():
    shiny = Material(colour=(0.1, 0.1, 0.1), specular=1.0, shininess=200)
    cameras, pictures = pictures_of(Solid(kind=SPHERE, size=(0.6,), material=shiny), 4, 96, 2)
    places = []
    for view in range(4):
        bright = pictures.rgba[view, ..., :3].min(axis=-1) > 200
        if bright.any():
            places.append(points_of(cameras, view, pictures.depth[view])[bright].mean(axis=0))
    assert len(places) >= 2 and np.linalg.norm(places[0] - places[1]) > 0.1


def test_checkers_have_two_colours_with_sharp_edges():
    checker = Material(colour=(0.9, 0.9, 0.9), other=(0.02, 0.02, 0.02), pattern=CHECKER, frequency=4.0)
    cameras, pictures = pictures_of(Solid(kind=CYLINDER, size=(1.0, 0.05), material=checker), 1, 96, 1)
    points = points_of(cameras, 0, pictures.depth[0])
    top = np.abs(points[..., 2] - 0.05) < 1e-3
    cell = np.floor(points * 4 + 0.5)[top]
    bright = pictures.rgba[0, ..., 1][top] > 128
    assert ((cell.sum(axis=-1) % 2 == 0) == bright).mean() > 0.995


def test_the_scene_fits_its_box_and_its_pictures(scene):
    for split in scene.splits.values():
        for view in range(len(split)):
            points = points_of(split.cameras, view, split.depth[view])
            assert np.nanmax(np.abs(points)) < 1.2
            alpha = split.images.image(view)[..., 3]
            assert not (alpha[0].any() or alpha[-1].any() or alpha[:, 0].any() or alpha[:, -1].any())
    assert np.abs(scene.to_model(np.array([1.2, 1.2, 1.2]))).max() < scene.half_side


def test_splits_share_no_view_and_look_at_the_origin_from_above(scene):
    assert {name: len(split) for name, split in scene.splits.items()} == {"train": 3, "val": 1, "test": 2}
    position = np.concatenate([split.cameras.position for split in scene.splits.values()])
    distances = np.linalg.norm(position[:, None] - position, axis=-1) + 10 * np.eye(len(position))
    assert distances.min() > 0.2 and (position[:, 2] > 0).all()
    full = [hemisphere_cameras(n, 10, 2.0 * i, 0.5 + 0.17 * i) for i, n in enumerate((60, 8, 16))]
    gap = np.linalg.norm(full[2].position[:, None] - full[0].position, axis=-1)
    assert gap.min() > 0.05
    for cameras in full:
        frames = cameras.camera_to_world[:, :, :3].astype(float)
        assert np.allclose(frames @ frames.transpose(0, 2, 1), np.eye(3), atol=1e-6)
        assert np.allclose(np.linalg.det(frames), 1, atol=1e-6)
        assert np.allclose(cameras.position + 4 * cameras.view_direction, 0, atol=1e-5)


def test_the_same_seed_gives_the_same_scene(scene):
    runtime.init("cpu", threads=2)
    again = builtin_scene(resolution=96, views=(3, 1, 2))
    other = builtin_scene(resolution=16, views=(3, 0, 0), seed=1)
    for name, split in scene.splits.items():
        assert np.array_equal(split.images.pixels, again.splits[name].images.pixels)
        assert np.array_equal(split.depth, again.splits[name].depth)
    assert not np.allclose(other.splits["train"].cameras.position, scene.splits["train"].cameras.position)
    assert list(other.splits) == ["train"]


def test_the_ground_reaches_to_the_horizon_and_the_sky_is_at_infinity(field):
    split = field.splits["train"]
    assert not split.images.has_alpha
    for view in range(len(split)):
        depth, normals = split.depth[view], split.normals[view]
        origin, d = rays(split.cameras, view)
        with np.errstate(divide="ignore"):
            plane = np.where(d[..., 2] < 0, -origin[2] / d[..., 2], np.inf)
        assert (depth <= plane * (1 + 1e-4)).all()  # nothing is behind the ground
        points = points_of(split.cameras, view, depth)
        ground = np.isfinite(depth) & (np.abs(points[..., 2]) < 1e-4 * depth) & (normals[..., 2] > 0.9999)
        assert ground.mean() > 0.2 and np.abs(depth[ground] / plane[ground] - 1).max() < 1e-4
        sky = np.isinf(depth)
        assert (d[sky][:, 2] > 0).all() and not normals[sky].any()
        assert (split.images.image(view)[..., 3] == 255).all()


def test_the_open_field_has_things_near_and_far(field):
    depth = np.stack([d for split in field.splits.values() for d in split.depth])
    shares = [(depth < 1).mean(), ((depth > 5) & (depth < 40)).mean(), np.isinf(depth).mean()]
    assert min(shares) > 0.08, shares
    centres = np.array([s.position[:2] for s in solids_of(open_field().groups)])
    distance = np.linalg.norm(centres, axis=1)
    assert ((distance < 0.6) | ((distance > 1.5) & (distance < 4.1)) | ((distance > 5) & (distance < 41))).all()
    assert field.near < depth.min() * field.scale and not field.bounded and field.background == "black"
    assert 41 * field.scale < field.half_side
    for split in field.splits.values():
        assert np.allclose(np.linalg.norm(split.cameras.position[:, :2], axis=1), 1, atol=1e-6)


def test_the_test_views_of_the_ring_are_no_training_views():
    for counts in ((60, 8, 16), (30, 0, 4), (6, 1, 2)):
        train, _, test = (ring_cameras(n, 8, 0.2 * i, 0.5 + 0.17 * i) for i, n in enumerate(counts))
        gap = np.linalg.norm(test.position[:, None] - train.position, axis=-1)
        assert gap.min() > 0.02, counts
        frames = test.camera_to_world[:, :, :3].astype(float)
        assert np.allclose(frames @ frames.transpose(0, 2, 1), np.eye(3), atol=1e-6)
        assert np.allclose(np.linalg.det(frames), 1, atol=1e-6) and (frames[:, 2, 1] > 0).all()


def test_how_solids_are_grouped_changes_no_picture():
    world, cameras = open_field(), ring_cameras(2, 48)
    grouped = render(world, cameras, sunlight(), 1)
    alone = render(World(groups=[[s] for s in solids_of(world.groups)], ground=world.ground), cameras, sunlight(), 1)
    assert np.array_equal(grouped.depth, alone.depth) and np.array_equal(grouped.normals, alone.normals)
    assert np.abs(grouped.rgba.astype(int) - alone.rgba).max() <= 1


def test_a_ball_shades_the_ground_below_the_sun():
    ball = Solid(kind=SPHERE, size=(0.3,), material=MATT, position=(0, 0, 0.5))
    cameras, light = ring_cameras(1, 96), Light(position=(0, 0, 100.0), radius=5.0)
    pictures = [render(World(groups=[[solid]], ground=MATT), cameras, light, 1) for solid in (ball, BURIED)]
    points = points_of(cameras, 0, pictures[1].depth[0])
    radius = np.hypot(points[..., 0], points[..., 1])
    free = pictures[0].depth[0] == pictures[1].depth[0]
    shaded, lit = (p.rgba[0, ..., 1].astype(float) for p in pictures)
    umbra, far = free & (radius < 0.2), free & (radius > 0.6) & (radius < 3)
    assert umbra.sum() > 5 and (shaded[umbra] < 0.8 * lit[umbra]).all()
    assert far.sum() > 100 and np.abs(shaded[far] - lit[far]).max() <= 1


def test_the_ground_hides_what_is_below_it():
    half = Solid(kind=SPHERE, size=(0.3,), material=MATT, position=(0, 0, 0))
    cameras = ring_cameras(1, 48)
    none, some = (render(World(groups=[[solid]], ground=MATT), cameras, sunlight(), 1) for solid in (BURIED, half))
    origin, d = rays(cameras, 0)
    below = d[..., 2] < -1e-3
    assert np.allclose(none.depth[0][below], (-origin[2] / d[..., 2])[below], rtol=1e-5)
    points = points_of(cameras, 0, some.depth[0])
    dome = some.depth[0] < none.depth[0]
    assert dome.sum() > 50 and points[dome][:, 2].min() > -1e-5
    assert np.abs(np.linalg.norm(points[dome], axis=1) - 0.3).max() < 1e-4


def test_satin_is_the_still_life_in_another_finish(scene):
    satin = builtin_scene("satin", resolution=96, views=(3, 0, 0))
    one, other = scene.splits["train"], satin.splits["train"]
    assert len(one) == len(other) == 3 and all(np.array_equal(a, b) for a, b in zip(one.depth, other.depth))
    before, after = (split.images.pixels.reshape(-1, 4).astype(int) for split in (one, other))
    assert np.array_equal(before[:, 3], after[:, 3])
    assert np.abs(before - after)[before[:, 3] == 255, :3].mean() > 5


PHOTOS = 40


@pytest.fixture(scope="module")
def crowd(_on_the_cpu):
    return builtin_scene("crowd", resolution=32, views=(PHOTOS, 3, 2), samples_per_pixel=1)


@pytest.fixture(scope="module")
def nobody(_on_the_cpu):
    """The same views of the still life."""
    return builtin_scene(resolution=32, views=(PHOTOS, 3, 2), samples_per_pixel=1)


def test_people_stand_before_up_to_a_fifth_of_each_photo_of_the_crowd(crowd, nobody):
    split, clean = crowd.splits["train"], nobody.splits["train"]
    first, *masks = split.occluded
    shares = np.array([mask.mean() for mask in masks])
    assert not first.any() and 0 < shares.min() and shares.max() <= 0.2 and shares.mean() > 0.06
    assert all((split.images.image(n)[mask, 3] > 127).all() for n, mask in enumerate(split.occluded))
    alpha = [np.array([images.image(n)[..., 3] for n in range(PHOTOS)]) for images in (split.images, clean.images)]
    free = ~np.array(split.occluded)
    assert np.array_equal(alpha[0][free], alpha[1][free])  # with one sample a pixel is of people or is not
    differ = [(masks[n] != masks[m]).any() for n in range(len(masks)) for m in range(n)]
    assert all(differ)


def test_photos_of_the_crowd_differ_in_light_and_geometry_does_not(crowd, nobody):
    split, clean = crowd.splits["train"], nobody.splits["train"]
    assert all(map(np.array_equal, split.depth, clean.depth)) and all(map(np.array_equal, split.normals, clean.normals))
    ratios = []
    for n, mask in enumerate(split.occluded):
        shown, neutral = (images.image(n)[~mask].astype(float) for images in (split.images, clean.images))
        solid = neutral[:, 3] == 255
        ratios.append(shown[solid, :3].mean(axis=0) / neutral[solid, :3].mean(axis=0))
    brightness, warmth = np.mean(ratios, axis=1), np.array(ratios)[:, 0] / np.array(ratios)[:, 2]
    assert brightness[0] == 1 and brightness.std() > 0.1 and warmth.std() > 0.05
    below, above = (brightness < 1).mean(), (brightness > 1).mean()
    assert min(below, above) > 0.2  # the neutral light is among them


def test_test_views_of_the_crowd_are_those_of_the_still_life(crowd, nobody):
    one, other = crowd.splits["test"], nobody.splits["test"]
    assert np.array_equal(one.images.pixels, other.images.pixels) and one.occluded is None
    assert np.array_equal(crowd.splits["train"].images.image(0), nobody.splits["train"].images.image(0))


def test_validation_views_of_the_crowd_are_clean_and_each_in_a_light_of_its_own(crowd, nobody):
    one, other = crowd.splits["val"], nobody.splits["val"]
    assert one.occluded is None and all(map(np.array_equal, one.depth, other.depth))
    ratios = []
    for n in range(len(one)):
        shown, neutral = (images.image(n).astype(float) for images in (one.images, other.images))
        assert np.array_equal(shown[..., 3], neutral[..., 3])  # nobody stands there
        solid = neutral[..., 3] == 255
        ratios.append(shown[solid, :3].mean(axis=0) / neutral[solid, :3].mean(axis=0))
    assert np.ptp(ratios, axis=0).min() > 0.1  # in each channel
    photos = [crowd.splits["train"].images.image(n) for n in range(PHOTOS)]
    assert not any(np.array_equal(one.images.image(n), photo) for n in range(len(one)) for photo in photos)


@pytest.mark.slow
@pytest.mark.parametrize(
    "backend, dtype", [("cpu", torch.float64), ("vulkan", torch.float32), ("cuda", torch.float32)]
)
def test_every_backend_gives_the_same_pictures(scene, field, backend, dtype):
    reason = runtime.why_missing(backend)
    if reason:
        pytest.skip(f"{backend}: {reason}")
    runtime.init(backend, dtype)
    others = (builtin_scene(resolution=96, views=(3, 0, 0)),
              builtin_scene("open-field", resolution=64, views=(6, 0, 0), samples_per_pixel=4))
    runtime.init("cpu")
    for one, other in zip((scene, field), others):
        assert_same_pictures(one.splits["train"], other.splits["train"])


def assert_same_pictures(one, other):
    difference = np.abs(one.images.pixels.astype(int) - other.images.pixels.astype(int)).max(axis=-1)
    assert (difference <= 1).mean() > 0.998 and difference.mean() < 0.02
    depth, other_depth = np.stack(one.depth), np.stack(other.depth)
    hit = np.isfinite(depth) & np.isfinite(other_depth)
    assert (np.isfinite(depth) == np.isfinite(other_depth)).mean() > 0.9995
    assert (np.abs(depth[hit] - other_depth[hit]) < 1e-4 * np.maximum(depth[hit], 1)).mean() > 0.998


def test_a_scene_written_as_blender_folder_is_loaded_again(scene, tmp_path):
    folder = write_blender(scene, tmp_path / "still life")
    loaded = load_scene(folder)
    assert loaded.format == "blender" and loaded.scale == pytest.approx(scene.scale)
    for name, split in scene.splits.items():
        back = loaded.splits[name]
        assert np.array_equal(back.images.pixels, split.images.pixels)
        for field in ("camera_to_world", "focal", "principal", "size", "lens"):
            assert np.allclose(getattr(back.cameras, field), getattr(split.cameras, field), rtol=1e-6), field
        depth = np.load(folder / name / f"{split.images.names[0]}_depth.npy")
        assert np.array_equal(depth, split.depth[0])
    with pytest.raises(UserError, match="exists already"):
        write_blender(scene, folder)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["still life"]


def test_an_unwritable_place_is_a_user_error(scene, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_blender(scene, tmp_path / "file" / "scene")


@pytest.mark.parametrize("arguments", [{"resolution": 0}, {"views": (0, 1, 1)}, {"samples_per_pixel": 5},
                                       {"name": "moon"}])
def test_impossible_requests_are_user_errors(arguments):
    with pytest.raises(UserError, match="built-in scene"):
        builtin_scene(**arguments)


def test_the_names_of_the_scenes_are_known_before_they_can_be_computed():
    assert sorted(BUILTIN_SCENES) == sorted(BUILTIN_NAMES)
