"""Arrays as numpy saves them (.npy): real numbers alone, without pickles, never larger than their file."""

import tokenize
import warnings
import zipfile
from pathlib import Path

import numpy as np

from .opening import check_regular

# numpy's reader raises all of these for damaged files.
DAMAGED_ARRAY = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    KeyError,
    OverflowError,
    MemoryError,
    tokenize.TokenError,
    zipfile.BadZipFile,
)


def load_array(path: Path) -> np.ndarray:
    """The array in the file, as float64. Raises one of DAMAGED_ARRAY."""
    check_regular(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        array = np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a header that lies about the size fails
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu":
            raise ValueError("not an array of real numbers")
        return np.array(array, dtype=np.float64)
