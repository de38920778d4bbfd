"""Where rays meet a mesh of triangles: a hierarchy of boxes, built on the host, and walked without a stack.

    o, d            origin and direction of a ray, of any length; t counts in that length
    v_0, v_1, v_2   corners of a triangle; b_0, b_1, b_2 barycentric coordinates, which sum to 1
    n               (v_1 - v_0) x (v_2 - v_0)
    hit             o + t d = b_0 v_0 + b_1 v_1 + b_2 v_2 with all b >= 0 and near <= t < limit; either side counts
    node k          of the hierarchy, from 1: its halves are 2 k and 2 k + 1, its parent k >> 1, its sibling k ^ 1

The distance is that of a plane, t = (v_0 - o).n / d.n, whence

    dt/do = -n / d.n,   dt/dd = -t n / d.n,   dt/dv_i = b_i n / d.n

The tree is complete (`tree`): a node is its number, and the way back up needs no stack but one bit a level, whether the
sibling is still to come (Afra and Szirmay-Kalos 2014). The test of a triangle (`walk`) shears it into the frame of the
ray, where neighbours compute the same for the edge that they share: no ray slips through between them (Woop, Benthin
and Wald 2013). Which triangle was hit, and where in it, is not differentiated, nor is the outline of the mesh.

One task per ray.
"""

from .tree import LEAF, MeshTree, mesh_tree
from .walk import FAR, MISS, ray_mesh_backward, ray_mesh_forward

__all__ = ["FAR", "LEAF", "MISS", "MeshTree", "mesh_tree", "ray_mesh_backward", "ray_mesh_forward"]
