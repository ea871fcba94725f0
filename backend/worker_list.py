"""The workers as they announce themselves to RQ, read without importing any of their code."""

from __future__ import annotations

from datetime import UTC, datetime

import redis

from backend.contract.names import EXPLAIN_QUEUE
from backend.contract.schemas import WorkerCard

_KEYS = "rq:workers"
_PREFIX = "rq:worker:"


def list_workers(queue: redis.Redis) -> list[WorkerCard]:
    """Returns the workers whose heart still beats, by name."""
    keys = sorted(_text(key) for key in queue.smembers(_KEYS))
    with queue.pipeline(transaction=False) as pipe:
        for key in keys:
            pipe.hgetall(key)
        answers = pipe.execute()
    cards = [
        _to_card(key.removeprefix(_PREFIX), {_text(name): _text(value) for name, value in answer.items()})
        for key, answer in zip(keys, answers, strict=True)
        if answer
    ]
    return [card for card in cards if card is not None]


def worker_is_alive(queue: redis.Redis, name: str) -> bool:
    """Returns whether a worker's registration has not run out."""
    return bool(queue.exists(_PREFIX + name))


def _to_card(name: str, fields: dict[str, str]) -> WorkerCard | None:
    if fields.get("death"):
        return None
    return WorkerCard(
        name=name,
        device=fields.get("device", ""),
        state=fields.get("state", "?"),
        run=fields.get("current_job") or None,
        seen=_to_seconds(fields.get("last_heartbeat", "")),
        queue=fields.get("queues") or EXPLAIN_QUEUE,
    )


def _to_seconds(moment: str) -> float:
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        return 0.0
    return parsed.replace(tzinfo=parsed.tzinfo or UTC).timestamp()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
