"""Who looks, whose turn it is, and what a move breaks off.

The threads of the web server say who looks at what (`enter`, `go`, `leave`, ..); one thread renders (`serve`), and owns
the kernels as long.
"""

import math
import threading
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

from ..data.scene import Scene
from ..models.views import BrokenOff
from .door import Door, Picture
from .look import Look, Shown
from .pace import Order, Speed, Watcher

__all__ = ["Studio"]

WARM_UP = (96, 96)  # pixels of the pictures before the first
FIRST, GROWING, LAST = range(3)  # ranks of pictures
Deliver = Callable[[Picture, Order], object]


@dataclass
class _Seat:
    """Somebody who looks."""

    watcher: Watcher
    deliver: Deliver
    served: float = field(default=0.0)
    """When it got its last picture."""


class Studio:
    """Pictures for all who look.

    `moments` is the clock; `idle` has what may be done when nobody waits: a call of it does a little, and says whether
    it did anything. `changing` says whether the model is about to be another: pictures with more rays than photos had,
    which may take minutes, do not keep that waiting.
    """

    def __init__(self, door: Door, shown: Shown, *, max_side: int, moments: Callable[[], float] = time.monotonic,
                 idle: Callable[[], bool] = lambda: False, changing: Callable[[], bool] = lambda: False):
        self.door, self.shown, self.moments, self.idle, self.changing = door, shown, moments, idle, changing
        self.max_side = max_side
        self._changed = threading.Condition()
        self._seats: dict[Hashable, _Seat] = {}
        self._speeds: dict[bool, Speed] = {False: Speed(), True: Speed()}  # of pictures without and with normals
        self._attended = False  # whether somebody looks; read between two steps of a training

    @property
    def attended(self) -> bool:
        """Whether somebody looks."""
        return self._attended

    def enter(self, who: Hashable, deliver: Deliver) -> None:
        """Somebody looks from now on; `deliver` is told of each picture, by the thread that renders."""
        with self._changed:
            self._seats[who] = _Seat(Watcher(self.max_side), deliver)
            self._attended = True
            self._changed.notify()

    def leave(self, who: Hashable) -> None:
        """Somebody has gone, perhaps in the middle of a picture."""
        with self._changed:
            self._seats.pop(who, None)
            self._attended = bool(self._seats)
            self._changed.notify()

    def go(self, who: Hashable, look: Look) -> None:
        """The camera of somebody is there now. Of one who has gone nothing happens."""
        with self._changed:
            if who in self._seats:
                self._seats[who].watcher.go(look, self.moments())
                self._changed.notify()

    def show(self, shown: Shown) -> None:
        """All see this from now on."""
        with self._changed:
            if shown != self.shown:
                self.shown = shown
                for seat in self._seats.values():
                    seat.watcher.shown_anew()
                self._changed.notify()

    def bound(self, max_side: int) -> None:
        """Pictures have at most so many pixels along their longer side from now on."""
        with self._changed:
            self.max_side = max_side
            for seat in self._seats.values():
                seat.watcher.max_side = max_side
                seat.watcher.shown_anew()
            self._changed.notify()

    def outdated(self) -> None:
        """The model is another, or has other weights."""
        with self._changed:
            for seat in self._seats.values():
                seat.watcher.outdated()
            self._changed.notify()

    def waiting(self) -> bool:
        """Whether a picture is due."""
        with self._changed:
            return self._due() is not None

    def serve(self) -> bool:
        """Render the picture that is due, if there is one, and let it be delivered; False: none is.

        One that is broken off counts: the next one is due then.
        """
        with self._changed:
            due = self._due()
            shown = self.shown
        if due is None:
            return self.idle()
        who, order = due
        speed, began = self._speeds[shown.what == "normals"], self.moments()

        def unwanted() -> bool:
            return self._unwanted(who, order, self.moments() - began)

        try:
            picture = self.door.picture(order.look, shown, order.size, unwanted, order.supersample)
        except BrokenOff:
            if order.passing:  # it took far longer than it should
                speed.learn(order.pixels, self.moments() - began)
            return True
        finer = order.full and self.door.can_be_finer(order.look, shown, order.size)
        seat = self._seats.get(who)
        if seat is not None:
            seat.deliver(picture, order)
        with self._changed:
            if seat is not None:
                seat.served = self.moments()
                seat.watcher.done(order, finer)
        if not order.supersample:  # which says nothing of the others
            speed.learn(order.pixels, self.moments() - began)
        return True

    def warm_up(self, scene: Scene) -> None:
        """Compile what pictures need, and find out how fast they are, with what the first camera of `scene` sees."""
        cameras = next(scene.model_cameras(name) for name in scene.splits if len(scene.splits[name])).subset([0])
        fov = 2 * math.atan(0.5 * float(cameras.size[0, 1] / cameras.focal[0, 1]))
        look = Look(pose=cameras.camera_to_world[0], fov=fov, window=WARM_UP)
        self._speeds[False].learn(WARM_UP[0] * WARM_UP[1], self.door.warm_up(look, self.shown, WARM_UP))

    def serve_or_wait(self, most: float) -> None:
        """The picture that is due, or else a wait until one may be, for `most` seconds."""
        if not self.serve():
            self._wait(most)

    def serve_all(self) -> None:
        """All that is asked for, as long as somebody looks."""
        while self.attended:
            self.serve_or_wait(1.0)

    def _wait(self, most: float) -> None:
        """Until a picture may be due, or for `most` seconds."""
        with self._changed:
            if self._due() is None:
                now = self.moments()
                waking = [seat.watcher.wakes_in(now) for seat in self._seats.values()]
                self._changed.wait(min([most, *(seconds for seconds in waking if seconds is not None)]))

    def _due(self) -> tuple[Hashable, Order] | None:
        """Whose picture is due: by its rank, and of equals that of who has waited longest."""
        now, speed = self.moments(), self._speeds[self.shown.what == "normals"]
        orders = [(who, seat, seat.watcher.next(now, speed)) for who, seat in self._seats.items()]
        due = [(_rank(order), seat.served, number, who, order)
               for number, (who, seat, order) in enumerate(orders) if order is not None]
        return min(due, key=lambda each: each[:3])[3:] if due else None

    def _unwanted(self, who: Hashable, order: Order, took: float) -> bool:
        """Whether the picture that is being rendered is to be broken off: for a move, since nobody is there any more,
        or since one is due that goes before it, or what it shows is no longer so."""
        seat = self._seats.get(who)
        if seat is None or seat.watcher.unwanted(order, took) or (order.supersample and self.changing()):
            return True
        if order.passing:
            return False
        with self._changed:
            due = self._due()
        return due is not None and _rank(due[1]) < _rank(order)


def _rank(order: Order) -> int:
    """A moving camera's pictures go before those that grow, and these before the last ones."""
    return FIRST if order.passing else LAST if order.supersample else GROWING
