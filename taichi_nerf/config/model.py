"""What the settings of every system have in common."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated, Literal

from tyro.conf import Suppress

from .fields import Encoding

RaysPerPixel = Literal[1, 4, 9, 16]
LONGEST_CODE = 1024  # of the appearance of an image: further inputs of a network


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The settings of a model. Every system derives its own, whose `kind` names it in files and on the command line.

    A system that is not of this package derives them, too, and is made known by `config.register`.
    """

    kind: Annotated[str, Suppress] = dataclasses.field(default="", init=False)

    @property
    def encoding(self) -> Encoding | None:
        """What represents space; none: the system has no choice of it."""
        return None

    @property
    def parts(self) -> int:
        """How many parts it has that ranks can share, each with some of them (`models.model.Model.share`)."""
        return 1

    def settled(self, pixels: float, scales: bool = False) -> "ModelConfig":
        """The same with a value for what was left open, for images with so many `pixels` across a side of 1 of the
        space in which the model works; `scales`: whether they are of several scales."""
        return self
