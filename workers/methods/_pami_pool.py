"""Cuts pictures beside the forward passes: a warm pool of processes, or a thread while the pool is cold."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor, TimeoutError
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from backend.contract.problems import ProblemCode, ProblemError
from workers.methods import _pami_child, _pami_cuts

MOST_PROCESSES = 8
POLL_S = 0.05

Cut = tuple[NDArray[np.int16], float]
_pool: ProcessPoolExecutor | None = None
_lock = threading.Lock()


def pool_size() -> int:
    """Returns how many cutting processes a pool has: all cores but one, at most eight."""
    # Only Linux tells how many cores this process may use; elsewhere it may use all.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(MOST_PROCESSES, cores - 1))


def is_warm() -> bool:
    """Returns whether the pool is running."""
    return _pool is not None


def _warm_pool() -> ProcessPoolExecutor:
    """Returns the pool of this process, started when it is not running. CUDA forbids forking, hence spawn."""
    global _pool
    with _lock:
        if _pool is None:
            context = multiprocessing.get_context("spawn")
            _pool = ProcessPoolExecutor(pool_size(), mp_context=context, initializer=_pami_child.start)
        return _pool


def close_pool() -> None:
    """Ends the pool's processes; what waits is dropped. The next run starts a new pool."""
    global _pool
    with _lock:
        pool, _pool = _pool, None
    if pool is not None:
        pool.shutdown(wait=True, cancel_futures=True)


class Cutter:
    """Hands out partitions in the order asked for, while later ones are being cut.

    With a cold pool the first view is cut by a thread of this process (starting processes takes longer than cutting
    one view), and only further views start the pool. After an error, a cancelled run included, the pool is ended.

    Args:
        check_cancelled: Asked while waiting.
    """

    def __init__(self, *, check_cancelled: Callable[[], None]) -> None:
        self.seconds = 0.0
        self._check_cancelled = check_cancelled
        self._thread: ThreadPoolExecutor | None = None
        self._futures: dict[tuple[int, int], Future[Cut]] = {}
        self._reported: set[tuple[int, int]] = set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.drop()
        if self._thread is not None:
            self._thread.shutdown(wait=True, cancel_futures=True)
        if kind is not None:
            close_pool()

    def submit(self, view: NDArray[np.uint8], key: int, indices: Iterable[int]) -> None:
        """Starts cutting one view.

        Args:
            view: ``[H, W, 3]`` uint8, already shifted.
            key: Names the view in :meth:`take`.
            indices: Partitions wanted; the slowest segmenter is started first when several can run at once.
        """
        executor = self._executor(is_first=key == 0)
        order = sorted(indices)
        if isinstance(executor, ProcessPoolExecutor) and pool_size() > 1:
            order = order[::-1]
        try:
            for index in order:
                self._futures[key, index] = executor.submit(_pami_cuts.timed_cut, view, index)
        except BrokenProcessPool as error:
            raise _lost_process() from error

    def take(self, key: int, index: int) -> NDArray[np.int16]:
        """Returns a partition ``[H, W]`` int16 of a view, waiting for it.

        Raises:
            ProblemError: If a cutting process died.
        """
        future = self._futures.pop((key, index))
        while True:
            try:
                labels, seconds = future.result(timeout=POLL_S)
            except TimeoutError:
                self._check_cancelled()
                continue
            except BrokenProcessPool as error:
                raise _lost_process() from error
            self.seconds += seconds
            return labels

    def newly_done(self) -> Iterator[tuple[int, int, NDArray[np.int16]]]:
        """Yields view, index and labels of partitions that are done but not taken, each of them once."""
        for (key, index), future in self._futures.items():
            if (key, index) in self._reported or not future.done() or future.cancelled() or future.exception():
                continue
            self._reported.add((key, index))
            yield key, index, future.result()[0]

    def drop(self) -> None:
        """Gives up everything that was not taken."""
        for future in self._futures.values():
            future.cancel()
        self._futures.clear()
        self._reported.clear()

    def _executor(self, *, is_first: bool) -> Executor:
        if (is_first and not is_warm()) or multiprocessing.current_process().daemon:
            if self._thread is None:
                self._thread = ThreadPoolExecutor(1, thread_name_prefix="pami-cut")
            return self._thread
        return _warm_pool()


def _lost_process() -> ProblemError:
    return ProblemError(
        ProblemCode.INTERNAL,
        "A process that cuts the picture into parts stopped unexpectedly, perhaps for lack of memory. Try again.",
    )
