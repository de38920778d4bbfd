"""Where rays meet a mesh of triangles, as PyTorch operations. R rays, V vertices, F triangles."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from taichi_nerf_kernels import ray_mesh as kernels
from taichi_nerf_kernels.engine import on_cpu

from ._check import check_index, check_tensor

__all__ = ["MeshHits", "RayMesh", "intersect_ray_mesh", "occluded_by_mesh", "ray_mesh"]


@dataclass(frozen=True)
class RayMesh:
    """A mesh and the hierarchy of boxes around its triangles; made by `ray_mesh`."""

    vertices: Tensor
    """[V, 3]; hits are differentiable by it, the hierarchy stays that of when it was made."""
    faces: Tensor
    """[F, 3] int32"""
    boxes: Tensor
    starts: Tensor
    corners: Tensor
    order: Tensor
    """As of `kernels.MeshTree`."""

    def __len__(self) -> int:
        return len(self.faces)


class MeshHits(NamedTuple):
    """What rays meet first."""

    t: Tensor
    """[R] distance in lengths of the direction; infinite where a ray meets nothing."""
    triangle: Tensor
    """[R] int32: a row of the faces, or -1."""
    barycentric: Tensor
    """[R, 3]: the weights of its corners at the hit; 0 where there is none."""


def ray_mesh(vertices: Tensor, faces: Tensor) -> RayMesh:
    """A mesh for `intersect_ray_mesh`: builds the hierarchy on the host.

    Args:
        vertices: [V, 3].
        faces: [F, 3] int32; F may be 0. Triangles without area are met by no ray.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device; vertices that are not finite.
        IndexError: a corner that is none of the vertices.
    """
    known = check_tensor("vertices", vertices, (None, 3))
    faces = check_index("faces", faces, (None, 3), len(known), like=known)
    if not bool(torch.isfinite(known).all()):
        raise ValueError("vertices must be finite")
    tree = kernels.mesh_tree(known.cpu().numpy(), faces.cpu().numpy())
    return RayMesh(vertices, faces, *(torch.from_numpy(array).to(known.device) for array in tree))


def intersect_ray_mesh(mesh: RayMesh, origins: Tensor, directions: Tensor, *, near: float = 0.0,
                       limit: Tensor | None = None) -> MeshHits:
    """The first triangle that each ray meets, seen from either side.

    Args:
        origins: [R, 3].
        directions: [R, 3], of any length but zero; t counts in that length.
        near: least t of a hit.
        limit: [R] hits lie before it; None: anywhere.

    Returns:
        The hits. t is differentiable by origins, directions and the mesh's vertices (0 where nothing is met); on a CPU
        the gradients of vertices are summed in the order of the rays, on a GPU in any order. Not differentiable:
        which triangle it is, the barycentric coordinates, and the outline of the mesh. No ray passes between two
        triangles that share an edge; which of them it meets there is left open. A ray that is not finite meets nothing.

    Raises:
        TypeError, ValueError: an argument of another type, shape, dtype or device.
    """
    return MeshHits(*_RayMesh.apply(mesh.vertices, origins, directions, mesh, float(near), limit))


def occluded_by_mesh(mesh: RayMesh, origins: Tensor, directions: Tensor, *, near: float = 0.0,
                     limit: Tensor | None = None) -> Tensor:
    """[R] bool: whether rays meet any triangle between `near` and `limit`; arguments as of `intersect_ray_mesh`.

    It looks for any hit, not for the nearest: for shadows. Not differentiable.
    """
    _, triangle, _ = _walk(mesh, *_checked(mesh, origins, directions, limit), near, any_hit=True)
    return triangle != kernels.MISS


class _RayMesh(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, origins, directions, mesh, near, limit):
        rays = _checked(mesh, origins, directions, limit)
        t, triangle, barycentric = _walk(mesh, *rays, near, any_hit=False)
        ctx.save_for_backward(rays[1], vertices, mesh.faces, t, triangle, barycentric)
        ctx.mark_non_differentiable(triangle, barycentric)
        return torch.where(triangle == kernels.MISS, torch.inf, t), triangle, barycentric

    @staticmethod
    @once_differentiable
    def backward(ctx, t_gradient, *_):
        directions, vertices, faces, t, triangle, barycentric = ctx.saved_tensors
        of_rays = torch.empty_like(directions), torch.empty_like(directions)
        of_vertices = torch.zeros_like(vertices)
        if len(directions):
            kernels.ray_mesh_backward(directions, vertices.detach().contiguous(), faces, t, triangle, barycentric,
                                      t_gradient.contiguous(), *of_rays, of_vertices, on_cpu())
        return (
            of_vertices,
            *of_rays,
            None,  # mesh
            None,  # near
            None,  # limit
        )


def _checked(mesh: RayMesh, origins: Tensor, directions: Tensor,
             limit: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    origins = check_tensor("origins", origins, (None, 3), like=mesh.vertices)
    directions = check_tensor("directions", directions, origins.shape, like=origins)
    if limit is None:
        return origins, directions, torch.full_like(origins[:, 0], torch.inf)
    return origins, directions, check_tensor("limit", limit, (len(origins),), like=origins)


def _walk(mesh: RayMesh, origins: Tensor, directions: Tensor, limit: Tensor, near: float,
          any_hit: bool) -> tuple[Tensor, Tensor, Tensor]:
    t, barycentric = torch.empty_like(limit), torch.empty_like(origins)
    triangle = torch.empty(len(origins), dtype=torch.int32, device=origins.device)
    if len(mesh) == 0:
        return t.fill_(0), triangle.fill_(kernels.MISS), barycentric.fill_(0)
    if len(origins):
        rounding = 2 * torch.finfo(origins.dtype).eps
        kernels.ray_mesh_forward(origins, directions, limit.clamp_max(kernels.FAR), near, mesh.boxes, mesh.starts,
                                 mesh.corners, mesh.order, rounding, t, triangle, barycentric, any_hit)
    return t, triangle, barycentric
