"""Taichi's reading of kernels, which it does anew in every process, without what it does over and over.

Compiled kernels lie in a cache on disk, but before Taichi looks there it walks through the Python of a kernel and of
all functions in it, once for each of their calls and each turn of their static loops. At each expression it writes what
an error message would say of its place, and at each call it has Python look for the function in its file. Both are
remembered here, and so are the lines at which functions are made, of which it asks whether they stand in a class: a
command starts seconds sooner, with the same kernels and the same messages.
"""

import linecache
import sys
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
        kernels._inside_class = _matching_line(kernels._inside_class, kernels._KERNEL_CLASS_STACKFRAME_STMT_RES)


def _matching_line(inside_class, patterns):
    """`inside_class(level)`: whether the line at which the caller's frame of that level stands has a pattern."""

    @wraps(inside_class)
    def matching_line(level_of_class_stackframe):
        with suppress(ValueError):  # there are not so many frames
            frame = sys._getframe(level_of_class_stackframe)
            line = linecache.getline(frame.f_code.co_filename, frame.f_lineno, frame.f_globals).strip()
            return any(pattern.match(line) for pattern in patterns)
        return False

    return matching_line


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
