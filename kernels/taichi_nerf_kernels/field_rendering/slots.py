"""The rays that a CPU task has under way, each in a slot: local vectors, row `row` of a slot at row * LANES + slot.

    state   numbers: the ray, how far it has come, what it has seen, the sample that it is at
    whole   integers: the ray's number, and lattice indices

A slot's next samples are at AT .. BEHIND - 1; behind them, up to END - 1, there may be others, not yet looked for.
"""

from ..engine import ti
from ..mlp import LANES
from ..ray_marching import lattice_interval, lattice_stretch, next_run, ray_of
from ..spherical_harmonics import spherical_harmonics_basis
from ..volume_rendering import transmittance
from .networks import density_of, sigmoid

ORIGIN, DIRECTION, INVERSE, LATTICE, LEAVE, PASSED, THROUGH, SHOWN, T, DT, POINT, VIEW = (
    0, 3, 6, 9, 10, 11, 12, 13, 17, 18, 19, 22)  # fmt: skip
RAY, AT, BEHIND, END, TAKEN, INTEGERS = range(6)


@ti.func
def slot_vector(state: ti.template(), row: ti.template(), slot: int):
    """Three rows of the state of a slot."""
    return ti.Vector([state[(row + axis) * LANES + slot] for axis in range(3)])


@ti.func
def take_ray(slot: int, ray: int, origins: ti.template(), directions: ti.template(), march: ti.template(),
             state: ti.template(), whole: ti.template(), degree: ti.template()):
    """Put a ray at its beginning into a slot."""
    o, d, inverse = ray_of(origins, directions, ray)
    u0, leave, first, end = lattice_stretch(ray, -1, o, inverse, march)
    # The ray itself.
    for axis in ti.static(range(3)):
        state[(ORIGIN + axis) * LANES + slot] = o[axis]
        state[(DIRECTION + axis) * LANES + slot] = d[axis]
        state[(INVERSE + axis) * LANES + slot] = inverse[axis]
    state[LATTICE * LANES + slot] = u0
    state[LEAVE * LANES + slot] = leave
    view = spherical_harmonics_basis(d, degree)
    for k in ti.static(range(degree * degree)):
        state[(VIEW + k) * LANES + slot] = view[k]
    # It has passed nothing and seen nothing.
    state[PASSED * LANES + slot] = 0.0
    state[THROUGH * LANES + slot] = 1.0
    for k in ti.static(range(4)):
        state[(SHOWN + k) * LANES + slot] = 0.0
    whole[RAY * LANES + slot] = ray
    whole[AT * LANES + slot] = first
    whole[BEHIND * LANES + slot] = first
    whole[END * LANES + slot] = end
    whole[TAKEN * LANES + slot] = 0


@ti.func
def put_down_ray(slot: int, state: ti.template(), whole: ti.template(), colour: ti.template(), opacity: ti.template(),
                 depth: ti.template(), samples: ti.template()):
    """Write what the ray in a slot has seen."""
    ray = whole[RAY * LANES + slot]
    for channel in ti.static(range(3)):
        colour[ray, channel] = state[(SHOWN + channel) * LANES + slot]
    opacity[ray] = 1.0 - state[THROUGH * LANES + slot]
    depth[ray] = state[(SHOWN + 3) * LANES + slot]
    samples[ray] = whole[TAKEN * LANES + slot]


@ti.func
def move_ray(source: int, target: int, state: ti.template(), whole: ti.template(), rows: ti.template()):
    """The ray in slot `source` to slot `target`."""
    for row in range(rows):
        state[row * LANES + target] = state[row * LANES + source]
    for row in range(INTEGERS):
        whole[row * LANES + target] = whole[row * LANES + source]


@ti.func
def find_run(slot: int, march: ti.template(), state: ti.template(), whole: ti.template()):
    """The slot's next run of samples; if there is none the ray is at its end."""
    at, end = whole[AT * LANES + slot], whole[END * LANES + slot]
    i, j = next_run(at, end, state[LATTICE * LANES + slot], state[LEAVE * LANES + slot],
                    slot_vector(state, ORIGIN, slot), slot_vector(state, DIRECTION, slot),
                    slot_vector(state, INVERSE, slot), march)
    whole[AT * LANES + slot] = ti.select(i < 0, end, i)
    whole[BEHIND * LANES + slot] = ti.select(i < 0, end, j)


@ti.func
def go_to_sample(slot: int, pace, state: ti.template(), whole: ti.template()):
    """The slot's sample is the one at its lattice index; the index goes on."""
    at = whole[AT * LANES + slot]
    t, dt = lattice_interval(at, state[LATTICE * LANES + slot], pace)
    state[T * LANES + slot] = t
    state[DT * LANES + slot] = dt
    whole[AT * LANES + slot] = at + 1
    whole[TAKEN * LANES + slot] += 1


@ti.func
def place_points(side: float, state: ti.template()):
    """The samples of all slots in the unit cube: POINT = (o + t d) / side + 1/2."""
    for axis in ti.static(range(3)):
        for slot in range(LANES):
            state[(POINT + axis) * LANES + slot] = (
                (state[(ORIGIN + axis) * LANES + slot]
                 + state[T * LANES + slot] * state[(DIRECTION + axis) * LANES + slot]) / side + 0.5)


@ti.func
def sum_slots(coefficients: ti.template(), state: ti.template(), functions: ti.template(), raw: ti.template()):
    """raw = sum_j k_j Y_j of all slots, of coefficients k [3, B] and the basis Y that is their view."""
    for channel in ti.static(range(3)):
        for slot in range(LANES):
            raw[channel * LANES + slot] = 0.0
        for j in range(functions):
            for slot in range(LANES):
                raw[channel * LANES + slot] += (coefficients[(channel * functions + j) * LANES + slot]
                                                * state[(VIEW + j) * LANES + slot])


@ti.func
def composite_slot(slot: int, log_density: float, raw: ti.template(), limit: float, max_samples: int,
                   state: ti.template(), whole: ti.template()):
    """Add the sample of a slot to its ray, and end the ray where it has become opaque."""
    before = state[THROUGH * LANES + slot]
    passed = state[PASSED * LANES + slot] + density_of(log_density) * state[DT * LANES + slot]
    after = transmittance(passed)
    weight = before - after
    state[PASSED * LANES + slot] = passed
    state[THROUGH * LANES + slot] = after
    for channel in ti.static(range(3)):
        state[(SHOWN + channel) * LANES + slot] += weight * sigmoid(raw[channel * LANES + slot])
    state[(SHOWN + 3) * LANES + slot] += weight * state[T * LANES + slot]
    if passed > limit or whole[TAKEN * LANES + slot] >= max_samples:
        whole[BEHIND * LANES + slot] = 0
        whole[END * LANES + slot] = 0
