"""Points as discs: where they lie, how large they are, and which files are none."""

import numpy as np
import pytest

from taichi_nerf.data.mesh_files import GREY
from taichi_nerf.data.ply import is_point_cloud
from taichi_nerf.data.point_discs import discs_of, read_surface
from taichi_nerf.errors import UserError


def grid(side=9, spacing=0.5):
    x, y = np.meshgrid(np.arange(side), np.arange(side))
    return spacing * np.stack([x, y, 0 * x], axis=-1).reshape(-1, 3).astype(float)


def area(mesh):
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    return np.linalg.norm(np.cross(b - a, c - a), axis=1) / 2


def written(path, rows, names, more="", form="ascii"):
    head = f"ply\nformat {form} 1.0\nelement vertex {len(rows)}\n" + "".join(f"property float {n}\n" for n in names)
    body = "".join(" ".join(f"{value:g}" for value in row) + "\n" for row in rows)
    path.write_text(head + more + "end_header\n" + body)
    return path


@pytest.mark.parametrize("count", [1, 63])
def test_a_disc_has_its_area_its_normal_and_its_middle(count):
    rng = np.random.default_rng(0)
    position, normal = rng.normal(size=(count, 3)), rng.normal(size=(count, 3))
    mesh = discs_of(position, 7 * normal, np.full((count, 3), (255, 0, 51), np.uint8), radius=0.2)
    assert mesh.faces.shape == (4 * count, 3) and mesh.faces.dtype == np.int32
    assert np.allclose(area(mesh).reshape(count, 4).sum(axis=1), np.pi * 0.2**2)
    assert np.allclose(mesh.vertices.reshape(count, 6, 3).mean(axis=1), position)
    unit = normal / np.linalg.norm(normal, axis=1, keepdims=True)
    a, b, c = mesh.vertices[mesh.faces].transpose(1, 0, 2)
    across = np.cross(b - a, c - a)
    across /= np.linalg.norm(across, axis=1, keepdims=True)
    assert np.allclose(across, unit.repeat(4, axis=0))
    assert np.allclose(mesh.corner_normals[:, 0], unit.repeat(4, axis=0))
    assert np.allclose(mesh.corner_colours, (1, 0, 0.2)) and (mesh.texture_of == -1).all()


def test_without_normals_and_radius_a_plane_is_closed_and_faces_up():
    mesh = discs_of(grid())
    assert np.allclose(np.abs(mesh.corner_normals), (0, 0, 1), atol=1e-6) and np.allclose(mesh.corner_colours, GREY)
    inner = area(mesh).reshape(-1, 4).sum(axis=1).reshape(9, 9)[2:-2, 2:-2]
    assert np.allclose(inner, np.pi * 0.5**2), "the fourth neighbour is one spacing away"
    # every place of the inside lies in a disc: hexagons hold the circle of 0.95 radii
    place = np.random.default_rng(0).uniform(1, 3, (500, 2))
    assert np.linalg.norm(place[:, None] - grid()[None, :, :2], axis=2).min(axis=1).max() < 0.95 * 0.5


def test_a_point_far_from_all_others_has_no_plate_and_twins_are_no_dust():
    cloud = np.concatenate([grid(), [[90.0, 0, 0]], np.repeat([[1.0, 1.0, 0.0]], 6, axis=0)])
    size = np.sqrt(area(discs_of(cloud)).reshape(-1, 4).sum(axis=1) / np.pi)
    assert size.max() <= 1.5 + 1e-9 and size.min() >= 0.05 - 1e-9


def test_points_of_a_file_with_and_without_normals(tmp_path):
    rows = np.concatenate([grid(4), np.tile([0.0, 1, 0], (16, 1))], axis=1)
    path = written(tmp_path / "points.ply", rows, ("x", "y", "z", "nx", "ny", "nz"), "element face 0\n")
    assert is_point_cloud(path)
    mesh, points = read_surface(path, radius=0.1)
    assert points and np.allclose(mesh.corner_normals, (0, 1, 0)) and np.allclose(area(mesh).sum(), 16 * np.pi * 0.01)
    bare, _ = read_surface(written(tmp_path / "bare.ply", grid(4), "xyz"))
    assert np.allclose(np.abs(bare.corner_normals), (0, 0, 1), atol=1e-6)


def test_points_that_are_nowhere_are_left_out_and_counted(tmp_path):
    rows = np.concatenate([grid(4), [[np.nan, 0, 0], [0, np.inf, 0]]])
    mesh, points = read_surface(written(tmp_path / "some.ply", rows, "xyz"), radius=0.1)
    assert points.left_out == 2 and len(points.position) == 16 and len(mesh.faces) == 4 * 16
    with pytest.raises(UserError, match=r"none\.ply holds no points at finite places; give a file with some"):
        read_surface(written(tmp_path / "none.ply", [[np.nan, 0, 0]], "xyz"))


@pytest.mark.parametrize("content, said", [("", "is empty"), ("a text", "is no PLY file, whatever its name says")])
def test_what_is_no_ply_is_told_so(tmp_path, content, said):
    (tmp_path / "a.ply").write_text(content)
    with pytest.raises(UserError, match=rf"a\.ply {said}.*; export the mesh or the points again, or give a GLB"):
        read_surface(tmp_path / "a.ply")


def test_what_makes_no_discs_is_refused_in_a_sentence(tmp_path):
    one = written(tmp_path / "one.ply", [[1, 2, 3]], "xyz")
    with pytest.raises(UserError, match=r"one\.ply: its points lie all at one place, .*; give --disc-radius"):
        read_surface(one)
    assert len(read_surface(one, radius=0.3)[0].faces) == 4
    with pytest.raises(UserError, match=r"none\.ply holds no points; give a file with some"):
        read_surface(written(tmp_path / "none.ply", [], "xyz"))
    splats = written(tmp_path / "splats.ply", [[0, 0, 0, 1]], ("x", "y", "z", "f_dc_0"))
    with pytest.raises(UserError, match=r"splats\.ply holds splats, which are no surface"):
        read_surface(splats)
    with pytest.raises(UserError, match=r"short\.ply is no PLY file with points"):
        read_surface(written(tmp_path / "short.ply", [[1, 2]], "xyz"))


def test_what_is_a_mesh_is_read_as_one(tmp_path):
    pytest.importorskip("trimesh")
    faces = "element face 1\nproperty list uchar int vertex_indices\n"
    path = written(tmp_path / "mesh.ply", grid(2), "xyz", faces)
    path.write_text(path.read_text() + "3 0 1 2\n")
    mesh, points = read_surface(path)
    assert not points and mesh.faces.shape == (1, 3)
    (tmp_path / "text.ply").write_text("nothing")
    assert not is_point_cloud(tmp_path / "text.ply") and not is_point_cloud(tmp_path / "missing.ply")
