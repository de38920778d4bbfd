"""Damaged files of meshes: what is wrong with them is said in words, before anything is asked of the memory."""

import json
import re
import struct

import numpy as np
import pytest

from taichi_nerf.data.mesh_damage import fault_of_lines
from taichi_nerf.data.mesh_files import read_mesh
from taichi_nerf.errors import UserError
from taichi_nerf.export.facts import facts_of

trimesh = pytest.importorskip("trimesh")

PLY = """ply
format {form} 1.0
element vertex {vertices}
property float x
property float y
property {kind} z
element face {faces}
property list uchar int vertex_indices
end_header
"""
ROWS = b"0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"


def whole_glb() -> bytes:
    return trimesh.creation.box((1, 2, 3)).export(file_type="glb")


def glb(change=lambda content: None, numbers=None) -> bytes:
    """A box whose JSON `change` has changed."""
    data = whole_glb()
    (size,) = struct.unpack_from("<I", data, 12)
    content, rest = json.loads(data[20 : 20 + size]), data[20 + size :] if numbers is None else numbers
    change(content)
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 4)
    return struct.pack("<4sII", b"glTF", 2, 20 + len(text) + len(rest)) + struct.pack(
        "<I4s", len(text), b"JSON") + text + rest


def set_in(part, number, **values):
    return lambda content: content[part][number].update(values)


def ply(form="ascii", vertices=3, kind="float", faces=1, rows=ROWS) -> bytes:
    return PLY.format(form=form, vertices=vertices, kind=kind, faces=faces).encode() + rows


def stl(count: int, there: int) -> bytes:
    return b"\0" * 80 + struct.pack("<I", count) + b"\0" * 50 * there


DAMAGED = {
    "empty.glb": (b"", "it is empty"), "empty.obj": (b"", "it is empty"), "empty.stl": (b"", "it is empty"),
    "text.glb": (b"no mesh at all", "it does not begin with glTF"),
    "head.glb": (whole_glb()[:14], "it ends within its head"),
    "cut.glb": (whole_glb()[:-100], r"it ends after [\d,]+ of [\d,]+ bytes"),
    "old.glb": (whole_glb().replace(b"glTF\x02", b"glTF\x01", 1), "it is of version 1 of glTF"),
    "part.glb": (whole_glb().replace(b"JSON", b"NOSJ", 1), "its first part is not the JSON"),
    "json.glb": (whole_glb().replace(b'{"', b'["', 1), "its JSON is damaged in line 1, column"),
    "deep.gltf": (b"[" * 100_000, "brackets within brackets without end|its JSON is damaged"),
    "list.gltf": (b"[]", "its JSON holds no object"),
    "words.gltf": (b'{"buffers": "none"}', "its buffers are no list of objects"),
    "numbers.glb": (glb(numbers=b""), "buffer 0 is missing: there is no part with its numbers"),
    "long.glb": (glb(set_in("buffers", 0, byteLength=10**9)), r"buffer 0 has \d+ of 1,000,000,000 bytes"),
    "view.glb": (glb(set_in("bufferViews", 0, byteLength=10**9)), "bufferView 0 ends behind its buffer"),
    "buffer.glb": (glb(set_in("bufferViews", 0, buffer=7)), "bufferView 0 has buffer 7, and there are 1 such"),
    "count.glb": (glb(set_in("accessors", 0, count=2**40)), "accessor 0 states 1,099,511,627,776 values, more than"),
    "minus.glb": (glb(set_in("accessors", 1, count=-3)), "the count of accessor 1 is -3, no whole number from 0"),
    "none.glb": (glb(lambda content: (content["accessors"][0].pop("bufferView"),
                                      content["accessors"][0].update(count=2**40))), "and has none of them"),
    "type.glb": (glb(set_in("accessors", 0, type="VEC9")), "accessor 0 has no type of numbers that there is"),
    "mesh.glb": (glb(lambda content: content["meshes"][0]["primitives"][0].update(indices=99)),
                 "mesh 0 has indices 99, and there are"),
    "absent.gltf": (b'{"buffers": [{"byteLength": 4, "uri": "no%20where.bin"}]}',
                    "buffer 0 is missing: there is no no%20where.bin beside it"),
    "out.gltf": (b'{"buffers": [{"byteLength": 4, "uri": "../secret.bin"}]}', "out of the folder of the file"),
    "cut.ply": (ply(rows=b"0 0 0\n1 0 0\n"), "it ends after 2 of 4 lines"),
    "head.ply": (ply()[:60], "it ends within its head|its head is missing"),
    "many.ply": (ply(form="binary_little_endian", vertices=10**9), "its head has the line: element vertex 1000000000"),
    "words.ply": (ply(vertices="many"), "its head has the line: element vertex many"),
    "short.ply": (ply(form="binary_little_endian", vertices=100), "it ends before the last row that its head states"),
    "kind.ply": (ply(kind="complex"), "a property of its head has the type complex"),
    "cut.stl": (stl(100, 3), "it states 100 triangles, and has 3"),
    "head.stl": (b"\0" * 40, "it ends within its head"),
    "binary.obj": (b"v 0 0\0 0\n" + bytes(range(256)), "it is no text"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_what_is_wrong_with_a_file_is_said_in_words(tmp_path, name):
    content, said = DAMAGED[name]
    (tmp_path / name).write_bytes(content)
    for read in (read_mesh, facts_of):
        with pytest.raises(UserError, match=rf"{re.escape(name)} (cannot be read|is no PLY file).*; ") as refused:
            read(tmp_path / name)
        assert re.search(said, str(refused.value)), refused.value
        assert not re.search(r"Error|Exception|Traceback|\n", str(refused.value))


@pytest.mark.parametrize("lines, said", [
    ("v 0 0 0\nv 1 0 x\n", "line 2 is no place of three numbers: v 1 0 x"),
    ("v 0 0\n", "line 1 is no place of three numbers"),
    ("v 0 0 0\nf 1 one 1\n", "line 2 is no face of three corners: f 1 one 1"),
    ("v 0 0 0\nf 1 --1 1\n", "line 2 is no face of three corners: f 1 --1 1"),
    ("v 0 0 0\nf 1 1 " + 5000 * "9" + "\n", "line 2 is no face of three corners: f 1 1 9999"),
    ("v 0 0 0\nf 1 1\n", "line 2 is no face of three corners"),
    ("v 0 0 0\nf 1 1 9\n", "line 2 names the corner 9, and there are 1"),
    ("v 0 0 0\nf -1 -1 -5\n", "line 2 names the corner -5, and there are 1"),
    ("# nothing\n", "it has no line with a corner"), ("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1/1 2//2 -1/3/3\n", None)])
def test_the_line_that_is_wrong_with_an_obj_is_named(lines, said):
    found = fault_of_lines(lines.encode())
    assert found is None if said is None else said in found


@pytest.mark.parametrize("name", ["box.glb", "box.ply", "box.stl", "box.obj", "box.gltf"])
def test_what_is_whole_is_read(tmp_path, name):
    box = trimesh.creation.box((1, 2, 3))
    files = box.scene().export(file_type="gltf") if name.endswith("gltf") else {name: box.export(file_type=name[-3:])}
    for file, content in files.items():
        (tmp_path / file.replace("model.gltf", name)).write_bytes(
            content.encode() if isinstance(content, str) else content)
    mesh = read_mesh(tmp_path / name)
    assert len(mesh.faces) == 12 and np.allclose(sorted(np.ptp(mesh.vertices, axis=0)), (1, 2, 3))


def test_points_and_plain_rows_of_a_ply_are_read(tmp_path):
    (tmp_path / "flat.ply").write_bytes(ply())
    assert len(read_mesh(tmp_path / "flat.ply").faces) == 1 and "1 triangles" in facts_of(tmp_path / "flat.ply")[0]


def test_corners_at_no_place_are_counted(tmp_path):
    (tmp_path / "nan.ply").write_bytes(ply(rows=b"0 0 nan\n1 0 0\n0 1 0\n3 0 1 2\n"))
    facts = facts_of(tmp_path / "nan.ply")
    assert facts[1].startswith("1 of its corners are at no finite place") and facts[2].startswith("from 0 0 0 to 1 1 0")


def test_corners_at_no_place_are_refused_without_warnings_of_numpy(tmp_path, recwarn):
    (tmp_path / "nan.glb").write_bytes(glb(set_in("nodes", 0, matrix=[float("nan")] * 16)))
    with pytest.raises(UserError, match=r"nan\.glb has vertices that are not finite; repair it or export it again"):
        read_mesh(tmp_path / "nan.glb")
    assert not recwarn.list


@pytest.mark.parametrize("kind", ["ply", "obj", "stl", "glb"])
def test_a_corner_at_no_place_is_no_hole(tmp_path, kind):
    ball = trimesh.creation.icosphere(1)
    places = ball.vertices.copy()
    places[3] = np.nan
    trimesh.Trimesh(places, ball.faces, process=False).export(tmp_path / f"nan.{kind}")
    with pytest.raises(UserError, match=rf"nan\.{kind} has vertices that are not finite; repair it"):
        read_mesh(tmp_path / f"nan.{kind}")


def test_a_vertex_at_no_place_that_no_triangle_has_is_left_out_or_refused(tmp_path):
    ball = trimesh.creation.icosphere(1)
    lost = trimesh.Trimesh(np.vstack([ball.vertices, np.full((1, 3), np.nan)]), ball.faces, process=False)
    for kind in ("ply", "obj", "glb"):
        lost.export(tmp_path / f"lost.{kind}")
    for kind in ("ply", "obj"):
        assert np.isfinite(read_mesh(tmp_path / f"lost.{kind}").vertices).all()
    with pytest.raises(UserError, match=r"lost\.glb has vertices that are not finite"):
        read_mesh(tmp_path / "lost.glb")


@pytest.mark.parametrize("change, said", [
    ({"transform": None}, "it lacks transform; give one that it wrote"),
    ({"density": None, "transform": None}, "it lacks density and transform; give one"),
    ({"transform": np.full((4, 4), np.nan)}, "no 4 x 4 finite numbers"),
    ({"density": np.zeros(3)}, "its density is no grid"),
])
def test_what_a_volume_lacks_is_named(tmp_path, change, said):
    whole = {"density": np.zeros((2, 3, 4)), "occupied": np.zeros((2, 3, 4), bool), "transform": np.eye(4), **change}
    np.savez(tmp_path / "a.npz", **{name: array for name, array in whole.items() if array is not None})
    with pytest.raises(UserError, match=said):
        facts_of(tmp_path / "a.npz")


@pytest.mark.parametrize("name, said", [("a.npz", "it is no archive of arrays"), ("a.las", "it is no LAS file")])
def test_what_is_no_archive_or_no_scan_is_said_so(tmp_path, name, said):
    if name.endswith("las"):
        pytest.importorskip("laspy")
    (tmp_path / name).write_bytes(b"LASF or nothing")
    with pytest.raises(UserError, match=rf"{name} cannot be read as ... \({said}, or ends too early\); export it"):
        facts_of(tmp_path / name)
