"""How far a long task is: a live line on a terminal, else a line now and then. All of it goes to stderr."""

import math
import sys
import time

from .output import Unfailing, is_terminal, say, visible

EVERY_SECONDS = 10.0  # between two lines where there is no terminal
LIVE_SECONDS = 1.0  # after which something of a first view is known


class Progress:
    """A context within which `show` keeps one line up to date, and `note` says something for good."""

    def __init__(self, title: str, *, quiet: bool = False):
        self.title, self.quiet = title, quiet
        self._live, self._task, self._shown = None, None, -EVERY_SECONDS

    def __enter__(self) -> "Progress":
        self._began = time.monotonic()
        if is_terminal(sys.stderr) and not self.quiet:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn
            from rich.progress import Progress as Live

            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(bar_width=20),
                TextColumn("{task.fields[text]}", markup=False),
            )
            self._live = Live(*columns, console=Console(file=Unfailing(sys.stderr)), refresh_per_second=4)
            self._task = self._live.add_task(self.title, total=1.0, text="")
            self._live.start()
        return self

    def __exit__(self, kind, error, trace):
        if self._live is not None:
            self._live.stop()

    def show(self, share: float, text: str):
        """`share` of the task, in [0, 1], is done; `text` says more."""
        now = time.monotonic()
        if self._live is not None:
            self._live.update(self._task, completed=share, text=visible(text))
        elif not self.quiet and (share >= 1 or now - self._shown >= EVERY_SECONDS):
            say(f"{self.title}: {100 * share:.0f} %, {text}")
            self._shown = now

    def left(self, share: float) -> str:
        """How long the rest takes, if it goes on like the `share` that is done, in (0, 1]: words for `show`."""
        spent = time.monotonic() - self._began
        return f"{_clock(spent * (1 - share) / share)} left" if share < 1 else f"{_clock(spent)} in all"

    def restart(self):
        """What follows is another task than what was shown so far: `left` counts anew."""
        self._began = time.monotonic()

    def wait(self, text: str):
        """Something of unknown length goes on: said on a terminal alone."""
        if self._live is not None:
            self._live.update(self._task, total=None, text=visible(text))

    def count(self, done: int, total: int, what: str = "views"):
        """`done` of `total` are done."""
        self.show(done / total, ", ".join([f"{done} of {total} {what}", *([self.left(done / total)] if done else [])]))

    def part(self, done: float, total: int):
        """Of `total` views so many are done, the last one in part, which is said if it takes long; `count` says the end
        of one."""
        if done == int(done) or done >= total:
            return
        if time.monotonic() - self._began >= (LIVE_SECONDS if self._live is not None else EVERY_SECONDS):
            self.show(done / total, f"view {math.ceil(done)} of {total}, {self.left(done / total)}")

    def images(self, done: int, total: int):
        """`done` of `total` images are done."""
        self.count(done, total, "images")

    def decoded(self, done: int, total: int):
        """`done` of `total` images are decoded: where there is no terminal, said if it takes long."""
        if self._live is not None or time.monotonic() - self._began >= EVERY_SECONDS:
            self.images(done, total)

    def frames(self, done: int):
        """`done` frames of a video of unknown length are looked at."""
        self.wait(f"{done} frames")

    def note(self, text: str):
        """Print `text`, which stays."""
        if self._live is not None:
            self._live.console.print(visible(text), highlight=False, markup=False, soft_wrap=True)
        elif not self.quiet:
            say(text)


def _clock(seconds: float) -> str:
    """Such as 1:05."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"
