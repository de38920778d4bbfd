"""What is said of the regions of a model."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..config import ModelConfig
    from ..data.scene import Scene


def region_words(config: "ModelConfig", scene: "Scene") -> str:
    """How many regions there are, and what each has of the points of the scene and of the rays of its photos."""
    import numpy as np

    from ..data.regions import shares_of
    from ..models.regions import shares_of_rays

    boxes = np.array(config.corners, np.float32)
    words = f"{len(boxes)} regions"
    if scene.points is not None and len(scene.points):
        words += f", with {_percent(shares_of(boxes, scene.to_model(scene.points.position)))} of the points"
    if "train" in scene.splits:
        met = shares_of_rays(boxes, scene.model_cameras("train"))
        words += f"; of the rays of the photos {_percent(met)} meet them"
    return words


def _percent(shares: Iterable[float]) -> str:
    """Such as "50, 49 and 1 %"."""
    *first, last = [f"{100 * share:.0f}" for share in shares]
    return f"{', '.join(first)} and {last} %" if first else f"{last} %"
