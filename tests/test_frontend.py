"""Taichi remembers what it has read, and says of a mistake what it says of it otherwise."""

import pytest

from taichi_nerf import runtime
from taichi_nerf_kernels.engine import ENGINE, ti

pytestmark = pytest.mark.skipif(ENGINE != "taichi", reason="the other compiler is left alone")


@pytest.fixture(autouse=True)
def on_a_cpu():
    runtime.init("cpu")


def looked_for():
    return ti.lang.kernel_impl.getsourcelines.cache_info()


def kernels_with_mistakes():
    """Each in a function that is called twice and in a static loop."""

    @ti.func
    def mistaken(x):
        return x + (a_name_that_is_not_defined_anywhere_and_so_long_that_the_line_of_it_is_wrapped *  # noqa: F821
                    x)

    @ti.func
    def too_much(x):
        for i in ti.static(range(3)):
            if i == 2:
                x.nothing(i)
        return x

    @ti.kernel
    def first(x: float) -> float:
        return mistaken(mistaken(x))

    @ti.kernel
    def second(x: float) -> float:
        return too_much(x) + too_much(x)

    return first, second


def what_taichi_says() -> list[str]:
    said = []
    for kernel in kernels_with_mistakes():
        with pytest.raises(ti.TaichiCompilationError) as refusal:
            kernel(1.0)
        said.append(str(refusal.value))
    return said


def test_a_mistake_is_shown_as_taichi_shows_it(monkeypatch):
    remembered = what_taichi_says()
    kernels, places = ti.lang.kernel_impl, ti.lang.ast.ast_transformer_utils.ASTTransformerContext
    monkeypatch.setattr(places, "get_pos_info", places.get_pos_info.__wrapped__)
    for name in ("getsourcefile", "getsourcelines"):
        monkeypatch.setattr(kernels, name, getattr(kernels, name).__wrapped__)
    assert remembered == what_taichi_says()
    assert all("^^^" in message and __file__ in message for message in remembered)


def test_a_function_is_known_to_stand_in_a_class(monkeypatch):
    def made():
        class Old:
            @ti.func
            def inside(self):
                return 1

        @ti.func
        def outside():
            return 1

        return [Old.inside.func.classfunc, outside.func.classfunc]

    assert made() == [True, False]
    kernels = ti.lang.kernel_impl
    monkeypatch.setattr(kernels, "_inside_class", kernels._inside_class.__wrapped__)
    assert made() == [True, False]


def test_what_has_been_read_is_not_looked_for_again():
    @ti.func
    def twice(x):
        return 2 * x

    @ti.kernel
    def calling(x: float) -> float:
        return twice(twice(x))

    before = looked_for()
    assert calling(1.5) == 6
    after = looked_for()
    assert (after.misses - before.misses, after.hits - before.hits) == (2, 1)
    ti.reset()
    runtime.init("cpu")
    assert calling(1.5) == 6
    assert looked_for().misses == after.misses  # nor in another runtime
