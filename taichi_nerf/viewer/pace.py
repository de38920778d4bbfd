"""How large the next picture is, and when it is due.

A camera moves until it has stood still for REST seconds; so does one whose time moves. While it moves it gets pictures
so small that one takes MOVING_SECONDS, of low quality; when it rests each picture has GROWTH times the pixels of the
one before, up to all of the window, and then, where that is finer, the same with several rays for each pixel. A move
breaks off what grows; a picture of a moving camera is shown although the camera has moved on, lest nothing be shown as
long as somebody turns it.

Times are seconds of one clock that never goes back.
"""

import math
from dataclasses import dataclass

from ..models.growing import FIRST, GROWTH, next_size
from .look import Look

__all__ = ["Order", "Speed", "Watcher"]

REST = 0.2
MOVING_SECONDS = 0.08
TOO_LONG = 4  # times as long as it should take, and it is broken off by the next move after all
LEAST_PIXELS = 32 * 32
MOVING_QUALITY, GROWING_QUALITY, FULL_QUALITY = 40, 75, 90  # of JPEG


class Speed:
    """Pixels a second, as the last pictures had them."""

    def __init__(self):
        self.pixels_per_second: float | None = None

    def learn(self, pixels: int, seconds: float) -> None:
        """A picture of so many pixels took so long."""
        found = pixels / max(seconds, 1e-6)
        before = self.pixels_per_second
        self.pixels_per_second = found if before is None else math.sqrt(before * found)

    def pixels(self, seconds: float) -> float:
        """Of a picture that takes so long."""
        if self.pixels_per_second is None:
            return FIRST
        return max(LEAST_PIXELS, self.pixels_per_second * seconds)


@dataclass(frozen=True, kw_only=True)
class Order:
    """One picture for one watcher."""

    look: Look
    size: tuple[int, int]
    quality: int
    """Of its JPEG."""
    passing: bool
    """Whether the camera moves."""
    full: bool
    """Whether it has all the pixels that are wanted."""
    supersample: bool = False
    """Whether its pixels may have several rays each: it is the last one then."""
    move: int
    """The number of the move that it shows."""

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


class Watcher:
    """One camera: what it has been shown, and what it gets next."""

    def __init__(self, max_side: int):
        """`max_side`: the longer side of a picture at most, in pixels."""
        self.max_side = max_side
        self.look: Look | None = None
        self.moves = 0
        self._moved = -math.inf  # when
        self._shown = 0  # pixels of the largest picture of this move
        self._whole = False  # and whether it is the largest there will be
        self._finer = False  # and whether one with more rays is to follow it
        self._stale = False  # it shows what is no longer so

    def go(self, look: Look, now: float) -> None:
        """The camera is there now."""
        if look != self.look:
            self.look, self._moved = look, now
            self._begin()

    def shown_anew(self) -> None:
        """What is shown is to look different from now on: at once, and without a move."""
        self._begin()

    def outdated(self) -> None:
        """What is shown has changed: the next picture replaces the last one when it is whole."""
        self._stale = True

    def moving(self, now: float) -> bool:
        return now - self._moved < REST

    def next(self, now: float, speed: Speed) -> Order | None:
        """The picture that is due; None: there is none."""
        if self.look is None:
            return None
        if self.moving(now) or self._shown == 0:
            return None if self._shown else self._order(speed.pixels(MOVING_SECONDS), passing=self.moving(now))
        if self._whole:
            return self._order(math.inf, passing=False, supersample=not self._stale) if self._unfinished else None
        wanted = max(GROWTH * self._shown, speed.pixels(MOVING_SECONDS))
        return self._order(wanted, passing=False)

    def wakes_in(self, now: float) -> float | None:
        """Seconds until a picture is due without a further move; None: none will be."""
        if self.look is None or (self._whole and not self._unfinished):
            return None
        return max(0.0, self._moved + REST - now) if self._shown else 0.0

    def unwanted(self, order: Order, took: float) -> bool:
        """Whether a picture that has taken so long is to be broken off."""
        return order.move != self.moves and not (order.passing and took < TOO_LONG * MOVING_SECONDS)

    def done(self, order: Order, finer: bool = False) -> None:
        """It was shown; `finer`: one that may have several rays for each pixel differs from it."""
        if order.move == self.moves:
            self._shown, self._whole, self._stale = order.pixels, order.full and not order.passing, False
            self._finer = finer and self._whole and not order.supersample

    @property
    def _unfinished(self) -> bool:
        """Whether the largest picture is to be followed by another."""
        return self._stale or self._finer

    def _begin(self) -> None:
        """Nothing of this move has been shown."""
        self.moves += 1
        self._shown, self._whole, self._finer, self._stale = 0, False, False, False

    def _order(self, pixels: float, *, passing: bool, supersample: bool = False) -> Order:
        size, full = next_size(pixels, self._most_pixels(), self.look.aspect)
        quality = MOVING_QUALITY if passing else FULL_QUALITY if full else GROWING_QUALITY
        return Order(look=self.look, size=size, quality=quality, passing=passing, full=full, supersample=supersample,
                     move=self.moves)

    def _most_pixels(self) -> float:
        """Of the window, or of as much as is allowed."""
        width, height = self.look.window
        return width * height * min(1.0, self.max_side / max(width, height)) ** 2
