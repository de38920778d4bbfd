"""The time that somebody looks at: a slider, and a button that lets it run."""

import threading
import time
from collections.abc import Callable

import viser

__all__ = ["TimeControls"]

STEP = 0.005  # of the slider
SECONDS, FPS = 4.0, 12.5  # from the first time to the last, and how often it moves on


class TimeControls:
    """Of one who looks, with a model that knows the time."""

    def __init__(self, gui: viser.GuiApi, changed: Callable[[], None]):
        """`changed` is called when it is another time."""
        self._ended = threading.Event()
        self._ended.set()
        self._slider = gui.add_slider("time", min=0.0, max=1.0, step=STEP, initial_value=0.0, order=-2)
        self._button = gui.add_button("Play", order=-1, hint="From the first time to the last, again and again.")
        self._button.on_click(self._play_or_stop)

        @self._slider.on_update
        def _(event):
            if event.client is not None:  # else it was told the time
                self.stop()
            changed()

    @property
    def value(self) -> float:
        """From 0 to 1."""
        return float(self._slider.value)

    def show(self, moment: float) -> None:
        """Be at this time, and stay there."""
        self.stop()
        self._slider.value = moment

    def stop(self) -> None:
        """Stay at the time."""
        if not self._ended.is_set():
            self.leave()
            self._button.label = "Play"

    def leave(self) -> None:
        """Its browser has gone, and is told nothing more."""
        self._ended.set()

    def _play_or_stop(self, event) -> None:
        if not self._ended.is_set():
            self.stop()
            return
        ended = self._ended = threading.Event()
        self._button.label = "Stop"
        began = time.monotonic() - SECONDS * self.value
        while not ended.wait(1 / FPS):  # by the clock: slow pictures show fewer times
            self._slider.value = round((time.monotonic() - began) / SECONDS % 1, 3)
