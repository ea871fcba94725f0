"""A result that contradicts itself, or that holds what is no number, is never stored."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, ClassScore, Column, Encoding, Layer, Region, Table
from workers.method import MapArray, Result
from workers.validation import validate_result

FRAME = Box(0, 0, 10, 10)


def layer(**changes: Any) -> Layer:
    known: dict[str, Any] = {"name": "map", "title": "Map", "array": "map", "encoding": Encoding.SEQUENTIAL}
    return Layer(**(known | changes))


def result(data: Any = None, *, frame: Box | None = FRAME, **changes: Any) -> Result:
    array = MapArray(np.ones((2, 3), dtype=np.float32) if data is None else np.asarray(data), frame)
    known: dict[str, Any] = {"arrays": {"map": array}, "layers": (layer(),)}
    return Result(**(known | changes))


def region(**changes: Any) -> Region:
    known: dict[str, Any] = {"id": 1, "label": "one", "area": 0.5, "box": Box(0, 0, 5, 10), "layer": "map"}
    return Region(**(known | changes))


LABELS = {"data": [[0, 1], [1, 0]], "layers": (layer(encoding=Encoding.LABELS),)}


@pytest.mark.parametrize(
    "good",
    [
        result(),
        result(np.zeros((4, 2, 3)), layers=(layer(index=3),)),
        result(np.zeros((2, 3, 3), np.uint8), layers=(layer(encoding=Encoding.RGB),)),
        result(**LABELS, regions=(region(),)),
        result([[0.0, 1.00001]], layers=(layer(range=(0.0, 1.0)),)),
        Result(classes=(ClassScore(index=0, label="first", score=0.5),)),
    ],
)
def test_a_sound_result_passes(good: Result) -> None:
    validate_result(good)


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (result(layers=(layer(array="other"),)), "does not have"),
        (result(np.zeros((4, 2, 3)), layers=(layer(index=4),)), "index 4 in a stack of 4"),
        (result(np.zeros((4, 2, 3))), "cannot be drawn"),
        (result(np.zeros((2, 3)), layers=(layer(encoding=Encoding.RGB),)), "cannot be drawn"),
        (result(np.zeros((0, 3))), "cannot be drawn"),
        (result(frame=None), "no frame"),
        (result(frame=Box(5, 0, 5, 10)), "empty frame"),
        (result(frame=Box(0, 0, float("nan"), 10)), "empty frame"),
        (result(layers=(layer(encoding=Encoding.LABELS),)), "whole numbers"),
        (result([[0.0, 1.2]], layers=(layer(range=(0.0, 1.0)),)), "outside its range"),
        (result(layers=(layer(range=(1.0, 1.0)),)), "range"),
        (result(**LABELS, regions=(region(id=7),)), "does not occur"),
        (result(**LABELS, regions=(region(area=1.5),)), "0 to 1"),
        (result(regions=(region(),)), "no label layer"),
        (result(tables=(Table(name="t", title="T", columns=(Column(key="a", title="A"),), rows=((1, 2),)),)), "row"),
    ],
)
def test_a_result_that_contradicts_itself_is_a_mistake_of_the_method(bad: Result, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        validate_result(bad)


@pytest.mark.parametrize(
    "bad",
    [
        result([[1.0, float("nan")]]),
        result([[1.0, float("inf")]]),
        result(scalars={"score": float("nan")}),
        result(classes=(ClassScore(index=0, label="first", score=float("inf")),)),
        result(regions=(region(layer=None, score=float("nan")),)),
    ],
)
def test_what_is_no_number_is_a_problem(bad: Result) -> None:
    with pytest.raises(ProblemError) as caught:
        validate_result(bad)
    assert caught.value.code is ProblemCode.NOT_FINITE


def test_places_may_be_unknown_while_a_run_goes_on() -> None:
    validate_result(result([[1.0, float("nan")]], layers=(layer(range=(0.0, 1.0)),)), partial=True)
