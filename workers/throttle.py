"""Lets something happen at most so often."""

from __future__ import annotations

import time
from collections.abc import Callable


class Throttle:
    """Says yes at most once per interval; the first time always.

    Args:
        interval_s: Seconds between two yeses.
        clock: Monotonic clock in seconds.
    """

    def __init__(self, interval_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._interval_s = interval_s
        self._clock = clock
        self._last: float | None = None

    def is_due(self) -> bool:
        """Returns whether the interval has passed, and if so begins the next one."""
        now = self._clock()
        if self._last is not None and now - self._last < self._interval_s:
            return False
        self._last = now
        return True
