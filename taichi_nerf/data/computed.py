"""Which built-in scenes there are: known before any of them is computed, which needs PyTorch (`builtin`)."""

from ..errors import UserError

__all__ = ["BUILTIN_NAMES", "check_builtin"]

BUILTIN_NAMES = ("still-life", "satin", "crowd", "moving", "moving-rig", "open-field", "street", "street-1", "street-2",
                 "street-8", "street-16")


def check_builtin(name: str) -> None:
    """Raises UserError where there is no built-in scene of that name."""
    if name not in BUILTIN_NAMES:
        raise UserError(f"there is no built-in scene '{name}'; there are {', '.join(BUILTIN_NAMES)}")
