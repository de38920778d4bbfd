"""Taichi's reading of kernels, which it does anew in every process, without what it does over and over.

Compiled kernels lie in a cache on disk, but before Taichi looks there it walks through the Python of a kernel and of
all functions in it, once for each of their calls and each turn of their static loops. At each expression it writes what
an error message would say of its place, and at each call it has Python look for the function in its file. Both are
remembered here: a command starts seconds sooner, with the same kernels and the same messages.
"""

from contextlib import suppress
from functools import cache, wraps

from taichi_nerf_kernels.engine import ENGINE, ti


def quicken():
    """From now on Taichi remembers; a version that is built otherwise reads as it does. Call it once."""
    if ENGINE != "taichi":
        return
    with suppress(AttributeError):
        kernels, places = ti.lang.kernel_impl, ti.lang.ast.ast_transformer_utils.ASTTransformerContext
        places.get_pos_info = _remembering(places.get_pos_info)
        kernels.getsourcefile, kernels.getsourcelines = cache(kernels.getsourcefile), cache(kernels.getsourcelines)


def _remembering(get_pos_info):
    """`get_pos_info(context, node)`, which tells each place of a function once."""
    told = {}

    @wraps(get_pos_info)
    def remembering(context, node):
        place = (context.func.func, type(node), node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
        text = told.get(place)
        if text is None:
            text = told[place] = get_pos_info(context, node)
        return text

    return remembering
