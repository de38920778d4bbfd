"""What the steps of a training did."""

from dataclasses import dataclass

import torch

from .team import ALONE, Team

__all__ = ["Tally", "Totals"]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """What the steps of a trainer did so far; sums over all of them."""

    rays: int
    marched: int
    """Samples in occupied cells."""
    samples: int
    """Of those, the visible ones, which were trained on."""
    skipped_steps: int
    """Steps in which no ray met a sample: they changed nothing."""
    overflowed_entries: int
    """Entries of the hash table that were left alone in a step because their gradient overflowed."""
    loss: float
    """Of a step: the mean over rays and channels."""
    squared_error: float
    """Likewise."""
    left_out: float = 0.0
    """Share of the pixels of a step that did not count."""

    def __sub__(self, other: "Totals") -> "Totals":
        return Totals(**{name: value - getattr(other, name) for name, value in vars(self).items()})


class Tally:
    """Adds up what steps did; errors may be tensors on the device, so that no step waits for them. Of several ranks it
    has the counts of all, and the errors of its own."""

    def __init__(self):
        self.rays = self.marched = self.samples = self.skipped_steps = 0
        self.loss = self.squared_error = self.left_out = 0.0

    def add(self, *, rays: int, marched: int, samples: int, skipped: int, loss, squared_error,
            left_out=0.0) -> None:
        """What one step did, or some."""
        self.rays += rays
        self.marched += marched
        self.samples += samples
        self.skipped_steps += skipped
        self.loss = self.loss + loss
        self.squared_error = self.squared_error + squared_error
        self.left_out = self.left_out + left_out

    def totals(self, overflowed_entries: int, team: Team = ALONE) -> Totals:
        """So far, with the mean errors of all ranks of `team`; waits for the device."""
        errors = torch.tensor([float(self.loss), float(self.squared_error), float(self.left_out)], dtype=torch.float64)
        team.average(errors)
        loss, squared_error, left_out = errors.tolist()
        return Totals(rays=self.rays, marched=self.marched, samples=self.samples, skipped_steps=self.skipped_steps,
                      overflowed_entries=overflowed_entries, loss=loss, squared_error=squared_error, left_out=left_out)
