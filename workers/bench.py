"""Everything a worker process keeps warm between jobs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import redis
import structlog
import torch

from backend.contract.artifacts import ArtifactStore, RedisArtifactStore
from backend.contract.explainers import ExplainerShelf
from backend.contract.problems import Problem
from backend.contract.schemas import RunState
from models.catalogue import ModelCatalogue
from models.embedders import use_embedder
from models.loader import ModelLoader
from models.training.job import TrainingKind
from models.training.kinds import find_kinds
from workers.catalogue import find_methods
from workers.connection import connect
from workers.method import Method
from workers.reporter import Reporter
from workers.settings import WorkerSettings
from workers.watch import StopFlags

log = structlog.get_logger()


class Closing(Protocol):
    """How the job at hand ended; written in the same transaction as the job's own end."""

    @property
    def goes_back(self) -> bool:
        """Whether the job goes back to the front of its queue."""

    def write(self, pipeline: Any) -> None:
        """Adds the last state and event to a pipeline."""


@dataclass(frozen=True)
class Ending:
    """How the run at hand ended; written in the same transaction as the job's own end."""

    reporter: Reporter
    state: RunState
    problem: Problem | None = None

    @property
    def goes_back(self) -> bool:
        """Whether the run goes back to the queue."""
        return self.state is RunState.QUEUED

    def write(self, pipeline: Any) -> None:
        """Adds the last state and event to a pipeline."""
        self.reporter.end(pipeline, self.state, problem=self.problem)


@dataclass
class Bench:
    """What jobs work with.

    Attributes:
        queue: Connection to the queue server.
        store: Pictures and results.
        loader: Models, kept warm.
        methods: Explanation methods by name.
        limit_s: Longest time for one run.
        explainers: Where trained explainers are.
        flags: What may stop a run from outside.
        kinds: Kinds of training by name.
        has_owner: Whether a worker writes ``ending`` together with the job's end (else the task does so itself).
        ending: How the run at hand ended, until it is written.
    """

    queue: redis.Redis
    store: ArtifactStore
    loader: ModelLoader
    methods: Mapping[str, Method]
    limit_s: float
    explainers: ExplainerShelf = field(default_factory=ExplainerShelf)
    flags: StopFlags = field(default_factory=StopFlags)
    has_owner: bool = False
    kinds: Mapping[str, TrainingKind] = field(default_factory=dict)
    ending: Closing | None = None


def open_bench(settings: WorkerSettings, *, device: str) -> Bench:
    """Returns the bench of a worker process on one device.

    Args:
        settings: Of the worker.
        device: ``cpu``, ``cuda:<number>`` or ``mps``.
    """
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    use_embedder(settings.embedder_dir)
    catalogue = ModelCatalogue(settings.models_dir)
    return Bench(
        queue=connect(settings.queue_redis_url),
        store=RedisArtifactStore(connect(settings.cache_redis_url)),
        loader=ModelLoader(catalogue, device=device, budget_bytes=settings.model_budget_bytes),
        methods=find_methods(settings.methods_dir, on_error=_log_broken_method),
        kinds=find_kinds(settings.methods_dir, on_error=_log_broken_method),
        limit_s=settings.job_timeout_s,
        explainers=ExplainerShelf(settings.explainers_folder),
    )


def _log_broken_method(name: str, error: Exception) -> None:
    log.error("method.broken", method=name, error=repr(error))
