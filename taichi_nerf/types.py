"""The nouns that travel whole: rays, and the ragged samples along them.

Sizes: R rays, S samples in all.
"""

from dataclasses import dataclass

import torch

__all__ = ["PackedSamples", "Rays"]


@dataclass(frozen=True)
class Rays:
    """Half-lines origin + t * direction in model space."""

    origins: torch.Tensor
    """[R, 3]"""
    directions: torch.Tensor
    """[R, 3], unit length, so that t is a distance"""

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index) -> "Rays":
        return Rays(self.origins[index], self.directions[index])


@dataclass(frozen=True)
class PackedSamples:
    """Samples of many rays, ragged: ray r has ray_count[r], from ray_start[r] on, in order of t."""

    positions: torch.Tensor
    """[S, 3], origin + t * direction"""
    t: torch.Tensor
    """[S], distance along the ray to the middle of the sample's interval"""
    dt: torch.Tensor
    """[S], length of the interval"""
    ray_index: torch.Tensor
    """[S] int32, the ray of each sample, ascending"""
    ray_start: torch.Tensor
    """[R] int32, a ray's first sample"""
    ray_count: torch.Tensor
    """[R] int32, its number of samples; 0 is possible"""

    def __len__(self) -> int:
        return self.t.shape[0]

    @property
    def ray_total(self) -> int:
        """R"""
        return self.ray_start.shape[0]
