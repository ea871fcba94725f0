"""Writes how a training stands: its state and one event for every change, always together.

Light on purpose (no torch): the supervisor uses it as well.
"""

from __future__ import annotations

import math
import time
from typing import Any

import redis
from pydantic import ValidationError

from backend.contract import names
from backend.contract.problems import Problem
from backend.contract.schemas import ExplainerCard
from backend.contract.trainings import (
    Point,
    TrainingEvent,
    TrainingProgress,
    TrainingSpec,
    TrainingState,
    TrainingView,
    Wish,
    with_points,
)
from workers.throttle import Throttle

PROGRESS_INTERVAL_S = 0.25
MOST_PICTURES = 64
LARGEST_PICTURE_BYTES = 200_000
_PROGRESS = frozenset(TrainingProgress.model_fields)
_OTHER = frozenset({"message", "pictures", "point"})


class TrainingReporter:
    """Keeps the stored state of one training up to date.

    Args:
        queue: Connection to the queue server.
        training_id: Of the training.
        spec: What is trained.
        cache: Connection to the cache server, for small pictures.
    """

    def __init__(
        self, queue: redis.Redis, training_id: str, spec: TrainingSpec, *, cache: redis.Redis | None = None
    ) -> None:
        self._queue = queue
        self._cache = cache
        self.view = read_training(queue, training_id) or TrainingView(
            id=training_id, state=TrainingState.QUEUED, spec=spec, submitted=time.time()
        )
        self._throttle = Throttle(PROGRESS_INTERVAL_S)
        self._held: dict[str, Any] = {}

    def start(self) -> None:
        """Says that a worker has begun."""
        self._write({"state": TrainingState.RUNNING, "started": time.time(), "finished": None, "problem": None})

    def tell(self, event: dict[str, Any]) -> None:
        """Says what a training told; progress that comes too fast is held until the next event.

        Args:
            event: As :data:`models.training.job.Event` describes.
        """
        place = _number(event.get("point"))
        numbers = {
            name: value for name, given in event.items() if name not in _PROGRESS | _OTHER
            if (value := _number(given)) is not None
        }  # fmt: skip
        changes: dict[str, Any] = {}
        progress = {name: event[name] for name in _PROGRESS & event.keys()}
        if progress:
            changes["progress"] = self._progress(progress)
        if numbers:
            changes["values"] = {**self.view.values, **self._held.get("values", {}), **numbers}
        points: dict[str, tuple[Point, ...]] = {}
        if place is not None:
            points = {name: ((place, value),) for name, value in numbers.items()}
        if "message" in event:
            changes["message"] = str(event["message"])
        if event.get("pictures"):
            changes["pictures"] = self._keep_pictures(event["pictures"])
        self._held |= changes
        is_turn = bool(points) or "message" in event or bool(event.get("pictures"))
        if (is_turn or self._throttle.is_due()) and (self._held or points):
            held, self._held = self._held, {}
            self._write(held, points)

    def end(
        self,
        pipeline: Any,
        state: TrainingState,
        *,
        problem: Problem | None = None,
        explainer: ExplainerCard | None = None,
    ) -> None:
        """Adds the last change to a pipeline, so that it happens together with the job's own end."""
        changes: dict[str, Any] = {**self._held, "state": state, "problem": problem, "explainer": explainer}
        if state is TrainingState.QUEUED:
            changes |= {"started": None}
        else:
            changes |= {"finished": time.time(), "wish": None}
            pipeline.delete(names.training_wish(self.view.id))
        self._change(changes)
        write_training(pipeline, self.view, event_of(self.view, set(changes)))

    def _progress(self, given: dict[str, Any]) -> TrainingProgress:
        known = self._held.get("progress") or self.view.progress or TrainingProgress()
        clean = {name: value for name, value in given.items() if name == "stage" or _number(value) is not None}
        if "seconds_left" in given and _number(given["seconds_left"]) is None:
            clean["seconds_left"] = None
        for name in ("done", "total", "epoch", "epochs"):
            if name in clean:
                clean[name] = int(clean[name])
        return TrainingProgress.model_validate({**known.model_dump(), **clean})

    def _keep_pictures(self, pictures: dict[str, bytes]) -> tuple[str, ...]:
        known = dict.fromkeys((*self._held.get("pictures", self.view.pictures), *pictures))
        kept = tuple(known)[:MOST_PICTURES]
        fitting: dict[Any, Any] = {
            name: data for name, data in pictures.items() if name in kept and len(data) <= LARGEST_PICTURE_BYTES
        }
        if self._cache is not None and fitting:
            with self._cache.pipeline() as pipeline:
                pipeline.hset(names.training_pictures(self.view.id), mapping=fitting)
                pipeline.expire(names.training_pictures(self.view.id), names.RESULT_TTL_S)
                pipeline.execute()
        return kept

    def _write(self, changes: dict[str, Any], points: dict[str, tuple[Point, ...]] | None = None) -> None:
        wish = read_wish(self._queue, self.view.id)
        if wish != self.view.wish:
            changes = {**changes, "wish": wish}
        if points:
            changes = {**changes, "curves": with_points(self.view.curves, points)}
        self._change(changes)
        with self._queue.pipeline() as pipeline:
            write_training(pipeline, self.view, event_of(self.view, set(changes), points))
            pipeline.execute()

    def _change(self, changes: dict[str, Any]) -> None:
        self.view = self.view.model_copy(update=changes)


def read_training(queue: redis.Redis, training_id: str) -> TrainingView | None:
    """Returns the stored state of a training, or ``None``; so does one that cannot be read."""
    data = queue.get(names.training_state(training_id))
    try:
        return None if data is None else TrainingView.model_validate_json(data)
    except ValidationError:
        return None


def read_wish(queue: redis.Redis, training_id: str) -> Wish | None:
    """Returns what somebody wants of a training, if anybody wants anything."""
    data = queue.get(names.training_wish(training_id))
    try:
        return None if data is None else Wish(data.decode() if isinstance(data, bytes) else data)
    except ValueError:
        return None


def write_training(pipeline: Any, view: TrainingView, event: TrainingEvent) -> None:
    """Adds a state and its event to a pipeline."""
    pipeline.set(names.training_state(view.id), view.model_dump_json(), ex=names.TRAINING_TTL_S)
    pipeline.xadd(
        names.EVENTS, {names.TRAINING_FIELD: event.model_dump_json()}, maxlen=names.EVENTS_KEPT, approximate=True
    )


def event_of(
    view: TrainingView, changed: set[str], points: dict[str, tuple[Point, ...]] | None = None
) -> TrainingEvent:
    """Returns the event for a state of which some fields changed; the others are left out."""
    told = ("progress", "values", "message", "pictures", "problem", "explainer")
    return TrainingEvent(
        training=view.id,
        state=view.state,
        wish=view.wish,
        points=points,
        at=time.time(),
        **{name: getattr(view, name) for name in told if name in changed},
    )


def _number(value: object) -> float | None:
    """Returns a finite number, or ``None`` for anything else."""
    if value is None or isinstance(value, bool | str | bytes):
        return None
    if not isinstance(value, int | float):
        try:
            value = float(value)  # type: ignore[arg-type]  # numpy's and torch's scalars are numbers as well
        except (TypeError, ValueError, RuntimeError):
            return None
    return float(value) if math.isfinite(value) else None
