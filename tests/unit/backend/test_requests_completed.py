"""From a request to the exact question: the same meaning gives the same key."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.catalogue import CatalogueReader
from backend.contract import names
from backend.contract.artifacts import RedisArtifactStore
from backend.contract.keys import run_key
from backend.contract.problems import ProblemCode, ProblemError, make_problem
from backend.contract.schemas import PictureRecord, RunRequest
from backend.requests import RequestCompleter, make_spec
from tests.backend_fakes import IMAGE_ID, make_method, make_model, put_picture


@pytest.fixture
def picture(store: RedisArtifactStore) -> PictureRecord:
    return put_picture(store)


@pytest.fixture
def completer(redis_client: fakeredis.FakeRedis, store: RedisArtifactStore, published: None) -> RequestCompleter:
    return RequestCompleter(CatalogueReader(redis_client), store)


def _ask(picture: PictureRecord, **changes: Any) -> RunRequest:
    return RunRequest(**{"image_id": picture.id, "model": "tiny-cnn", "method": "plain", **changes})


def _refusal(completer: RequestCompleter, request: RunRequest) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        completer.complete(request)
    return caught.value


def test_what_is_left_open_is_filled_in(completer: RequestCompleter, picture: PictureRecord) -> None:
    spec = completer.complete(_ask(picture))
    assert spec.params == {"steps": 8, "width": 0.5, "mode": "fast"}
    assert (spec.weights, spec.preprocessing, spec.method_version) == ("f" * 64, "64x64 bicubic", 3)


def test_defaults_written_out_and_left_out_are_the_same_question(
    completer: RequestCompleter, picture: PictureRecord
) -> None:
    short = completer.complete(_ask(picture))
    long = completer.complete(_ask(picture, params={"mode": "fast", "steps": 8.0, "width": 0.5}))
    assert run_key(short) == run_key(long)
    assert run_key(short) != run_key(completer.complete(_ask(picture, params={"steps": 9})))


def test_target_and_seed_are_dropped_where_the_method_has_none(
    completer: RequestCompleter, picture: PictureRecord
) -> None:
    assert completer.complete(_ask(picture, target=3, seed=9)) == completer.complete(_ask(picture))
    aimed = completer.complete(_ask(picture, method="aimed", target=3, seed=9))
    assert (aimed.target, aimed.seed) == (3, 9)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"steps": 500}, "'Steps' must be at most 100; it is 500"),
        ({"steps": 0}, "'Steps' must be at least 1; it is 0"),
        ({"steps": "many"}, "'Steps' must be of the type integer"),
        ({"steps": True}, "'Steps'"),
        ({"width": 0}, "'Width' must be above 0"),
        ({"mode": "slow"}, "'Mode' must be one of fast, exact; it is 'slow'"),
        ({"speed": 1}, "Unknown setting 'speed'"),
    ],
)
def test_wrong_settings_are_refused_with_name_value_and_bound(
    completer: RequestCompleter, picture: PictureRecord, params: dict[str, Any], words: str
) -> None:
    error = _refusal(completer, _ask(picture, params=params))
    assert error.code is ProblemCode.PARAMS_INVALID
    assert words in error.message


def test_a_class_that_the_model_does_not_have_is_refused(completer: RequestCompleter, picture: PictureRecord) -> None:
    error = _refusal(completer, _ask(picture, method="aimed", target=12))
    assert error.code is ProblemCode.TARGET_UNKNOWN
    assert completer.complete(_ask(picture, method="aimed", target=11)).target == 11


def test_unknown_models_and_methods_are_refused(completer: RequestCompleter, picture: PictureRecord) -> None:
    assert _refusal(completer, _ask(picture, model="nothing")).code is ProblemCode.MODEL_UNKNOWN
    assert _refusal(completer, _ask(picture, method="nothing")).code is ProblemCode.METHOD_UNKNOWN


def test_a_pair_that_does_not_go_together_is_refused_with_the_reason(
    completer: RequestCompleter, picture: PictureRecord
) -> None:
    error = _refusal(completer, _ask(picture, model="no-grid"))
    assert error.code is ProblemCode.NOT_SUPPORTED
    assert error.message == "It has no grid. Use a CNN."


def test_a_model_that_no_worker_has_looked_at_is_not_ready(completer: RequestCompleter, picture: PictureRecord) -> None:
    assert _refusal(completer, _ask(picture, model="resnet18.a1_in1k")).code is ProblemCode.MODEL_NOT_READY


def test_the_problem_of_a_model_is_the_problem_of_its_runs(
    completer: RequestCompleter, picture: PictureRecord, redis_client: fakeredis.FakeRedis
) -> None:
    problem = make_problem(ProblemCode.WEIGHTS_MISSING, "Put them there.")
    card = make_model("resnet18.a1_in1k", problem=problem)
    redis_client.hset(names.CARDS, card.name, card.model_dump_json())
    assert _refusal(completer, _ask(picture, model="resnet18.a1_in1k")).code is ProblemCode.WEIGHTS_MISSING
    _, refused = completer.prediction(picture.id, "resnet18.a1_in1k")
    assert refused == problem


def test_a_picture_that_is_gone_is_refused(completer: RequestCompleter, picture: PictureRecord) -> None:
    gone = _ask(picture).model_copy(update={"image_id": IMAGE_ID})
    assert _refusal(completer, gone).code is ProblemCode.PICTURE_GONE


def test_several_pictures_need_a_method_for_several(
    completer: RequestCompleter, picture: PictureRecord, store: RedisArtifactStore
) -> None:
    other = put_picture(store, seed=1)
    assert _refusal(completer, _ask(picture, more_image_ids=(other.id,))).code is ProblemCode.REQUEST_INVALID
    spec = completer.complete(_ask(picture, method="aimed", more_image_ids=(other.id,)))
    assert spec.image_ids == (picture.id, other.id)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "steps": st.integers(1, 100),
            "width": st.floats(0.001, 1e6),
            "mode": st.sampled_from(["fast", "exact"]),
        },
    ),
    st.randoms(use_true_random=False),
)
def test_the_order_of_settings_never_matters(params: dict[str, Any], random: Any) -> None:
    shuffled = list(params.items())
    random.shuffle(shuffled)
    request = RunRequest(image_id=IMAGE_ID, model="m", method="plain", params=params)
    other = request.model_copy(update={"params": dict(shuffled)})
    one, two = (make_spec(item, (IMAGE_ID,), make_model(), make_method("plain")) for item in (request, other))
    assert run_key(one) == run_key(two)
    assert set(one.params) == {"steps", "width", "mode"}
