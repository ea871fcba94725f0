"""Identities: the same question has the same key everywhere, and nothing else does."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.contract.keys import canonical_json, picture_id, run_key
from backend.contract.params import fill_params
from backend.contract.problems import ProblemError
from backend.contract.schemas import RunSpec

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SPECS = st.builds(
    RunSpec,
    image_ids=st.lists(st.text("0123456789abcdef", min_size=64, max_size=64), min_size=1, max_size=3).map(tuple),
    model=st.text(min_size=1),
    weights=st.text(min_size=1),
    preprocessing=st.text(),
    method=st.text(min_size=1),
    method_version=st.integers(1, 99),
    params=st.dictionaries(st.text(), VALUES, max_size=4),
    target=st.none() | st.integers(0, 999),
    seed=st.integers(0, 2**31 - 1),
)


@given(VALUES)
def test_canonical_json_is_json_and_says_the_same(value: Any) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), VALUES, max_size=6), st.randoms(use_true_random=False))
def test_the_order_of_names_does_not_matter(value: dict[str, Any], random: Any) -> None:
    items = list(value.items())
    random.shuffle(items)
    assert canonical_json(dict(items)) == canonical_json(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, {"x": float("-inf")}]])
def test_what_is_no_number_has_no_identity(value: Any) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical_json(value)


@given(SPECS)
def test_a_question_keeps_its_key_through_the_queue(spec: RunSpec) -> None:
    sent = json.loads(json.dumps(spec.model_dump(mode="json")))
    assert run_key(RunSpec.model_validate(sent)) == run_key(spec)


@given(SPECS, SPECS)
def test_two_questions_share_a_key_only_if_they_are_the_same(one: RunSpec, other: RunSpec) -> None:
    assert (run_key(one) == run_key(other)) == (
        canonical_json(one.model_dump(mode="json")) == canonical_json(other.model_dump(mode="json"))
    )


@given(SPECS, st.sampled_from(sorted(RunSpec.model_fields)))
def test_every_part_of_a_question_counts(spec: RunSpec, name: str) -> None:
    value = getattr(spec, name)
    changed: Any = {
        "image_ids": (*value, "0" * 64) if isinstance(value, tuple) else None,
        "params": {**value, "one more": 1} if isinstance(value, dict) else None,
        "target": 0 if value is None else None,
    }.get(name, value + 1 if isinstance(value, int) else f"{value}.")
    assert run_key(spec.model_copy(update={name: changed})) != run_key(spec)


def test_the_key_of_a_known_question_never_changes() -> None:
    spec = RunSpec(
        image_ids=("0" * 64,),
        model="m",
        weights="w",
        preprocessing="p",
        method="x",
        method_version=1,
        params={"b": 1, "a": 0.5},
    )
    text = (
        '{"image_ids":["' + "0" * 64 + '"],"method":"x","method_version":1,"model":"m","params":{"a":0.5,"b":1},'
        '"preprocessing":"p","seed":0,"target":null,"weights":"w"}'
    )
    assert run_key(spec) == hashlib.sha256(text.encode()).hexdigest()


@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))))
def test_a_picture_has_its_id_whatever_its_memory_looks_like(pixels: np.ndarray) -> None:
    strided = np.zeros((pixels.shape[0] * 2, pixels.shape[1], 3), np.uint8)[::2]
    strided[:] = pixels
    assert picture_id(strided) == picture_id(pixels)
    assert picture_id(np.asfortranarray(pixels)) == picture_id(pixels)


def test_the_same_bytes_in_another_shape_are_another_picture() -> None:
    pixels = np.arange(36, dtype=np.uint8)
    assert picture_id(pixels.reshape(3, 4, 3)) != picture_id(pixels.reshape(4, 3, 3))
    assert picture_id(pixels.reshape(3, 4, 3)) != picture_id(pixels[::-1].reshape(3, 4, 3))


@pytest.mark.parametrize(
    ("pixels", "error"),
    [
        (np.zeros((4, 4, 3), np.float32), TypeError),
        (np.zeros((4, 4), np.uint8), ValueError),
        (np.zeros((4, 4, 4), np.uint8), ValueError),
    ],
)
def test_only_canonical_pictures_have_an_id(pixels: np.ndarray, error: type[Exception]) -> None:
    with pytest.raises(error):
        picture_id(pixels)


SCHEMA: dict[str, Any] = {
    "properties": {
        "count": {"type": "integer", "default": 3},
        "share": {"type": "number", "default": 0.5},
        "limit": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
        "names": {"type": "array", "default": []},
    }
}


@given(st.integers(-1000, 1000))
def test_whole_numbers_have_one_form_for_each_declared_type(number: int) -> None:
    as_int = fill_params(SCHEMA, {"count": number, "share": number, "limit": number})
    as_float = fill_params(SCHEMA, {"count": float(number), "share": float(number), "limit": float(number)})
    assert canonical_json(as_int) == canonical_json(as_float)
    assert isinstance(as_int["share"], float)
    assert isinstance(as_float["count"], int)


def test_filling_twice_changes_nothing_and_defaults_are_nobodys_to_change() -> None:
    once = fill_params(SCHEMA, {"count": 7})
    assert fill_params(SCHEMA, once) == once
    once["names"].append("x")
    assert fill_params(SCHEMA, {})["names"] == []


def test_true_is_not_one() -> None:
    assert fill_params(SCHEMA, {"count": True})["count"] is True


def test_unknown_and_missing_settings_are_refused() -> None:
    with pytest.raises(ProblemError, match="'speed'"):
        fill_params(SCHEMA, {"speed": 1})
    with pytest.raises(ProblemError, match="'needed'"):
        fill_params({"properties": {"needed": {"type": "integer"}}}, {})
