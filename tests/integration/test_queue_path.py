"""One question walks from the backend through a real Redis and a real worker and back."""

from __future__ import annotations

import pytest
from rq.command import send_stop_job_command
from rq.job import Job
from rq.serializers import JSONSerializer

from backend.contract import names
from backend.contract.artifacts import npy_to_array
from backend.contract.problems import ProblemCode
from backend.contract.schemas import ModelCard, RunEvent, RunState
from tests.integration.conftest import House, wait_for
from workers.catalogue import find_methods

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("queue")]
ENDLESS = 1_000_000


def test_a_question_is_answered_by_a_method_from_outside(house: House) -> None:
    key = house.submit(house.spec())
    assert house.wait(key).state is RunState.DONE
    manifest = house.store.get_manifest(key)
    assert manifest is not None
    data = house.store.get_blob(manifest.arrays["map"].digest)
    assert data is not None
    assert (npy_to_array(data) == 1.0).all()
    assert manifest.passes == 3


def test_events_tell_the_whole_run_in_order(house: House) -> None:
    key = house.submit(house.spec(passes=300))
    house.wait(key)
    events = house.events(key)
    states = [event.state for event in events]
    assert states[0] is RunState.QUEUED
    assert states[-1] is RunState.DONE
    assert states.count(RunState.DONE) == 1
    assert states == sorted(states, key=[RunState.QUEUED, RunState.RUNNING, RunState.DONE].index)
    told = [event.progress.done for event in events if event.progress]
    assert told == sorted(told)
    assert told[-1] == 300


def test_partial_maps_come_before_the_end_and_can_be_read(house: House) -> None:
    key = house.submit(house.spec(passes=300))
    house.wait(key)
    partials = [event.partial for event in house.events(key) if event.partial]
    assert partials
    assert all(manifest.partial for manifest in partials)
    first = house.store.get_blob(partials[0].arrays["map"].digest)
    assert first is not None
    assert npy_to_array(first).max() < 1.0
    assert 0 < house.redis.ttl(names.blob(partials[0].arrays["map"].digest)) <= names.PARTIAL_TTL_S


def test_the_same_question_again_is_answered_without_a_worker(house: House) -> None:
    spec = house.spec()
    key = house.submit(spec)
    house.wait(key)
    events = len(house.events(key))
    again = house.runs.submit(spec)
    assert again.state is RunState.DONE
    assert again.cached
    assert len(house.events(key)) == events


def test_the_same_question_asked_at_once_is_computed_once(house: House) -> None:
    spec = house.spec(passes=200)
    keys = {house.submit(spec) for _ in range(5)}
    (key,) = keys
    house.wait(key)
    started = [event for event in house.events(key) if event.state is RunState.RUNNING and event.progress is None]
    assert len([event for event in started if event.partial is None]) == 1


def test_cancelling_ends_a_running_run_and_the_worker_takes_the_next(house: House) -> None:
    key = house.submit(house.spec(passes=ENDLESS))
    after = house.submit(house.spec())
    wait_for(lambda: house.view(key).progress, "progress")
    house.runs.cancel(key)
    assert house.wait(key).state is RunState.CANCELLED
    assert house.wait(after).state is RunState.DONE
    assert not house.redis.exists(names.run_cancel(key))
    assert house.store.get_manifest(key) is None


def test_cancelling_a_waiting_run_removes_it_from_the_queue(house: House) -> None:
    running = house.submit(house.spec(passes=ENDLESS))
    waiting = house.submit(house.spec())
    house.wait(running, RunState.RUNNING)
    assert house.runs.cancel(waiting).state is RunState.CANCELLED
    house.runs.cancel(running)
    house.wait(running)
    last = house.submit(house.spec())
    house.wait(last)
    assert [event.state for event in house.events(waiting)] == [RunState.QUEUED, RunState.CANCELLED]


def test_the_queues_own_command_to_stop_a_job_is_heard(house: House) -> None:
    key = house.submit(house.spec(passes=ENDLESS))
    wait_for(lambda: house.view(key).progress, "progress")
    send_stop_job_command(house.redis, key, serializer=JSONSerializer)
    assert house.wait(key).state is RunState.CANCELLED


def test_a_cancelled_run_can_be_asked_for_again(house: House) -> None:
    spec = house.spec(passes=600)
    key = house.submit(spec)
    house.wait(key, RunState.RUNNING)
    house.runs.cancel(key)
    assert house.wait(key).state is RunState.CANCELLED
    house.submit(spec)
    assert house.wait(key, RunState.DONE).problem is None


def test_a_mistake_in_a_method_becomes_a_stored_problem_without_secrets(house: House) -> None:
    key = house.submit(house.spec(ending="badly"))
    view = house.wait(key)
    assert view.state is RunState.FAILED
    assert view.problem is not None
    assert view.problem.code is ProblemCode.INTERNAL
    assert "home" not in view.model_dump_json()


def test_a_map_with_holes_becomes_a_stored_problem(house: House) -> None:
    view = house.wait(house.submit(house.spec(ending="nan")))
    assert view.problem is not None
    assert view.problem.code is ProblemCode.NOT_FINITE


def test_a_failed_run_does_not_block_its_id(house: House) -> None:
    key = house.submit(house.spec(ending="badly"))
    house.wait(key)
    wait_for(lambda: not Job.exists(key, connection=house.redis), "the job's end")
    house.runs.retry(key)
    house.wait(key, RunState.FAILED)
    wait_for(lambda: [event.state for event in house.events(key)].count(RunState.FAILED) == 2, "the second failure")


def test_a_finished_run_leaves_nothing_in_the_queue_server_but_its_state(house: House) -> None:
    key = house.submit(house.spec())
    house.wait(key)
    left = {name.decode() for name in house.redis.scan_iter(f"*{key}*")}
    assert left == {names.run_state(key), names.result(key)}


def test_whoever_hears_that_a_run_is_over_finds_its_id_free(house: House) -> None:
    for ending in ("well", "badly"):
        last = house.redis.xrevrange(names.EVENTS, count=1)[0][0]
        key = house.submit(house.spec(ending=ending))
        while True:
            ((_, entries),) = house.redis.xread({names.EVENTS: last}, block=60_000)
            last = entries[-1][0]
            events = [RunEvent.model_validate_json(fields[b"event"]) for _, fields in entries]
            if any(event.run == key and event.state.is_final for event in events):
                break
        assert not Job.exists(key, connection=house.redis)


def test_every_method_of_the_house_answers_through_the_queue(house: House) -> None:
    model = house.model()
    offered = find_methods().items()
    # A check and a comparison are asked of results: they have tests of their own.
    roles = {"explanation", "prediction"}
    methods = {name: method for name, method in offered if method.role in roles and method.supports(model) is None}
    assert len(methods) >= 3
    keys = {}
    for name, method in methods.items():
        presets = [{}, *(preset.params for preset in method.presets)]
        cheapest = min(presets, key=lambda params, method=method: method.cost(model, method.Params(**params)))
        keys[name] = house.submit(house.spec(method=name, seed=0, **cheapest))
    for name, key in keys.items():
        view = house.wait(key, patience_s=240)
        assert view.problem is None, name
        assert house.store.get_manifest(key) is not None


def test_the_measured_speed_of_a_model_is_kept(house: House) -> None:
    house.wait(house.submit(house.spec(passes=50)))
    assert float(house.redis.hget(names.RATES, "tiny") or 0) > 0


def test_the_catalogue_offers_models_methods_and_what_goes_together(house: House) -> None:
    catalogue = house.catalogue()
    assert {"sixth", "top_classes"} <= {card.name for card in catalogue.methods}
    assert "tiny" in {card.name for card in catalogue.models}
    pairs = {(item.model, item.method): item for item in catalogue.capabilities}
    assert pairs["tiny", "sixth"].possible
    assert pairs["tiny", "sixth"].passes == 3


def test_the_best_classes_of_a_model_are_an_ordinary_run(house: House) -> None:
    key = house.submit(house.spec(method="top_classes"))
    house.wait(key)
    manifest = house.store.get_manifest(key)
    assert manifest is not None
    assert {item.label for item in manifest.classes} == {"left", "right", "nowhere"}
    assert sum(item.score for item in manifest.classes) == pytest.approx(1.0)


def test_a_model_is_described_when_somebody_names_it(house: House) -> None:
    house.runs.describe("no_such_model")
    data = wait_for(lambda: house.redis.hget(names.CARDS, "no_such_model"), "the description")
    card = ModelCard.model_validate_json(data)
    assert card.problem is not None
    assert card.problem.code is ProblemCode.MODEL_UNKNOWN


def test_a_worker_is_known_by_its_device_and_not_by_its_host(house: House) -> None:
    house.worker_pid()
    ((name, fields),) = house.workers().items()
    assert fields["device"] == "cpu"
    assert name.startswith("cpu-")
    assert not fields.get("hostname")
    assert 0 < house.redis.ttl(f"rq:worker:{name}") <= 20
