"""Meshes, points, volumes and depth pictures of a ball that is known, in the units of its file."""

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from taichi_nerf import query, runtime
from taichi_nerf.cli.export import Export, _box, _output
from taichi_nerf.data import hdr
from taichi_nerf.data.scene import Cameras
from taichi_nerf.errors import UserError
from taichi_nerf.export import facts, libraries, mesh, mesh_files, point_files, points, texture, view_colours, volume
from taichi_nerf.export.depth import write_depth
from taichi_nerf.export.photo_views import in_reserve, photo_views
from taichi_nerf.export.rasterise import rasterised
from taichi_nerf.export.surface import box_of, pinhole, share_in_front, surface_views

from ..test_query import CENTRE, COLOUR, ORIGIN, RADIUS, Asked, placed

trimesh = pytest.importorskip("trimesh")
UP = np.array((0.1, 0.2, 0.9))


@pytest.fixture(scope="module")
def field():
    if runtime.current().backend != "cpu" or runtime.current().dtype != torch.float32:
        runtime.init("cpu", torch.float32, threads=1)
    return query.Field(Asked(torch.float32, "cpu", colour=COLOUR, softness=0.002, peak=1500.0), placed())


def around(size: int = 40) -> Cameras:
    """Six, along the axes, 18 units from the middle of the ball."""
    poses = []
    for axis in range(3):
        for sign in (1, -1):
            back, right = sign * np.eye(3)[axis], np.eye(3)[(axis + 1) % 3]
            poses.append(np.stack([right, np.cross(back, right), back, CENTRE + 18 * back], axis=1))
    return Cameras(camera_to_world=np.array(poses), focal=np.full((6, 2), 1.2 * size),
                   principal=np.full((6, 2), size / 2), distortion=np.zeros((6, 6)), lens=np.zeros(6),
                   size=np.full((6, 2), size))


@pytest.fixture(scope="module")
def views(field):
    return list(surface_views(field, around(), reach=0.5))


@pytest.fixture(scope="module")
def ball(field, views):
    grid = mesh.grid_around(views, box_of(field, None), 40)
    distance, weight = mesh.distance_grid(grid, views)
    return mesh.without_small_parts(mesh.mesh_of(grid, distance, mesh.known_enough(weight, len(views))))[0], grid


def test_points_lie_on_the_surface_one_in_a_voxel(field):
    found = points.surface_points(field, around(), rays=6 * 900, voxel=0.5)
    away = found.position - CENTRE
    # where exp(-integral of 75 / (1 + exp(x / 0.04))) = 0.85, seen from the front: the ball is soft
    assert np.abs(np.linalg.norm(away, axis=1) - (RADIUS + 0.117)).mean() < 0.1
    assert ((found.normal * away).sum(axis=1) > 0.9 * RADIUS).mean() > 0.95
    assert np.abs(found.colour / 255 - COLOUR).max() < 0.02 and (found.confidence > 0.5).all()
    assert len(np.unique(np.floor((found.position - found.position.min(axis=0)) / 0.5), axis=0)) > 0.9 * len(found)
    deeper = points.surface_points(field, around(), rays=6 * 900, voxel=0.5, share=0.5)
    assert 0.03 < (np.linalg.norm(away, axis=1).mean() - np.linalg.norm(deeper.position - CENTRE, axis=1).mean()) < 0.1
    inside = points.surface_points(field, around(), rays=6 * 900, voxel=0.5, box=np.array([CENTRE, CENTRE + 9]))
    assert 0 < len(inside) < len(found) / 4 and (inside.position >= CENTRE).all()


def test_what_stands_in_fog_has_its_surface_at_the_median(field):
    alone, among = (dataclasses.replace(field.scene, bounded=bounded) for bounded in (True, False))
    assert share_in_front(alone) < share_in_front(among) == 0.5
    found = points.surface_points(field, around(), rays=6 * 400, voxel=0.5, share=share_in_front(field.scene))
    assert np.array_equal(found.position, points.surface_points(field, around(), rays=6 * 400, voxel=0.5).position)
    assert 0 <= found.unsure < 0.5


def test_points_of_two_sides_of_a_thin_thing_stay_two_and_others_become_their_mean():
    normal = np.array([[0, 0, 1], [0, 0, 1], [0, 0, -1]], np.float32)
    given = points.PointCloud(position=np.array([[0.0, 0, 0.1], [0.4, 0, 0.1], [0.2, 0, 0.0]]), normal=normal,
                              colour=np.full((3, 3), 100, np.uint8), confidence=np.array([0.6, 0.6, 0.5], np.float32))
    found = points.merged(given, 1.0)
    assert len(found) == 1 and np.allclose(found.position, [[0.2, 0, 0.1]]) and np.allclose(found.normal, [[0, 0, 1]])


def test_a_mesh_is_the_surface_and_faces_outwards(ball):
    made, grid = ball
    away = made.vertices - CENTRE
    assert np.abs(np.linalg.norm(away, axis=1) - RADIUS).mean() < 0.3 * grid.cell
    assert ((made.normals * away).sum(axis=1) > 0.9 * RADIUS).mean() > 0.97
    assert trimesh.Trimesh(made.vertices, made.faces).volume == pytest.approx(4 / 3 * np.pi * RADIUS**3, rel=0.05)
    less = mesh.simplified(made, 500)
    assert 300 < len(less.faces) <= 500 and np.abs(np.linalg.norm(less.vertices - CENTRE, axis=1) - RADIUS).max() < 0.5


def test_what_no_camera_saw_is_no_surface_and_a_hole(field, views):
    grid = mesh.grid_around(views, box_of(field, None), 40)
    distance, weight = mesh.distance_grid(grid, views[:1])
    made = mesh.without_small_parts(mesh.mesh_of(grid, distance, mesh.known_enough(weight, 1)))[0]
    assert (made.vertices[:, 0] > CENTRE[0] - 1).all() and made.holes >= 1


def test_smoothing_takes_steps_away_and_no_volume(ball):
    rough = mesh.Mesh(vertices=ball[0].vertices + 0.1 * np.random.default_rng(0).normal(size=ball[0].vertices.shape),
                      faces=ball[0].faces)
    even = mesh.smoothed(rough)
    spread = [np.linalg.norm(each.vertices - CENTRE, axis=1).std() for each in (rough, even)]
    assert spread[1] < 0.6 * spread[0]
    volumes = [trimesh.Trimesh(each.vertices, each.faces).volume for each in (rough, even)]
    assert volumes[1] == pytest.approx(volumes[0], rel=0.02)


def test_even_normals_have_no_ripples_and_keep_the_surface_and_its_edges(ball):
    made, draw = ball[0], np.random.default_rng(0)
    rough = dataclasses.replace(made, shading=made.normals + 0.15 * draw.normal(size=made.vertices.shape))
    exact = (made.vertices - CENTRE) / np.linalg.norm(made.vertices - CENTRE, axis=1, keepdims=True)
    even = mesh.with_even_normals(rough)
    assert (even.vertices == made.vertices).all() and np.allclose(np.linalg.norm(even.normals, axis=1), 1)
    assert np.square(even.normals - exact).mean() < 0.3 * np.square(rough.normals - exact).mean()
    side = np.arange(3)
    x, y = (axis.reshape(-1) for axis in np.meshgrid(side, side))
    roof = np.stack([x, y, np.where(x < 1, 0.0, 9.0)], axis=1)  # of two ways, next to each other
    faces = np.array([[n, n + 1, n + 3] for n in (0, 1, 3, 4)] + [[n + 1, n + 4, n + 3] for n in (0, 1, 3, 4)])
    given = np.where(x[:, None] < 1, (1.0, 0, 0), (0, 0, 1.0))
    found = mesh.with_even_normals(mesh.Mesh(vertices=roof, faces=faces, shading=given)).normals
    assert np.abs(found - given).max() < 1e-6


def test_a_solid_is_watertight_whatever_was_seen(field, views):
    grid = mesh.grid_around(views, box_of(field, None), 40)
    for seen, least, most in ((views, 0.95, 1.1), (views[:1], 0.6, 2.0)):
        distance, weight = mesh.distance_grid(grid, seen)
        known = mesh.known_enough(weight, len(seen))
        made = mesh.without_small_parts(mesh.mesh_of(grid, mesh.closed(distance, known)))[0]
        solid = trimesh.Trimesh(made.vertices, made.faces)
        assert solid.is_watertight and made.holes == 0
        assert least < solid.volume / (4 / 3 * np.pi * RADIUS**3) < most
        less = mesh.simplified(mesh.smoothed(made), 600)
        assert less.holes == 0 and len(less.faces) <= 600
    cut = mesh.closed(np.full((4, 5, 6), -1.0, np.float32))
    assert cut[1:-1, 1:-1, 1:-1].max() == -1 and all(np.take(cut, end, axis).min() == 1 for end in (0, -1)
                                                     for axis in range(3))


def test_triangles_back_to_back_are_dropped_in_pairs():
    faces = np.array([[0, 1, 2], [2, 1, 0], [3, 4, 5], [5, 3, 4], [6, 7, 8]])
    assert mesh._without_flaps(faces).tolist() == [[3, 4, 5], [5, 3, 4], [6, 7, 8]]
    assert len(mesh._without_flaps(faces[:0])) == 0


def test_a_level_of_the_density_is_closed(field, views, ball):
    grid = mesh.grid_around(views, box_of(field, None), 24)
    made = mesh.mesh_of(grid, mesh.density_grid(grid, field, 20.0))
    assert np.abs(np.linalg.norm(made.vertices - CENTRE, axis=1) - RADIUS).mean() < 0.5 and made.holes == 0
    with pytest.raises(UserError, match="there is no surface in the box"):
        mesh.mesh_of(grid, mesh.density_grid(grid, field, 1e9))


def test_small_parts_are_dropped_and_counted():
    def tetrahedron(at, size):
        return at + size * np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1.0]])

    faces = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])
    both = mesh.Mesh(vertices=np.concatenate([tetrahedron(0, 1.0), tetrahedron(2, 0.01)]),
                     faces=np.concatenate([faces, faces + 4]))
    kept, dropped = mesh.without_small_parts(both)
    assert dropped == 1 and len(kept.vertices) == 4 and kept.holes == 0
    assert mesh.Mesh(vertices=kept.vertices, faces=kept.faces[:2]).holes == 1


def test_a_solid_that_touches_itself_is_said_to(tmp_path):
    corners = np.array([[0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0.0]])
    faces = np.array([[0, 3, 2], [0, 2, 1], [0, 1, 3], [2, 3, 1]])
    other = np.array([0, 1, 4, 5])[faces]
    both = mesh.Mesh(vertices=corners, faces=np.concatenate([faces, other]))
    assert both.touching_edges.tolist() == [[0, 1]] and both.holes == 0
    mesh_files.write_mesh(tmp_path / "two.stl", both, up=UP)
    assert facts.facts_of(tmp_path / "two.stl")[-1] == "watertight, one part, touching itself along 1 edges"


def test_separate_parts_and_hollows_are_counted():
    """Two cubes, one of which has a hollow: of a surface that turns inwards."""
    def cube(at, size):
        box = trimesh.creation.box((size, size, size))
        return np.asarray(box.vertices) + at, np.asarray(box.faces)

    shells = [cube(0, 1.0), cube(0, 0.5), cube(3, 1.0)]
    corners = np.concatenate([vertices for vertices, _ in shells])
    faces = [faces + 8 * number for number, (_, faces) in enumerate(shells)]
    faces[1] = faces[1][:, ::-1]

    def said(*which):
        return mesh.Mesh(vertices=corners, faces=np.concatenate([faces[number] for number in which])).solids

    assert said(0) == "one part" and said(0, 2) == "2 separate parts"
    assert said(0, 1) == "one part, 1 hollow inside" and said(0, 1, 2) == "2 separate parts, 1 hollow inside"


def test_colours_are_those_that_views_show_where_they_see_the_point(ball, views):
    made, grid = ball
    found = view_colours.vertex_colours(made, views, grid.cell)
    assert np.abs(found / 255 - COLOUR).mean() < 0.02
    behind = view_colours.colours_at(np.array([CENTRE - (RADIUS, 0, 0)]), np.array([[-1.0, 0, 0]]), views[:1],
                                     grid.cell)
    assert (behind == view_colours.GREY).all()


def photo_of(view, side: int = 80) -> np.ndarray:
    """[side, side, 4]: what a view shows, and nothing behind it."""
    rgba = np.dstack([view.colour, np.where(view.met, 255, 0).astype(np.uint8)])
    return np.asarray(Image.fromarray(rgba).resize((side, side), Image.Resampling.NEAREST))


def coloured(made, cell, cameras, photos, looks, *, counted=None, longest=80):
    """The views of photos, and the colours in [0, 1] that they give to the corners of a mesh."""
    shown = list(photo_views(made, cameras, photos, counted or [None] * len(photos), looks, cell, longest=longest))
    return shown, view_colours.vertex_colours(made, shown, cell) / 255


def test_photos_colour_what_they_see_of_a_mesh(ball, views):
    made, grid = ball
    photos, cameras = [photo_of(view) for view in views], around(80)
    shown, found = coloured(made, grid.cell, cameras, photos, views)
    assert np.abs(found - COLOUR).mean() < 0.02
    assert shown[0].distance[40, 40] == pytest.approx(18 - RADIUS, abs=0.3)
    assert np.linalg.norm(shown[0].position[40, 40] - CENTRE) == pytest.approx(RADIUS, abs=0.3)
    smaller, found = coloured(made, grid.cell, cameras, photos, views, longest=30)
    assert smaller[0].colour.shape == (30, 30, 3) and np.abs(found - COLOUR).mean() < 0.02
    _, found = coloured(made, grid.cell, cameras.subset([0]), photos[:1], views)
    behind = made.vertices[:, 0] < CENTRE[0] - 1
    assert np.allclose(found[behind], view_colours.GREY / 255)
    blue = np.where([[[True, True, False, False]]], np.uint8(0), photos[0])
    shown, _ = coloured(made, grid.cell, cameras.subset([0]), [blue], views)
    found = view_colours.vertex_colours(made, [*shown, *in_reserve(views[1:])], grid.cell) / 255
    assert np.abs(found[behind] - COLOUR).mean() < 0.02  # the field's, where no photo sees
    assert np.abs(found[made.normals[:, 0] > 0.9] - (0, 0, COLOUR[2])).max() < 0.02


def test_what_stands_before_a_mesh_or_under_a_mask_is_not_painted_on_it(ball, views):
    made, grid = ball
    near = dataclasses.replace(views[0], distance=np.full_like(views[0].distance, 5.0))
    for looks, mask in (([near], np.ones((80, 80), bool)), (views[:1], np.zeros((80, 80), bool))):
        shown, found = coloured(made, grid.cell, around(80).subset([0]), [photo_of(views[0])], looks, counted=[mask])
        assert not shown[0].met.any() and np.allclose(found, view_colours.GREY / 255)


def test_one_bad_photo_among_several_hardly_shows(ball, views):
    made, grid = ball
    good = photo_of(views[0])
    bad = np.dstack([np.full((80, 80, 3), (255, 0, 255), np.uint8), good[..., 3]])
    _, found = coloured(made, grid.cell, around(80).subset([0, 0, 0, 0]), [bad, good, good, good], views[:1] * 4)
    front = made.normals[:, 0] > 0.9
    assert np.abs(found[front] - COLOUR).max() < 0.02


@pytest.mark.parametrize("up", [(0, 0, 1), (0, 0, -1), (0, 1, 0.2), (0.1, -1, 0), (1, 0, 0), (-1, 0, 0)])
def test_glb_stands_upright(up):
    turn = mesh_files.turned_up(np.array(up))
    assert np.allclose(turn @ turn.T, np.eye(3)) and np.linalg.det(turn) == pytest.approx(1)
    assert (turn @ up)[1] > 0.9


@pytest.mark.parametrize("suffix", mesh_files.MESH_FILES)
def test_files_are_read_by_others_with_axes_and_colours(ball, views, suffix, tmp_path):
    made, grid = ball
    made, picture, colour = mesh.simplified(made, 300), None, None
    if suffix in (".glb", ".obj"):
        pytest.importorskip("xatlas")
        made, picture = texture.textured(made, views, grid.cell)
    elif suffix == ".ply":
        colour = view_colours.vertex_colours(made, views, grid.cell)
    path = tmp_path / f"ball{suffix}"
    if suffix == ".obj":
        coloured = view_colours.vertex_colours(made, views, grid.cell)
        mesh_files.write_mesh(tmp_path / "plain.obj", made, colour=coloured, up=UP)
        assert [file.name for file in tmp_path.iterdir()] == ["plain.obj"], "it has no material"
        (tmp_path / "plain.obj").unlink()
    mesh_files.write_mesh(path, mesh_files.moved(made, -CENTRE + (1, 2, 3), 2.0), texture=picture, colour=colour, up=UP)
    read = trimesh.load(path, force="mesh")
    middle = (2, 6, -4) if suffix in (".glb", ".obj") else (2, 4, 6)  # y up, where readers take it to be
    assert np.allclose(read.bounds.mean(axis=0), middle, atol=0.3)
    if suffix != ".stl":
        shown = read.visual.to_color() if picture is not None else read.visual
        assert np.abs(np.asarray(shown.vertex_colors)[:, :3] / 255 - COLOUR).mean() < 0.03
    said = " ".join(facts.facts_of(path))
    assert f"{len(made.faces)} triangles" in said and "watertight" in said
    if suffix == ".obj":  # no reader makes the texture darker, or adds a light to it
        assert (tmp_path / "ball.mtl").read_text().endswith("\n")
        said = (tmp_path / "ball.mtl").read_text().splitlines()
        assert {"Ka 1.00000000 1.00000000 1.00000000", "Kd 1.00000000 1.00000000 1.00000000",
                "Ks 0.00000000 0.00000000 0.00000000"} <= set(said)
    left = {".obj": 3}.get(suffix, 1)
    assert len(list(tmp_path.iterdir())) == left


@pytest.mark.parametrize("suffix", point_files.POINT_FILES)
def test_points_are_read_by_others(suffix, tmp_path):
    pytest.importorskip("laspy")
    draw = np.random.default_rng(0)
    given = points.PointCloud(position=draw.normal(size=(50, 3)) + ORIGIN, normal=np.tile((0, 0, 1.0), (50, 1)),
                              colour=draw.integers(0, 256, (50, 3)).astype(np.uint8),
                              confidence=np.ones(50, np.float32))
    path = tmp_path / f"points{suffix}"
    point_files.write_points(path, given)
    if suffix == ".ply":
        read = trimesh.load(path)
        position, colour = read.vertices, read.colors[:, :3]
    else:
        laspy = pytest.importorskip("laspy")
        read = laspy.read(path)
        position, colour = read.xyz, np.stack([read.red, read.green, read.blue], axis=1) // 257
        assert np.allclose(read.nz, 1) and np.allclose(read.confidence, 1)
    assert np.allclose(position, given.position, atol=1e-6) and np.array_equal(colour, given.colour)
    assert facts.facts_of(path)[0] == "50 points"


def test_a_volume_says_where_the_ball_is(field, tmp_path):
    path = tmp_path / "ball.npz"
    occupied = volume.write_volume(path, field, volume.grid_in(box_of(field, None), 20), scale=0.5)
    with np.load(path) as file:
        index = np.argwhere(file["occupied"])
        place = index @ file["transform"][:3, :3].T + file["transform"][:3, 3]
        assert file["density"].max() == pytest.approx(2 * 1500 * 0.05, rel=0.01)
        assert np.abs(file["colour"][tuple(index.T)] / 255 - COLOUR).mean() < 0.02
    assert np.linalg.norm(place - 0.5 * (CENTRE + ORIGIN), axis=1).max() < 0.5 * (RADIUS + 1)
    assert occupied == pytest.approx(4 / 3 * np.pi * RADIUS**3 / 20**3, rel=0.2)
    assert facts.facts_of(path)[0].startswith("a volume of 20 x 20 x 20 places")


def test_depth_pictures_and_their_cameras_give_back_the_surface(field, tmp_path):
    assert write_depth(tmp_path, field, around(32).subset([0, 3]), unit=2.0) == 0.001
    for number in range(2):
        depth = np.asarray(Image.open(tmp_path / f"depth_{number:04d}.png")).astype(float)
        about = json.loads((tmp_path / f"depth_{number:04d}.json").read_text())
        row, column = np.nonzero(depth)
        z = depth[row, column] * about["units_per_step"]
        local = np.stack([(column + 0.5 - about["cx"]) / about["fl_x"] * z,
                          -(row + 0.5 - about["cy"]) / about["fl_y"] * z, -z, np.ones_like(z)], axis=1)
        place = local @ np.array(about["transform_matrix"]).T
        away = np.linalg.norm(place[:, :3] - 2 * (CENTRE + ORIGIN), axis=1)
        assert about["unit"] == "metre" and len(z) > 100 and np.abs(away - 2 * RADIUS).mean() < 0.3


def test_a_folder_of_depths_says_what_is_in_it(field, tmp_path):
    write_depth(tmp_path, field, around(32).subset([0, 3]), unit=2.0)
    assert facts.has_depths(tmp_path) and not facts.has_depths(tmp_path / "nowhere")
    whole, along, how, between = facts.facts_of_depths(tmp_path)
    assert whole.startswith("2 depth pictures of 32 x 32 pixels, each with its camera") and "unit: metre" in along
    assert "distance = value x 0.001, and 0 is no surface" in how
    values = np.stack([np.asarray(Image.open(tmp_path / f"depth_000{n}.png")) for n in (0, 1)]) * 0.001
    nearest, farthest = (float(word) for word in re.findall(r"[\d.]+", between)[:2])
    assert [nearest, farthest] == pytest.approx([values[values > 0].min(), values.max()], rel=1e-3)
    assert f"{100 * (values > 0).mean():.0f} % of the pixels see a surface" in between
    (tmp_path / "depth_0001.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match=r"depth_0001\.png cannot be read as a depth picture"):
        facts.facts_of_depths(tmp_path)
    (tmp_path / "depth_0001.png").unlink()
    assert "1 of them lack their picture" in facts.facts_of_depths(tmp_path)
    (tmp_path / "depth_0001.json").write_text("{}")
    with pytest.raises(UserError, match=r"depth_0001\.json"):
        facts.facts_of_depths(tmp_path)


def test_an_exr_has_the_distances_as_they_are(field, tmp_path):
    camera = around(16).subset([2])
    assert write_depth(tmp_path / ".", field, camera, exr=True) == 1.0
    content = (tmp_path / "depth_0000.exr").read_bytes()
    hdr._check_exr(content)
    assert hdr._exr_size(content) == (16, 16)
    write_depth(tmp_path, field, camera)
    steps = np.asarray(Image.open(tmp_path / "depth_0000.png"))
    rows = np.frombuffer(content[-16 * 72:], [("head", "<i4", 2), ("values", "<f4", 16)])["values"]
    assert steps.any() and np.array_equal(np.round(rows / 0.001), steps)


def test_a_step_grows_where_a_millimetre_does_not_reach(field, tmp_path):
    assert write_depth(tmp_path, field, around(8).subset([0]), unit=100.0) == pytest.approx(0.1)
    assert 1e4 < np.asarray(Image.open(tmp_path / "depth_0000.png")).max() < 65535


def test_triangles_cover_the_pixels_whose_centres_they_hold():
    triangles = np.array([[[0, 0], [4, 0], [0, 4]], [[4, 0], [4, 4], [0, 4.0]]])
    pixel, face, share = rasterised(triangles, 4, 4)
    assert set(pixel) == set(range(16)) and np.allclose(share.sum(axis=1), 1)
    corner = (share[..., None] * triangles[face]).sum(axis=1)
    assert np.allclose(corner, np.stack([pixel % 4 + 0.5, pixel // 4 + 0.5], axis=1))


def test_pictures_of_cameras_keep_what_they_see():
    cameras = pinhole(around(40), 0.5)
    assert (cameras.size == 20).all() and np.allclose(cameras.focal, 24)
    assert (pinhole(around(40), 10, longest=100).size == 100).all()


def test_an_empty_field_and_an_object_that_nobody_names_are_one_sentence_each(field, tmp_path):
    empty = query.Field(Asked(torch.float32, "cpu", peak=0.0), placed())
    with pytest.raises(UserError, match="see no surface: nothing is opaque"):
        points.surface_points(empty, around(8), rays=400, voxel=0.5)
    with pytest.raises(UserError, match="the cameras see no surface in the box"):
        mesh.grid_around(list(surface_views(empty, around(8))), box_of(empty, None), 20)
    with pytest.raises(UserError, match="the field is empty in the box"):
        volume.write_volume(tmp_path / "x.npz", empty, volume.grid_in(box_of(empty, None), 4))
    endless = query.Field(field.model, dataclasses.replace(field.scene, bounded=False))
    with pytest.raises(UserError, match=r"nothing says what the object of ball is.* --box X0 Y0 Z0 X1 Y1 Z1"):
        box_of(endless, None)
    assert np.array_equal(box_of(endless, np.eye(3)[:2]), np.eye(3)[:2])
    assert not list(tmp_path.iterdir())


def test_a_box_is_given_in_the_coordinates_of_the_file_and_must_meet_the_field(field):
    low, high = field.box
    asked = Export(run=Path("run"), box=(*low, *high))
    assert np.allclose(_box(asked, field) + field.scene.origin, field.box) and np.abs(field.scene.origin).max() > 0
    with pytest.raises(UserError, match="--box has nothing of what run can show, which lies between"):
        _box(Export(run=Path("run"), box=(*(high + 1), *(high + 2))), field)


def test_an_obj_goes_beside_a_photo_of_its_name_where_it_has_no_texture(tmp_path):
    (tmp_path / "toy.jpeg").touch()
    with pytest.raises(UserError, match=r"toy\.jpeg exists, where what goes with toy\.obj would be written"):
        _output(Export(run=tmp_path, output=tmp_path / "toy.obj"), tmp_path)
    for colour in ("vertex", "none"):
        assert _output(Export(run=tmp_path, output=tmp_path / "toy.obj", colour=colour), tmp_path).name == "toy.obj"


def test_nothing_is_left_of_a_file_that_is_broken_off(field, tmp_path, monkeypatch):
    def broken_off(*args, **kwargs):
        args[0].write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(np, "savez_compressed", broken_off)
    with pytest.raises(KeyboardInterrupt):
        volume.write_volume(tmp_path / "x.npz", field, volume.grid_in(box_of(field, None), 4))
    assert not list(tmp_path.iterdir())


def test_a_library_that_is_missing_is_one_sentence():
    with pytest.raises(UserError, match=r"LAZ needs absent_library.*pip install 'taichi-nerf\[geometry\]'"):
        libraries.library("absent_library", "LAZ")


def test_a_damaged_file_is_one_sentence(tmp_path):
    for suffix in facts.GEOMETRY_FILES:
        path = tmp_path / f"damaged{suffix}"
        path.write_bytes(b"nothing of the kind" * 9)
        with pytest.raises(UserError, match=r"cannot be read|is no PLY file|needs the Python module of OpenVDB"):
            facts.facts_of(path)


def test_what_colours_a_mesh_and_what_of_it_is_glass_is_said(tmp_path):
    """Parts are looked at each by itself."""
    def box(visual, place):
        part = trimesh.creation.box((1, 1, 1), transform=trimesh.transformations.translation_matrix([place, 0, 0]))
        part.visual = visual
        return part

    def plain(*colour, **more):
        return trimesh.visual.TextureVisuals(material=trimesh.visual.material.PBRMaterial(
            baseColorFactor=list(colour), **more))

    red, blue, pale = plain(255, 0, 0, 255), plain(0, 0, 255, 102, alphaMode="BLEND"), plain(0, 0, 255, 255)
    corners = trimesh.visual.ColorVisuals(vertex_colors=np.full((8, 4), 200, np.uint8))
    clear = plain(0, 0, 255, 26, alphaMode="BLEND")
    for visuals, looks, glass in (([red], "one colour", None), ([red, pale], "2 colours", None),
                                  ([blue, red], "2 colours", "12 of its triangles are glass, which lets 60 %"),
                                  ([clear, blue], "one colour", "24 of its triangles are glass, which lets 60 to 90 %"),
                                  ([corners, red], "colours of its corners and one colour", None)):
        scene = trimesh.Scene([box(visual, 2 * n) for n, visual in enumerate(visuals)])
        scene.export(tmp_path / "boxes.glb")
        first, *more = facts.facts_of(tmp_path / "boxes.glb")
        assert first == f"a mesh of {8 * len(visuals)} corners and {12 * len(visuals)} triangles, with {looks}"
        assert (f"{glass} of the light pass" == more[0]) if glass else "glass" not in " ".join(more)
    trimesh.creation.box((1, 1, 1)).export(tmp_path / "none.stl")
    assert facts.facts_of(tmp_path / "none.stl")[0].endswith("with no colour")
