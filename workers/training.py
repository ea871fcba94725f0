"""Performs one training here: opens the pictures, loads the model, hands both to the kind, tidies up behind it.

Knows nothing of queues, Redis or pages: the queue's worker and the command line call the same function.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import structlog

from backend.contract.datasets import find_dataset, is_world
from backend.contract.explainers import ExplainerRecord, ExplainerShelf
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.trainings import TrainingSpec
from models.loader import ModelLoader
from models.training.data import DataSource
from models.training.job import STOP, Cancelled, Emit, TrainingJob, TrainingKind, TrainingStopped
from models.training.kinds import choose_preset, find_kind, make_recipe
from models.training.sources import open_data, unusable
from workers import agreement, faithfulness
from workers.throttle import Throttle

log = structlog.get_logger()

FOLDER = "trainings"
"""Folder of the data directory in which trainings keep their checkpoints."""
READING_INTERVAL_S = 0.5


@dataclass(frozen=True, eq=False)
class TrainingHouse:
    """What every training on this machine shares.

    Args:
        loader: Gives the base models.
        kinds: Kinds of training by name.
        shelf: Where explainers are published.
        data_dir: Where data sets and the folders of trainings are.
    """

    loader: ModelLoader
    kinds: Mapping[str, TrainingKind]
    shelf: ExplainerShelf
    data_dir: Path

    def folder(self, training_id: str) -> Path:
        """Returns the folder of a training's checkpoints and caches."""
        return self.data_dir / FOLDER / training_id

    def perform(
        self,
        training_id: str,
        spec: TrainingSpec,
        *,
        emit: Emit,
        cancelled: Cancelled,
        source: Path | None = None,
    ) -> ExplainerRecord:
        """Returns the explainer after training it, or going on with it.

        Args:
            training_id: Of the training; the same id goes on from the same checkpoints.
            spec: What is trained.
            emit: Told what happens.
            cancelled: Answers ``None``, ``"stop"`` or ``"finish"``.
            source: Folder of pictures given directly (on the command line) instead of by the name of a data set.

        Raises:
            TrainingStopped: When it was told to stop; the checkpoint is there.
            ProblemError: With words for people.
        """
        kind = find_kind(spec.kind, dict(self.kinds))
        card = self.loader.describe(spec.model)
        reason = kind.supports(card)
        if reason is not None:
            raise ProblemError(ProblemCode.NOT_SUPPORTED, reason)
        preset = choose_preset(kind, spec.preset or None, has_gpu=self.loader.device.type == "cuda")
        recipe = make_recipe(kind, preset, spec.recipe)
        folder = self.folder(training_id)
        folder.mkdir(parents=True, exist_ok=True)
        data = self._open(spec.data, source, kind.pictures.get(preset), folder, emit, cancelled)
        job = TrainingJob(
            id=training_id,
            base=self.loader.load(spec.model),
            data=data,
            recipe=recipe,
            folder=folder,
            shelf=self.shelf,
            title=spec.title,
            emit=emit,
            cancelled=cancelled,
            measures=_measures(),
        )
        record = self._published(kind, job)
        shutil.rmtree(folder, ignore_errors=True)
        return record

    def _open(
        self, name: str, source: Path | None, pictures: int | None, folder: Path, emit: Emit, cancelled: Cancelled
    ) -> DataSource:
        found: str | Path | None = source or (name if is_world(name) else find_dataset(self.data_dir, name))
        if found is None:
            raise unusable(f"There is no data set {name!r} on the machine that trains.")
        throttle = Throttle(READING_INTERVAL_S)

        def tell(done: int, total: int) -> None:
            if throttle.is_due():
                emit({"stage": "reading the pictures", "done": done, "total": total})

        def check() -> None:
            if cancelled() == STOP:
                raise TrainingStopped

        data = open_data(
            found,
            pictures=pictures,
            follow_links=source is not None,
            index=folder / "pictures.json",
            on_progress=tell,
            check_cancelled=check,
        )
        left_out = ", ".join(f"{count} × {reason}" for reason, count in sorted(data.skipped.items()))
        if left_out:
            emit({"message": f"Left out: {left_out}."})
        return data

    @staticmethod
    def _published(kind: TrainingKind, job: TrainingJob) -> ExplainerRecord:
        started = time.perf_counter()
        with structlog.contextvars.bound_contextvars(training=job.id, kind=kind.name, model=job.base.name):
            log.info("training.started", pictures=len(job.data.train), classes=len(job.data.classes))
            place = kind.run(job)
            log.info("training.done", seconds=round(time.perf_counter() - started, 1))
        for record in job.shelf.list(kind.name, job.base.weights_digest):
            if record.folder.resolve() == Path(place).resolve():
                return record
        raise RuntimeError(f"the training {kind.name} published no explainer for its model")


def _measures() -> dict[str, Callable[..., Any]]:
    """Returns the public functions of the workers' shared measures, by name."""
    modules: tuple[ModuleType, ...] = (faithfulness, agreement)
    return {
        name: value
        for module in modules
        for name, value in vars(module).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    }
