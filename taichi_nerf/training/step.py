"""One step of a training, by autograd: pixels drawn, rendered, compared, differentiated, and the weights moved."""

from collections.abc import Callable, Sequence
from typing import Protocol

from ..models.pixels import Pixels
from ..types import Rays, Standing
from .batches import Batches
from .corrections import Corrections
from .optimisers import Optimisers
from .team import Team
from .terms import Term
from .totals import Tally
from .trimming import Trimming

__all__ = ["AutogradStep", "Step"]


class Step(Protocol):
    """What takes the steps of a trainer. It may keep weights, averages and the state of optimisers where it computes:
    `push` takes them over from the trainer, `pull` brings the trainer's up to date."""

    def take(self, standing: Standing) -> None:
        """One step."""

    def move_average(self) -> Callable[[float], None] | None:
        """What moves the averages that it keeps by a share; None: it keeps none."""

    def add_totals(self) -> None:
        """Let the tally know what the steps did so far; waits for the device."""

    def push(self) -> None:
        """Take over the state of the trainer."""

    def pull(self) -> None:
        """Bring the state of the trainer up to date; waits for the device."""


class AutogradStep:
    """Steps of any model on any terms.

    `render(rays, standing)` gives pixels, `after(standing)` is told of each step. Of the ranks of a team each draws
    pixels of its own; how many samples there were, and with them how many pixels the next step has, is what all had.
    """

    def __init__(self, render: Callable[[Rays, Standing], Pixels], batches: Batches, terms: Sequence[Term],
                 optimisers: Optimisers, corrections: Corrections, tally: Tally, trimming: Trimming | None = None,
                 before: Callable[[Standing], None] = lambda standing: None,
                 after: Callable[[Standing], None] = lambda standing: None):
        self.render, self.batches, self.terms, self.optimisers = render, batches, terms, optimisers
        self.corrections, self.tally, self.before, self.after = corrections, tally, before, after
        self.trimming = trimming

    def take(self, standing: Standing) -> None:
        self.before(standing)
        own = self.team.own(standing)
        batch = self.batches.draw(own)
        pixels = self.corrections.shown(self.render(batch.rays, own), batch.image_index)
        if self.trimming is not None:
            batch = self.trimming.weigh(pixels, batch, own)
            self.team.average(*self.trimming.state().values())
        loss = sum(value for term in self.terms for value in term.losses(pixels, batch, own).values())
        rays, marched, visible = self.team.summed(len(batch.rays), pixels.marched, pixels.visible)
        if visible > 0:
            loss.backward()
            self.optimisers.step(standing)
        self.after(standing)
        self.batches.adapt(rays, marched, visible)
        squared_error = (pixels.over(batch.background).detach() - batch.target).square().mean()
        self.tally.add(rays=rays, marched=marched, samples=visible, skipped=int(visible == 0), loss=loss.detach(),
                       squared_error=squared_error, left_out=0.0 if batch.kept is None else 1 - batch.kept.mean())

    @property
    def team(self) -> Team:
        """Whose optimisers these are."""
        return self.optimisers.team

    def move_average(self) -> None:
        """The weights are the model's, and the averages those of the trainer."""

    def add_totals(self) -> None:
        """The tally knows already."""

    def push(self) -> None:
        """There is nothing that is kept elsewhere."""

    def pull(self) -> None:
        """There is nothing that is kept elsewhere."""
