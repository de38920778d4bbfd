"""Seeds of the random numbers that place samples: one for each of several uses in a step."""

from ..types import Standing

__all__ = ["seed_of"]


def seed_of(standing: Standing | None, purpose: int) -> int | None:
    """For one of several uses of random numbers in a step; None in a picture, which has none."""
    return None if standing is None else (standing.seeds.jitter + purpose * 0x9E3779B1) % 2**31
