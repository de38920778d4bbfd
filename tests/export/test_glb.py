"""The textured mesh of a patterned ball, as a viewer that shares nothing with its writer shows it."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from taichi_nerf import query, runtime
from taichi_nerf.export import mesh, mesh_files, texture
from taichi_nerf.export.surface import box_of, share_in_front, surface_views

from ..models.ball import BallField
from ..test_query import CENTRE, Asked, placed
from .gltf import pictures_of_glb
from .scenes import around as cameras_around
from .test_geometry import around

pytest.importorskip("trimesh")
UP = np.array((0.0, 0, 1))


class Patterned(BallField):
    """Stripes along the three axes, one colour each, so that no turn or mirror image looks like another."""

    def colour(self, hidden, directions, shot=None, ray_index=None):
        return 0.5 + 0.4 * torch.sin((hidden - self.centre) * hidden.new_tensor((14.0, 19.0, 25.0)) + 0.5)


@pytest.fixture(scope="module")
def field():
    if runtime.current().backend != "cpu" or runtime.current().dtype != torch.float32:
        runtime.init("cpu", torch.float32, threads=1)
    model = Asked(torch.float32, "cpu", softness=0.002, peak=1500.0)
    model.field.__class__ = Patterned
    return query.Field(model, placed())


def seen(field, cameras, n) -> np.ndarray:
    """[H, W, 3] before white."""
    width, height = cameras.size[n]
    found = field.along(*field.rays_of(cameras, n), normals=False)
    return (found.colour + 1 - found.opacity[:, None]).reshape(height, width, 3)


@pytest.mark.slow
def test_a_browser_shows_the_textured_mesh_as_the_field_looks(field, tmp_path):
    pytest.importorskip("xatlas")
    views = list(surface_views(field, around(120), share=share_in_front(field.scene)))
    grid = mesh.grid_around(views, box_of(field, None), 64)
    distance, weight = mesh.distance_grid(grid, views)
    made = mesh.simplified(mesh.smoothed(mesh.mesh_of(grid, distance, mesh.known_enough(weight, len(views)))), 4000)
    made, picture = texture.textured(made, views, grid.cell)
    path = tmp_path / "ball.glb"
    mesh_files.write_mesh(path, made, texture=picture, up=UP)

    cameras = cameras_around(3, (160, 120), 22.0)
    poses = cameras.camera_to_world.astype(float)
    poses[:, :, 3] += CENTRE
    cameras = replace(cameras, camera_to_world=poses)
    upright = replace(cameras, camera_to_world=np.einsum("ij,njk->nik", mesh_files.turned_up(UP), poses))
    for n, shown in enumerate(pictures_of_glb(path, upright)):
        error = np.square(shown - seen(field, cameras, n)).mean()
        assert -10 * np.log10(error) > 25, n
        assert np.square(shown[:, ::-1] - seen(field, cameras, n)).mean() > 4 * error  # the ball is no mirror image
