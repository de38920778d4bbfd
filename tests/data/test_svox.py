"""Octrees in files of svox: written and read back, read by somebody else, and refused where they are broken."""

import io
import zipfile
from dataclasses import replace

import numpy as np
import pytest
import torch

from taichi_nerf.data import svox
from taichi_nerf.data.svox import SvoxTree, read_svox, write_svox
from taichi_nerf.errors import UserError
from taichi_nerf.ops.octree import Octree, insert_points, root_of
from taichi_nerf.ops.octree_rendering import Frame, render_octree

CENTRE, RADIUS = (0.25, -0.5, 1.0), (1.0, 1.5, 1.25)
pytestmark = pytest.mark.usefixtures("all_on_cpu")


@pytest.fixture
def tree(rng):
    made, _ = insert_points(root_of(), torch.rand(30, 3, generator=rng), 4)
    frame = Frame.of_box(CENTRE, RADIUS)
    density = (8 * torch.rand(made.cells, generator=rng) - 4).clamp_min(0)
    coefficients = torch.randn(made.cells, 27, generator=rng)
    return SvoxTree(child=made.child.numpy(), parent_depth=made.parent_depth.numpy(), density=density.numpy(),
                    coefficients=coefficients.numpy(), offset=frame.offset, scale=frame.scale)


def rays(side=16):
    """Of a camera that looks at the box from aside."""
    x, y = (a.reshape(-1) for a in np.meshgrid(np.linspace(-0.4, 0.4, side), np.linspace(-0.4, 0.4, side)))
    directions = np.stack([x, y, -np.ones_like(x)], 1) @ np.array([[0.8, 0, 0.6], [0, 1, 0], [-0.6, 0, 0.8]])
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    origins = np.broadcast_to(np.array(CENTRE) - 4 * directions.mean(0), directions.shape)
    return np.ascontiguousarray(origins), directions


def shown(tree: SvoxTree):
    """[R, 3] colours over white, by the kernels."""
    origins, directions = (torch.from_numpy(x).float() for x in rays())
    arrays = (torch.from_numpy(np.ascontiguousarray(x)) for x in (tree.density, tree.coefficients))
    made = Octree(torch.from_numpy(tree.child), torch.from_numpy(tree.parent_depth))
    colour, opacity, *_ = render_octree(made, Frame(tree.offset, tree.scale), *arrays, origins, directions)
    return (colour + 1 - opacity[:, None]).numpy()


def shown_by_another_reader(path):
    """The same from the file's table alone: a point walks along the ray in steps and asks for its leaf each time."""
    with np.load(path) as file:
        child, data, offset, scale = file["child"], file["data"].astype(float), file["offset"], file["invradius3"]
        assert str(file["data_format"]) == "SH9" and file["data_dim"] == 28 and len(child) == file["n_internal"]

    def leaf(p):
        node, side = 0, 1.0
        while True:
            x, y, z = np.minimum((2 * p).astype(int), 1)
            p, side = 2 * p - (x, y, z), side / 2
            if child[node, x, y, z] == 0:
                return data[node, x, y, z], p, side
            node += child[node, x, y, z]

    pictures = []
    for o, d in zip(*rays()):
        x, y, z = d
        basis = np.array([0.28209479, -0.48860251 * y, 0.48860251 * z, -0.48860251 * x, 1.09254843 * x * y,
                          -1.09254843 * y * z, 0.31539157 * (3 * z * z - 1), -1.09254843 * x * z,
                          0.54627422 * (x * x - y * y)])
        o, d = offset + scale * o, scale * d
        a, b = -o / d, (1 - o) / d
        t, end = max(0.0, np.minimum(a, b).max()), np.maximum(a, b).min()
        through, colour = 1.0, np.zeros(3)
        while t < end - 1e-6:
            values, inner, side = leaf(np.clip(o + (t + 1e-6) * d, 0, 1 - 1e-6))
            step = (np.where(d > 0, 1 - inner, inner) * side / np.abs(d)).min() + 1e-6
            weight = through * (1 - np.exp(-values[-1] * step))
            colour += weight / (1 + np.exp(-values[:-1].reshape(3, 9) @ basis))
            through, t = through - weight, t + step
        pictures.append(colour + through)
    return np.array(pictures)


def psnr(a, b):
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-20)


def test_what_is_written_is_read_back(tree, tmp_path):
    write_svox(tmp_path / "tree.npz", tree)
    found = read_svox(tmp_path / "tree.npz")
    leaf = tree.child.reshape(-1) == 0
    assert np.array_equal(found.child, tree.child) and np.array_equal(found.parent_depth, tree.parent_depth)
    np.testing.assert_allclose(found.density[leaf], tree.density[leaf], rtol=1e-3)
    np.testing.assert_allclose(found.coefficients[leaf], tree.coefficients[leaf], rtol=1e-3, atol=1e-6)
    assert not found.density[~leaf].any()
    np.testing.assert_allclose([found.offset, found.scale], [tree.offset, tree.scale], rtol=1e-6)


def test_a_picture_of_what_is_read_back_is_as_close_to_the_truth(tree, tmp_path, rng):
    """At the distance at which a good model is from its images, half precision costs less than 0.05 dB."""
    write_svox(tmp_path / "tree.npz", tree)
    before, after = shown(tree), shown(read_svox(tmp_path / "tree.npz"))
    truth = before + 0.02 * torch.randn(before.shape, generator=rng).numpy()
    assert abs(psnr(after, truth) - psnr(before, truth)) < 0.05
    assert np.abs(before - before.mean()).max() > 0.1


def test_another_reader_of_the_format_shows_the_same_picture(tree, tmp_path):
    write_svox(tmp_path / "tree.npz", tree)
    assert np.abs(shown_by_another_reader(tmp_path / "tree.npz") - shown(tree)).max() < 2 / 255


def test_the_file_is_as_volrend_wants_it(tree, tmp_path):
    """Known methods, sizes in the local headers, arrays of the first version in C order, and the types of the table."""
    write_svox(tmp_path / "tree.npz", tree)
    raw = (tmp_path / "tree.npz").read_bytes()
    with zipfile.ZipFile(tmp_path / "tree.npz") as archive:
        for member in archive.infolist():
            assert member.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
            header = raw[member.header_offset:member.header_offset + 30]
            assert not header[6] & 8, "no data descriptor"
            assert archive.read(member)[:8] == b"\x93NUMPY\x01\x00"
    with np.load(tmp_path / "tree.npz") as file:
        types = {name: (file[name].dtype.str, file[name].ndim) for name in file}
    assert types == {
        "data_dim": ("<i8", 0), "data_format": ("<U3", 0), "child": ("<i4", 4), "parent_depth": ("<i4", 2),
        "n_internal": ("<i8", 0), "n_free": ("<i8", 0), "invradius3": ("<f4", 1), "offset": ("<f4", 1),
        "depth_limit": ("<i8", 0), "geom_resize_fact": ("<f8", 0), "data": ("<f2", 5)}


def test_numbers_beyond_half_precision_are_moved_onto_it(tree, tmp_path):
    write_svox(tmp_path / "tree.npz", replace(tree, density=np.full_like(tree.density, 1e9)))
    assert read_svox(tmp_path / "tree.npz").density.max() == 65504


def arrays_of(tree, tmp_path):
    write_svox(tmp_path / "whole.npz", tree)
    with np.load(tmp_path / "whole.npz") as file:
        return dict(file)


def saved(tmp_path, arrays, **changes):
    path = tmp_path / "changed.npz"
    arrays = {name: value for name, value in {**arrays, **changes}.items() if value is not None}
    np.savez(path, **arrays)
    return path


def test_what_volrend_has_compressed_is_read(tree, tmp_path):
    arrays = arrays_of(tree, tmp_path)
    data, nodes = arrays["data"], len(arrays["child"])
    bases = np.moveaxis(data[..., :-1].reshape(nodes, 2, 2, 2, 3, 9), -1, 0)  # [9, n, 2, 2, 2, 3]
    colours, places = np.zeros((5, 65536, 3), np.float16), np.zeros((5, nodes, 2, 2, 2), np.uint16)
    for k in range(5):
        rows, place = np.unique(bases[4 + k].reshape(-1, 3), axis=0, return_inverse=True)
        colours[k, : len(rows)], places[k] = rows, place.reshape(nodes, 2, 2, 2)
    path = saved(tmp_path, arrays, data=None, parent_depth=None, n_internal=None, n_free=None, sigma=data[..., -1],
                 quant_colors=colours, quant_map=places, data_retained=np.ascontiguousarray(bases[:4]))
    found, expected = read_svox(path), read_svox(tmp_path / "whole.npz")
    for name in ("child", "parent_depth", "density", "coefficients"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)), name


def test_nodes_that_nothing_leads_to_are_left_out(tree, tmp_path):
    arrays = arrays_of(tree, tmp_path)
    child, data = arrays["child"].copy(), arrays["data"]
    node, *cell = np.argwhere(child != 0)[-1]
    child[(node, *cell)] = 0
    found = read_svox(saved(tmp_path, arrays, child=child))
    assert len(found.child) == len(child) - 1 and found.density.shape == (8 * len(found.child),)
    assert found.parent_depth[:, 1].max() <= 3 and len(data) == len(child)
    made = Octree(torch.from_numpy(found.child), torch.from_numpy(found.parent_depth))
    above = made.parent_depth[1:, 0].long()
    assert torch.equal(above // 8 + made.child.view(-1)[above], torch.arange(1, len(made.child)))


@pytest.mark.parametrize("shift", [0.0, 3.0], ids=["colours", "logits"])
def test_colours_without_harmonics_are_read(tree, tmp_path, rng, shift):
    arrays = arrays_of(tree, tmp_path)
    colours = torch.rand(*arrays["child"].shape, 4, generator=rng).numpy() * 0.9 + 0.05 + shift
    found = read_svox(saved(tmp_path, arrays, data=colours, data_dim=np.int64(4), data_format=np.str_("RGBA")))
    expected = colours.reshape(-1, 4)[:, :3] if shift == 0 else 1 / (1 + np.exp(-colours.reshape(-1, 4)[:, :3]))
    np.testing.assert_allclose(1 / (1 + np.exp(-svox.Y0 * found.coefficients)), expected, atol=1e-5)


def loop(child):
    child = child.copy()
    node, *cell = np.argwhere(child != 0)[-1]
    child[(node, *cell)] = -node
    return child


def chain():
    child = np.zeros((30, 2, 2, 2), np.int32)
    child[:-1, 0, 0, 0] = 1
    return child


BROKEN = {
    "a loop": (lambda a: {"child": loop(a["child"])}, "circle"),
    "out of the array": (lambda a: {"child": a["child"] * 1000}, "leads out of the array"),
    "before the array": (lambda a: {"child": -a["child"]}, "leads out of the array"),
    "N = 3": (lambda a: {"child": np.zeros((1, 3, 3, 3), np.int32)}, "3 x 3 x 3, where 2 x 2 x 2 is needed"),
    "too deep": (lambda a: {"child": chain(), "data": np.zeros((30, 2, 2, 2, 28), np.float16)}, "deeper than 20"),
    "no nodes": (lambda a: {"child": np.zeros((0, 2, 2, 2), np.int32),
                            "data": np.zeros((0, 2, 2, 2, 28), np.float16)}, "no node"),
    "SG": (lambda a: {"data_format": np.str_("SG9")}, "its colours are 'SG9'"),
    "ASG": (lambda a: {"data_format": np.str_("ASG9")}, "its colours are 'ASG9'"),
    "SH5": (lambda a: {"data_format": np.str_("SH5")}, "B must be 1, 4, 9, 16 or 25"),
    "another SH": (lambda a: {"data_format": np.str_("SH4")}, "B must be 1, 4, 9, 16 or 25"),
    "no child": (lambda a: {"child": None}, "it has no 'child'"),
    "no data": (lambda a: {"data": None}, "it has no 'data'"),
    "no box": (lambda a: {"invradius3": None}, "it has no 'invradius'"),
    "wrong type": (lambda a: {"child": a["child"].astype(float)}, "'child' has numbers of the type"),
    "wrong shape": (lambda a: {"data": a["data"][1:]}, "'data' has the shape"),
    "not finite": (lambda a: {"data": np.full_like(a["data"], np.inf)}, "not finite"),
    "no radius": (lambda a: {"invradius3": -a["invradius3"]}, "is not above 0"),
    "objects": (lambda a: {"data": np.array([{}], object)}, "'data' is no array of its size"),
}


@pytest.mark.parametrize("change, message", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_or_foreign_file_is_refused_in_one_sentence(tree, tmp_path, change, message):
    arrays = arrays_of(tree, tmp_path)
    with pytest.raises(UserError, match=message) as found:
        read_svox(saved(tmp_path, arrays, **change(arrays)))
    assert "\n" not in str(found.value) and "changed.npz" in str(found.value)


def test_files_that_are_no_archives_are_refused(tree, tmp_path):
    arrays_of(tree, tmp_path)
    whole = (tmp_path / "whole.npz").read_bytes()
    cases = {"nothing.npz": b"", "text.npz": b"hello", "half.npz": whole[: len(whole) // 2],
             "torn.npz": whole[:2000] + bytes(200) + whole[2200:]}
    for name, content in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{name} cannot be read as an octree of svox"):
            read_svox(tmp_path / name)
    with pytest.raises(UserError, match="does not exist"):
        read_svox(tmp_path / "absent.npz")
    with pytest.raises(UserError, match="cannot be read as an octree of svox"):
        read_svox(tmp_path)


def test_a_file_that_lies_about_its_size_or_would_fill_the_memory_is_refused(tree, tmp_path, monkeypatch):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<i4", "fortran_order": False, "shape": (2**40, 2, 2, 2)})
    with zipfile.ZipFile(tmp_path / "liar.npz", "w") as archive:
        archive.writestr("child.npy", header.getvalue())
    with pytest.raises(UserError, match="'child' is no array of its size"):
        read_svox(tmp_path / "liar.npz")
    arrays_of(tree, tmp_path)
    monkeypatch.setattr(svox, "free_memory", lambda: 1000)
    with pytest.raises(UserError, match=r"GiB of memory, of which 0\.0 GiB are free; give a smaller octree"):
        read_svox(tmp_path / "whole.npz")


def test_a_file_appears_whole_or_not_at_all(tree, tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be written: no such file or directory"):
        write_svox(tmp_path / "nowhere" / "tree.npz", tree)
    monkeypatch.setattr(np, "savez_compressed", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "No space left")))
    with pytest.raises(UserError, match="no space left"):
        write_svox(tmp_path / "tree.npz", tree)
    assert not list(tmp_path.iterdir())
