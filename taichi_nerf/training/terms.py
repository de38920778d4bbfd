"""What the loss of a step is made of, besides what the model itself says."""

from typing import Protocol

from torch import Tensor

from ..losses import squared_error
from ..models.pixels import Pixels
from ..types import Batch, Standing

__all__ = ["SquaredError", "Term"]


class Term(Protocol):
    """Terms of a loss, with data and schedules of their own. A model is one."""

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        """Scalars by name, of the pixels [P] that were rendered for `batch`; the loss of a step is their sum."""


class SquaredError:
    """Of the picture alone."""

    def losses(self, pixels: Pixels, batch: Batch, standing: Standing) -> dict[str, Tensor]:
        return {"colour": squared_error(pixels.over(batch.background), batch.target, batch.weight)}
