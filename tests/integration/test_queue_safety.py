"""Whoever can write to the queue can still not make a worker call what it does not want to call."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from rq import Callback, Queue
from rq.job import Job
from rq.serializers import JSONSerializer, PickleSerializer

from backend.contract import names
from backend.contract.schemas import RunState
from tests.integration.conftest import House, wait_for
from tests.integration.trace_callback import TRACE, leave_trace

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("queue")]


def _refuses(house: House, job_id: str) -> None:
    wait_for(lambda: not Job.exists(job_id, connection=house.redis), "the refusal")
    key = house.submit(house.spec())
    assert house.wait(key).state is RunState.DONE


def test_a_pickled_job_is_refused_and_the_worker_goes_on(house: House, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    queue = Queue(names.EXPLAIN_QUEUE, connection=house.redis, serializer=PickleSerializer)
    queue.enqueue_call(os.system, args=(f"touch {trace}",), job_id="pickled")
    _refuses(house, "pickled")
    assert not trace.exists()


def test_a_json_job_that_names_another_function_is_refused(house: House, tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    queue = Queue(names.EXPLAIN_QUEUE, connection=house.redis, serializer=JSONSerializer)
    queue.enqueue_call("os.system", args=(f"touch {trace}",), job_id="named")
    _refuses(house, "named")
    assert not trace.exists()


def test_a_job_cannot_smuggle_in_a_callback(house: House) -> None:
    queue = Queue(names.EXPLAIN_QUEUE, connection=house.redis, serializer=JSONSerializer)
    queue.enqueue_call(
        names.DESCRIBE_JOB,
        kwargs={"name": "no_such_model"},
        job_id="called-back",
        result_ttl=0,
        on_success=Callback(f"{leave_trace.__module__}.{leave_trace.__name__}"),
    )
    wait_for(lambda: not Job.exists("called-back", connection=house.redis), "the end of the job")
    assert not house.redis.exists(TRACE)


def test_a_run_whose_job_is_spoilt_becomes_a_problem_and_not_an_endless_wait(house: House) -> None:
    spec = house.spec(passes=1_000_000)
    holding = house.submit(spec)
    house.wait(holding, RunState.RUNNING)
    key = house.submit(house.spec())
    house.redis.hset(Job.key_for(key), "data", b"not json")
    house.runs.cancel(holding)
    view = house.wait(key)
    assert view.state is RunState.FAILED
