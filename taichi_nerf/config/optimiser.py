"""Adam and its schedule."""

from dataclasses import dataclass

from .settings import LARGEST, MANY, above, require, within


@dataclass(frozen=True, kw_only=True)
class OptimiserConfig:
    """Adam, its learning rate over the run, and the average of the weights that is kept for rendering."""

    learning_rate: float = 2e-2
    """Of hash tables, at the start."""
    network_learning_rate: float = 1e-2
    """Of the networks, at the start."""
    final_fraction: float = 0.1
    """The learning rate ends at this fraction of its start."""
    decay_start: float = 0.3
    """Fraction of the run after which the learning rate falls, exponentially."""
    warmup_steps: int = 0
    """Steps in which the learning rate rises from a hundredth."""
    beta2: float = 0.99
    """Decay of Adam's mean of squared gradients."""
    epsilon: float = 1e-15
    """Added to the root of Adam's mean of squared gradients."""
    clip_norm: float | None = None
    """Largest norm of the gradient of a network; none: it is not clipped."""
    weight_decay: float = 1e-6
    """L2 regularisation of the networks; hash tables have none."""
    average_decay: float = 0.9
    """Weights are averaged exponentially with this factor; 0 turns it off."""
    average_every: int = 16
    """Steps between two updates of the average."""

    def __post_init__(self):
        above(self, 0, MANY, "learning_rate", "network_learning_rate", "epsilon", "clip_norm")
        above(self, 0, 1, "final_fraction")
        require(0 <= self.decay_start < 1, f"decay-start must be in [0, 1), got {self.decay_start}")
        within(self, 0, LARGEST, "warmup_steps")
        require(0 <= self.beta2 < 1, f"beta2 must be in [0, 1), got {self.beta2}")
        require(0 <= self.average_decay < 1, f"average-decay must be in [0, 1), got {self.average_decay}")
        within(self, 1, LARGEST, "average_every")
        within(self, 0, MANY, "weight_decay")
