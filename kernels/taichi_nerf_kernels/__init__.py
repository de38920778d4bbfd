"""Kernels of neural radiance fields in Taichi: forward and backward, for CPU, CUDA and Vulkan. No torch.

Import the module of a stem (`from taichi_nerf_kernels import hash_grid`) and call `taichi.init` yourself, before the
first kernel runs.
"""
