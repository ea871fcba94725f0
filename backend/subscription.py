"""What waits to be sent to one browser: bounded, in order, with progress that was overtaken merged away."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from backend.contract.schemas import RunEvent
from backend.contract.trainings import TrainingEvent
from backend.event_stream import is_after

MOST_WAITING = 1000
"""A browser this far behind is cut off; it comes back and resumes from the stream."""


@dataclass(frozen=True)
class Entry:
    """One event on its way out.

    Attributes:
        kind: ``run``, ``training``, ``workers`` or ``ping``.
        data: JSON.
        id: Position in the stream, or ``None`` for what is not in it.
        event: The event of a run or a training behind ``data``, if it is one.
    """

    kind: str
    data: str
    id: str | None = None
    event: RunEvent | TrainingEvent | None = None


PING = Entry("ping", "")
"""Says nothing, so that proxies and browsers see that the stream is alive."""


class Subscription:
    """The events of some runs and trainings, for one browser. Used from one event loop only.

    Args:
        runs: Keys of the runs and ids of the trainings that are followed.
        position: Stream position of the reader when this was registered; everything later arrives here.
    """

    def __init__(self, runs: Iterable[str], position: str) -> None:
        self.runs = frozenset(runs)
        self.position = position
        self.settled: dict[str, float] = {}
        """When runs ended that were already over in the snapshot; what happened before is not told again."""
        self.is_overrun = False
        self._waiting: dict[int, Entry] = {}
        self._last: dict[str, int] = {}
        self._count = 0
        self._closed = False
        self._wake = asyncio.Event()

    def offer(self, entry: Entry) -> None:
        """Adds an entry; progress of a run that has not been sent yet is merged into it.

        The merged entry takes the newer place, so that ids always leave in the order of the stream.
        """
        if self._closed:
            return
        self._count += 1
        key = entry.event.subject if entry.event is not None else f"{entry.kind}:"
        earlier = self._last.get(key)
        before = self._waiting.get(earlier) if earlier is not None else None
        if before is not None and earlier is not None:
            merged = merge(before, entry)
            if merged is not None:
                del self._waiting[earlier]
                entry = merged
        self._waiting[self._count] = entry
        self._last[key] = self._count
        if len(self._waiting) > MOST_WAITING:
            self.is_overrun = True
            self.close()
        self._wake.set()

    def has_seen(self, entry: Entry) -> bool:
        """Returns whether the snapshot or the missed events already told this."""
        if entry.id is not None and not is_after(entry.id, self.position):
            return True
        event = entry.event
        return event is not None and not event.state.is_final and event.at <= self.settled.get(event.subject, 0.0)

    async def take(self) -> list[Entry]:
        """Waits for entries and returns all of them; an empty list means that the stream ends."""
        while not self._waiting and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        if self.is_overrun:
            return []
        entries = list(self._waiting.values())
        self._waiting.clear()
        self._last.clear()
        return entries

    def close(self) -> None:
        """Ends the stream after what waits has been sent."""
        self._closed = True
        self._wake.set()


def merge(before: Entry, after: Entry) -> Entry | None:
    """Returns one entry that says what both say, or ``None`` if a change of state would be lost."""
    if before.event is None or after.event is None:
        return after if before.kind == after.kind and before.event is after.event else None
    if before.event.state is not after.event.state or after.event.state.is_final:
        return None
    if isinstance(before.event, TrainingEvent) or isinstance(after.event, TrainingEvent):
        return _merge_trainings(before, after)
    changes = {name: value for name in RunEvent.model_fields if (value := getattr(after.event, name)) is not None}
    event = before.event.model_copy(update=changes)
    return Entry(kind=after.kind, data=event.model_dump_json(), id=after.id or before.id, event=event)


def _merge_trainings(before: Entry, after: Entry) -> Entry | None:
    """Returns one entry with what both trainings' events say; points of curves are put behind one another."""
    old, new = before.event, after.event
    if not isinstance(old, TrainingEvent) or not isinstance(new, TrainingEvent) or new.whole:
        return after if isinstance(new, TrainingEvent) else None
    changes = {name: value for name in TrainingEvent.model_fields if (value := getattr(new, name)) is not None}
    points = dict(old.points or {})
    for name, added in (new.points or {}).items():
        points[name] = (*points.get(name, ()), *added)
    event = old.model_copy(update={**changes, "whole": old.whole, "points": points or None})
    return Entry(kind=after.kind, data=event.model_dump_json(), id=after.id or before.id, event=event)
