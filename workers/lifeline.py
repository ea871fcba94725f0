"""Lets a process notice that the one which started it is gone, however that one died.

The parent keeps the writing end of a pipe open and never writes; when the parent dies, the system closes that end
and the child's blocking read returns.
"""

from __future__ import annotations

import os
import signal
import threading

LAST_RESORT_S = 20.0
"""Seconds after which a child that did not leave on SIGTERM is ended without further ado."""


def follow_parent(lifeline_fd: int, *, last_resort_s: float = LAST_RESORT_S) -> None:
    """Ends this process with SIGTERM, and at last without asking, when the parent is gone.

    Args:
        lifeline_fd: Reading end of the parent's pipe.
        last_resort_s: Seconds between the two.
    """

    def wait() -> None:
        while os.read(lifeline_fd, 1):
            pass
        timer = threading.Timer(last_resort_s, os._exit, args=(1,))
        timer.daemon = True
        timer.start()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
