"""Latent codes of images as rows of the colour network's inputs, and their gradient.

    codes [C A]   flat, A numbers for each of C ids; image n has the id image_code[n]
    inputs [.., K]   of the colour network, may hold bfloat16: the code of sample i in rows first .. first + A - 1
"""

from ..bfloat16 import load, store
from ..engine import live, on_cpu, stride_for, ti
from ..launch import kernel


@kernel
def code_rows(
    codes: ti.types.ndarray(ndim=1),  # [C A]
    image_code: ti.types.ndarray(ndim=1),  # [N] int32
    image_index: ti.types.ndarray(ndim=1),  # [R] int32
    sample_ray: ti.types.ndarray(ndim=1),  # [K] int32
    first: int,
    inputs: ti.types.ndarray(ndim=2),  # out [first + A, K]: its last rows
    samples: ti.types.ndarray(ndim=1),  # [1] int32
):
    for i in range(live(sample_ray.shape[0], samples, True)):
        size = inputs.shape[0] - first
        code = image_code[image_index[sample_ray[i]]]
        for a in range(size):
            store(inputs, first + a, i, codes[code * size + a])


@kernel
def gather_code_gradient(
    inputs_gradient: ti.types.ndarray(ndim=2),  # [first + A, K]
    image_code: ti.types.ndarray(ndim=1),  # [N] int32
    image_index: ti.types.ndarray(ndim=1),  # [R] int32
    ray_start: ti.types.ndarray(ndim=1),  # [R] int32
    ray_count: ti.types.ndarray(ndim=1),  # [R] int32
    first: int,
    gradient: ti.types.ndarray(ndim=1),  # in, out [C A]: added to
    rays: ti.types.ndarray(ndim=1),  # [1] int32
):
    """On a CPU a task for each number of the codes, which takes the rays in order; on a GPU one for each ray, too."""
    size = inputs_gradient.shape[0] - first
    if ti.static(on_cpu()):
        stride = ti.static(stride_for(1))
        for slot in range(size * stride):
            if slot % stride != 0:
                continue
            a = slot // stride
            for ray in range(live(ray_start.shape[0], rays, True)):
                total = 0.0
                for i in range(ray_start[ray], ray_start[ray] + ray_count[ray]):
                    total += load(inputs_gradient, first + a, i)
                gradient[image_code[image_index[ray]] * size + a] += total
    else:
        for thread in range(live(ray_start.shape[0], rays, True) * size):
            ray, a = thread // size, thread % size
            total = 0.0
            for i in range(ray_start[ray], ray_start[ray] + ray_count[ray]):
                total += load(inputs_gradient, first + a, i)
            ti.atomic_add(gradient[image_code[image_index[ray]] * size + a], total)
