"""Being stopped by a signal, with time to save."""

import contextlib
import os
import signal
import sys
from types import FrameType

_LOADER = "<frozen importlib._bootstrap>"  # the file of the frames that load a module


class Interruption:
    """A handler of SIGINT that raises KeyboardInterrupt; while modules load, as soon as they have.

    Raised in the middle of an import it would leave a library half there: PyTorch, where its C++ finds the exception,
    ends the process by an abort, and NumPy and others take it for an import that failed, and go on without. A second
    SIGINT by then ends the process at once.
    """

    held = False

    def __call__(self, number: int, frame: FrameType | None):
        importer = _importer(frame)
        if importer is None:
            raise KeyboardInterrupt
        if self.held:
            os._exit(130)
        self.held = True
        importer.f_trace = self._interrupt  # called where its import is done, as a debugger would be
        sys.settrace(lambda *_: None)

    def _interrupt(self, frame: FrameType, event: str, argument):
        self.held, frame.f_trace = False, None
        sys.settrace(None)
        raise KeyboardInterrupt


def _importer(frame: FrameType | None) -> FrameType | None:
    """The frame whose import is going on in `frame`, the outermost one if modules import each other; None: none is."""
    found = None
    while frame is not None:
        if frame.f_code.co_filename == _LOADER:
            found = frame.f_back
        frame = frame.f_back
    return found


class Terminated(BaseException):
    """SIGTERM as an exception: what was begun is cleaned up on its way."""

    @classmethod
    @contextlib.contextmanager
    def as_exception(cls):
        """Within this context."""
        def end(number, frame):
            raise cls

        before = None
        with contextlib.suppress(ValueError):  # only the main thread may
            before = signal.signal(signal.SIGTERM, end)
        try:
            yield
        finally:
            if before is not None:
                signal.signal(signal.SIGTERM, before)


class Stop:
    """Within this context the first SIGINT or SIGTERM is only noted; the second interrupts."""

    signal = 0

    def __enter__(self) -> "Stop":
        self._before = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # only the main thread may
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, kind, error, trace):
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def __call__(self) -> bool:
        return self.signal != 0

    def _note(self, number, frame):
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
