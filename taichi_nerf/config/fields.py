"""The fields, with a hash grid or a positional encoding, and the proposals of mip-NeRF 360."""

import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

from .hash_grid import HashGridConfig
from .settings import LARGEST, require, within

Encoding = Literal["positional", "hash"]
Widths = Literal["off", "level", "six"]
WIDEST, DEEPEST = 8192, 64  # of a network: the weights of a layer then take 256 MiB
HIGHEST = 4  # degree of the colour's harmonics: 25 numbers a channel


@dataclass(frozen=True, kw_only=True)
class FieldConfig:
    """Instant-NGP's field: hash grid -> density network -> colour network with the viewing direction."""

    encoding: ClassVar[Encoding] = "hash"
    hash_grid: HashGridConfig = dataclasses.field(default_factory=HashGridConfig)
    geometry_features: int = 16
    """Outputs of the density network; the first is the logarithm of the density, all feed the colour network."""
    density_width: int = 64
    """Width of the density network's hidden layer."""
    colour_width: int = 64
    """Width of the colour network's hidden layers."""
    colour_layers: int = 1
    """Hidden layers of the colour network."""
    direction_degree: int = 4
    """Degree of the spherical harmonics of the viewing direction, 1 to 5; degree d gives d^2 inputs."""
    harmonics: int | None = None
    """Colour in spherical harmonics up to this degree, 0 to 4, which an octree can be made of (NeRF-SH): the colour
    network sees no direction, but gives (degree + 1)^2 numbers for each channel. 2 or 3 is enough for most objects.
    None: the colour network sees the direction."""

    def __post_init__(self):
        within(self, 0, HIGHEST, "harmonics")
        within(self, 1, WIDEST, "geometry_features", "density_width", "colour_width")
        within(self, 0, 8, "colour_layers")
        within(self, 1, 5, "direction_degree")

    def settled(self, pixels: float) -> "FieldConfig":
        """The same with a finest level of its grid, for images with so many `pixels` across a side of 1."""
        return dataclasses.replace(self, hash_grid=self.hash_grid.settled(pixels))


@dataclass(frozen=True, kw_only=True)
class PositionalFieldConfig:
    """NeRF's field: a deep network behind sines and cosines of the position, and of the viewing direction."""

    encoding: ClassVar[Encoding] = "positional"
    levels: int = 10
    """Frequencies of a coordinate, from 1 in powers of two; 0: the coordinates themselves."""
    direction_levels: int = 4
    """Frequencies of the viewing direction."""
    view_dependent: bool = True
    """Whether the colour depends on the viewing direction."""
    harmonics: int | None = None
    """Colour in spherical harmonics up to this degree, 0 to 4, which an octree can be made of (NeRF-SH): the network
    sees no direction, but gives (degree + 1)^2 numbers for each channel. 2 or 3 is enough for most objects. None: the
    colour network sees the direction."""
    width: int = 256
    """Width of the hidden layers."""
    depth: int = 8
    """Hidden layers."""
    skip: int = 4
    """Hidden layer, counted from 0, after which the encoded position enters once more."""
    bottleneck: int = 256
    """Features that the colour network has of the point."""
    view_width: int = 128
    """Width of the colour network's hidden layer."""

    def __post_init__(self):
        within(self, 0, 16, "levels", "direction_levels")
        within(self, 0, HIGHEST, "harmonics")
        require(self.view_dependent or not self.harmonics,
                "harmonics above 0 depend on the viewing direction: use harmonics 0 with no-view-dependent")
        within(self, 1, WIDEST, "width", "bottleneck", "view_width")
        within(self, 1, DEEPEST, "depth")
        within(self, 0, LARGEST, "skip")

    def settled(self, pixels: float) -> "PositionalFieldConfig":
        """The same: its frequencies are always given."""
        return self


@dataclass(frozen=True, kw_only=True)
class PositionalProposalConfig:
    """The proposal network of mip-NeRF 360: density alone, behind the encoding of the field."""

    width: int = 256
    """Width of the hidden layers."""
    depth: int = 4
    """Hidden layers."""

    def __post_init__(self):
        within(self, 1, WIDEST, "width")
        within(self, 1, DEEPEST, "depth")


@dataclass(frozen=True, kw_only=True)
class HashProposalConfig:
    """A small hash grid and network for a proposal: density alone."""

    hash_grid: HashGridConfig = dataclasses.field(
        default_factory=lambda: HashGridConfig(levels=5, features=2, log2_entries=16, max_resolution=64))
    width: int = 16
    """Width of the hidden layer."""

    def __post_init__(self):
        within(self, 1, WIDEST, "width")


HASH_FIELD = FieldConfig()
LARGE_HASH_FIELD = FieldConfig(
    hash_grid=HashGridConfig(levels=16, features=2, log2_entries=19), colour_layers=2)
