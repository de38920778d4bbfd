"""Volumes as OpenVDB files: what its library is asked for, and, where it is installed, what it reads again."""

import importlib.util
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from taichi_nerf.data.hdr import linear_from_srgb
from taichi_nerf.errors import UserError
from taichi_nerf.export import facts, libraries, volume
from taichi_nerf.export.surface import box_of
from taichi_nerf.export.vdb import VDB_NAMES

from .test_geometry import CENTRE, COLOUR, ORIGIN, RADIUS, field  # noqa: F401


class Library:
    """As much of OpenVDB's module as is called; `files` has what was written."""

    GridClass = SimpleNamespace(FOG_VOLUME="fog volume")

    def __init__(self):
        self.files = {}

    @staticmethod
    def FloatGrid():
        grid = SimpleNamespace(gridClass=None)
        grid.copyFromArray = lambda values: setattr(grid, "values", values)
        return grid

    Vec3SGrid = FloatGrid

    @staticmethod
    def createLinearTransform(matrix):
        return np.array(matrix)

    def write(self, path, grids, metadata):
        open(path, "wb").close()
        self.files[path] = grids, metadata

    def readAllGridMetadata(self, path):
        bounds = {"file_voxel_count": 7, "file_bbox_min": (0, 0, 0), "file_bbox_max": (2, 4, 6)}
        return [Stored(bounds, name=name, transform=SimpleNamespace(indexToWorld=lambda place: 0.5 * np.array(place)))
                for name in ("density", "color")]


class Stored(dict):
    """Of a grid what its file says of it."""

    def __init__(self, values, **attributes):
        super().__init__(values)
        vars(self).update(attributes)


def without(monkeypatch):
    for name in VDB_NAMES:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("name", VDB_NAMES)
def test_the_library_is_given_density_and_linear_colour_with_their_transform(field, tmp_path, monkeypatch, name):  # noqa: F811
    library, grid = Library(), volume.grid_in(box_of(field, None), 20)
    without(monkeypatch)
    monkeypatch.setitem(sys.modules, name, library)
    volume.write_volume(tmp_path / "ball.vdb", field, grid, scale=0.5)
    volume.write_volume(tmp_path / "ball.npz", field, grid, scale=0.5)
    assert {file.name for file in tmp_path.iterdir()} == {"ball.vdb", "ball.npz"}
    ((density, colour), metadata), = library.files.values()
    with np.load(tmp_path / "ball.npz") as file:
        assert np.array_equal(density.values, file["density"]) and density.values.flags.c_contiguous
        there = file["density"] > 0
        assert np.allclose(colour.values[there], linear_from_srgb(file["colour"][there] / 255), atol=1e-6)
        assert (colour.values[~there] == 0).all() and colour.values.dtype == np.float32
        index = np.array([3.0, 4.0, 5.0, 1.0])
        for each in (density, colour):  # OpenVDB multiplies rows from the left, and its last one is the shift
            assert np.allclose(index @ each.transform, file["transform"] @ index)
    assert (density.name, colour.name, density.gridClass) == ("density", "color", "fog volume")
    assert metadata == {"creator": "taichi-nerf"}
    assert facts.facts_of(tmp_path / "ball.vdb") == [
        "an OpenVDB file of color and density", *(f"{name}: 7 voxels, from 0 0 0 to 1 2 3: 1 x 2 x 3"
                                                  for name in ("color", "density"))]


def test_a_library_that_is_missing_is_one_sentence_and_no_file(field, tmp_path, monkeypatch):  # noqa: F811
    without(monkeypatch)
    with pytest.raises(UserError, match=r"\.vdb file needs .* of OpenVDB.*python3-openvdb.*; .npz files need none"):
        volume.write_volume(tmp_path / "x.vdb", field, volume.grid_in(box_of(field, None), 4))
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not any(map(importlib.util.find_spec, VDB_NAMES)), reason="OpenVDB's module is not installed")
def test_the_real_library_reads_the_ball_again(field, tmp_path):  # noqa: F811
    path, grid = tmp_path / "ball.vdb", volume.grid_in(box_of(field, None), 20)
    volume.write_volume(path, field, grid, scale=0.5)
    density, colour = (libraries.openvdb().read(str(path), name) for name in ("density", "color"))
    index, value = max(((item.min, item.value) for item in density.citerOnValues()), key=lambda pair: pair[1])
    assert value == pytest.approx(2 * 1500 * 0.05, rel=0.01)
    place = np.array(density.transform.indexToWorld(index))
    assert np.linalg.norm(place - 0.5 * (CENTRE + ORIGIN)) < 0.5 * (RADIUS + 1)
    assert np.allclose(colour.getConstAccessor().getValue(index), linear_from_srgb(np.array(COLOUR)), atol=0.02)
    assert facts.facts_of(path)[0] == "an OpenVDB file of color and density"
