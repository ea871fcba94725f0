"""Runs through the real queue server: single flight, cache, cancel, retry, loss."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
import redis
from rq import Queue
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer

from backend.contract import names
from backend.contract.artifacts import RedisArtifactStore
from backend.contract.keys import run_key
from backend.contract.problems import ProblemCode, ProblemError, make_problem
from backend.contract.schemas import PictureRecord, Progress, RunEvent, RunState, RunView
from backend.queue import QueueRuns
from backend.run_states import RunStates
from tests.backend_fakes import encode, make_pixels, make_spec, put_picture, put_result
from workers.reporter import Reporter

pytestmark = pytest.mark.redis


@pytest.fixture
def picture(store: RedisArtifactStore) -> PictureRecord:
    return put_picture(store)


def _queue(connection: redis.Redis) -> Queue:
    return Queue(names.EXPLAIN_QUEUE, connection=connection, serializer=JSONSerializer)


def _events(connection: redis.Redis) -> list[RunEvent]:
    return [RunEvent.model_validate_json(fields[b"event"]) for _, fields in connection.xrange(names.EVENTS)]


def _take_job(connection: redis.Redis, key: str, *, worker: str = "w1") -> Job:
    """Does to the queue what a worker does when it begins a job."""
    assert connection.lrem(_queue(connection).key, 1, key) == 1
    job = Job.fetch(key, connection=connection, serializer=JSONSerializer)
    job.worker_name = worker
    job.set_status(JobStatus.STARTED)
    job.save()
    return job


def _end(reporter: Reporter, connection: redis.Redis, state: RunState, **options: object) -> None:
    with connection.pipeline() as pipe:
        reporter.end(pipe, state, **options)  # type: ignore[arg-type]
        pipe.execute()


def _age(connection: redis.Redis, key: str) -> None:
    """Makes a run old enough that a missing job is no longer a matter of moments."""
    view = RunView.model_validate_json(connection.get(names.run_state(key)) or b"")
    old = {"submitted": view.submitted - 100, "started": None if view.started is None else view.started - 100}
    connection.set(names.run_state(key), view.model_copy(update=old).model_dump_json())


def test_a_question_becomes_one_job_with_the_key_as_its_id(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    view = runs.submit(spec)
    assert (view.key, view.state, view.position, view.attempt) == (run_key(spec), RunState.QUEUED, 0, 1)
    job = Job.fetch(view.key, connection=queue, serializer=JSONSerializer)
    assert job.func_name == names.RUN_JOB
    assert job.kwargs == {"spec": spec.model_dump(mode="json")}
    assert [event.state for event in _events(queue)] == [RunState.QUEUED]


def test_the_same_question_from_many_at_once_is_one_job(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    with ThreadPoolExecutor(16) as pool:
        views = list(pool.map(lambda _: runs.submit(spec), range(32)))
    assert {view.key for view in views} == {run_key(spec)}
    assert {view.attempt for view in views} == {1}
    assert _queue(queue).job_ids == [run_key(spec)]
    assert len(_events(queue)) == 1


def test_places_count_from_the_next_one(runs: QueueRuns) -> None:
    keys = [runs.submit(make_spec(params={"steps": step})).key for step in (1, 2, 3)]
    assert [runs.view(key).position for key in keys] == [0, 1, 2]  # type: ignore[union-attr]
    assert runs.places() == {key: place for place, key in enumerate(keys)}
    assert runs.crowd().waiting == 3


def test_a_known_result_answers_at_once_without_a_job(
    runs: QueueRuns, queue: redis.Redis, store: RedisArtifactStore, picture: PictureRecord
) -> None:
    spec = make_spec(picture.id)
    put_result(store, picture, run_key(spec))
    view = runs.submit(spec)
    assert (view.state, view.cached) == (RunState.DONE, True)
    assert runs.submit(spec).cached
    assert _queue(queue).count == 0
    assert runs.result(view.key).run_key == view.key


def test_a_result_whose_array_was_evicted_is_computed_again(
    runs: QueueRuns, queue: redis.Redis, store: RedisArtifactStore, picture: PictureRecord
) -> None:
    spec = make_spec(picture.id)
    manifest = put_result(store, picture, run_key(spec))
    runs.submit(spec)
    queue.delete(*(names.blob(digest) for digest in manifest.digests()))
    gone = runs.view(run_key(spec))
    assert gone is not None
    assert (gone.state, gone.problem and gone.problem.code) == (RunState.FAILED, ProblemCode.RESULT_GONE)
    with pytest.raises(ProblemError) as caught:
        runs.result(run_key(spec))
    assert caught.value.code is ProblemCode.RESULT_GONE
    assert runs.submit(spec).state is RunState.QUEUED


def test_a_waiting_run_is_cancelled_by_taking_it_out_of_the_queue(runs: QueueRuns, queue: redis.Redis) -> None:
    key = runs.submit(make_spec()).key
    view = runs.cancel(key)
    assert (view.state, view.problem and view.problem.code) == (RunState.CANCELLED, ProblemCode.CANCELLED)
    assert _queue(queue).count == 0
    assert not Job.exists(key, connection=queue)
    assert [event.state for event in _events(queue)] == [RunState.QUEUED, RunState.CANCELLED]
    assert runs.cancel(key) == view


def test_a_running_run_is_asked_to_stop(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    key = runs.submit(spec).key
    _take_job(queue, key)
    queue.hset("rq:worker:w1", "state", "busy")
    Reporter(queue, spec).start()
    assert runs.cancel(key).state is RunState.RUNNING
    assert queue.exists(names.run_cancel(key))


def test_asking_again_withdraws_the_wish_to_stop(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    key = runs.submit(spec).key
    _take_job(queue, key)
    queue.hset("rq:worker:w1", "state", "busy")
    Reporter(queue, spec).start()
    runs.cancel(key)
    assert runs.submit(spec).state is RunState.RUNNING
    assert not queue.exists(names.run_cancel(key))


def test_a_run_of_a_dead_worker_is_cancelled_at_once(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    key = runs.submit(spec).key
    _take_job(queue, key, worker="dead")
    Reporter(queue, spec).start()
    assert runs.cancel(key).state is RunState.CANCELLED
    assert not Job.exists(key, connection=queue)


def test_a_cancelled_run_can_be_asked_again_and_counts_attempts(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    key = runs.submit(spec).key
    runs.cancel(key)
    again = runs.submit(spec)
    assert (again.state, again.attempt, again.problem) == (RunState.QUEUED, 2, None)
    assert not queue.exists(names.run_cancel(key))
    runs.cancel(key)
    assert runs.retry(key).attempt == 3


def test_a_failure_is_an_answer_and_only_an_explicit_retry_computes_it_again(
    runs: QueueRuns, queue: redis.Redis
) -> None:
    spec = make_spec()
    job = _take_job(queue, runs.submit(spec).key)
    _end(Reporter(queue, spec), queue, RunState.FAILED, problem=make_problem(ProblemCode.NOT_FINITE, "NaN."))
    job.delete()
    stored = runs.submit(spec)
    assert (stored.state, stored.problem and stored.problem.code) == (RunState.FAILED, ProblemCode.NOT_FINITE)
    assert _queue(queue).count == 0
    with pytest.raises(ProblemError, match="NaN"):
        runs.result(stored.key)
    assert runs.retry(stored.key).state is RunState.QUEUED


def test_a_failure_that_may_pass_is_tried_again_when_asked_again(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    job = _take_job(queue, runs.submit(spec).key)
    _end(Reporter(queue, spec), queue, RunState.FAILED, problem=make_problem(ProblemCode.OUT_OF_MEMORY, "Full."))
    job.delete()
    assert runs.submit(spec).state is RunState.QUEUED


def test_a_state_of_another_versions_shape_does_not_stand_in_the_way(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    queue.set(names.run_state(run_key(spec)), b'{"state": "done", "shape": "of yesterday"}')
    assert runs.view(run_key(spec)) is None
    assert runs.submit(spec).state is RunState.QUEUED
    assert Reporter(queue, spec).view.state is RunState.QUEUED


@pytest.mark.parametrize("code", [ProblemCode.PICTURE_GONE, ProblemCode.MODEL_BROKEN, ProblemCode.MODEL_UNKNOWN])
def test_a_failure_that_somebody_put_right_does_not_answer_for_a_week(
    runs: QueueRuns, queue: redis.Redis, code: ProblemCode
) -> None:
    spec = make_spec()
    job = _take_job(queue, runs.submit(spec).key)
    _end(Reporter(queue, spec), queue, RunState.FAILED, problem=make_problem(code, "Put it right, then ask again."))
    job.delete()
    assert runs.submit(spec).state is RunState.QUEUED


def test_a_wish_to_stop_that_comes_before_the_job_is_written_lasts(
    runs: QueueRuns, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = RunStates.write

    def write_and_cancel(states: RunStates, view: RunView, *, expected: RunView | None) -> bool:
        written = write(states, view, expected=expected)
        if view.state is RunState.QUEUED:
            runs.cancel(view.key)
        return written

    monkeypatch.setattr(RunStates, "write", write_and_cancel)
    key = runs.submit(make_spec()).key
    assert queue.exists(names.run_cancel(key)), "the worker that takes the job would compute it all the same"


def test_a_failed_job_that_still_blocks_its_id_is_replaced(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    key = runs.submit(spec).key
    _take_job(queue, key).set_status(JobStatus.FAILED)
    _end(Reporter(queue, spec), queue, RunState.FAILED, problem=make_problem(ProblemCode.INTERNAL, "Oh."))
    assert runs.retry(key).state is RunState.QUEUED
    assert _queue(queue).job_ids == [key]


def test_a_run_whose_job_vanished_is_lost_and_says_so(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    key = runs.submit(spec).key
    job = _take_job(queue, key)
    Reporter(queue, spec).start()
    job.delete()
    fresh = runs.view(key)
    assert fresh is not None
    assert fresh.state is RunState.RUNNING
    _age(queue, key)
    runs.notice_lost([key])
    lost = runs.view(key)
    assert lost is not None
    assert (lost.state, lost.problem and lost.problem.code) == (RunState.FAILED, ProblemCode.WORKER_LOST)
    assert _events(queue)[-1].state is RunState.FAILED
    assert runs.submit(spec).state is RunState.QUEUED


def test_a_long_run_with_its_job_is_not_lost(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    key = runs.submit(spec).key
    _take_job(queue, key)
    Reporter(queue, spec).start()
    _age(queue, key)
    assert runs.view(key).state is RunState.RUNNING  # type: ignore[union-attr]


def test_a_decision_on_an_old_state_writes_nothing(runs: QueueRuns, queue: redis.Redis) -> None:
    spec = make_spec()
    before = runs.submit(spec)
    Reporter(queue, spec).start()
    stale = before.model_copy(update={"position": None})
    assert not RunStates(queue).write(stale.model_copy(update={"state": RunState.CANCELLED}), expected=stale)
    assert runs.view(before.key).state is RunState.RUNNING  # type: ignore[union-attr]


def test_a_full_queue_refuses_politely(queue: redis.Redis, store: RedisArtifactStore) -> None:
    runs = QueueRuns(queue, store, max_waiting=2)
    for step in (1, 2):
        runs.submit(make_spec(params={"steps": step}))
    with pytest.raises(ProblemError, match="2 runs are waiting") as caught:
        runs.submit(make_spec(params={"steps": 3}))
    assert caught.value.code is ProblemCode.TOO_MANY_REQUESTS
    with pytest.raises(ProblemError, match="2 runs are waiting"):
        runs.describe("resnet18.a1_in1k")


@pytest.mark.parametrize("act", [QueueRuns.cancel, QueueRuns.retry, QueueRuns.result])
def test_a_run_nobody_asked_for_is_not_found(runs: QueueRuns, act: Callable[[QueueRuns, str], object]) -> None:
    with pytest.raises(ProblemError) as caught:
        act(runs, "0" * 64)
    assert caught.value.code is ProblemCode.NOT_FOUND
    assert runs.view("0" * 64) is None


def test_describing_is_asked_once_and_before_runs(runs: QueueRuns, queue: redis.Redis) -> None:
    runs.submit(make_spec())
    for _ in range(3):
        runs.describe("resnet18.a1_in1k")
    first, second = _queue(queue).job_ids
    job = Job.fetch(first, connection=queue, serializer=JSONSerializer)
    assert (job.func_name, job.kwargs) == (names.DESCRIBE_JOB, {"name": "resnet18.a1_in1k"})
    assert second == run_key(make_spec())


async def test_the_whole_conversation_over_http(http: httpx.AsyncClient, queue: redis.Redis) -> None:
    store = RedisArtifactStore(queue)
    upload = await http.post("/api/v1/images", files={"file": ("bird.png", encode(make_pixels()), "image/png")})
    assert upload.status_code == 201
    image_id = upload.json()["id"]
    request = {"image_id": image_id, "model": "tiny-cnn", "method": "plain", "params": {"steps": 4}}
    first = await http.post("/api/v1/runs", json=request)
    assert (first.status_code, first.json()["state"]) == (202, "queued")
    key = first.json()["key"]
    early = await http.get(f"/api/v1/runs/{key}/result")
    assert (early.status_code, early.json()["code"]) == (404, "not_found")

    view = RunView.model_validate(first.json())
    reporter = Reporter(queue, view.spec)
    reporter.start()
    reporter.progress(Progress(done=1, total=4))
    running = await http.get(f"/api/v1/runs/{key}")
    assert (running.json()["state"], running.json()["progress"]["done"]) == ("running", 1)
    record = PictureRecord.model_validate(upload.json())
    manifest = put_result(store, record, key)
    _end(reporter, queue, RunState.DONE)

    result = await http.get(f"/api/v1/runs/{key}/result")
    assert result.json()["run_key"] == key
    again = await http.get(f"/api/v1/runs/{key}/result", headers={"If-None-Match": result.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    second = await http.post("/api/v1/runs", json=request)
    assert (second.status_code, second.json()["state"]) == (200, "done")
    digest = manifest.arrays["map"].digest
    array = await http.get(f"/api/v1/artifacts/{digest}")
    assert array.content[:6] == b"\x93NUMPY"
    assert "immutable" in array.headers["cache-control"]


async def test_a_batch_answers_each_request_on_its_own(http: httpx.AsyncClient, queue: redis.Redis) -> None:
    record = put_picture(RedisArtifactStore(queue))
    good = {"image_id": record.id, "model": "tiny-cnn", "method": "plain"}
    answer = await http.post(
        "/api/v1/runs/batch", json={"runs": [good, {**good, "method": "none"}, {**good, "model": "no-grid"}]}
    )
    first, second, third = answer.json()
    assert first["run"]["state"] == "queued"
    assert first["problem"] is None
    assert (second["run"], second["problem"]["code"]) == (None, "method_unknown")
    assert third["problem"]["code"] == "not_supported"


async def test_predictions_are_runs_and_unlooked_models_are_described_first(
    http: httpx.AsyncClient, queue: redis.Redis
) -> None:
    record = put_picture(RedisArtifactStore(queue))
    body = {"image_id": record.id, "models": ["tiny-cnn", "resnet18.a1_in1k"]}
    ready, waiting = (await http.post("/api/v1/predictions", json=body)).json()
    assert (ready["state"], ready["spec"]["method"]) == ("queued", "answer")
    assert (waiting["state"], waiting["problem"]["code"]) == ("failed", "model_not_ready")
    functions = [job.func_name for job in _queue(queue).jobs]
    assert functions == [names.DESCRIBE_JOB, names.RUN_JOB]
    unknown = await http.post("/api/v1/predictions", json={**body, "models": ["nothing"]})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "model_unknown")


async def test_adding_a_model_asks_a_worker(http: httpx.AsyncClient, queue: redis.Redis) -> None:
    answer = await http.post("/api/v1/models", json={"name": " resnet50.a1_in1k "})
    assert (answer.status_code, answer.json()["described"]) == (202, False)
    assert _queue(queue).count == 1
    known = await http.post("/api/v1/models", json={"name": "tiny-cnn"})
    assert known.json()["described"]
    assert _queue(queue).count == 1
    card = await http.get("/api/v1/models/resnet50.a1_in1k")
    assert card.json()["source"] == "timm"


async def test_readiness_says_what_is_missing(http: httpx.AsyncClient, queue: redis.Redis) -> None:
    answer = await http.get("/api/v1/ready")
    checks = {check["name"]: check for check in answer.json()["checks"]}
    assert answer.status_code == 503
    assert not checks["workers"]["ok"]
    assert checks["queue"]["ok"]
    queue.hset("rq:worker:w1", mapping={"state": "idle", "device": "cpu", "last_heartbeat": "2026-01-01T00:00:00Z"})
    queue.sadd("rq:workers", "rq:worker:w1")
    assert (await http.get("/api/v1/ready")).status_code == 200
    workers = (await http.get("/api/v1/workers")).json()["workers"]
    assert workers[0]["name"] == "w1"
    queue.config_set("maxmemory-policy", "allkeys-lru")
    try:
        answer = await http.get("/api/v1/ready")
    finally:
        queue.config_set("maxmemory-policy", "noeviction")
    failed = [check for check in answer.json()["checks"] if not check["ok"]]
    assert len(failed) == 1
    assert "allkeys-lru" in failed[0]["message"]
    assert "noeviction" in failed[0]["message"]
