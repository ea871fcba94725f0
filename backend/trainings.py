"""Trainings on RQ: one job for one training; its state lives in a key of its own and stays until it is deleted.

A training that was stopped, failed or lost its worker goes on from its checkpoint, which is on the machine that
trains; here is only how it stands.
"""

from __future__ import annotations

import secrets
import shutil
import time
from pathlib import Path
from typing import Any

import redis
from pydantic import TypeAdapter, ValidationError
from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from backend.catalogue import CatalogueReader
from backend.contract import names
from backend.contract.datasets import find_dataset, is_world
from backend.contract.params import fill_params
from backend.contract.problems import ProblemCode, ProblemError, make_problem
from backend.contract.trainings import (
    Trainable,
    TrainingCard,
    TrainingRequest,
    TrainingSpec,
    TrainingState,
    TrainingView,
    Wish,
    whole_event,
)
from backend.requests import validate_params

FAILED_JOB_TTL_S = 60
GRACE_S = 15.0
"""How long a state may be without a job before its worker counts as lost; covers the moments between two writes."""
MOST_WAITING = 100
_ALIVE = {JobStatus.QUEUED, JobStatus.STARTED, JobStatus.SCHEDULED, JobStatus.DEFERRED, JobStatus.CREATED}
_KINDS = TypeAdapter(tuple[TrainingCard, ...])
_TRAINABLE = TypeAdapter(tuple[Trainable, ...])
_LOST = "The worker that trained stopped, and so did those that tried after it. It can go on from its last checkpoint."


class QueueTrainings:
    """Trainings in an RQ queue.

    Args:
        queue: Connection to the queue server, answering bytes.
        cache: Connection to the cache server, where small pictures of running trainings are.
        catalogue: What the workers offer.
        data_dir: Where data sets and the folders of trainings are.
    """

    def __init__(self, queue: redis.Redis, cache: redis.Redis, catalogue: CatalogueReader, data_dir: Path) -> None:
        self._redis = queue
        self._cache = cache
        self._catalogue = catalogue
        self._data_dir = data_dir
        self._jobs = Queue(names.TRAINING_QUEUE, connection=queue, serializer=JSONSerializer)

    # what there is -------------------------------------------------------------------------------------------------

    def kinds(self) -> tuple[TrainingCard, ...]:
        """Returns the kinds of training that the workers offer."""
        data = self._redis.get(names.TRAINING_KINDS)
        try:
            return () if data is None else _KINDS.validate_json(data)
        except ValidationError:
            return ()

    def trainable(self, model: str) -> tuple[Trainable, ...]:
        """Returns for each kind whether an explainer can be trained for a model; empty: no worker has looked yet."""
        data = self._redis.hget(names.TRAINABLE, model)
        try:
            return () if data is None else _TRAINABLE.validate_json(data)
        except ValidationError:
            return ()

    def views(self) -> list[TrainingView]:
        """Returns every training, the newest first."""
        found: list[Any] = self._redis.zrevrange(names.TRAININGS, 0, -1)
        ids = [_text(raw) for raw in found]
        return [view for training_id in ids if (view := self.view(training_id)) is not None]

    def view(self, training_id: str) -> TrainingView | None:
        """Returns how a training stands, or ``None`` when there is none of this id."""
        view = self._read(training_id)
        if view is None or view.state.is_final:
            return view
        if not self._is_coming(view):
            problem = make_problem(ProblemCode.WORKER_LOST, _LOST)
            return self._change(view, state=TrainingState.FAILED, problem=problem, finished=time.time())
        wish = self._redis.get(names.training_wish(training_id))
        position = self._jobs.get_job_position(training_id) if view.state is TrainingState.QUEUED else None
        return view.model_copy(update={"wish": None if wish is None else Wish(_text(wish)), "position": position})

    def picture(self, training_id: str, name: str) -> bytes | None:
        """Returns a small picture of a training."""
        data = self._cache.hget(names.training_pictures(training_id), name)
        return data.encode() if isinstance(data, str) else data

    # what can be done ----------------------------------------------------------------------------------------------

    def submit(self, request: TrainingRequest) -> TrainingView:
        """Returns the training after it was put into the queue.

        Raises:
            ProblemError: Why it cannot be trained.
        """
        spec = self.complete(request)
        if self._jobs.count >= MOST_WAITING:
            raise ProblemError(ProblemCode.TOO_MANY_REQUESTS, f"{MOST_WAITING} trainings are waiting already.")
        now = time.time()
        view = TrainingView(id=f"t{secrets.token_hex(8)}", state=TrainingState.QUEUED, spec=spec, submitted=now)
        with self._redis.pipeline() as pipe:
            self._write(pipe, view)
            pipe.zadd(names.TRAININGS, {view.id: now})
            pipe.execute()
        self._push(view)
        return self.view(view.id) or view

    def complete(self, request: TrainingRequest) -> TrainingSpec:
        """Returns what is trained in full.

        Raises:
            ProblemError: Why it cannot be trained.
        """
        kind = self._kind(request.kind)
        model = self._catalogue.model(request.model)
        if model.problem is not None:
            raise ProblemError(model.problem.code, model.problem.message)
        if not model.described:
            raise ProblemError(
                ProblemCode.MODEL_NOT_READY,
                f"A worker has to read what {model.title} offers first. Choose the model, then ask again in a moment.",
            )
        verdict = next((one for one in self.trainable(model.name) if one.kind == kind.name), None)
        if verdict is not None and not verdict.possible:
            raise ProblemError(ProblemCode.NOT_SUPPORTED, verdict.reason)
        if not is_world(request.data) and find_dataset(self._data_dir, request.data) is None:
            raise ProblemError(
                ProblemCode.DATA_UNUSABLE, f"There is no data set {request.data!r}. Upload one, or choose birds."
            )
        return TrainingSpec(
            kind=kind.name,
            model=model.name,
            weights=model.weights,
            data=request.data,
            preset=_preset(kind, request.preset),
            recipe=_recipe(kind, request),
            title=request.title.strip(),
        )

    def stop(self, training_id: str) -> TrainingView:
        """Returns the training after the wish to stop it was recorded; its checkpoint stays."""
        view = self._need(training_id)
        if view.state.is_final:
            return view
        # First the wish, then the list: a job that is picked up in between finds the wish when it starts.
        self._redis.set(names.training_wish(training_id), Wish.STOP.value, ex=names.STATE_TTL_S)
        if self._jobs.remove(training_id):
            self._delete_job(training_id)
            return self._change(view, state=TrainingState.STOPPED, finished=time.time(), wish=None)
        return self._told(view, Wish.STOP)

    def finish(self, training_id: str) -> TrainingView:
        """Returns the training after the wish was recorded to end early and publish what there is.

        Raises:
            ProblemError: ``request_invalid`` if it is not running.
        """
        view = self._need(training_id)
        if view.state is not TrainingState.RUNNING:
            raise ProblemError(ProblemCode.REQUEST_INVALID, "Only a training that is running can be ended early.")
        self._redis.set(names.training_wish(training_id), Wish.FINISH.value, ex=names.STATE_TTL_S)
        return self._told(view, Wish.FINISH)

    def resume(self, training_id: str) -> TrainingView:
        """Returns the training after it was put into the queue again; it goes on from its checkpoint.

        Raises:
            ProblemError: ``request_invalid`` if it is done.
        """
        view = self._need(training_id)
        if not view.state.is_final:
            self._redis.delete(names.training_wish(training_id))
            return self.view(training_id) or view
        if not view.state.can_resume:
            raise ProblemError(ProblemCode.REQUEST_INVALID, "This training is done; its explainer is on the shelf.")
        self._redis.delete(names.training_wish(training_id))
        self._delete_job(training_id)
        changes = {"problem": None, "wish": None, "started": None, "finished": None, "attempt": view.attempt + 1}
        view = self._change(view, state=TrainingState.QUEUED, submitted=time.time(), **changes)
        self._push(view)
        return self.view(training_id) or view

    def delete(self, training_id: str) -> None:
        """Removes a training that is over, with its checkpoints; its explainer stays.

        Raises:
            ProblemError: ``request_invalid`` while it is queued or running.
        """
        view = self._need(training_id)
        if not view.state.is_final:
            raise ProblemError(ProblemCode.REQUEST_INVALID, "This training is not over. Stop it first.")
        self._delete_job(training_id)
        with self._redis.pipeline() as pipe:
            pipe.delete(names.training_state(training_id), names.training_wish(training_id))
            pipe.zrem(names.TRAININGS, training_id)
            pipe.execute()
        self._cache.delete(names.training_pictures(training_id))
        # The folder is on this machine where the data directory is shared; elsewhere the next training clears it away.
        shutil.rmtree(self._data_dir / "trainings" / training_id, ignore_errors=True)

    # ---------------------------------------------------------------------------------------------------------------

    def _kind(self, name: str) -> TrainingCard:
        kinds = self.kinds()
        if not kinds:
            raise ProblemError(
                ProblemCode.NO_WORKER, "No worker has announced what it can train yet. Start one with `vitrine worker`."
            )
        wanted = name.replace("-", "_")
        for card in kinds:
            if card.name == wanted:
                return card
        known = ", ".join(card.name for card in kinds)
        raise ProblemError(ProblemCode.REQUEST_INVALID, f"There is no training {name!r}. There are: {known}.")

    def _need(self, training_id: str) -> TrainingView:
        view = self.view(training_id)
        if view is None:
            raise unknown()
        return view

    def _read(self, training_id: str) -> TrainingView | None:
        data = self._redis.get(names.training_state(training_id))
        try:
            return None if data is None else TrainingView.model_validate_json(data)
        except ValidationError:
            return None

    def _told(self, view: TrainingView, wish: Wish) -> TrainingView:
        """Tells what somebody wants; the state itself is the worker's to write while it trains."""
        told = view.model_copy(update={"wish": wish})
        event = whole_event(told, time.time()).model_dump_json()
        self._redis.xadd(names.EVENTS, {names.TRAINING_FIELD: event}, maxlen=names.EVENTS_KEPT, approximate=True)
        return told

    def _change(self, view: TrainingView, **changes: Any) -> TrainingView:
        """Writes a state unless a worker has changed it meanwhile; returns what is true then."""
        key = names.training_state(view.id)
        changed = view.model_copy(update=changes)
        with self._redis.pipeline() as pipe:
            try:
                pipe.watch(key)  # type: ignore[no-untyped-call]
                now = self._read(view.id)
                if now is None or (now.state, now.attempt) != (view.state, view.attempt):
                    return now or view
                pipe.multi()
                self._write(pipe, changed)
                pipe.execute()
            except redis.WatchError:
                return self._read(view.id) or view
        return changed

    @staticmethod
    def _write(pipe: Any, view: TrainingView) -> None:
        stored = view.model_copy(update={"position": None})
        pipe.set(names.training_state(view.id), stored.model_dump_json(), ex=names.TRAINING_TTL_S)
        event = whole_event(stored, time.time()).model_dump_json()
        pipe.xadd(names.EVENTS, {names.TRAINING_FIELD: event}, maxlen=names.EVENTS_KEPT, approximate=True)

    def _push(self, view: TrainingView) -> None:
        self._jobs.enqueue_call(
            names.TRAIN_JOB,
            kwargs={"training_id": view.id, "spec": view.spec.model_dump(mode="json")},
            job_id=view.id,
            unique=True,
            result_ttl=0,
            failure_ttl=FAILED_JOB_TTL_S,
            description=f"{view.spec.kind} for {view.spec.model}",
        )

    def _is_coming(self, view: TrainingView) -> bool:
        """Returns whether a job exists that will end the training (or may be about to be written)."""
        status = self._redis.hget(Job.key_for(view.id), "status")
        if status is not None and JobStatus(_text(status)) in _ALIVE:
            return True
        return time.time() - max(view.submitted, view.started or 0.0) < GRACE_S

    def _delete_job(self, training_id: str) -> None:
        try:
            Job.fetch(training_id, connection=self._redis, serializer=JSONSerializer).delete()
        except NoSuchJobError:
            return


def unknown() -> ProblemError:
    """Returns the refusal for a training that nobody knows."""
    return ProblemError(ProblemCode.NOT_FOUND, "There is no such training; perhaps somebody deleted it.")


def _preset(kind: TrainingCard, given: str | None) -> str:
    known = [preset.name for preset in kind.presets]
    if given is None:
        return kind.default_preset
    if given not in known:
        raise ProblemError(
            ProblemCode.PARAMS_INVALID,
            f"{kind.title} has no preset {given!r}. There are: {', '.join(known) or 'none'}.",
        )
    return given


def _recipe(kind: TrainingCard, request: TrainingRequest) -> dict[str, Any]:
    """Returns what was given over the preset, after a look whether the whole fits."""
    preset = _preset(kind, request.preset)
    chosen = next((one.params for one in kind.presets if one.name == preset), {})
    filled = fill_params(kind.recipe_schema, {**chosen, **request.recipe})
    validate_params(kind.recipe_schema, filled)
    return {name: filled[name] for name in request.recipe}


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
