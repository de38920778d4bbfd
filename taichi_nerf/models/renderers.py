"""Which of its renderers a model's pictures were made by, in words."""

import statistics
from collections.abc import Mapping

from .views import View

__all__ = ["Renderers", "renderer_words"]

WAYS = {"taichi": "one launch", "torch": "stage by stage"}


def renderer_words(renderer: str, seconds: Mapping[str, float]) -> str:
    """Such as "taichi, one launch (0.12 s a frame; torch 0.31 s)"; `seconds` of a frame by it, and by others."""
    others = "".join(f"; {name} {took:.2g} s" for name, took in seconds.items() if name != renderer)
    return f"{renderer}, {WAYS[renderer]} ({seconds[renderer]:.2g} s a frame{others})"


class Renderers:
    """What rendered some views, and how long a frame took: its `str` says it."""

    def __init__(self):
        self._took: dict[str, list[float]] = {}
        self._tried: dict[str, float] = {}

    def count(self, view: View) -> None:
        """This is one of them; its `renderer` and its `seconds` are asked for alone."""
        self._tried.update(view.seconds)
        self._took.setdefault(view.renderer, []).append(view.seconds[view.renderer])

    def __str__(self) -> str:
        usual = {name: statistics.median_low(took) for name, took in self._took.items()}  # the first one compiles
        return " and ".join(renderer_words(name, {**self._tried, **usual}) for name in usual)
