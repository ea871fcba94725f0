"""Workers die, hang and leave, and Redis goes away for a moment: every run still comes to an end."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backend.contract import names
from backend.contract.problems import ProblemCode
from backend.contract.schemas import RunState
from backend.devredis import development_redis
from tests.integration.conftest import House, open_house, wait_for

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("queue")]
ENDLESS = 1_000_000


@pytest.fixture(scope="module")
def hurried_house(tmp_path_factory: pytest.TempPathFactory, queue_models_dir: Path) -> Iterator[House]:
    """A house where a run may take four seconds, and a stuck worker is killed four seconds later."""
    with (
        development_redis(tmp_path_factory.mktemp("hurried")) as url,
        open_house(url, queue_models_dir, job_timeout_s=4, kill_grace_s=4, run_attempts=2) as house,
    ):
        yield house


def test_a_run_whose_worker_is_killed_is_finished_by_the_next_worker(house: House) -> None:
    key = house.submit(house.spec(passes=1500))
    wait_for(lambda: house.view(key).progress, "progress")
    killed = house.kill_worker()
    view = house.wait(key)
    assert view.state is RunState.DONE
    assert view.attempt == 2
    assert house.store.get_manifest(key) is not None
    assert house.worker_pid() != killed
    states = [event.state for event in house.events(key)]
    assert states.index(RunState.RUNNING) < len(states) - 1 - states[::-1].index(RunState.QUEUED)


def test_after_a_loss_nothing_of_the_dead_worker_is_left(house: House) -> None:
    key = house.submit(house.spec(passes=ENDLESS))
    house.wait(key, RunState.RUNNING)
    (dead,) = house.workers()
    house.kill_worker()
    wait_for(lambda: house.view(key).attempt == 2, "the second attempt")
    house.runs.cancel(key)
    assert house.wait(key).state is RunState.CANCELLED
    assert dead not in house.workers()
    assert house.redis.zcard("rq:wip:explain") == 0
    assert house.redis.llen("rq:queue:explain:intermediate") == 0


def test_a_run_that_keeps_killing_workers_is_given_up(hurried_house: House) -> None:
    key = hurried_house.submit(hurried_house.spec(ending="exit"))
    view = hurried_house.wait(key)
    assert view.state is RunState.FAILED
    assert view.problem is not None
    assert view.problem.code is ProblemCode.WORKER_LOST
    assert "2 times" in view.problem.message
    after = hurried_house.submit(hurried_house.spec())
    assert hurried_house.wait(after).state is RunState.DONE


def test_a_run_that_takes_too_long_is_ended_between_two_batches(hurried_house: House) -> None:
    pid = hurried_house.worker_pid()
    view = hurried_house.wait(hurried_house.submit(hurried_house.spec(passes=ENDLESS)))
    assert view.problem is not None
    assert view.problem.code is ProblemCode.TIMED_OUT
    assert hurried_house.worker_pid() == pid


def test_a_run_that_asks_nobody_is_ended_by_an_alarm(hurried_house: House) -> None:
    pid = hurried_house.worker_pid()
    view = hurried_house.wait(hurried_house.submit(hurried_house.spec(ending="sleepy")))
    assert view.problem is not None
    assert view.problem.code is ProblemCode.TIMED_OUT
    assert hurried_house.worker_pid() == pid


def test_a_worker_that_hears_nothing_is_killed_and_replaced(hurried_house: House) -> None:
    pid = hurried_house.worker_pid()
    view = hurried_house.wait(hurried_house.submit(hurried_house.spec(ending="deaf")))
    assert view.problem is not None
    assert view.problem.code is ProblemCode.TIMED_OUT
    after = hurried_house.submit(hurried_house.spec())
    assert hurried_house.wait(after).state is RunState.DONE
    assert hurried_house.worker_pid() != pid


def test_a_worker_that_is_told_to_leave_puts_its_run_back(house: House) -> None:
    key = house.submit(house.spec(passes=1500))
    waiting = house.submit(house.spec())
    wait_for(lambda: house.view(key).progress, "progress")
    os.kill(house.worker_pid(), signal.SIGTERM)
    assert house.wait(key).state is RunState.DONE
    assert house.view(key).attempt == 1
    assert house.wait(waiting).state is RunState.DONE
    assert house.view(key).finished < house.view(waiting).finished  # type: ignore[operator]


def test_everything_is_announced_again_after_redis_was_emptied(house: House) -> None:
    house.worker_pid()
    house.redis.flushall()
    assert house.catalogue().methods
    wait_for(house.workers, "the worker")
    key = house.submit(house.spec())
    assert house.wait(key).state is RunState.DONE


def test_a_run_survives_a_restart_of_redis(tmp_path: Path, queue_models_dir: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ExitStack() as first:
        url = first.enter_context(development_redis(tmp_path, port=port))
        with ExitStack() as stack:
            house = stack.enter_context(open_house(url, queue_models_dir))
            key = house.submit(house.spec(passes=2000))
            wait_for(lambda: house.view(key).progress, "progress")
            first.close()
            stack.enter_context(development_redis(tmp_path, port=port))
            assert house.wait(key).state is RunState.DONE
            # The stack closes Redis before the supervisor: it must leave all the same.
            assert house.supervisor.poll() is None


def test_workers_leave_when_their_supervisor_is_killed(tmp_path: Path, queue_models_dir: Path) -> None:
    with development_redis(tmp_path) as url, open_house(url, queue_models_dir) as house:
        pid = house.worker_pid()
        house.supervisor.kill()
        house.supervisor.wait(10)
        wait_for(lambda: not _is_alive(pid), "the worker's end")


def test_an_own_model_that_is_added_later_is_offered_without_a_restart(house: House, queue_models_dir: Path) -> None:
    (queue_models_dir / "late").mkdir()
    try:
        for name in ("model.toml", "weights.safetensors"):
            (queue_models_dir / "late" / name).write_bytes((queue_models_dir / "tiny" / name).read_bytes())
        wait_for(lambda: "late" in {card.name for card in house.catalogue().models}, "the model")
    finally:
        for path in (queue_models_dir / "late").iterdir():
            path.unlink()
        (queue_models_dir / "late").rmdir()
    assert house.redis.exists(names.CATALOGUE)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
