"""What a photo shows and the others do not is left out of the loss: people, cars, leaves, shadows that move. Nothing is
learned for it.

Most photos agree on a scene. What only some show is learned last and worst, so that errors give it away (Sabour et al.
2023, RobustNeRF). Of the pixels of a step, drawn as patches of N x N, by default one by one (N is 1, and w1 and w2 are
w0), one counts

    whose error e, the mean of the squares over the channels, is below margin T                    w0
    or in most of whose 3 x 3 neighbourhood, within the patch, it is                               w1: no hair is lost
    or which lies in the inner half of a patch, N/2 x N/2, in which w1 holds of most               w2
    or which is transparent: nothing stands before it
    or which is guarded (`training.guard`): nothing speaks against it
    or around which, in its photo, others do not err so: e' > around (v + 1) in none of the 3 x 3 cells around it
    and any with the probability exp(-max(progress / warm_in, step / 500)): early errors           SpotLessSplats
    say nothing yet

    T <- T exp(rate (q - share of e < T))     the running quantile q of the errors of pixels that are not transparent,
                                              and not as good as exact
    T <- T exp(rate)                          instead, where more than `most` of the pixels do not count

    v, e'   of a cell of a photo, which has C x C: how many of its pixels were drawn, and of how many of these the error
            was margin T or more; both are halved until v is below MEMORY, and 0 at first, when nothing is known of it.
            A pixel of one of several ranks counts for as many as there are ranks, as the mean of theirs is taken

The loss is the mean over those that count; where none would, all do. In RobustNeRF q is 0.8 and the margin 1: a fifth
of the pixels are suspected whether anything moves or not, and where nothing does, what is hardest to learn is lost. A
margin on that quantile lets through what moves, whose own errors it is made of. The median is that of what stands, as
long as most of what is seen does, so that a large margin on it is as large with people as without. Where much is easy,
as black ground or sky, all else errs by far more than usual: `most` bounds what that can cost.

Detail that is hard to learn, as flowers and spokes in a smooth room, errs as much as what passes by. But it lies among
pixels that do not, and what passes by fills a part of its photo. That is what RobustNeRF asks the neighbours in a patch
for; patches make for batches of fewer places, so that cells remember it of the pixels of the steps before.
"""

import copy
import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from taichi_nerf_kernels.random import uniform_forward
from taichi_nerf_kernels.training_step.trimming import EXACT, MEMORY

from .. import runtime
from ..config import TrimConfig
from ..data.scene import Scene
from ..errors import UserError
from ..models.pixels import Pixels
from ..ops.camera import TrainingImages
from ..types import Batch, Seeds, Standing
from .batches import PixelBatches
from .guard import guarded_cells

__all__ = ["EXACT", "Trimming", "agreeing", "patch_for", "trimming_for"]

WARM = 0x51ED270B  # purpose of random numbers, by what differs in their seed
WARM_STEPS = 500  # in which that probability falls to 1/e at the latest
RATE = 0.3  # of the threshold: a threshold that is far too high halves in a dozen steps


def patch_for(scene: Scene, config: TrimConfig) -> int:
    """Side of the squares that pixels are drawn in. Raises UserError where a training image has no room for one."""
    size = scene.splits["train"].cameras.size
    smallest = size[size.min(axis=1).argmin()]
    if smallest.min() < config.patch:
        raise UserError(f"--trim.patch is {config.patch}, and an image of {scene.name} has {smallest[0]} x "
                        f"{smallest[1]} pixels, fewer than such a square: give at most {smallest.min()}")
    return config.patch


def trimming_for(scene: Scene, batches: PixelBatches, config: TrimConfig, ranks: int = 1) -> "Trimming":
    """What trims the `batches` of the training images of `scene`, which are a part of those of so many ranks."""
    guard = torch.from_numpy(guarded_cells(scene, config).astype(np.int32)).to(runtime.current().device)
    return Trimming(config, batches.photos.images, guard, batches.patch, ranks)


class Trimming:
    """Which pixels of a batch count; it remembers the threshold, and where in the photos pixels erred."""

    rate = RATE

    def __init__(self, config: TrimConfig, images: TrainingImages, guard: Tensor, patch: int, ranks: int = 1):
        """`guard` [N, C, C] int32: the cells of N images that always count; pixels come in patches of `patch` x
        `patch`, of each of so many ranks others."""
        self.config, self.images, self.guard, self.patch, self.ranks = config, images, guard, patch, ranks
        self.threshold = torch.zeros(1, device=runtime.current().device)
        """[1] squared error; 0: none is known yet."""
        self.drawn, self.erred = (torch.zeros(guard.shape, device=guard.device) for _ in range(2))
        """[N, C, C]: pixels of each cell, and those of them that erred."""

    def weigh(self, pixels: Pixels, batch: Batch, standing: Standing) -> Batch:
        """`batch` with the weights of what counts, by its pixels as they are rendered."""
        error = (pixels.over(batch.background).detach() - batch.target).square().mean(dim=1)  # [P]
        seen, cells, around = batch.rgba[:, 3] > 0, self._cells(batch), self.config.around
        kept = ~seen | (self.guard[cells] > 0) | self._warm(error, standing)
        limit = self.config.margin * self.threshold.to(error)
        if limit > 0:
            kept = kept | agreeing(error, limit, self.patch)
            if around > 0:
                kept = kept | ~self._err_around(cells)
                self._remember(cells, seen & (error >= limit))
        else:
            kept = torch.ones_like(kept)
        self._follow(error[seen & (error > EXACT)], 1 - kept.to(error).mean())
        if not kept.any():
            kept = torch.ones_like(kept)
        kept = kept.to(error)
        return replace(batch, kept=kept, weight=kept if batch.weight is None else kept * batch.weight)

    @staticmethod
    def seed(seeds: Seeds) -> int:
        """Of its random numbers in a step."""
        return seeds.jitter ^ WARM

    def warm(self, standing: Standing) -> float:
        """Probability of any pixel to count."""
        return math.exp(-max(standing.progress / self.config.warm_in, standing.step / WARM_STEPS))

    @property
    def helpless(self) -> bool:
        """Whether nothing can be left out, as the photos share nothing."""
        return bool((self.guard > 0).all())

    def state(self) -> dict[str, Tensor]:
        """What it remembers, not copied: what a checkpoint has of it."""
        cells = {"drawn": self.drawn, "erred": self.erred} if self.config.around > 0 else {}
        return {"threshold": self.threshold, **cells}

    def onlooker(self) -> "Trimming":
        """One that knows the same; what it sees this one does not learn of."""
        other = copy.copy(self)
        for name, value in self.state().items():
            setattr(other, name, value.clone())
        return other

    def _cells(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """[P] each: of the cells of pixels the image, row and column."""
        image = batch.image_index.long()
        place = self.images.pixel_centres(batch.image_index, batch.pixel_index).long()  # [P, 2] column, row
        cell = (place * self.guard.shape[1]).div(self.images.size[image], rounding_mode="floor")
        return image, cell[:, 1], cell[:, 0]

    def _err_around(self, cells: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """[P] bool: whether in the cell of a pixel, or in one beside it, more than a share of `around` erred."""
        (image, row, column), last = cells, self.guard.shape[1] - 1
        found = torch.zeros_like(image, dtype=torch.bool)
        for i in (-1, 0, 1):
            for j in (-1, 0, 1):
                cell = image, (row + i).clamp(0, last), (column + j).clamp(0, last)
                found |= self.erred[cell] > self.config.around * (self.drawn[cell] + 1)
        return found

    def _remember(self, cells: tuple[Tensor, Tensor, Tensor], errs: Tensor) -> None:
        """Where pixels are, and which of them err [P] bool."""
        errs = self.ranks * errs.to(self.drawn)
        self.drawn.index_put_(cells, torch.full_like(errs, self.ranks), accumulate=True)
        self.erred.index_put_(cells, errs, accumulate=True)
        while (full := self.drawn[cells] >= MEMORY).any():
            forgetful = tuple(index[full] for index in cells)
            for counts in (self.drawn, self.erred):
                counts[forgetful] = (counts[forgetful] / 2).floor()

    def _warm(self, error: Tensor, standing: Standing) -> Tensor:
        """[P]"""
        uniform = torch.empty_like(error)
        uniform_forward(self.seed(standing.seeds), 0, uniform)
        return uniform < self.warm(standing)

    def _follow(self, error: Tensor, left_out: Tensor) -> None:
        """Move the threshold towards the quantile of these, or up, where too much of a step was `left_out`."""
        if not len(error):
            return
        if self.threshold > 0:
            share = (error < self.threshold.to(error)).to(error).mean()
            growth = torch.where(left_out > self.config.most, 1.0, self.config.quantile - share)
            self.threshold *= torch.exp(RATE * growth).to(self.threshold)
        else:
            self.threshold.fill_(float(error.mean()))


def agreeing(error: Tensor, limit: Tensor, side: int) -> Tensor:
    """[P] bool of errors [P] in patches of `side` x `side`: those below `limit` [1], w0, or w1 or w2."""
    low, high = side // 4, side - side // 4
    below = (error < limit).view(-1, 1, side, side).to(error)  # [M, 1, N, N] of M patches
    share = torch.nn.functional.avg_pool2d(below, 3, 1, padding=1, count_include_pad=False)
    smooth = share > 0.5 + 1e-6
    inner = torch.zeros_like(smooth)
    inner[..., low:high, low:high] = smooth.to(error).mean(dim=(2, 3), keepdim=True) > 0.5
    return ((below > 0) | smooth | inner).view(-1)
