"""Asks between two batches whether a run is still wanted, still in time, and its worker still staying."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

import redis

from backend.contract import names
from workers.outcome import Cancelled, Interrupted, timed_out
from workers.throttle import Throttle

CHECK_INTERVAL_S = 0.05


@dataclass(frozen=True)
class StopFlags:
    """What may end a run from outside; set by signals and commands, read between batches."""

    leaving: threading.Event = field(default_factory=threading.Event)
    """The worker is going away."""
    stop_run: threading.Event = field(default_factory=threading.Event)
    """The run at hand shall stop."""


class Watch:
    """Raises when a run shall not go on.

    Args:
        queue: Connection to the queue server, where the wish to cancel is written.
        key: The run.
        limit_s: Seconds the run may take, counted from now.
        flags: Stop flags of the worker.
    """

    def __init__(self, queue: redis.Redis, key: str, *, limit_s: float, flags: StopFlags) -> None:
        self._queue = queue
        self._cancel_key = names.run_cancel(key)
        self._limit_s = limit_s
        self._deadline = time.monotonic() + limit_s
        self._flags = flags
        self._throttle = Throttle(CHECK_INTERVAL_S)

    def __call__(self) -> None:
        """Returns when the run may go on.

        Raises:
            Interrupted: If the worker is going away.
            Cancelled: If somebody stopped the run.
            ProblemError: ``timed_out``.
        """
        if self._flags.leaving.is_set():
            raise Interrupted
        if self._flags.stop_run.is_set():
            raise Cancelled
        if time.monotonic() > self._deadline:
            raise timed_out(self._limit_s)
        if self._throttle.is_due() and self._queue.exists(self._cancel_key):
            raise Cancelled
