"""Checks and times on the running backend: errors against the reference, seconds, and what the machine can do."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from taichi_nerf_kernels.engine import ti
from taichi_nerf_kernels.launch import kernel

from .. import runtime
from ..timing import best_seconds
from .cases import Case

__all__ = [
    "TOLERANCE",
    "Check",
    "check",
    "exact_copies",
    "launch_overhead",
    "launch_work",
    "limits",
    "reference_work",
    "relative_error",
    "timed_work",
]

TOLERANCE = {torch.float32: 1e-4, torch.float64: 1e-9}
SEED = 7
COPIED_BYTES = 2**26
PRODUCT_SIDE = {"cpu": 1024, "cuda": 4096, "vulkan": 256}


@dataclass(frozen=True, kw_only=True)
class Check:
    """How far a kernel is from the float64 reference, relative to the largest magnitude of each output."""

    errors: dict[str, float]
    """By output (`output 0`) and by gradient (`gradient of table`)."""
    tolerance: float
    seconds: float

    @property
    def passed(self) -> bool:
        return all(error <= self.tolerance for error in self.errors.values())

    @property
    def worst(self) -> tuple[str, float]:
        """Name and size of the largest error; NaN counts as such."""
        return max(self.errors.items(), key=lambda item: (item[1] != item[1], item[1]))


def check(case: Case, items: int | None = None) -> Check:
    """Values and all gradients of `case` on the running backend, with random cotangents on every output."""
    start = time.perf_counter()
    running = runtime.current()
    generator = torch.Generator().manual_seed(SEED)
    inputs = _typed(case.make(case.few if items is None else items, generator), running)
    exact = exact_copies(inputs)
    for name in case.gradients:
        inputs[name].requires_grad_()
        exact[name].requires_grad_()
    wanted = case.reference(**exact)
    found = case.operation(**inputs)
    errors = {f"output {i}": relative_error(a, b) for i, (a, b) in enumerate(zip(found, wanted, strict=True))}
    if case.gradients:
        smooth = [i for i, output in enumerate(wanted) if output.requires_grad]
        cotangents = [torch.randn(wanted[i].shape, generator=generator, dtype=torch.float64) for i in smooth]
        if all(found[i].shape == wanted[i].shape for i in smooth):
            expected = torch.autograd.grad([wanted[i] for i in smooth], [exact[n] for n in case.gradients], cotangents)
            actual = torch.autograd.grad([found[i] for i in smooth], [inputs[n] for n in case.gradients],
                                         [c.to(found[i]) for c, i in zip(cotangents, smooth)])
            errors |= {f"gradient of {name}": relative_error(a, b)
                       for name, a, b in zip(case.gradients, actual, expected)}
    return Check(errors=errors, tolerance=TOLERANCE[running.dtype], seconds=time.perf_counter() - start)


def exact_copies(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same numbers for the reference: in float64, on the CPU."""
    return {name: value.detach().cpu().to(torch.float64 if value.is_floating_point() else value.dtype, copy=True)
            for name, value in inputs.items()}


def relative_error(actual: Tensor, expected: Tensor) -> float:
    """Largest difference over the largest magnitude; infinite for another shape or something that is not finite."""
    actual, expected = actual.detach().cpu().double(), expected.detach().cpu().double()
    if actual.shape != expected.shape or not torch.isfinite(actual).all():
        return float("inf")
    if expected.numel() == 0:
        return 0.0
    return ((actual - expected).abs().max() / expected.abs().max().clamp(min=1e-12)).item()


def timed_work(case: Case) -> tuple[Callable[[], object], Callable[[], object] | None, int, dict[str, Tensor]]:
    """(forward, forward and backward or None, items, inputs) of `case` by the kernels."""
    inputs = _typed(case.make(case.many, torch.Generator().manual_seed(SEED)), runtime.current())
    return *_autograd_work(case.operation, inputs, case), case.many, inputs


def reference_work(case: Case) -> tuple[Callable[[], object], Callable[[], object] | None, int]:
    """The same in plain PyTorch, in the types and on the device of the backend, for as many items as in the check."""
    inputs = _typed(case.make(case.few, torch.Generator().manual_seed(SEED)), runtime.current())
    with runtime.current().device:  # the reference makes its tensors where its inputs are
        return *_autograd_work(case.reference, inputs, case), case.few


def _autograd_work(function, inputs: dict[str, Tensor], case: Case):
    trained = case.gradients if case.trained is None else case.trained

    def forward():
        with torch.no_grad():
            return function(**inputs)

    if case.backward is None:
        return forward, None
    leaves = {name: inputs[name].clone().requires_grad_() for name in trained}
    outputs = [output for output in function(**{**inputs, **leaves}) if output.requires_grad]
    cotangents = [torch.ones_like(output) for output in outputs]

    def both():
        outputs = [output for output in function(**{**inputs, **leaves}) if output.requires_grad]
        return torch.autograd.grad(outputs, list(leaves.values()), cotangents)

    return forward, both


def limits(budget: float) -> dict[str, float]:
    """Bytes/s of a copy (read and written bytes) and operations/s of a matrix product in float32, on the device."""
    side = PRODUCT_SIDE[runtime.current().backend]
    if runtime.current().backend == "vulkan":  # where PyTorch does not reach
        source, target = (ti.ndarray(ti.f32, shape=COPIED_BYTES // 4) for _ in range(2))
        a, b, c = (ti.ndarray(ti.f32, shape=(side, side)) for _ in range(3))
        for array in (source, a, b):
            array.fill(1.0)

        copies = [partial(_copy, source, target, log_run) for log_run in (0, 2, 4)]
        product = partial(_multiply, a, b, c, 4)
    else:
        device = runtime.current().device
        source, target = (torch.ones(COPIED_BYTES // 4, device=device) for _ in range(2))
        a, b, c = (torch.ones(side, side, device=device) for _ in range(3))

        copies = [partial(target.copy_, source)]
        product = partial(torch.mm, a, b, out=c)

    return {
        "copy_bytes_per_second": 2 * COPIED_BYTES / min(best_seconds(copy, budget / len(copies)) for copy in copies),
        "product_operations_per_second": 2 * side**3 / best_seconds(product, budget),
    }


def launch_work(tensors: int, calls: int = 300) -> Callable[[], None]:
    """`calls` launches of a kernel that does nothing, with 1 or 8 tensors."""
    arguments = [torch.zeros(1, device=runtime.current().device) for _ in range(tensors)]
    kernel = {1: _touch_one, 8: _touch_eight}[tensors]

    def work():
        for _ in range(calls):
            kernel(*arguments)

    return work


def launch_overhead(calls: int = 300) -> dict[str, float]:
    """Seconds of a launch that does nothing, with one tensor, and of each further tensor."""
    one, eight = (best_seconds(launch_work(tensors, calls), 0.1) / calls for tensors in (1, 8))
    return {"launch_seconds": one, "tensor_seconds": (eight - one) / 7}


def _typed(inputs: dict[str, Tensor], running: runtime.Runtime) -> dict[str, Tensor]:
    """Copies of `inputs` in the types and on the device of the backend."""
    return {name: value.to(device=running.device, dtype=running.dtype if value.is_floating_point() else value.dtype,
                           copy=True).contiguous() for name, value in inputs.items()}


@kernel
def _copy(source: ti.types.ndarray(ndim=1), target: ti.types.ndarray(ndim=1), log_run: ti.template()):
    """A thread copies 2^log_run neighbours, which divides the length."""
    for thread in range(source.shape[0] >> log_run):
        for i in ti.static(range(1 << log_run)):
            target[(thread << log_run) + i] = source[(thread << log_run) + i]


@kernel
def _multiply(a: ti.types.ndarray(ndim=2), b: ti.types.ndarray(ndim=2), c: ti.types.ndarray(ndim=2),
              block: ti.template()):
    """c = a b, a thread for each block x block of c, which divides the sides."""
    for row, column in ti.ndrange(c.shape[0] // block, c.shape[1] // block):
        total = ti.Matrix.zero(float, block, block)
        for k in range(a.shape[1]):
            left = ti.Vector([a[block * row + i, k] for i in range(block)])
            right = ti.Vector([b[k, block * column + j] for j in range(block)])
            total += left.outer_product(right)
        for i, j in ti.static(ti.ndrange(block, block)):
            c[block * row + i, block * column + j] = total[i, j]


@kernel
def _touch_one(a: ti.types.ndarray(ndim=1)):
    a[0] = 1.0


@kernel
def _touch_eight(a: ti.types.ndarray(ndim=1), b: ti.types.ndarray(ndim=1), c: ti.types.ndarray(ndim=1),
                 d: ti.types.ndarray(ndim=1), e: ti.types.ndarray(ndim=1), f: ti.types.ndarray(ndim=1),
                 g: ti.types.ndarray(ndim=1), h: ti.types.ndarray(ndim=1)):
    a[0] = 1.0
