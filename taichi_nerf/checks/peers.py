"""The same work by other libraries, where they are installed: (forward, forward and backward) without arguments.

They raise ImportError where they are not.
"""

import math

import numpy as np
import torch

__all__ = ["drjit_hash_grid"]


def drjit_hash_grid(positions: torch.Tensor, *, levels: int, features: int, log2_entries: int, base_resolution: int,
                    max_resolution: int):
    """Dr.Jit's hash grid (`drjit.nn.HashGridEncoding`) of `positions` [N, 3], on LLVM or on CUDA as they are."""
    import drjit as dr
    from drjit import nn

    if positions.is_cuda:
        from drjit.cuda.ad import ArrayXf, Float32
    else:
        from drjit.llvm.ad import ArrayXf, Float32

        dr.set_thread_count(torch.get_num_threads())
    growth = math.exp(math.log(max_resolution / base_resolution) / max(levels - 1, 1))
    encoder = nn.HashGridEncoding(dtype=Float32, dimension=3, n_levels=levels, per_level_scale=growth,
                                  n_features_per_level=features, hashmap_size=2**log2_entries,
                                  base_resolution=base_resolution)
    x = ArrayXf(np.ascontiguousarray(positions.detach().float().cpu().numpy().T))
    dr.eval(x)

    def forward():
        dr.eval(encoder(x))
        dr.sync_thread()

    def both():
        parameters = type(encoder.params)(dr.detach(encoder.params))
        dr.enable_grad(parameters)
        encoder.set_params(parameters)
        dr.backward(sum((dr.sum(0.5 * y * y) for y in encoder(x)), Float32(0)))
        dr.eval(dr.grad(parameters))
        dr.sync_thread()

    return forward, both
