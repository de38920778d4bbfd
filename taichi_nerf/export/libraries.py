"""Libraries that are wanted for geometry alone: an extra of the package, which an installation may lack."""

import importlib
from types import ModuleType

from ..errors import UserError

__all__ = ["library"]


def library(name: str, what: str) -> ModuleType:
    """The module `name`. Raises UserError, saying how to get it, where `what` wants it and it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise UserError(f"{what} needs {name.split('.')[0]}, which cannot be imported ({missing}): pip install "
                        "'taichi-nerf[geometry]'") from None
