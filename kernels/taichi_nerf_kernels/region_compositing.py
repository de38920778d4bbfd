"""Region compositing: rays through disjoint regions of space, each of which was composited by itself, and the gradient.

    K regions, R rays, V values; order[i, r] is the i-th region along ray r. Of region k and a ray, as if the ray began
    at the region's border:

    T_k      transmittance of the region, in [0, 1]
    C_k      values composited in it, sum of w c
    W_k S_k  sum of its weights, and of its weights times their distances
    D_k      its distortion: sum over i, j of w_i w_j |s_i - s_j|, and whatever else is quadratic in its weights

    A_k        = product of T_j over j in front of k          what reaches the region
    C          = sum of A_k C_k,   T = product of all T_k
    distortion = sum of A_k^2 D_k  +  2 sum over j in front of k of A_j A_k (W_j S_k - S_j W_k)

since what lies in a region farther along the ray is farther: |s_i - s_j| needs no sign. That is exact.

With h_k = dL/dA_k, the A taken one by one, dL/dT_k = A_k N_k where N_k follows from the end of the ray by

    N_last = dL/dT,   N_{k - 1} = h_k + T_k N_k

in which each product leaves one factor out without a division: T_k may be 0.

One task per ray. Li et al. 2024 (NeRF-XL), whose page states the scheme; the gradients are derived here.
"""

from .bounds import entry_in
from .engine import stride_for, ti
from .launch import kernel


@kernel
def composite_regions_forward(
    region_transmittance: ti.types.ndarray(ndim=2),  # [K, R] T_k
    region_values: ti.types.ndarray(ndim=3),  # [K, R, V] C_k
    order: ti.types.ndarray(ndim=2),  # [K, R] int32, of each ray all regions
    values: ti.types.ndarray(ndim=2),  # out [R, V]
    transmittance: ti.types.ndarray(ndim=1),  # out [R]
    reaching: ti.types.ndarray(ndim=2),  # out [K, R] A_k
):
    """Composite the regions of every ray from front to back."""
    stride = ti.static(stride_for(64))
    for slot in range(transmittance.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        for v in range(values.shape[1]):
            values[ray, v] = 0.0
        passing = 1.0
        for i in range(order.shape[0]):
            k = entry_in(order[i, ray], order.shape[0])
            reaching[k, ray] = passing
            for v in range(values.shape[1]):
                values[ray, v] += passing * region_values[k, ray, v]
            passing *= region_transmittance[k, ray]
        transmittance[ray] = passing


@kernel
def composite_regions_backward(
    region_transmittance: ti.types.ndarray(ndim=2),  # [K, R]
    region_values: ti.types.ndarray(ndim=3),  # [K, R, V]
    order: ti.types.ndarray(ndim=2),  # [K, R] int32
    reaching: ti.types.ndarray(ndim=2),  # [K, R] of the forward pass
    values_gradient: ti.types.ndarray(ndim=2),  # [R, V]
    transmittance_gradient: ti.types.ndarray(ndim=1),  # [R]
    region_transmittance_gradient: ti.types.ndarray(ndim=2),  # out [K, R]
    region_values_gradient: ti.types.ndarray(ndim=3),  # out [K, R, V]
):
    """Gradient with respect to what each region has, from back to front."""
    stride = ti.static(stride_for(64))
    for slot in range(transmittance_gradient.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        behind = ti.cast(transmittance_gradient[ray], float)  # N
        for step in range(order.shape[0]):
            k = entry_in(order[order.shape[0] - 1 - step, ray], order.shape[0])
            region_transmittance_gradient[k, ray] = reaching[k, ray] * behind
            at_reaching = 0.0  # h
            for v in range(values_gradient.shape[1]):
                region_values_gradient[k, ray, v] = reaching[k, ray] * values_gradient[ray, v]
                at_reaching += region_values[k, ray, v] * values_gradient[ray, v]
            behind = at_reaching + region_transmittance[k, ray] * behind


@kernel
def region_distortion_forward(
    region_transmittance: ti.types.ndarray(ndim=2),  # [K, R] T_k
    mass: ti.types.ndarray(ndim=2),  # [K, R] W_k
    moment: ti.types.ndarray(ndim=2),  # [K, R] S_k
    own: ti.types.ndarray(ndim=2),  # [K, R] D_k
    order: ti.types.ndarray(ndim=2),  # [K, R] int32
    distortion: ti.types.ndarray(ndim=1),  # out [R]
    reaching: ti.types.ndarray(ndim=2),  # out [K, R] A_k
):
    """Distortion of every ray, of the weights of all its regions."""
    stride = ti.static(stride_for(64))
    for slot in range(distortion.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        passing, total = 1.0, 0.0
        mass_in_front, moment_in_front = 0.0, 0.0
        for i in range(order.shape[0]):
            k = entry_in(order[i, ray], order.shape[0])
            reaching[k, ray] = passing
            here, turned = passing * mass[k, ray], passing * moment[k, ray]
            total += passing * passing * own[k, ray] + 2.0 * (mass_in_front * turned - moment_in_front * here)
            mass_in_front += here
            moment_in_front += turned
            passing *= region_transmittance[k, ray]
        distortion[ray] = total


@kernel
def region_distortion_backward(
    region_transmittance: ti.types.ndarray(ndim=2),  # [K, R]
    mass: ti.types.ndarray(ndim=2),  # [K, R]
    moment: ti.types.ndarray(ndim=2),  # [K, R]
    own: ti.types.ndarray(ndim=2),  # [K, R]
    order: ti.types.ndarray(ndim=2),  # [K, R] int32
    reaching: ti.types.ndarray(ndim=2),  # [K, R] of the forward pass
    distortion_gradient: ti.types.ndarray(ndim=1),  # [R]
    region_transmittance_gradient: ti.types.ndarray(ndim=2),  # out [K, R]
    mass_gradient: ti.types.ndarray(ndim=2),  # out [K, R]
    moment_gradient: ti.types.ndarray(ndim=2),  # out [K, R]
    own_gradient: ti.types.ndarray(ndim=2),  # out [K, R]
):
    """Two sweeps: the pairs with what lies in front, from the front, and those with what lies behind, from behind."""
    stride = ti.static(stride_for(64))
    for slot in range(distortion_gradient.shape[0] * stride):
        if slot % stride != 0:
            continue
        ray = slot // stride
        scale = 2.0 * distortion_gradient[ray]
        mass_in_front, moment_in_front = 0.0, 0.0
        for i in range(order.shape[0]):
            k = entry_in(order[i, ray], order.shape[0])
            passing = reaching[k, ray]
            own_gradient[k, ray] = 0.5 * scale * passing * passing
            mass_gradient[k, ray] = -scale * passing * moment_in_front
            moment_gradient[k, ray] = scale * passing * mass_in_front
            region_transmittance_gradient[k, ray] = scale * (  # h, so far
                passing * own[k, ray] + moment[k, ray] * mass_in_front - mass[k, ray] * moment_in_front)
            mass_in_front += passing * mass[k, ray]
            moment_in_front += passing * moment[k, ray]
        behind, mass_behind, moment_behind = 0.0, 0.0, 0.0
        for step in range(order.shape[0]):
            k = entry_in(order[order.shape[0] - 1 - step, ray], order.shape[0])
            passing = reaching[k, ray]
            mass_gradient[k, ray] += scale * passing * moment_behind
            moment_gradient[k, ray] -= scale * passing * mass_behind
            at_reaching = region_transmittance_gradient[k, ray] + scale * (
                mass[k, ray] * moment_behind - moment[k, ray] * mass_behind)
            region_transmittance_gradient[k, ray] = passing * behind
            behind = at_reaching + region_transmittance[k, ray] * behind
            mass_behind += passing * mass[k, ray]
            moment_behind += passing * moment[k, ray]
