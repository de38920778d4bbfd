"""Rays through a trained field to pixels in few launches: march, encode, both networks, composite. No gradients.

    ray          o, d; its samples are those of `ray_marching` without jitter, from the front
    x            position of a sample, in [-side / 2, side / 2]^3; x / side + 1/2 goes into the hash grid
    spread       width of what the ray sees at distance 1, spread t at the sample; for fields that see widths
    g            W_density(features of x) [G]; density = exp(min(g_0, 80)) per model unit
    colour       sigmoid(W_colour(g, spherical harmonics of d)), sRGB; or sigmoid(sum_j k_j Y_j(d)) of coefficients k =
                 W_colour(g) [3, B], for fields whose colour is in spherical harmonics Y
    T, w         transmittance in front of a sample, and its weight, as in `volume_rendering`

A ray ends in front of the first sample with T < early_stop, and nothing behind is evaluated. Colour is sum w c over
black, opacity sum w, depth sum w t.

On a CPU a task has CHUNK rays, LANES of them under way, each in a slot. Again and again every slot goes to its next
sample, and these samples are encoded and evaluated together. A ray that has ended leaves its slot to the next one, so
that all lanes are at work although rays have from none to hundreds of samples. On a GPU a thread has a ray, for a
number of samples that doubles from pass to pass; the rays that are then still under way are packed together, so that
threads side by side have work (Mueller et al. 2022, Instant Neural Graphics Primitives, appendix E.2).
"""

from .by_ray import FIRST_PASS, encode_point, vector3
from .by_slot import CHUNK, encode_lanes, network_slots
from .field import PIECE, TILE, TaichiField, tile_order
from .networks import LARGEST_EXPONENT, density_of, sigmoid
from .render import render_rays, render_scratch, summarise_bits
from .settings import UNBOUNDED, FieldSettings
from .slots import composite_slot, go_to_sample, put_down_ray, slot_vector, take_ray

__all__ = [
    "CHUNK",
    "FIRST_PASS",
    "LARGEST_EXPONENT",
    "PIECE",
    "TILE",
    "UNBOUNDED",
    "FieldSettings",
    "TaichiField",
    "composite_slot",
    "density_of",
    "encode_lanes",
    "encode_point",
    "go_to_sample",
    "network_slots",
    "put_down_ray",
    "render_rays",
    "render_scratch",
    "sigmoid",
    "slot_vector",
    "summarise_bits",
    "take_ray",
    "tile_order",
    "vector3",
]
