"""Sparse Adam in plain PyTorch: what `taichi_nerf.ops.adam` must equal."""

import torch


def decay_gradient(parameter, gradient, level_start, decay):
    """Gradient [E, F] with that of decay / 2 times the mean squares of the levels, which begin at the entries
    level_start [L], where there is a gradient."""
    sizes = torch.diff(torch.cat([level_start, torch.tensor([len(parameter)])]))
    factor = (decay / (sizes * parameter.shape[1]).double()).to(parameter.dtype).repeat_interleave(sizes)
    return gradient + torch.where((gradient != 0).any(1), factor, 0.0)[:, None] * parameter


def adam_step(parameter, gradient, first_moment, second_moment, step_count, lr, beta1, beta2, epsilon):
    """New (parameter, first moment, second moment, step count) of E entries of F features, [E, F] and [E].

    Entries whose gradient is all zero, or so large that its square is not a finite float32, stay as they are.
    """
    squared_norm = gradient.square().sum(1)
    active = (gradient != 0).any(1) & squared_norm.float().isfinite()
    g = torch.where(active[:, None], gradient, torch.zeros_like(gradient))
    n = step_count + active.to(step_count.dtype)
    m = beta1 * first_moment + (1 - beta1) * g
    v = beta2 * second_moment + (1 - beta2) * g.square()
    mean = m / (1 - beta1 ** n.clamp(min=1).to(m.dtype))[:, None]
    variance = v / (1 - beta2 ** n.clamp(min=1).to(m.dtype))[:, None]
    stepped = parameter - lr * mean / (variance.sqrt() + epsilon)

    def where_active(new, old):
        return torch.where(active[:, None], new, old)

    return where_active(stepped, parameter), where_active(m, first_moment), where_active(v, second_moment), n
