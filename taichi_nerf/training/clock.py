"""Where a training stands: steps and seconds, the part of the budget that they are, and the seeds of the next step."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from ..types import Seeds, Standing
from .team import ALONE, Team

__all__ = ["Clock"]

RAYS, JITTER, BACKGROUND = PURPOSES = range(3)  # of random numbers


class Clock:
    """Counts the steps of a training and their time.

    The budget is a number of `steps`, of `seconds`, or both, whichever is spent first; none: it is never spent.
    Everything random is a function of (`seed`, step), so that a run that is continued takes the steps it would have
    taken. Of a `team` the time of rank 0 is everybody's, so that all stand at the same point.
    """

    now = staticmethod(time.perf_counter)  # a benchmark on a machine that has more to do counts processor time

    def __init__(self, *, steps: int | None = None, seconds: float | None = None, seed: int = 0, team: Team = ALONE):
        self.budget_steps, self.budget_seconds, self.seed, self.team = steps, seconds, seed, team
        self.steps_done = 0
        self.seconds = 0.0

    @property
    def progress(self) -> float:
        """Spent part of the budget, in [0, 1]; of two bounds the one that is nearer."""
        parts = [0.0]
        if self.budget_steps is not None:
            parts.append(self.steps_done / max(self.budget_steps, 1) if self.budget_steps else 1.0)
        if self.budget_seconds is not None:
            parts.append(self.seconds / self.budget_seconds)
        return min(max(parts), 1.0)

    @property
    def standing(self) -> Standing:
        """Before the next step."""
        seeds = Seeds(*((self.seed * 1_000_003 + self.steps_done * 3 + purpose) % 2**31 for purpose in PURPOSES))
        return Standing(step=self.steps_done, progress=self.progress, seeds=seeds)

    def go_to_end(self) -> None:
        """To where the budget is spent."""
        self.steps_done, self.seconds = self.budget_steps or 0, self.budget_seconds or 0.0

    @contextmanager
    def running(self, counts: bool = True) -> Iterator[None]:
        """Within, time counts, or does not."""
        start = self.now()
        yield
        if counts:
            self.seconds += self.now() - start
            if self.budget_seconds is not None:  # else nothing depends on it
                (self.seconds,) = self.team.agreed(self.seconds)
