"""Gives trainings of lost workers back to their queue; they go on from their last checkpoint. Light (no torch)."""

from __future__ import annotations

import time
from typing import Any

import redis

from backend.contract import names
from backend.contract.problems import Problem
from backend.contract.trainings import TrainingState, TrainingView
from workers.recovery import Account, Recovery
from workers.training_reporter import event_of, read_training


class TrainingRecovery(Recovery):
    """Looks after the trainings of workers that are gone.

    Args:
        connection: To the queue server.
        attempts: How many workers may be lost on one training.
        queue_name: The queue that is looked after.
    """

    def __init__(self, connection: redis.Redis, *, attempts: int, queue_name: str = names.TRAINING_QUEUE) -> None:
        super().__init__(connection, attempts=attempts, queue_name=queue_name)

    def _account(self, job_id: str, reason: Problem) -> Account:
        """Returns what is written of a lost job: its training's state and event."""
        view = read_training(self._redis, job_id)
        attempt = 1 if view is None else view.attempt + 1
        back = {"state": TrainingState.QUEUED, "attempt": attempt, "started": None, "problem": None}
        given_up = {"state": TrainingState.FAILED, "problem": reason, "finished": time.time()}
        return Account(
            state=names.training_state(job_id),
            ttl_s=names.TRAINING_TTL_S,
            back=_texts(view, back),
            given_up=_texts(view, given_up),
            field=names.TRAINING_FIELD,
        )


def _texts(view: TrainingView | None, changes: dict[str, Any]) -> tuple[str, str]:
    """Returns JSON of the changed state and of its event; empty texts when there is no state to change."""
    if view is None or view.state.is_final:
        return "", ""
    changed = view.model_copy(update=changes)
    return changed.model_dump_json(), event_of(changed, set(changes)).model_dump_json()
