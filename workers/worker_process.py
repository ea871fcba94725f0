"""The program of one worker process; the supervisor starts it as ``python -m workers.worker_process``.

What is heavy is imported in :func:`main` only: processes that a method spawns import this module as their own main.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from collections.abc import Callable, Sequence

import structlog

from backend.contract import names
from backend.contract.logs import configure_logging
from backend.contract.settings import SettingsError, read_settings
from workers.lifeline import follow_parent
from workers.settings import WorkerSettings

log = structlog.get_logger()

TRAINING_NICENESS = 10
"""Trainings give way to people who wait for an answer."""
BUSY, IDLE = b"b", b"i"
"""What a worker writes to its supervisor when a job begins and when it has ended."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Works until told to stop; returns the exit status."""
    given = _read_arguments(arguments)
    for fd in (given.lifeline_fd, given.status_fd):
        if fd is not None:
            os.set_inheritable(fd, False)  # processes that a method starts must not hold the supervisor's pipes
    if given.lifeline_fd is not None:
        follow_parent(given.lifeline_fd)
    try:
        settings = read_settings(WorkerSettings)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    return _work(settings, given)


def _work(settings: WorkerSettings, given: argparse.Namespace) -> int:
    from workers import tasks
    from workers.bench import open_bench
    from workers.gpu_worker import GpuWorker

    if given.queue == names.TRAINING_QUEUE:
        return _train(settings, given)
    structlog.contextvars.bind_contextvars(worker=given.name)
    bench = open_bench(settings, device=given.device)
    tasks.use_bench(bench)
    worker = GpuWorker(
        bench,
        name=given.name,
        attempts=settings.run_attempts,
        kill_grace_s=settings.kill_grace_s,
        on_busy=_status_writer(given.status_fd),
    )
    log.info("worker.started", device=given.device, methods=sorted(bench.methods))
    worker.work(logging_level="WARNING")
    log.info("worker.stopped")
    return 0 if bench.flags.leaving.is_set() else 1


def _train(settings: WorkerSettings, given: argparse.Namespace) -> int:
    """Performs the trainings that wait, and leaves when none came for a while: nobody trains all day."""
    from workers import training_tasks
    from workers.bench import open_bench
    from workers.connection import connect
    from workers.training_worker import TrainingWorker

    os.nice(TRAINING_NICENESS)
    structlog.contextvars.bind_contextvars(worker=given.name)
    bench = open_bench(settings, device=given.device)
    bench.limit_s = settings.training_timeout_s
    training_tasks.use_desk(training_tasks.TrainingDesk(bench, connect(settings.cache_redis_url), settings.data_dir))
    worker = TrainingWorker(
        bench,
        name=given.name,
        attempts=settings.run_attempts,
        kill_grace_s=settings.kill_grace_s,
        on_busy=_status_writer(given.status_fd),
        queue_name=names.TRAINING_QUEUE,
    )
    log.info("worker.started", device=given.device, kinds=sorted(bench.kinds))
    worker.work(logging_level="WARNING", max_idle_time=settings.training_idle_s)
    log.info("worker.stopped")
    return 0


def _status_writer(status_fd: int | None) -> Callable[[bool], None]:
    if status_fd is None:
        return lambda _busy: None

    def write(busy: bool) -> None:
        with contextlib.suppress(BrokenPipeError):  # the supervisor is gone; the lifeline ends this process
            os.write(status_fd, BUSY if busy else IDLE)

    return write


def _read_arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workers.worker_process", description=__doc__)
    parser.add_argument("--name", required=True, help="unique name of this worker")
    parser.add_argument("--device", default="cpu", help="cpu, cuda:<number> or mps")
    parser.add_argument(
        "--queue", default=names.EXPLAIN_QUEUE, choices=(names.EXPLAIN_QUEUE, names.TRAINING_QUEUE), help="what to do"
    )
    parser.add_argument("--lifeline-fd", type=int, help="reading end of the supervisor's pipe")
    parser.add_argument("--status-fd", type=int, help="where to write busy and idle")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    status = main()
    sys.stderr.flush()
    os._exit(status)  # everything is closed; taking torch apart would only keep the next worker waiting
