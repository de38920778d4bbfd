"""The nouns that travel whole: rays, the ragged samples along them, and what a step is trained on.

Sizes: R rays, S samples in all.
"""

from dataclasses import dataclass

from torch import Tensor

__all__ = ["Batch", "PackedSamples", "Rays"]


@dataclass(frozen=True)
class Rays:
    """Half-lines origin + t * direction in model space."""

    origins: Tensor
    """[R, 3]"""
    directions: Tensor
    """[R, 3], unit length, so that t is a distance"""
    radius: Tensor | None = None
    """[R] of the pixel's cone at distance 1, for models that see cones; else None"""
    image_index: Tensor | None = None
    """[R] int32: the training image whose appearance a ray has; None: that of none"""
    per_pixel: int = 1
    """Rays of a pixel, which follow one another: what is rendered of them is their mean"""

    def __len__(self) -> int:
        return self.origins.shape[0]

    def __getitem__(self, index) -> "Rays":
        """Some of the rays, each a pixel of its own."""
        values = (self.origins, self.directions, self.radius, self.image_index)
        return Rays(*(None if value is None else value[index] for value in values))


@dataclass(frozen=True, kw_only=True)
class Batch:
    """P pixels of the training images, drawn for one step."""

    rays: Rays
    """The rays through them, equally many for each."""
    rgba: Tensor
    """[P, 4] in [0, 1], sRGB and straight alpha."""
    background: Tensor
    """[P, 3]: the colour that prediction and truth are both composited over."""
    image_index: Tensor
    """[P] int32"""
    pixel_index: Tensor
    """[P] int32: into the pixels of all images; `TrainingImages.pixel_centres` gives the place in the image."""
    weight: Tensor | None = None
    """[P]: of each pixel's error in the loss, for example its area; None: all are equal."""

    def __len__(self) -> int:
        return len(self.rgba)

    @property
    def target(self) -> Tensor:
        """[P, 3]: the pixels over the background."""
        alpha = self.rgba[:, 3:]
        return self.rgba[:, :3] * alpha + (1 - alpha) * self.background


@dataclass(frozen=True)
class PackedSamples:
    """Samples of many rays, ragged: ray r has ray_count[r], from ray_start[r] on, in order of t."""

    positions: Tensor
    """[S, 3], origin + t * direction"""
    t: Tensor
    """[S], distance along the ray to the middle of the sample's interval"""
    dt: Tensor
    """[S], length of the interval"""
    ray_index: Tensor
    """[S] int32, the ray of each sample, ascending"""
    ray_start: Tensor
    """[R] int32, a ray's first sample"""
    ray_count: Tensor
    """[R] int32, its number of samples; 0 is possible"""

    def __len__(self) -> int:
        return self.t.shape[0]

    @property
    def ray_total(self) -> int:
        """R"""
        return self.ray_start.shape[0]
