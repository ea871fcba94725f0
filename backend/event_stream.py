"""The Redis stream of events, read without blocking the event loop."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import redis.asyncio
import structlog

from backend.contract import names
from backend.contract.schemas import RunEvent
from backend.contract.trainings import TrainingEvent

START = "0-0"
READ_BLOCK_MS = 5_000
READ_COUNT = 500
_log = structlog.get_logger()


@dataclass(frozen=True)
class StreamItem:
    """One entry of the stream; ``event`` is ``None`` when its content cannot be read."""

    id: str
    data: str
    event: RunEvent | TrainingEvent | None


class EventStream:
    """Reads :data:`backend.contract.names.EVENTS`.

    Args:
        connection: Asynchronous, with reads that may wait, answering bytes.
    """

    def __init__(self, connection: redis.asyncio.Redis) -> None:
        self._connection = connection

    async def tail(self) -> str:
        """Returns the id of the newest entry; ``0-0`` when there is none."""
        items: Any = await self._connection.xrevrange(names.EVENTS, count=1)
        return _text(items[0][0]) if items else START

    async def oldest(self) -> str | None:
        """Returns the id of the oldest entry that is kept, or ``None``."""
        items: Any = await self._connection.xrange(names.EVENTS, count=1)
        return _text(items[0][0]) if items else None

    async def between(self, after: str, until: str, *, most: int) -> list[StreamItem]:
        """Returns at most ``most`` entries behind ``after``, up to and with ``until``."""
        items: Any = await self._connection.xrange(names.EVENTS, min=f"({after}", max=until, count=most)
        return [_to_item(item_id, fields) for item_id, fields in items]

    async def wait(self, after: str) -> list[StreamItem]:
        """Returns the next entries behind ``after``; an empty list when none came for a while."""
        answer: Any = await self._connection.xread({names.EVENTS: after}, count=READ_COUNT, block=READ_BLOCK_MS)
        return [_to_item(item_id, fields) for _, items in answer or () for item_id, fields in items]


def order(item_id: str) -> tuple[int, int]:
    """Returns what ids are sorted by."""
    milliseconds, number = item_id.split("-")
    return int(milliseconds), int(number)


def is_after(item_id: str, other: str) -> bool:
    """Returns whether an entry is newer than another."""
    return order(item_id) > order(other)


def _to_item(item_id: bytes | str, fields: dict[bytes, bytes]) -> StreamItem:
    is_training = names.TRAINING_FIELD.encode() in fields
    data = _text(fields.get(names.TRAINING_FIELD.encode() if is_training else b"event", b""))
    try:
        event = TrainingEvent.model_validate_json(data) if is_training else RunEvent.model_validate_json(data)
        return StreamItem(_text(item_id), data, event)
    except ValueError:
        _log.warning("events.unreadable", id=_text(item_id))
        return StreamItem(_text(item_id), data, None)


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
