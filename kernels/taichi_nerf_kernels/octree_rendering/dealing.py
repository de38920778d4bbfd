"""Which ray is whose turn."""

from ..engine import dealt, dealt_places, on_cpu, ti

HAND = 64  # rays, which are a tile of a picture


@ti.func
def places_of(rays: int):
    """Places of a loop over rays. Rays take unlike long: on a CPU they are dealt to the threads, a HAND at a time."""
    places = rays
    if ti.static(on_cpu()):
        places = dealt_places((rays + HAND - 1) // HAND) * HAND
    return places


@ti.func
def ray_at(place: int, rays: int):
    """The ray at a place, or a number beyond."""
    ray = place
    if ti.static(on_cpu()):
        ray = dealt(place // HAND, (rays + HAND - 1) // HAND) * HAND + place % HAND
    return ray
