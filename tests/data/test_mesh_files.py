"""Meshes out of files: what they look like, which way is up, and how what is none is refused."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from taichi_nerf.data.gltf import transmissions
from taichi_nerf.data.mesh_files import GREY, Glass, glass_of, not_followed, read_mesh
from taichi_nerf.errors import UserError

trimesh = pytest.importorskip("trimesh")


def material(**given):
    return trimesh.visual.material.PBRMaterial(**given)


def test_a_glb_has_its_base_colour_and_its_y_becomes_z(tmp_path):
    box = trimesh.creation.box((1, 2, 3))
    box.visual = trimesh.visual.TextureVisuals(material=material(baseColorFactor=[255, 51, 0, 255]))
    box.export(tmp_path / "box.glb")
    mesh = read_mesh(tmp_path / "box.glb")
    assert np.allclose(np.ptp(mesh.vertices, axis=0), (1, 3, 2)) and mesh.faces.shape == (12, 3)
    assert np.allclose(mesh.corner_colours, (1, 0.2, 0)) and (mesh.texture_of == -1).all()
    middles = mesh.vertices[mesh.faces].mean(axis=1)
    assert ((middles * mesh.corner_normals.mean(axis=1)).sum(axis=1) > 0).all(), "normals point outwards"


def test_parts_keep_their_places_and_their_textures(tmp_path):
    picture = np.zeros((2, 4, 3), np.uint8)
    picture[:, 2:] = (0, 255, 0)
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    square.visual = trimesh.visual.TextureVisuals(uv=[[0, 0], [1, 0], [1, 1], [0, 1]], material=material(
        baseColorTexture=Image.fromarray(picture)))
    scene = trimesh.Scene()
    scene.add_geometry(square, transform=trimesh.transformations.translation_matrix([5, 0, 0]))
    scene.add_geometry(trimesh.creation.box((1, 1, 1)))
    scene.export(tmp_path / "scene.glb")
    mesh = read_mesh(tmp_path / "scene.glb")
    textured = mesh.texture_of == 0
    assert textured.sum() == 2 and len(mesh.textures) == 1 and np.allclose(mesh.textures[0], picture / 255)
    assert mesh.vertices[mesh.faces[textured]].reshape(-1, 3)[:, 0].min() == 5
    corners, uv = mesh.vertices[mesh.faces[textured]], mesh.corner_uv[textured]
    assert np.allclose(corners[..., 0] - 5, uv[..., 0]) and np.allclose(corners[..., 2], uv[..., 1])


def test_a_ply_has_colours_of_its_vertices_and_z_up_and_what_has_none_is_grey(tmp_path):
    box = trimesh.creation.box((1, 2, 3))
    box.export(tmp_path / "grey.stl")
    assert np.allclose(read_mesh(tmp_path / "grey.stl").corner_colours, GREY)
    box.visual.vertex_colors = np.full((8, 4), (0, 102, 255, 255), np.uint8)
    box.export(tmp_path / "blue.ply")
    mesh = read_mesh(tmp_path / "blue.ply")
    assert np.allclose(np.ptp(mesh.vertices, axis=0), (1, 2, 3)) and np.allclose(mesh.corner_colours, (0, 0.4, 1))
    assert not mesh.clear_corners
    box.visual.vertex_colors = np.full((8, 4), (0, 102, 255, 80), np.uint8)
    box.export(tmp_path / "clear.ply")
    mesh = read_mesh(tmp_path / "clear.ply")
    assert mesh.clear_corners and mesh.opacity is None and np.allclose(mesh.corner_colours, (0, 0.4, 1))


@pytest.mark.parametrize("edges", ["sharp", "smooth"])
def test_an_obj_has_edges_where_its_corners_have_several_normals(tmp_path, edges):
    box = trimesh.creation.box((1, 1, 1))
    normals = {"sharp": box.face_normals.repeat(3, axis=0), "smooth": box.vertex_normals[box.faces.reshape(-1)]}[edges]
    lines = [f"v {x} {y} {z}" for x, y, z in box.vertices] + [f"vn {x} {y} {z}" for x, y, z in normals]
    lines += ["f " + " ".join(f"{corner + 1}//{3 * n + i + 1}" for i, corner in enumerate(face))
              for n, face in enumerate(box.faces)]
    (tmp_path / "box.obj").write_text("\n".join(lines))
    mesh = read_mesh(tmp_path / "box.obj")
    assert len(mesh.vertices) == {"sharp": 24, "smooth": 8}[edges]
    across = np.cross(*np.diff(mesh.vertices[mesh.faces], axis=1).swapaxes(0, 1))
    flat = np.allclose(mesh.corner_normals, (across / np.linalg.norm(across, axis=1, keepdims=True))[:, None])
    assert flat == (edges == "sharp")


def test_what_is_no_mesh_is_refused_in_a_sentence(tmp_path, monkeypatch):
    with pytest.raises(UserError, match=r"ball\.glb does not exist; check the path of the mesh"):
        read_mesh(tmp_path / "ball.glb")
    for name in ("text.glb", "text.obj", "text.txt"):
        (tmp_path / name).write_text("no mesh at all")
        with pytest.raises(UserError, match=rf"{name} (cannot be read as a mesh|holds no triangles)"):
            read_mesh(tmp_path / name)
    trimesh.PointCloud(np.eye(3)).export(tmp_path / "points.ply")
    with pytest.raises(UserError, match=r"points.ply holds no triangles; points and curves cannot be put into a field"):
        read_mesh(tmp_path / "points.ply")
    monkeypatch.setitem(sys.modules, "trimesh", None)
    with pytest.raises(UserError, match=r"trimesh, which is not installed; pip install 'taichi-nerf\[geometry\]'"):
        read_mesh(tmp_path / "points.ply")


def test_names_in_a_mesh_do_not_lead_out_of_its_folder(tmp_path):
    """A texture beside the file is taken, one above its folder is not; trimesh sees to it from 5.0 on."""
    inside = tmp_path / "inside"
    inside.mkdir()
    for file in (inside / "beside.png", tmp_path / "above.png"):
        Image.fromarray(np.full((2, 2, 3), 200, np.uint8)).save(file)
    (inside / "m.obj").write_text("mtllib m.mtl\nusemtl m\nv 0 0 0\nv 1 0 0\nv 0 1 0\nvt 0 0\nvt 1 0\nvt 0 1\n"
                                  "f 1/1 2/2 3/3\n")
    for name, textures in (("beside.png", 1), ("../above.png", 0), (f"{tmp_path}/above.png", 0)):
        (inside / "m.mtl").write_text(f"newmtl m\nmap_Kd {name}\n")
        assert len(read_mesh(inside / "m.obj").textures) == textures, name


def test_transparent_materials_of_gltf_are_glass(tmp_path):
    """By the alpha of a blended colour and that of its texture, or by what a transmission lets pass, and tints; else
    opaque."""
    picture = Image.fromarray(np.full((2, 2, 4), (0, 255, 0, 51), np.uint8))
    square = trimesh.Trimesh([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], [[0, 1, 2], [0, 2, 3]], process=False)
    looks = {"plain": {}, "blended": {"baseColorFactor": [255, 0, 0, 102], "alphaMode": "BLEND"},
             "stated": {"baseColorFactor": [255, 0, 0, 102]}, "leaf": {"alphaMode": "BLEND"}, "bottle": {}}
    scene = trimesh.Scene()
    for name, look in looks.items():
        part = square.copy()
        look = {**look, "baseColorTexture": picture} if name == "leaf" else look
        part.visual = trimesh.visual.TextureVisuals(uv=np.zeros((4, 2)), material=material(name=name, **look))
        scene.add_geometry(part, geom_name=name)

    def of_bottle(tree):
        for found in tree["materials"]:
            if found["name"] == "bottle":
                found["extensions"] = {"KHR_materials_transmission": {"transmissionFactor": 0.75}}

    expected = {1.0: 3, 102 / 255: 1, 0.25: 1}
    for path in (tmp_path / "all.glb", tmp_path / "all.gltf"):
        scene.export(path, tree_postprocessor=of_bottle)
        mesh = read_mesh(path)
        assert {value: int((np.isclose(mesh.opacity, value)).sum()) // 2 for value in expected} == expected
        assert mesh.tinted.tolist() == [0.75 * (value == 0.25) for value in mesh.opacity.round(2)]
        assert [texture.shape[2] for texture in mesh.textures] == [4] and np.allclose(mesh.textures[0][..., 3], 0.2)
    part.visual.material.alphaMode = "OPAQUE"
    part.export(tmp_path / "one.glb")
    assert read_mesh(tmp_path / "one.glb").opacity is None


@pytest.mark.parametrize("factor", ["NaN", '"a"', '"0.5"', "[1]", "-3", "1.5", "true", "null", "9" * 400])
def test_a_transmission_that_makes_no_sense_lets_nothing_pass_and_is_said(tmp_path, factor):
    text = '{"materials": [{"name": "a", "extensions": {"KHR_materials_transmission": {"transmissionFactor": %s}}}]}'
    (tmp_path / "a.gltf").write_text(text % factor)
    assert transmissions(tmp_path / "a.gltf") == {}
    (said,) = not_followed(tmp_path / "a.gltf")
    assert said.startswith(f'the transmissionFactor of its material "a" is {factor[:50]}')
    assert said.endswith("not a number from 0 to 1: it counts as 0, which lets no light pass")
    (tmp_path / "a.gltf").write_text(text % 0.5)
    assert transmissions(tmp_path / "a.gltf") == {"a": 0.5} and not_followed(tmp_path / "a.gltf") == []
    for damaged in (b"glTF", b"glTF\0\0\0\0\0\0\0\0\xff\0\0\0JSON[]", b"[1]", b""):
        (tmp_path / "a.glb").write_bytes(damaged)
        assert transmissions(tmp_path / "a.glb") == {} and not_followed(tmp_path / "a.glb") == []


def test_one_transmission_that_makes_no_sense_leaves_the_others(tmp_path):
    stated = [{"name": name, "extensions": {"KHR_materials_transmission": {"transmissionFactor": factor}}}
              for name, factor in (("a", "much"), ("b", 0.5), ("c", 0))]
    (tmp_path / "a.gltf").write_text(json.dumps({"materials": [*stated, {"name": "d"}]}))
    assert transmissions(tmp_path / "a.gltf") == {"b": 0.5} and len(not_followed(tmp_path / "a.gltf")) == 1


def test_a_material_may_have_no_name_and_one_that_is_no_text_lets_nothing_pass(tmp_path):
    path = tmp_path / "a.gltf"
    for name, expected in ((None, {None: 0.5}), (["a"], {}), ({"a": 1}, {}), (3, {})):
        stated = {"name": name, "extensions": {"KHR_materials_transmission": {"transmissionFactor": 0.5}}}
        path.write_text(json.dumps({"materials": [stated]}))
        assert transmissions(path) == expected
        part = SimpleNamespace(visual=SimpleNamespace(material=SimpleNamespace(name=name)))
        assert glass_of(part, transmissions(path)) == (Glass(opacity=0.5, tinted=0.5) if name is None else None)
    path.write_text('{"materials": [{"extensions": {"KHR_materials_transmission": {"transmissionFactor": 3}}}]}')
    (said,) = not_followed(path)
    assert said.startswith("the transmissionFactor of its material without a name is 3, not a number from 0 to 1")


def test_an_obj_of_several_files_of_materials_says_that_they_are_not_read(tmp_path):
    lines = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    for name in ("a.mtl", "b.mtl"):
        (tmp_path / name).write_text("newmtl a\n")
    (tmp_path / "m.obj").write_text(f"mtllib a.mtl b.mtl\n{lines}")
    (said,) = not_followed(tmp_path / "m.obj")
    assert said.startswith('several files of its materials, "a.mtl b.mtl", are named at once, which are not read: put')
    for empty in ("mtllib", "mtllib ", "mtllib \t\r"):
        (tmp_path / "m.obj").write_text(f"{empty}\n{lines}")
        assert not_followed(tmp_path / "m.obj") == []


def test_an_obj_says_that_its_materials_are_missing(tmp_path):
    lines = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
    (tmp_path / "m.obj").write_text(f"# made\nmtllib some name.mtl\n{lines}")
    assert len(read_mesh(tmp_path / "m.obj").faces) == 1
    (said,) = not_followed(tmp_path / "m.obj")
    assert said.startswith('the file of its materials, "some name.mtl", is not in its folder: put it there')
    (tmp_path / "some name.mtl").write_text("newmtl a\n")
    assert not_followed(tmp_path / "m.obj") == []
    for text in (lines, f"mtllib\n{lines}"):
        (tmp_path / "m.obj").write_text(text)
        assert not_followed(tmp_path / "m.obj") == []
