"""The training queue's entry point: trains, and writes how it went into the training's state."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import redis
import structlog
from rq import Retry

from backend.contract import names
from backend.contract.explainers import ExplainerRecord
from backend.contract.problems import Problem, ProblemCode, make_problem
from backend.contract.schemas import ExplainerCard
from backend.contract.trainings import TRAINING_ID, TrainingSpec, TrainingState, Wish
from models.training.job import STOP, TrainingStopped
from workers.bench import Bench
from workers.catalogue import build_catalogue, publish, refresh_cards
from workers.outcome import to_problem
from workers.tasks import INTERRUPTIONS
from workers.throttle import Throttle
from workers.training import FOLDER, TrainingHouse
from workers.training_reporter import TrainingReporter, read_wish
from workers.watch import StopFlags

log = structlog.get_logger()

WISH_INTERVAL_S = 0.2
_ID = re.compile(TRAINING_ID)


@dataclass(frozen=True)
class TrainingEnding:
    """How a training ended; written in the same transaction as the job's own end."""

    reporter: TrainingReporter
    state: TrainingState
    problem: Problem | None = None
    explainer: ExplainerCard | None = None

    @property
    def goes_back(self) -> bool:
        """Whether the training goes back to its queue."""
        return self.state is TrainingState.QUEUED

    def write(self, pipeline: Any) -> None:
        """Adds the last state and event to a pipeline."""
        self.reporter.end(pipeline, self.state, problem=self.problem, explainer=self.explainer)


@dataclass(frozen=True)
class TrainingDesk:
    """What trainings of this process work with besides the bench.

    Args:
        bench: Models, kinds, connections.
        cache: Connection to the cache server, for small pictures.
        data_dir: Where data sets and the folders of trainings are.
    """

    bench: Bench
    cache: redis.Redis
    data_dir: Path

    @property
    def house(self) -> TrainingHouse:
        """What performs a training."""
        return TrainingHouse(self.bench.loader, self.bench.kinds, self.bench.explainers, self.data_dir)


class Wishes:
    """Answers what is wanted of a training: nothing, to stop, or to end early.

    Args:
        queue: Connection to the queue server.
        training_id: Of the training.
        flags: Stop flags of the worker.
    """

    def __init__(self, queue: redis.Redis, training_id: str, flags: StopFlags) -> None:
        self._queue = queue
        self._id = training_id
        self._flags = flags
        self._throttle = Throttle(WISH_INTERVAL_S)
        self._wish: Wish | None = None

    def __call__(self) -> str | None:
        """Returns ``None``, ``"stop"`` or ``"finish"``."""
        if self._flags.leaving.is_set() or self._flags.stop_run.is_set():
            return STOP
        if self._throttle.is_due():
            try:
                self._wish = read_wish(self._queue, self._id)
            except redis.RedisError as error:  # a training of hours does not end because Redis is away for a moment
                log.warning("wish.unreadable", error=type(error).__name__)
        return None if self._wish is None else self._wish.value


_desk: TrainingDesk | None = None


def use_desk(desk: TrainingDesk | None) -> None:
    """Gives the tasks of this process their desk."""
    global _desk
    _desk = desk


def train(training_id: str, spec: dict[str, Any]) -> Retry | None:
    """Performs a training; how it went is found in its state, never in the job's return value.

    Args:
        training_id: Of the training.
        spec: JSON form of :class:`backend.contract.trainings.TrainingSpec`.

    Returns:
        ``None``, or a retry when the worker is leaving and the training goes back to the queue.
    """
    desk = _desk
    if desk is None:
        raise RuntimeError("trainings are performed by the training worker only")
    if not _ID.fullmatch(training_id):
        raise ValueError("this is no id of a training")
    reporter = TrainingReporter(desk.bench.queue, training_id, TrainingSpec.model_validate(spec), cache=desk.cache)
    with structlog.contextvars.bound_contextvars(training=training_id):
        ending = _perform(desk, training_id, reporter)
    if desk.bench.has_owner:
        desk.bench.ending = ending
    else:
        with desk.bench.queue.pipeline() as pipeline:
            ending.write(pipeline)
            pipeline.execute()
    return Retry(max=INTERRUPTIONS) if ending.goes_back else None


def _perform(desk: TrainingDesk, training_id: str, reporter: TrainingReporter) -> TrainingEnding:
    wishes = Wishes(desk.bench.queue, training_id, desk.bench.flags)
    started = time.perf_counter()
    try:
        if read_wish(desk.bench.queue, training_id) is Wish.STOP:
            raise TrainingStopped
        reporter.start()
        _sweep(desk, training_id)
        record = desk.house.perform(training_id, reporter.view.spec, emit=reporter.tell, cancelled=wishes)
        card = _announce(desk, record)
    except TrainingStopped:
        is_leaving = desk.bench.flags.leaving.is_set()
        log.info("training.stopped", goes_back=is_leaving, seconds=round(time.perf_counter() - started, 1))
        return TrainingEnding(reporter, TrainingState.QUEUED if is_leaving else TrainingState.STOPPED)
    except Exception as error:
        problem = _problem(error)
        if problem.code is ProblemCode.INTERNAL:
            log.exception("training.failed", problem=problem.code.value)
        else:
            log.warning("training.failed", problem=problem.code.value, message=problem.message)
        return TrainingEnding(reporter, TrainingState.FAILED, problem)
    return TrainingEnding(reporter, TrainingState.DONE, explainer=card)


def _announce(desk: TrainingDesk, record: ExplainerRecord) -> ExplainerCard:
    """Publishes the catalogue anew, so that the next question already finds the explainer."""
    bench = desk.bench
    publish(bench.queue, build_catalogue(bench.methods, bench.loader.catalogue, bench.explainers))
    loaded = {model.name: model.weights_digest for model in bench.loader.loaded()}
    refresh_cards(bench.queue, bench.methods, bench.explainers, loaded)
    return record.card()


def _problem(error: Exception) -> Problem:
    problem = to_problem(error)
    if problem.code is not ProblemCode.INTERNAL:
        return problem
    if isinstance(error, OSError):
        return make_problem(
            ProblemCode.STORE_FULL, "A file could not be written. Is the disk of the machine that trains full?"
        )
    return make_problem(
        problem.code,
        f"An unexpected error ({type(error).__name__}) ended this training. The worker's log says where it happened; "
        "it can go on from its last checkpoint.",
    )


def _sweep(desk: TrainingDesk, training_id: str) -> None:
    """Removes the folders of trainings that somebody deleted."""
    folder = desk.data_dir / FOLDER
    for path in folder.iterdir() if folder.is_dir() else ():
        is_training = path.name != training_id and _ID.fullmatch(path.name) is not None
        if is_training and not desk.bench.queue.exists(names.training_state(path.name)):
            shutil.rmtree(path, ignore_errors=True)
