"""Between two batches a run learns whether it shall go on."""

from __future__ import annotations

import fakeredis
import pytest

from backend.contract import names
from backend.contract.problems import ProblemCode, ProblemError
from workers.outcome import Cancelled, Interrupted
from workers.throttle import Throttle
from workers.watch import StopFlags, Watch

KEY = "a" * 64


@pytest.fixture
def queue() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis()


def test_a_run_that_is_wanted_goes_on(queue: fakeredis.FakeRedis) -> None:
    Watch(queue, KEY, limit_s=60, flags=StopFlags())()


def test_a_run_that_somebody_cancelled_stops_at_once(queue: fakeredis.FakeRedis) -> None:
    queue.set(names.run_cancel(KEY), b"1")
    with pytest.raises(Cancelled):
        Watch(queue, KEY, limit_s=60, flags=StopFlags())()


def test_cancelling_another_run_changes_nothing(queue: fakeredis.FakeRedis) -> None:
    queue.set(names.run_cancel("b" * 64), b"1")
    Watch(queue, KEY, limit_s=60, flags=StopFlags())()


def test_an_order_to_the_worker_stops_the_run(queue: fakeredis.FakeRedis) -> None:
    flags = StopFlags()
    flags.stop_run.set()
    with pytest.raises(Cancelled):
        Watch(queue, KEY, limit_s=60, flags=flags)()


def test_a_leaving_worker_interrupts_the_run_without_cancelling_it(queue: fakeredis.FakeRedis) -> None:
    flags = StopFlags()
    flags.leaving.set()
    flags.stop_run.set()
    with pytest.raises(Interrupted):
        Watch(queue, KEY, limit_s=60, flags=flags)()


def test_a_run_that_is_over_its_limit_times_out(queue: fakeredis.FakeRedis) -> None:
    with pytest.raises(ProblemError) as caught:
        Watch(queue, KEY, limit_s=-1, flags=StopFlags())()
    assert caught.value.code is ProblemCode.TIMED_OUT


def test_a_throttle_lets_the_first_through_and_then_one_in_each_interval() -> None:
    moments = iter([0.0, 0.5, 0.99, 1.0, 1.2, 2.5])
    throttle = Throttle(1.0, clock=lambda: next(moments))
    assert [throttle.is_due() for _ in range(6)] == [True, False, False, True, False, True]
