"""`python -m taichi_nerf.cli` is `taichi-nerf`."""

import sys

from .main import main

if __name__ == "__main__":
    sys.exit(main())
