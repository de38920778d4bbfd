"""`python -m taichi_nerf` is `taichi-nerf`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
