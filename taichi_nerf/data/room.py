"""A bound on the memory of threads that decode images: as many pixels at once, whatever their number."""

import contextlib
import threading
from collections.abc import Iterator

DECODED_AT_ONCE = 2**25  # pixels: with 13 to 20 bytes each on the way, a gibibyte at the most


class Room:
    """Threads that decode wait until what they need beside the others fits; one that needs more than all is alone."""

    def __init__(self, most: int = DECODED_AT_ONCE):
        self.most, self.taken, self.changed = most, 0, threading.Condition()

    @contextlib.contextmanager
    def of(self, pixels: int) -> Iterator[None]:
        """As long as so many pixels are held."""
        with self.changed:
            self.changed.wait_for(lambda: self.taken == 0 or self.taken + pixels <= self.most)
            self.taken += pixels
        try:
            yield
        finally:
            with self.changed:
                self.taken -= pixels
                self.changed.notify_all()
