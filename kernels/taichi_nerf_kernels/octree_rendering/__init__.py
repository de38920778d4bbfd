"""Rays through an octree whose leaves have one density and one set of harmonics each: exact, leaf after leaf.

    tree, q, cell, level    as in `octree`; o, d and the points of a ray in cells of the finest level, in [0, CELLS)
    t                       distance along the ray in the world, whose directions are unit vectors
    frame                   p = offset + scale x of a world point x, both [3], scale above 0
    sigma                   density [8 n] of the cells per unit of world length; at or below `skip` a leaf is empty
    k                       coefficients [8 n, 3 B] of the cells, those of red, of green, of blue
    [t_i, t_{i+1}]          the stretch of the ray in its i-th leaf, between its faces
    tau_i                   sigma_i (t_{i+1} - t_i)
    T_i, w_i                exp(-sum of tau_j over j < i), T_i - T_{i+1}
    c_i                     sigmoid(sum over b of k_b Y_b(d)) of each channel

Colour is sum w c over black, opacity sum w, depth sum w (t_i + t_{i+1}) / 2. A ray ends behind the leaf in which T
falls below `early_stop`.

A ray leaves a leaf through the face that it reaches first, and the integer point q of the next leaf has on that axis
the number beyond the face: nothing is stepped over, and every leaf but those of no length is met once. From one leaf to
the next the way leads up to the node that both are in, and down again, which is two steps on an average. The adjoint
walks the same way, and subtracts what it passes from the sum that the forward pass came to: that leaves what is behind.

A picture needs no gradients: `picture` has the tree in an order in which empty space is left behind in leaps.

Where all of space is contracted into the tree (`pieces`), a ray is straight piece by piece: it walks along one after
the other, and t is that of the world all the same.

One task per ray. Yu et al. 2021 (PlenOctrees).
"""

from .beam import TOGETHER
from .picture import mark_blocks, nearest_along, trace_picture
from .pieces import FARTHEST
from .trace import leaf_weights, trace_backward, trace_forward
from .walk import Frame

__all__ = ["FARTHEST", "TOGETHER", "Frame", "leaf_weights", "mark_blocks", "nearest_along", "trace_backward",
           "trace_forward", "trace_picture"]
