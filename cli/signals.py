"""Ctrl-C and SIGTERM while something runs that should stop in order."""

import signal

from cli.output import show


class StopOnSignal:
    """Asked after every step whether to stop: the first signal stops in order, the second at once."""

    def __init__(self) -> None:
        self.signal = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._catch)

    def _catch(self, number: int, frame: object) -> None:
        if self.signal:
            raise KeyboardInterrupt
        self.signal = number
        show.note("\nstopping after this step (again: at once)")

    def __call__(self) -> bool:
        """Was there a signal?"""
        return bool(self.signal)
