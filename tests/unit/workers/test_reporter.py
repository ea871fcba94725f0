"""State and event of a run are written together and agree."""

from __future__ import annotations

import fakeredis
import pytest

from backend.contract import names
from backend.contract.keys import run_key
from backend.contract.problems import ProblemCode, make_problem
from backend.contract.results import Manifest, ResultKind
from backend.contract.schemas import Progress, RunEvent, RunSpec, RunState, RunView
from workers.reporter import Reporter, problem_card, read_view

SPEC = RunSpec(
    image_ids=("a" * 64,),
    model="tiny",
    weights="0" * 64,
    preprocessing="model",
    method="counting",
    method_version=1,
    params={},
)
KEY = run_key(SPEC)


@pytest.fixture
def queue() -> fakeredis.FakeRedis:
    return fakeredis.FakeRedis()


def events(queue: fakeredis.FakeRedis) -> list[RunEvent]:
    return [RunEvent.model_validate_json(fields[b"event"]) for _, fields in queue.xrange(names.EVENTS)]


def end(queue: fakeredis.FakeRedis, reporter: Reporter, state: RunState) -> None:
    with queue.pipeline() as pipeline:
        reporter.end(pipeline, state)
        pipeline.execute()


def test_a_run_nobody_announced_gets_a_state_of_its_own(queue: fakeredis.FakeRedis) -> None:
    Reporter(queue, SPEC).start()
    view = read_view(queue, KEY)
    assert view is not None
    assert (view.state, view.spec, view.attempt) == (RunState.RUNNING, SPEC, 1)


def test_what_the_backend_wrote_is_kept(queue: fakeredis.FakeRedis) -> None:
    queued = RunView(key=KEY, state=RunState.QUEUED, spec=SPEC, attempt=3, submitted=12.5)
    queue.set(names.run_state(KEY), queued.model_dump_json())
    Reporter(queue, SPEC).start()
    view = read_view(queue, KEY)
    assert view is not None
    assert (view.attempt, view.submitted) == (3, 12.5)


def test_an_event_holds_only_what_changed(queue: fakeredis.FakeRedis) -> None:
    reporter = Reporter(queue, SPEC)
    reporter.start()
    reporter.progress(Progress(done=1, total=2))
    end(queue, reporter, RunState.DONE)
    assert [event.state for event in events(queue)] == [RunState.RUNNING, RunState.RUNNING, RunState.DONE]
    assert [event.progress and event.progress.done for event in events(queue)] == [None, 1, None]


def test_the_state_of_a_run_expires_some_day(queue: fakeredis.FakeRedis) -> None:
    Reporter(queue, SPEC).start()
    assert 0 < queue.ttl(names.run_state(KEY)) <= names.STATE_TTL_S


def test_the_wish_to_cancel_ends_with_the_run(queue: fakeredis.FakeRedis) -> None:
    queue.set(names.run_cancel(KEY), b"1")
    end(queue, Reporter(queue, SPEC), RunState.CANCELLED)
    assert not queue.exists(names.run_cancel(KEY))


def test_a_run_that_goes_back_to_the_queue_keeps_the_wish_to_cancel(queue: fakeredis.FakeRedis) -> None:
    queue.set(names.run_cancel(KEY), b"1")
    reporter = Reporter(queue, SPEC)
    reporter.start()
    end(queue, reporter, RunState.QUEUED)
    view = read_view(queue, KEY)
    assert queue.exists(names.run_cancel(KEY))
    assert view is not None
    assert (view.state, view.started, view.finished) == (RunState.QUEUED, None, None)


def test_a_failed_run_keeps_its_problem(queue: fakeredis.FakeRedis) -> None:
    problem = make_problem(ProblemCode.OUT_OF_MEMORY, "Full.")
    with queue.pipeline() as pipeline:
        Reporter(queue, SPEC).end(pipeline, RunState.FAILED, problem=problem)
        pipeline.execute()
    view = read_view(queue, KEY)
    assert view is not None
    assert view.problem == problem
    assert view.finished is not None
    assert events(queue)[-1].problem == problem


@pytest.mark.parametrize(
    ("name", "source"), [("resnet50", "timm"), ("hf-hub:org/net", "hub"), ("local-dir:net", "own")]
)
def test_a_model_that_cannot_be_described_says_why(name: str, source: str) -> None:
    card = problem_card(name, make_problem(ProblemCode.MODEL_UNKNOWN, "Never heard."))
    assert (card.source, card.described) == (source, False)
    assert card.problem is not None


@pytest.mark.parametrize("state", [RunState.DONE, RunState.FAILED, RunState.CANCELLED])
def test_a_run_that_is_over_names_no_partial_result(queue: fakeredis.FakeRedis, state: RunState) -> None:
    manifest = Manifest(
        run_key=KEY,
        image_ids=SPEC.image_ids,
        picture_size=(4, 4),
        model="tiny",
        model_title="Tiny",
        weights_digest="0" * 64,
        preprocessing="model",
        method="counting",
        method_title="Counting",
        method_version=1,
        params={},
        kind=ResultKind.SCALAR_MAP,
        partial=True,
    )
    reporter = Reporter(queue, SPEC)
    reporter.start()
    reporter.partial(manifest)
    assert events(queue)[-1].partial == manifest
    end(queue, reporter, state)
    view = read_view(queue, KEY)
    assert view is not None
    assert (view.state, view.partial) == (state, None)
