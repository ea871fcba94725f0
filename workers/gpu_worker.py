"""The warm worker: one process, one device, one queue; models stay loaded from job to job.

RQ's own worker forks for every job, which neither a GPU context nor a loaded model survives. Its ``SimpleWorker``
does not fork but also sends no heart-beat during a job, ignores orders to stop, and uses pickle; this one mends that.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import redis
import structlog
from rq import worker_registration
from rq.exceptions import StopRequested
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import SimpleWorker
from rq.worker.base import WorkerStatus

from backend.contract import names
from backend.contract.problems import ProblemCode, make_problem
from backend.contract.schemas import RunState
from models.catalogue import ModelCatalogue
from workers.bench import Bench, Closing, Ending
from workers.catalogue import build_catalogue, publish, refresh_cards
from workers.jobs import VitrineJob
from workers.measure import describe_device
from workers.recovery import Recovery
from workers.reporter import Reporter, read_view
from workers.training_offer import publish_kinds, publish_trainable

log = structlog.get_logger()

BEAT_S = 5
LIFE_S = 20
"""A worker that was not heard of for this long is lost; its job goes to another."""
FAILED_JOB_TTL_S = 60
ALARM_SHARE = 0.5
"""Share of the killing grace after the time limit at which a run that answers no longer is interrupted by a signal."""


class GpuWorker(SimpleWorker):  # type: ignore[misc]
    """Performs the jobs of one queue in this very process.

    Args:
        bench: Models, methods and connections, kept warm.
        name: Unique name of this worker.
        attempts: How many workers may be lost on one job.
        kill_grace_s: Seconds after the time limit at which the supervisor kills this process.
        on_busy: Told ``True`` when a job begins and ``False`` when it has ended.
        queue_name: The queue; exactly one, so that taking a job survives a crash.
    """

    job_class = VitrineJob
    log_result_lifespan = False
    max_connection_wait_time = 5.0
    recovery_class: type[Recovery] = Recovery

    def __init__(
        self,
        bench: Bench,
        *,
        name: str,
        attempts: int = 3,
        kill_grace_s: float = 30,
        on_busy: Callable[[bool], None] = lambda _busy: None,
        queue_name: str = names.EXPLAIN_QUEUE,
    ) -> None:
        self._bench = bench
        self._alarm_s = math.ceil(bench.limit_s + kill_grace_s * ALARM_SHARE)
        self._on_busy = on_busy
        self._beating: _Heart | None = None
        self._recovery = self.recovery_class(bench.queue, attempts=attempts, queue_name=queue_name)
        self._offer = _Offer(bench)
        bench.has_owner = True
        super().__init__(
            [queue_name],
            name=name,
            connection=bench.queue,
            serializer=JSONSerializer,
            default_result_ttl=0,
            worker_ttl=LIFE_S,
            maintenance_interval=BEAT_S,
            log_job_description=False,
        )

    # what RQ asks for -------------------------------------------------------------------------------------------

    def execute_job(self, job: Any, queue: Any) -> None:
        """Performs a job here, with heart-beats and a time limit of our own."""
        job.timeout, job.failure_ttl, job.result_ttl = self._alarm_s, FAILED_JOB_TTL_S, 0
        self._bench.flags.stop_run.clear()
        self._bench.ending = None
        self.prepare_execution(job)
        with self._told_busy(), _Heart(lambda: self._beat(job)) as self._beating:
            self.perform_job(job, queue)
        self._beating = None
        self.set_state(WorkerStatus.IDLE)

    def handle_execution_ended(self, job: Any, queue: Any, heartbeat_ttl: int) -> None:  # noqa: ARG002 - RQ's signature
        """Stops the heart-beat before RQ clears the job away, else a late beat would leave half a record behind."""
        if self._beating is not None:
            self._beating.stop()
        super().handle_execution_ended(job, queue, LIFE_S)

    def cleanup_execution(self, job: Any, pipeline: Any) -> None:
        """Adds the run's last state to the transaction that ends its job: both happen or neither."""
        super().cleanup_execution(job, pipeline)
        ending = self._bench.ending
        if ending is None:
            return
        ending.write(pipeline)
        if ending.goes_back:
            # RQ appends a retried job; a run that was interrupted keeps its place at the front.
            pipeline.lrem(self.queues[0].key, -1, job.id)
            pipeline.lpush(self.queues[0].key, job.id)

    def handle_job_failure(self, job: Any, queue: Any, started_job_registry: Any = None, exc_string: str = "") -> None:
        """Ends a job that could not even be begun; its id is free again at once and it is not tried again."""
        job.retries_left = None
        self._bench.ending = self._bench.ending or self._failed_ending(job.id)
        super().handle_job_failure(job, queue, started_job_registry, exc_string)
        job.delete()

    def handle_exception(self, job: Any, *exc_info: Any) -> None:
        """Logs what went wrong; RQ would log the job's arguments as well."""
        log.error("job.failed", job=job.id[:12], error=repr(exc_info[1]))

    def heartbeat(self, timeout: int | None = None, pipeline: Any = None) -> None:  # noqa: ARG002 - RQ's signature
        """Says that this worker lives, for the next twenty seconds."""
        super().heartbeat(LIFE_S, pipeline=pipeline)

    def get_heartbeat_ttl(self, job: Any) -> int:  # noqa: ARG002 - RQ's signature
        """Seconds that a job is held without a further heart-beat."""
        return LIFE_S

    def serialize(self) -> dict[str, Any]:
        """What is known of this worker, with its device and without the host's name or address."""
        known: dict[str, Any] = super().serialize()
        return known | {"device": describe_device(self._bench.loader.device), "hostname": "", "ip_address": ""}

    def run_maintenance_tasks(self) -> None:
        """Looks after lost jobs and makes sure that this worker and its catalogue can be found."""
        self._recovery.sweep()
        worker_registration.clean_worker_registry(self.queues[0])
        self._announce()
        self._offer.refresh()
        self.last_cleaned_at = now()

    # stopping -----------------------------------------------------------------------------------------------------

    @property
    def horse_pid(self) -> int:
        """This process while it is busy: the command to kill the horse then reaches :meth:`kill_horse`."""
        return os.getpid() if self.get_state() == WorkerStatus.BUSY else 0

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:  # noqa: ARG002 - RQ's signature
        """Stops the run at hand at its next batch; there is no other process to kill."""
        self._bench.flags.stop_run.set()

    def request_stop(self, signum: int, frame: FrameType | None) -> None:  # noqa: ARG002 - a signal handler
        """Leaves: at once when idle, else at the next batch, with the run going back to the queue."""
        self._bench.flags.leaving.set()
        self._stop_requested = True
        if self.get_state() != WorkerStatus.BUSY:
            raise StopRequested

    def _install_signal_handlers(self) -> None:
        signal.signal(signal.SIGINT, self.request_stop)
        signal.signal(signal.SIGTERM, self.request_stop)

    # our own ------------------------------------------------------------------------------------------------------

    def _beat(self, job: Any) -> None:
        execution = self.execution
        if execution is None:
            return
        with self.connection.pipeline() as pipeline:
            self.heartbeat(pipeline=pipeline)
            execution.heartbeat(job.started_job_registry, LIFE_S, pipeline=pipeline)
            pipeline.execute()

    def _announce(self) -> None:
        """Registers again, in case Redis was emptied meanwhile."""
        with self.connection.pipeline() as pipeline:
            pipeline.hset(self.key, mapping=self.serialize() | {"state": self.get_state()})
            pipeline.expire(self.key, LIFE_S)
            worker_registration.register(self, pipeline)
            pipeline.execute()

    def _failed_ending(self, job_id: str) -> Closing | None:
        view = read_view(self.connection, job_id)
        if view is None or view.state.is_final:
            return None
        problem = make_problem(ProblemCode.INTERNAL, "The worker could not begin this run. Its log says why.")
        return Ending(Reporter(self.connection, view.spec), RunState.FAILED, problem)

    @contextlib.contextmanager
    def _told_busy(self) -> Iterator[None]:
        self._on_busy(True)
        try:
            yield
        finally:
            self._on_busy(False)


class _Heart:
    """Calls something every few seconds from a thread of its own until stopped."""

    def __init__(self, beat: Callable[[], None]) -> None:
        self._call = beat
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heart", daemon=True)

    def __enter__(self) -> _Heart:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Returns when no beat is under way and none will come."""
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopped.wait(BEAT_S):
            try:
                self._call()
            except redis.RedisError as error:
                log.warning("heart.missed", error=type(error).__name__)


class _Offer:
    """Publishes the catalogue at the start, when own models came, changed or went, and when Redis has lost it."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._catalogue: ModelCatalogue = bench.loader.catalogue
        self._seen: tuple[tuple[str, int, int], ...] | None = None

    def refresh(self) -> None:
        """Publishes when there is a reason to."""
        seen = self._look()
        if seen == self._seen and self._bench.queue.exists(names.CATALOGUE):
            return
        started = time.perf_counter()
        catalogue = build_catalogue(self._bench.methods, self._catalogue, self._bench.explainers)
        publish(self._bench.queue, catalogue)
        publish_kinds(self._bench.queue, self._bench.kinds, has_gpu=self._bench.loader.device.type == "cuda")
        publish_trainable(self._bench.queue, self._bench.kinds, catalogue.models)
        loaded = {model.name: model.weights_digest for model in self._bench.loader.loaded()}
        refresh_cards(self._bench.queue, self._bench.methods, self._bench.explainers, loaded)
        self._seen = seen
        log.info(
            "catalogue.published",
            methods=len(catalogue.methods),
            models=len(catalogue.models),
            seconds=round(time.perf_counter() - started, 2),
        )

    def _look(self) -> tuple[tuple[str, int, int], ...]:
        """Returns the files of own models and of explainers with the times of their last change and their sizes."""
        own: Path | None = self._catalogue.models_dir
        trained = self._bench.explainers.folder
        found = []
        for path in [*(own.glob("*/*") if own else ()), *(trained.glob("*/*/*/*") if trained else ())]:
            with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                state = path.stat()
                found.append((str(path), state.st_mtime_ns, state.st_size))
        return tuple(sorted(found))
