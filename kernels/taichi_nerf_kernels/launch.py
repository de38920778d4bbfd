"""Kernels that are cheap to call: `kernel` stands for `ti.kernel`.

Taichi looks at every argument anew at every call: 30 microseconds, and 13 more for each array, which is most of a
training step on a GPU. What a kernel was compiled for depends on the types of its arguments and on its templates alone;
for those that a kernel has met before, its code is launched at once, with the addresses and numbers of this call. All
that is unusual goes through Taichi as ever: a first call, an argument that it refuses or converts, the debug mode.
"""

import functools

import numpy as np

from .engine import ENGINE, configuration, is_running, ti

__all__ = ["kernel"]

LARGEST = 2**31 - 1  # elements of an array that an index of 32 bits reaches
_INTEGERS, _REALS = (ti.i8, ti.i16, ti.i32, ti.i64), (ti.f16, ti.f32, ti.f64)
_ARRAY, _INTEGER, _REAL, _TEMPLATE, _OTHER = range(5)


def kernel(function):
    """`ti.kernel`, whose calls after the first cost a fraction. As there, a function in a class is not one for it."""
    compiled = ti.kernel(function)
    return _Launcher(compiled) if ENGINE == "taichi" else compiled


class _Unusual(Exception):
    """An argument that Taichi is to look at."""


class _Launcher:
    """A kernel, and the code it was compiled to for each kind of arguments."""

    def __init__(self, compiled):
        functools.update_wrapper(self, compiled)
        self._compiled, self._parameters = compiled, ()
        self._running, self._known, self._plain = None, {}, False

    def __call__(self, *arguments):
        running = ti.lang.impl.get_runtime()
        if self._running is not running:  # after another `ti.init` no code is left
            self._running, self._known = running, {}
            self._plain = is_running() and not configuration().debug
            self._on_cuda = is_running() and configuration().arch == ti.cuda
            self._parameters = [_kind(argument.annotation) for argument in self._primal.arguments]
        if not self._plain or running.target_tape or running.fwd_mode_manager:
            return self._compiled(*arguments)
        try:
            key = self._key(arguments)
        except _Unusual:
            return self._compiled(*arguments)
        code = self._known.get(key)
        if code is None:
            result = self._compiled(*arguments)
            self._remember(key, arguments)
            return result
        self._launch(code, arguments)

    def _key(self, arguments):
        """What the code depends on: types and numbers of axes of arrays, and the templates."""
        if len(arguments) != len(self._parameters):
            raise _Unusual
        key = []
        for (kind, element_axes), value in zip(self._parameters, arguments):
            if kind == _ARRAY:
                key += _array_key(value, self._on_cuda)
                if element_axes and not isinstance(value, ti.Ndarray):  # whose type has them
                    key.append(tuple(value.shape[-element_axes:]))
            elif kind == _TEMPLATE:
                key.append(value)
            elif kind == _INTEGER:
                if type(value) is not int:
                    raise _Unusual
            elif kind != _REAL or type(value) not in (float, int):
                raise _Unusual
        try:
            hash(key := tuple(key))
        except TypeError:
            raise _Unusual from None
        return key

    def _remember(self, key, arguments):
        primal = self._primal
        if primal.return_type is not None or primal.has_print:
            return
        made = primal.compiled_kernels[primal.ensure_compiled(*arguments)]
        program = self._running.prog
        self._known[key] = made, program.compile_kernel(program.config(), program.get_device_caps(), made)

    def _launch(self, code, arguments):
        made, binary = code
        context = made.make_launch_context()
        slot = 0
        for (kind, element_axes), value in zip(self._parameters, arguments):
            if kind == _TEMPLATE:
                continue
            place = (slot,)
            slot += 1
            if kind == _INTEGER:
                context.set_arg_int(place, value)
            elif kind == _REAL:
                context.set_arg_float(place, float(value))
            elif isinstance(value, ti.Ndarray):
                context.set_arg_ndarray(place, value.arr)
            else:
                shape = value.shape[: len(value.shape) - element_axes] if element_axes else value.shape
                address = value.ctypes.data if isinstance(value, np.ndarray) else value.data_ptr()
                context.set_arg_external_array_with_shape(place, address, value.nbytes, shape, 0)
        self._running.prog.launch_kernel(binary, context)


def _kind(annotation) -> tuple[int, int]:
    """What a parameter is, and how many axes an element of an array has."""
    if isinstance(annotation, ti.template):
        return _TEMPLATE, 0
    if isinstance(annotation, ti.types.ndarray):
        return _ARRAY, getattr(annotation.dtype, "ndim", 0)
    if annotation is int or annotation in _INTEGERS:
        return _INTEGER, 0
    if annotation is float or annotation in _REALS:
        return _REAL, 0
    return _OTHER, 0


def _array_key(value, on_cuda: bool) -> tuple:
    """The type of an array's elements and its number of axes."""
    if isinstance(value, ti.Ndarray):
        if value.grad is not None:
            raise _Unusual
        return value.element_type, len(value.shape)
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous or value.size > LARGEST:
            raise _Unusual
        return value.dtype, value.ndim
    if not hasattr(value, "data_ptr"):
        raise _Unusual
    # a tensor of PyTorch
    if value.requires_grad or not value.is_contiguous() or value.numel() > LARGEST:
        raise _Unusual
    if value.is_cuda and not on_cuda:
        raise _Unusual
    return value.dtype, value.dim()
