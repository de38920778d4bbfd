"""Adam and its schedule."""

from dataclasses import dataclass

from .settings import require


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
        require(self.learning_rate > 0 and self.network_learning_rate > 0, "learning rates must be positive")
        require(0 < self.final_fraction <= 1, f"final-fraction must be in (0, 1], got {self.final_fraction}")
        require(0 <= self.decay_start < 1, f"decay-start must be in [0, 1), got {self.decay_start}")
        require(self.warmup_steps >= 0, f"warmup-steps must not be negative, got {self.warmup_steps}")
        require(0 <= self.beta2 < 1, f"beta2 must be in [0, 1), got {self.beta2}")
        require(self.epsilon > 0, f"epsilon must be positive, got {self.epsilon}")
        require(self.clip_norm is None or self.clip_norm > 0, f"clip-norm must be positive, got {self.clip_norm}")
        require(0 <= self.average_decay < 1, f"average-decay must be in [0, 1), got {self.average_decay}")
        require(self.average_every >= 1, f"average-every must be at least 1, got {self.average_every}")
        require(self.weight_decay >= 0, f"weight-decay must not be negative, got {self.weight_decay}")
