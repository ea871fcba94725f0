"""Live events: one reader of the Redis stream per process, any number of browsers behind it.

The stream is the truth and outlives the process; a browser that comes back names the last id it saw and gets
what it missed. A browser that comes for the first time gets how each of its runs stands, then what follows.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable
from typing import Protocol

import redis
import structlog

from backend.contract.schemas import RunEvent, RunState, RunView
from backend.contract.trainings import TrainingEvent, TrainingState, TrainingView, is_training_id, whole_event
from backend.event_stream import START, EventStream, StreamItem, is_after, order
from backend.run_states import to_event
from backend.runs import Crowd, RunBackend
from backend.subscription import PING, Entry, Subscription

MOST_MISSED = 2_000
"""A browser that missed more than this gets a snapshot instead."""
WATCH_S = 1.0
LOST_CHECK_S = 5.0
PING_S = 15.0
CANCEL_AGAIN_S = 0.5
RECONNECT_S = (0.1, 0.2, 0.5, 1.0, 2.0)
_ID = re.compile(r"\d{1,15}-\d{1,10}")
_log = structlog.get_logger()


class TrainingLook(Protocol):
    """Tells how trainings stand."""

    def view(self, training_id: str) -> TrainingView | None:
        """Returns how a training stands, or ``None`` when there is none of this id."""


class EventHub:
    """Fans the event stream out to browsers.

    Args:
        stream: The stream; its connection must let reads wait (``socket_timeout=None``).
        runs: Tells how runs stand; its methods block and are called in threads.
        trainings: Tells how trainings stand, likewise.
    """

    def __init__(self, stream: EventStream, runs: RunBackend, trainings: TrainingLook | None = None) -> None:
        self._stream = stream
        self._runs = runs
        self._trainings = trainings
        self._position = START
        self._subscriptions: set[Subscription] = set()
        self._states: dict[str, RunState] = {}
        self._training_states: dict[str, TrainingState] = {}
        self._crowd: Crowd | None = None
        self._places: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._has_viewers = asyncio.Event()

    async def start(self) -> None:
        """Begins to read at the end of the stream."""
        with contextlib.suppress(redis.RedisError):
            self._position = await self._stream.tail()
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        """Ends every browser's stream and the reader."""
        for subscription in list(self._subscriptions):
            subscription.close()
        running = set(self._tasks)
        while running:
            # Repeated, because a library below may swallow a cancellation that comes at an unlucky moment.
            for task in running:
                task.cancel()
            _, running = await asyncio.wait(running, timeout=CANCEL_AGAIN_S)

    @property
    def viewers(self) -> int:
        """How many browsers listen."""
        return len(self._subscriptions)

    async def follow(
        self, runs: Iterable[str], last_id: str | None, trainings: Iterable[str] = ()
    ) -> AsyncIterator[Entry]:
        """Yields the events of some runs and trainings until the hub stops.

        Args:
            runs: Keys of runs.
            last_id: Id of the last event that the browser saw, when it comes back.
            trainings: Ids of trainings.
        """
        # Registered first: whatever is read from here on waits in the subscription while the past is fetched.
        subscription = Subscription((*runs, *trainings), self._position)
        self._subscriptions.add(subscription)
        self._has_viewers.set()
        try:
            missed = await self._missed(subscription, last_id)
            if missed is None:
                async for entry in self._snapshot(subscription):
                    yield entry
            else:
                await self._learn(subscription)
                await self._learn_trainings(subscription)
                for entry in missed:
                    yield entry
            async for entry in self._live(subscription):
                yield entry
        finally:
            self._subscriptions.discard(subscription)
            self._forget_unfollowed()

    async def _live(self, subscription: Subscription) -> AsyncIterator[Entry]:
        while True:
            try:
                async with asyncio.timeout(PING_S):
                    entries = await subscription.take()
            except TimeoutError:
                yield PING
                continue
            if not entries:
                return
            for entry in entries:
                if not subscription.has_seen(entry):
                    yield entry

    async def _snapshot(self, subscription: Subscription) -> AsyncIterator[Entry]:
        """Yields how each run stands; only the last entry carries an id, so that no half of it counts as seen."""
        tail = await self._stream.tail()
        for view in await self._learn(subscription):
            if view.state.is_final and view.finished is not None:
                subscription.settled[view.key] = view.finished
            event = to_event(view)
            yield Entry("run", event.model_dump_json(), None, event)
        for training in await self._learn_trainings(subscription):
            if training.state.is_final and training.finished is not None:
                subscription.settled[training.id] = training.finished
            told = whole_event(training, time.time())
            yield Entry("training", told.model_dump_json(), None, told)
        crowd = await asyncio.to_thread(self._runs.crowd)
        self._crowd = self._crowd or crowd
        # What is at or before the tail is in the states that were just read.
        subscription.position = max((tail, subscription.position), key=order)
        yield Entry("workers", _to_json(crowd), subscription.position)

    async def _learn(self, subscription: Subscription) -> list[RunView]:
        """Reads how the runs of a browser stand, so that places are told for those that wait."""
        keys = sorted(key for key in subscription.runs if not is_training_id(key))
        views = await asyncio.to_thread(lambda: [view for key in keys if (view := self._runs.view(key)) is not None])
        for view in views:
            self._states[view.key] = view.state
        return views

    async def _learn_trainings(self, subscription: Subscription) -> list[TrainingView]:
        """Reads how the trainings of a browser stand."""
        ids = sorted(key for key in subscription.runs if is_training_id(key))
        views = await asyncio.to_thread(self._look_at, ids)
        for view in views:
            self._training_states[view.id] = view.state
        return views

    def _look_at(self, ids: Iterable[str]) -> list[TrainingView]:
        look = self._trainings
        return [] if look is None else [view for one in ids if (view := look.view(one)) is not None]

    async def _missed(self, subscription: Subscription, last_id: str | None) -> list[Entry] | None:
        """Returns what a returning browser missed, or ``None`` if it needs a snapshot."""
        if last_id is None or not _ID.fullmatch(last_id):
            return None
        oldest = await self._stream.oldest()
        if oldest is None or is_after(oldest, last_id):
            return None  # the stream was trimmed or lost beyond what the browser has seen
        if not is_after(subscription.position, last_id):
            subscription.position = last_id
            return []
        items = await self._stream.between(last_id, subscription.position, most=MOST_MISSED + 1)
        if len(items) > MOST_MISSED:
            return None
        return [_to_entry(item) for item in items if item.event is not None and item.event.subject in subscription.runs]

    async def _read(self) -> None:
        failures = 0
        while True:
            try:
                items = await self._stream.wait(self._position)
                failures = 0
                for item in items:
                    self._deliver(item)
            except Exception as error:  # whatever it was: without this task no browser hears anything again
                if failures == 0:
                    _log.warning("events.disconnected", error=type(error).__name__)
                await asyncio.sleep(RECONNECT_S[min(failures, len(RECONNECT_S) - 1)])
                failures += 1
                await self._notice_lost_stream()

    async def _notice_lost_stream(self) -> None:
        """After a restart without data the stream begins anew; then reading must begin anew too."""
        with contextlib.suppress(redis.RedisError, OSError):
            if is_after(self._position, await self._stream.tail()):
                self._position = START

    def _deliver(self, item: StreamItem) -> None:
        self._position = item.id
        if item.event is None:
            return
        entry, subject = _to_entry(item), item.event.subject
        for subscription in self._subscriptions:
            if subject in subscription.runs:
                if isinstance(item.event, TrainingEvent):
                    self._training_states[subject] = item.event.state
                else:
                    self._states[subject] = item.event.state
                subscription.offer(entry)

    async def _watch(self) -> None:
        """Tells places in the queue and how busy it is, once a second while anybody listens."""
        checked = 0.0
        while True:
            await self._has_viewers.wait()
            try:
                await self._tell_crowd()
                await self._tell_places()
                if time.monotonic() - checked >= LOST_CHECK_S:
                    checked = time.monotonic()
                    active = [run for run, state in self._states.items() if not state.is_final]
                    await asyncio.to_thread(self._runs.notice_lost, active)
                    training = [one for one, state in self._training_states.items() if not state.is_final]
                    await asyncio.to_thread(self._look_at, training)  # looking ends those that nobody comes back to
            except Exception as error:  # as above
                _log.debug("events.watch_failed", error=type(error).__name__)
            await asyncio.sleep(WATCH_S)

    async def _tell_crowd(self) -> None:
        crowd = await asyncio.to_thread(self._runs.crowd)
        if crowd == self._crowd:
            return
        self._crowd = crowd
        for subscription in self._subscriptions:
            subscription.offer(Entry("workers", _to_json(crowd)))

    async def _tell_places(self) -> None:
        queued = {run for run, state in self._states.items() if state is RunState.QUEUED}
        places = await asyncio.to_thread(self._runs.places) if queued else {}
        for run in queued & places.keys():
            # The state may have moved on while the places were read.
            if self._places.get(run) == places[run] or self._states.get(run) is not RunState.QUEUED:
                continue
            event = RunEvent(run=run, state=RunState.QUEUED, position=places[run], at=time.time())
            entry = Entry("run", event.model_dump_json(), None, event)
            for subscription in self._subscriptions:
                if run in subscription.runs:
                    subscription.offer(entry)
        self._places = {run: places[run] for run in queued & places.keys()}

    def _forget_unfollowed(self) -> None:
        followed = Counter(run for subscription in self._subscriptions for run in subscription.runs)
        self._states = {run: state for run, state in self._states.items() if run in followed}
        self._training_states = {one: state for one, state in self._training_states.items() if one in followed}
        if not self._subscriptions:
            self._has_viewers.clear()


def _to_entry(item: StreamItem) -> Entry:
    kind = "training" if isinstance(item.event, TrainingEvent) else "run"
    return Entry(kind, item.data, item.id, item.event)


def _to_json(crowd: Crowd) -> str:
    return f'{{"workers":{crowd.workers},"waiting":{crowd.waiting},"busy":{crowd.busy}}}'
