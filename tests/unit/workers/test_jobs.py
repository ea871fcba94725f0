"""A job may name two functions and nothing else."""

from __future__ import annotations

import fakeredis
import pytest
from rq import Callback
from rq.serializers import JSONSerializer

from backend.contract import names
from workers import tasks
from workers.jobs import RefusedJob, VitrineJob


def job(function: str, **more: object) -> VitrineJob:
    return VitrineJob.create(function, connection=fakeredis.FakeRedis(), serializer=JSONSerializer, **more)


@pytest.mark.parametrize(("name", "function"), [(names.RUN_JOB, tasks.run), (names.DESCRIBE_JOB, tasks.describe)])
def test_the_two_functions_are_found(name: str, function: object) -> None:
    assert job(name).func is function


@pytest.mark.parametrize(
    "name", ["os.system", "subprocess.run", "workers.tasks.use_bench", "workers.tasks._answer", "builtins.eval"]
)
def test_every_other_function_is_refused(name: str) -> None:
    with pytest.raises(RefusedJob):
        job(name, args=("true",)).perform()


def test_a_method_of_an_object_is_refused() -> None:
    sly = job(names.RUN_JOB)
    sly.instance = "text"
    with pytest.raises(RefusedJob):
        _ = sly.func


def test_callbacks_and_webhooks_do_not_exist() -> None:
    sly = job(
        names.RUN_JOB,
        on_success=Callback("os.abort"),
        on_failure=Callback("os.abort"),
        on_stopped=Callback("os.abort"),
    )
    assert (sly.success_callback, sly.failure_callback, sly.stopped_callback) == (None, None, None)
    assert sly.send_webhooks("finished") is None
