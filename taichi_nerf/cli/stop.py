"""Being stopped by a signal, with time to save."""

import contextlib
import signal


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
