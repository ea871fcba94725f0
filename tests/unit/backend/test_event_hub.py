"""The hub's own tasks outlive whatever goes wrong in them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

import pytest

from backend import events
from backend.contract.schemas import RunEvent, RunState, RunView
from backend.event_stream import START, StreamItem
from backend.events import EventHub
from backend.runs import Crowd

RUN = "a" * 64
DEADLINE_S = 10.0


class Stream:
    """Fails once in a way nobody foresaw, then has one entry."""

    def __init__(self) -> None:
        self.calls = 0

    async def tail(self) -> str:
        return START

    async def oldest(self) -> str | None:
        return None

    async def wait(self, after: str) -> list[StreamItem]:
        self.calls += 1
        if self.calls == 1:
            raise ValueError("nobody foresaw this")
        if after != START:
            await asyncio.Event().wait()
        event = RunEvent(run=RUN, state=RunState.RUNNING, at=time.time())
        return [StreamItem("5-0", event.model_dump_json(), event)]


class Runs:
    """Fails the first time somebody looks for lost runs."""

    def __init__(self) -> None:
        self.looked = 0
        self.looked_again = asyncio.Event()

    def view(self, key: str) -> RunView | None:
        return None

    def places(self) -> dict[str, int]:
        return {}

    def crowd(self) -> Crowd:
        return Crowd(workers=1, waiting=0)

    def notice_lost(self, keys: Iterable[str]) -> None:
        self.looked += 1
        if self.looked == 1:
            raise ValueError("nobody foresaw this")
        self.looked_again.set()


async def test_a_browser_hears_on_although_something_unforeseen_went_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "WATCH_S", 0.0)
    monkeypatch.setattr(events, "LOST_CHECK_S", 0.0)
    runs = Runs()
    hub = EventHub(Stream(), runs)  # type: ignore[arg-type]
    await hub.start()
    try:
        async with asyncio.timeout(DEADLINE_S):
            async for entry in hub.follow([RUN], None):
                if entry.kind == "run":
                    break
            listening = hub.follow([RUN], None)
            await anext(listening)
            await runs.looked_again.wait()
            await listening.aclose()
    finally:
        await hub.stop()
    assert entry.id == "5-0"
