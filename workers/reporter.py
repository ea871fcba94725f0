"""Writes how a run stands: its state and one event for every change, always together.

Light on purpose (no torch): the supervisor uses it as well.
"""

from __future__ import annotations

import time
from typing import Any

import redis
from pydantic import ValidationError

from backend.contract import names
from backend.contract.keys import run_key
from backend.contract.problems import Problem
from backend.contract.results import Manifest
from backend.contract.schemas import ModelCard, ModelKind, Progress, RunEvent, RunSpec, RunState, RunView


class Reporter:
    """Keeps the stored state of one run up to date.

    Args:
        queue: Connection to the queue server.
        spec: The question.
    """

    def __init__(self, queue: redis.Redis, spec: RunSpec) -> None:
        self._queue = queue
        self.key = run_key(spec)
        self.view = read_view(queue, self.key) or RunView(
            key=self.key, state=RunState.QUEUED, spec=spec, submitted=time.time()
        )

    def start(self) -> None:
        """Says that a worker has begun."""
        self._write(
            {"state": RunState.RUNNING, "started": time.time(), "finished": None, "problem": None, "progress": None}
        )

    def progress(self, progress: Progress) -> None:
        """Says how far the run is."""
        self._write({"progress": progress})

    def partial(self, manifest: Manifest) -> None:
        """Says that a part of the answer can be looked at."""
        self._write({"partial": manifest})

    def end(self, pipeline: Any, state: RunState, *, problem: Problem | None = None) -> None:
        """Adds the last change to a pipeline, so that it happens together with the job's own end.

        Args:
            pipeline: Transaction of the queue's connection; not executed here.
            state: Final state, or ``QUEUED`` when the run goes back to the queue.
            problem: What went wrong.
        """
        changes: dict[str, Any] = {"state": state, "problem": problem}
        if state is RunState.QUEUED:
            changes |= {"started": None, "progress": None, "partial": None}
        else:
            # The arrays of a partial result go within the hour; a state that names them would outlive them by days.
            changes |= {"finished": time.time(), "partial": None}
            pipeline.delete(names.run_cancel(self.key))
        self._change(changes)
        write_view(pipeline, self.view, event_of(self.view, set(changes)))

    def _write(self, changes: dict[str, Any]) -> None:
        self._change(changes)
        with self._queue.pipeline() as pipeline:
            write_view(pipeline, self.view, event_of(self.view, set(changes)))
            pipeline.execute()

    def _change(self, changes: dict[str, Any]) -> None:
        self.view = self.view.model_copy(update=changes)


def read_view(queue: redis.Redis, key: str) -> RunView | None:
    """Returns the stored state of a run, or ``None`` when nobody asked for it; so does one that cannot be read."""
    data = queue.get(names.run_state(key))
    try:
        return None if data is None else RunView.model_validate_json(data)
    except ValidationError:
        return None


def write_view(pipeline: Any, view: RunView, event: RunEvent) -> None:
    """Adds a state and its event to a pipeline."""
    pipeline.set(names.run_state(view.key), view.model_dump_json(), ex=names.STATE_TTL_S)
    pipeline.xadd(names.EVENTS, {"event": event.model_dump_json()}, maxlen=names.EVENTS_KEPT, approximate=True)


def event_of(view: RunView, changed: set[str]) -> RunEvent:
    """Returns the event for a state of which some fields changed; the others are left out."""
    return RunEvent(
        run=view.key,
        state=view.state,
        progress=view.progress if "progress" in changed else None,
        partial=view.partial if "partial" in changed else None,
        problem=view.problem if "problem" in changed else None,
        at=time.time(),
    )


def problem_card(name: str, problem: Problem) -> ModelCard:
    """Returns the description of a model that cannot be described, with the reason."""
    source = "hub" if name.startswith("hf-hub:") else "own" if name.startswith("local-dir:") else "timm"
    return ModelCard(
        name=name, title=name, kind=ModelKind.CLASSIFIER, source=source, weights=f"hub:{name}", problem=problem
    )
