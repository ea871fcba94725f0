"""The stored state of a run and its event, always written together."""

from __future__ import annotations

import time

import redis
from pydantic import ValidationError

from backend.contract import names
from backend.contract.schemas import RunEvent, RunView


class RunStates:
    """Reads and writes run states on the queue server.

    Args:
        queue: Connection to the queue server, answering bytes.
    """

    def __init__(self, queue: redis.Redis) -> None:
        self._queue = queue

    def read(self, key: str) -> RunView | None:
        """Returns the stored state of a run, or ``None``; one of another version's shape counts as none."""
        return self._to_view(self._queue.get(names.run_state(key)))

    def write(self, view: RunView, *, expected: RunView | None) -> bool:
        """Stores a state and appends its event in one transaction.

        Args:
            view: The new state.
            expected: What the state was when the decision was made; nothing is written if it moved on meanwhile.

        Returns:
            Whether the state was written.
        """
        name = names.run_state(view.key)
        with self._queue.pipeline() as pipe:
            try:
                pipe.watch(name)  # type: ignore[no-untyped-call]
                if self._to_view(pipe.get(name)) != expected:
                    return False
                pipe.multi()
                pipe.set(name, view.model_copy(update={"position": None}).model_dump_json(), ex=names.STATE_TTL_S)
                pipe.xadd(
                    names.EVENTS,
                    {"event": to_event(view).model_dump_json()},
                    maxlen=names.EVENTS_KEPT,
                    approximate=True,
                )
                pipe.execute()
            except redis.WatchError:
                return False
        return True

    @staticmethod
    def _to_view(data: bytes | str | None) -> RunView | None:
        try:
            return None if data is None else RunView.model_validate_json(data)
        except ValidationError:
            return None


def to_event(view: RunView) -> RunEvent:
    """Returns the event that tells everything a state holds."""
    return RunEvent(
        run=view.key,
        state=view.state,
        progress=view.progress,
        position=view.position,
        partial=view.partial,
        problem=view.problem,
        at=time.time(),
    )
