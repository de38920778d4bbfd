"""`taichi-nerf`, and `python -m taichi_nerf`: the command line from the first moment on."""

import os
import signal
import sys


def main() -> int:
    """Run the command of this process's arguments and return its exit code."""
    ours = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else it is ignored, as in the background
    if ours:
        signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # nothing has begun, and an import would be torn
    from .output import open_closed_streams

    open_closed_streams()
    from .cli import main as run
    from .cli.stop import Interruption

    if ours:
        signal.signal(signal.SIGINT, Interruption())  # what a command needs is loaded when it runs
    try:
        code = run()
    except KeyboardInterrupt:  # while it said why it ends
        code = 130
    if ours:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # what is left is to tidy up
    return code


if __name__ == "__main__":
    sys.exit(main())
