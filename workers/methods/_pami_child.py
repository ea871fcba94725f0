"""First thing a cutting process runs. Imports nothing heavy, so that thread limits are set before numpy reads them."""

from __future__ import annotations

import multiprocessing
import os
import threading

THREAD_LIMITS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def start() -> None:
    """Limits the process to one thread of mathematics and makes it end with its parent, however that ends."""
    for name in THREAD_LIMITS:
        os.environ[name] = "1"
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: multiprocessing.process.BaseProcess) -> None:
    parent.join()
    os._exit(1)
