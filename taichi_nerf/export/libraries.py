"""Libraries that are wanted for geometry alone: most are an extra of the package, which an installation may lack."""

import importlib
from types import ModuleType

from ..errors import UserError
from .vdb import VDB_NAMES

__all__ = ["library", "openvdb"]


def library(name: str, what: str) -> ModuleType:
    """The module `name`. Raises UserError, saying how to get it, where `what` wants it and it is missing."""
    try:
        return importlib.import_module(name)
    except ImportError as missing:
        raise UserError(f"{what} needs {name.split('.')[0]}, which cannot be imported ({missing}): pip install "
                        "'taichi-nerf[geometry]'") from None


def openvdb() -> ModuleType:
    """The module of OpenVDB, which no index of packages has. Raises UserError, saying how to get it."""
    for name in VDB_NAMES:
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    raise UserError("a .vdb file needs the Python module of OpenVDB, which pip cannot install: take that of the system "
                    "(Debian and Ubuntu: python3-openvdb, conda-forge: openvdb); .npz files need none")
