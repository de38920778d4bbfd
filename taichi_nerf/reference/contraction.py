"""The contraction in plain PyTorch, with its Jacobian as a matrix: what `taichi_nerf.ops.contraction` must equal."""

import torch


def contract(x):
    """f(x) [*, 3]."""
    r = x.norm(dim=-1, keepdim=True).clamp_min(1)
    return torch.where(r > 1, (2 - 1 / r) * x / r, x)


def jacobian(x):
    """df/dx [*, 3, 3], written out: ((2 r - 1) / r^2) I - 2 ((r - 1) / r^4) x x^T outside of the unit ball."""
    r = x.norm(dim=-1)[..., None, None].clamp_min(1)
    identity = torch.eye(3, dtype=x.dtype, device=x.device).expand(*x.shape, 3)
    return (2 * r - 1) / r**2 * identity - 2 * (r - 1) / r**4 * x[..., :, None] * x[..., None, :]


def contract_spheres(x, widths):
    """f(x) [*, 3], and widths [*] times the cube root of the Jacobian's determinant."""
    return contract(x), torch.linalg.det(jacobian(x)).abs() ** (1 / 3) * widths


def project_gaussians(origins, directions, t_mean, t_variance, radial_variance, basis, contracted=True):
    """Mean and variance [R, S, D] along the basis, by way of the covariance matrices."""
    d = directions[:, None, :]
    x = origins[:, None] + t_mean[..., None] * d
    outer = d[..., :, None] * d[..., None, :]
    across = torch.eye(3, dtype=x.dtype, device=x.device) - outer / d.square().sum(-1)[..., None, None]
    covariance = t_variance[..., None, None] * outer + radial_variance[..., None, None] * across
    if contracted:
        j = jacobian(x)
        x, covariance = contract(x), j @ covariance @ j.transpose(-1, -2)
    return x @ basis.T, torch.einsum("ki,rsij,kj->rsk", basis, covariance, basis)
