"""What waits for one browser: in order, bounded, progress merged, changes of state never lost."""

from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from backend.contract.problems import ProblemCode, make_problem
from backend.contract.schemas import Progress, RunEvent, RunState
from backend.event_stream import order
from backend.subscription import MOST_WAITING, Entry, Subscription

A, B = "a" * 64, "b" * 64


def _entry(number: int, run: str = A, state: RunState = RunState.RUNNING, **changes: object) -> Entry:
    event = RunEvent(run=run, state=state, at=float(number)).model_copy(update=changes)
    return Entry("run", event.model_dump_json(), f"{number}-0", event)


def _progress(number: int, run: str = A) -> Entry:
    return _entry(number, run, progress=Progress(done=number, total=100))


async def _take(subscription: Subscription) -> list[Entry]:
    return await asyncio.wait_for(subscription.take(), 5)


async def test_entries_come_out_in_order() -> None:
    subscription = Subscription({A}, "0-0")
    for entry in (_entry(1, state=RunState.QUEUED), _progress(2), _entry(3, state=RunState.DONE)):
        subscription.offer(entry)
    assert [entry.id for entry in await _take(subscription)] == ["1-0", "2-0", "3-0"]


async def test_progress_that_was_overtaken_is_merged_and_keeps_what_the_newer_leaves_out() -> None:
    subscription = Subscription({A}, "0-0")
    partial_problem = make_problem(ProblemCode.INTERNAL, "kept")
    subscription.offer(_entry(1, problem=partial_problem))
    subscription.offer(_progress(2))
    subscription.offer(_progress(3))
    (entry,) = await _take(subscription)
    assert entry.id == "3-0"
    assert entry.event is not None
    assert entry.event.progress == Progress(done=3, total=100)
    assert entry.event.problem == partial_problem
    assert RunEvent.model_validate_json(entry.data) == entry.event


async def test_merging_never_lets_an_id_overtake_another_runs_event() -> None:
    subscription = Subscription({A, B}, "0-0")
    for entry in (_progress(1, A), _progress(2, B), _progress(3, A)):
        subscription.offer(entry)
    assert [(entry.event.run, entry.id) for entry in await _take(subscription) if entry.event] == [
        (B, "2-0"),
        (A, "3-0"),
    ]


@given(
    st.lists(
        st.tuples(st.sampled_from([A, B]), st.sampled_from(list(RunState)), st.booleans()), min_size=1, max_size=60
    )
)
def test_every_change_of_state_arrives_and_ids_only_grow(steps: list[tuple[str, RunState, bool]]) -> None:
    async def play() -> list[Entry]:
        subscription = Subscription({A, B}, "0-0")
        out: list[Entry] = []
        for number, (run, state, pause) in enumerate(steps, 1):
            subscription.offer(_entry(number, run, state))
            if pause:
                out += await _take(subscription)
        subscription.close()
        return out + await _take(subscription)

    entries = asyncio.run(play())
    ids = [order(entry.id) for entry in entries if entry.id]
    assert ids == sorted(set(ids))
    for run in (A, B):
        sent = _changes([entry.event.state for entry in entries if entry.event and entry.event.run == run])
        assert sent == _changes([state for name, state, _ in steps if name == run])
    finals = [entry for entry in entries if entry.event and entry.event.state.is_final]
    assert len(finals) == sum(state.is_final for _, state, _ in steps)


def _changes(states: list[RunState]) -> list[RunState]:
    return [state for place, state in enumerate(states) if place == 0 or state is not states[place - 1]]


async def test_only_the_newest_word_on_the_workers_is_kept() -> None:
    subscription = Subscription({A}, "0-0")
    subscription.offer(Entry("workers", '{"workers":0,"waiting":0}'))
    subscription.offer(Entry("workers", '{"workers":1,"waiting":0}'))
    assert [entry.data for entry in await _take(subscription)] == ['{"workers":1,"waiting":0}']


async def test_a_browser_that_falls_too_far_behind_is_cut_off() -> None:
    subscription = Subscription({A}, "0-0")
    for number in range(MOST_WAITING + 1):
        subscription.offer(_entry(number, state=RunState.DONE if number % 2 else RunState.RUNNING))
    assert subscription.is_overrun
    assert await _take(subscription) == []


async def test_closing_sends_what_waits_and_then_ends() -> None:
    subscription = Subscription({A}, "0-0")
    subscription.offer(_progress(1))
    subscription.close()
    assert len(await _take(subscription)) == 1
    assert await _take(subscription) == []


async def test_taking_waits_until_something_comes() -> None:
    subscription = Subscription({A}, "0-0")
    waiting = asyncio.create_task(_take(subscription))
    await asyncio.sleep(0)
    assert not waiting.done()
    subscription.offer(_progress(1))
    assert len(await waiting) == 1


def test_what_the_snapshot_told_is_not_told_again() -> None:
    subscription = Subscription({A}, "5-0")
    subscription.settled[A] = 7.0
    assert subscription.has_seen(_progress(5))
    assert subscription.has_seen(_progress(6))
    assert not subscription.has_seen(_progress(8))
    assert not subscription.has_seen(_entry(6, state=RunState.DONE))
    assert not subscription.has_seen(_progress(6, B))
