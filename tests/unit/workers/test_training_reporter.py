"""What a training tells becomes its state and its events; lost trainings go back to their queue."""

from __future__ import annotations

import time
from typing import Any

import fakeredis
import numpy as np
import pytest
import torch

from backend.contract import names
from backend.contract.problems import ProblemCode, make_problem
from backend.contract.trainings import (
    MOST_POINTS,
    TrainingEvent,
    TrainingSpec,
    TrainingState,
    Wish,
    is_training_id,
    whole_event,
    with_points,
)
from backend.event_stream import _to_item
from backend.subscription import Entry, Subscription, merge
from workers.supervisor import spread
from workers.training_recovery import TrainingRecovery
from workers.training_reporter import TrainingReporter, read_training

ID = "t0123456789abcdef"
SPEC = TrainingSpec(kind="tiny", model="tiny", weights="f" * 64, data="birds", preset="standard", recipe={})


@pytest.fixture
def queue() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis()


@pytest.fixture
def reporter(queue: fakeredis.FakeRedis) -> TrainingReporter:
    reporter = TrainingReporter(queue, ID, SPEC, cache=queue)
    reporter.start()
    return reporter


def events(queue: fakeredis.FakeRedis) -> list[TrainingEvent]:
    entries: Any = queue.xrange(names.EVENTS)
    return [TrainingEvent.model_validate_json(fields[names.TRAINING_FIELD.encode()]) for _, fields in entries]


def end(queue: fakeredis.FakeRedis, reporter: TrainingReporter, state: TrainingState) -> None:
    with queue.pipeline() as pipe:
        reporter.end(pipe, state)
        pipe.execute()


def test_points_are_told_one_by_one_and_kept_together(queue: fakeredis.FakeRedis, reporter: TrainingReporter) -> None:
    for epoch in (1, 2, 3):
        reporter.tell({"point": float(epoch), "loss": 1 / epoch, "accuracy": torch.tensor(0.5)})
    view = read_training(queue, ID)
    assert view is not None
    assert view.curves["loss"] == ((1.0, 1.0), (2.0, 0.5), (3.0, pytest.approx(1 / 3)))
    assert view.curves["accuracy"][0] == (1.0, 0.5)
    told = [event.points["loss"] for event in events(queue) if event.points]
    assert [len(points) for points in told] == [1, 1, 1]


def test_progress_that_comes_too_fast_is_held_and_not_lost(
    queue: fakeredis.FakeRedis, reporter: TrainingReporter
) -> None:
    for done in range(100):
        reporter.tell({"done": done, "total": 100, "stage": "warm", "rate": 0.1 * done})
    assert len(events(queue)) < 10
    reporter.tell({"message": "Half way."})
    view = read_training(queue, ID)
    assert view is not None
    assert view.progress is not None
    assert (view.progress.done, view.progress.stage, view.message) == (99, "warm", "Half way.")
    assert view.values["rate"] == pytest.approx(9.9)


def test_numbers_that_are_none_are_left_out(queue: fakeredis.FakeRedis, reporter: TrainingReporter) -> None:
    odd: dict[str, Any] = {"a": float("nan"), "b": float("inf"), "c": "text", "d": True, "e": None, "f": np.float32(2)}
    reporter.tell({"point": 1.0, "seconds_left": float("nan"), "epoch": None, "done": 3, **odd})
    view = read_training(queue, ID)
    assert view is not None
    assert view.values == {"f": 2.0}
    assert view.progress is not None
    assert (view.progress.done, view.progress.seconds_left, view.progress.epoch) == (3, None, None)


def test_pictures_are_kept_beside_and_named_in_the_state(
    queue: fakeredis.FakeRedis, reporter: TrainingReporter
) -> None:
    reporter.tell({"pictures": {"a.png": b"one", "huge.png": b"x" * 300_000}})
    reporter.tell({"pictures": {"a.png": b"two"}})
    view = read_training(queue, ID)
    assert view is not None
    assert view.pictures == ("a.png", "huge.png")
    assert queue.hgetall(names.training_pictures(ID)) == {b"a.png": b"two"}


def test_a_wish_is_told_with_the_next_event_and_gone_at_the_end(
    queue: fakeredis.FakeRedis, reporter: TrainingReporter
) -> None:
    queue.set(names.training_wish(ID), "stop")
    reporter.tell({"message": "soon"})
    assert events(queue)[-1].wish is Wish.STOP
    end(queue, reporter, TrainingState.STOPPED)
    view = read_training(queue, ID)
    assert view is not None
    assert (view.state, view.wish) == (TrainingState.STOPPED, None)
    assert view.finished is not None
    assert not queue.exists(names.training_wish(ID))


def test_a_training_that_goes_back_keeps_its_curves_and_the_next_worker_goes_on_with_them(
    queue: fakeredis.FakeRedis, reporter: TrainingReporter
) -> None:
    for epoch in (1, 2, 3):
        reporter.tell({"point": float(epoch), "loss": 1.0})
    end(queue, reporter, TrainingState.QUEUED)
    second = TrainingReporter(queue, ID, SPEC)
    second.start()
    second.tell({"point": 3.0, "loss": 9.0})
    assert second.view.curves["loss"] == ((1.0, 1.0), (2.0, 1.0), (3.0, 9.0))


def test_a_long_curve_is_thinned_out_in_its_older_half() -> None:
    curves: dict[str, tuple[tuple[float, float], ...]] = {}
    for place in range(MOST_POINTS + 1):
        curves = with_points(curves, {"loss": ((float(place), 0.0),)})
    kept = [point[0] for point in curves["loss"]]
    assert len(kept) < MOST_POINTS
    assert kept == sorted(kept)
    assert kept[-1] == MOST_POINTS
    assert kept[:3] == [0.0, 2.0, 4.0]


def test_a_stored_state_of_another_shape_counts_as_none(queue: fakeredis.FakeRedis) -> None:
    queue.set(names.training_state(ID), '{"id": "x"}')
    assert read_training(queue, ID) is None


@pytest.mark.parametrize(
    ("text", "right"),
    [(ID, True), ("a" * 64, False), ("t123", False), ("T0123456789abcdef", False), (ID + "\n", False)],
)
def test_the_id_of_a_training_is_never_the_key_of_a_run(text: str, right: bool) -> None:
    assert is_training_id(text) is right


def test_a_lost_training_is_written_back_or_given_up(queue: fakeredis.FakeRedis, reporter: TrainingReporter) -> None:
    recovery = TrainingRecovery(queue, attempts=3)
    reason = make_problem(ProblemCode.WORKER_LOST, "Lost.")
    account = recovery._account(ID, reason)
    assert account.state == names.training_state(ID)
    assert '"state":"queued"' in account.back[0]
    assert '"attempt":2' in account.back[0]
    assert TrainingEvent.model_validate_json(account.back[1]).state is TrainingState.QUEUED
    assert TrainingEvent.model_validate_json(account.given_up[1]).problem == reason
    end(queue, reporter, TrainingState.DONE)
    assert recovery._account(ID, reason).back == ("", "")


def entry(number: int, **changes: Any) -> Entry:
    event = TrainingEvent(training=ID, state=TrainingState.RUNNING, at=float(number)).model_copy(update=changes)
    return Entry("training", event.model_dump_json(), f"{number}-0", event)


def test_events_that_wait_are_merged_without_losing_a_point() -> None:
    merged = merge(
        entry(1, points={"loss": ((1.0, 0.5),)}, message="a"),
        entry(2, points={"loss": ((2.0, 0.25),), "iou": ((2.0, 1.0),)}),
    )
    assert merged is not None
    told = TrainingEvent.model_validate_json(merged.data)
    assert told.points == {"loss": ((1.0, 0.5), (2.0, 0.25)), "iou": ((2.0, 1.0),)}
    assert (told.message, merged.id) == ("a", "2-0")
    assert merge(entry(1), entry(2, state=TrainingState.DONE)) is None


async def test_a_browser_hears_of_its_trainings_in_order() -> None:
    subscription = Subscription({ID}, "0-0")
    for number in range(1, 6):
        subscription.offer(entry(number, points={"loss": ((float(number), 0.0),)}))
    subscription.offer(entry(6, state=TrainingState.DONE))
    first, last = await subscription.take()
    assert isinstance(first.event, TrainingEvent)
    assert first.event.points is not None
    assert [point[0] for point in first.event.points["loss"]] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert last.id == "6-0"


def test_the_stream_tells_runs_and_trainings_apart(queue: fakeredis.FakeRedis, reporter: TrainingReporter) -> None:
    entries: Any = queue.xrange(names.EVENTS)
    item = _to_item(*entries[-1])
    assert isinstance(item.event, TrainingEvent)
    assert item.event.subject == ID
    whole = whole_event(reporter.view, time.time())
    assert whole.whole
    assert whole.state is TrainingState.RUNNING


def test_trainings_take_the_last_device_first() -> None:
    assert spread(["cpu"], 1) == ["cpu"]
    assert spread(["cuda:0", "cuda:1"], 3) == ["cuda:1", "cuda:0", "cuda:1"]
    assert spread(["cpu"], 0) == []
