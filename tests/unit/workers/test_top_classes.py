"""The prediction is the softmax of the logits, best first."""

from __future__ import annotations

import math

import numpy as np
import pytest

from backend.contract.schemas import ModelKind
from tests.fakes_engine import Constant, make_context, make_model
from tests.queue_fakes import make_pixels
from workers.methods.top_classes import TopClasses, TopClassesParams


def test_probabilities_are_the_softmax_of_the_logits() -> None:
    logits = [0.0, math.log(3), math.log(2)]
    model = make_model(Constant(logits), classes=3, class_names=("one", "three", "two"))
    context, _ = make_context(model, make_pixels(), TopClassesParams())
    result = TopClasses().explain(context)
    assert [item.label for item in result.classes] == ["three", "two", "one"]
    assert [item.score for item in result.classes] == pytest.approx([3 / 6, 2 / 6, 1 / 6])
    assert [item.index for item in result.classes] == [1, 2, 0]
    assert result.texts.reading == "The model answers three with 0.50; next is two with 0.33."


def test_only_as_many_classes_as_wanted_are_kept() -> None:
    model = make_model(Constant(list(np.linspace(0, 1, 20))), classes=20)
    context, _ = make_context(model, make_pixels(), TopClassesParams(count=4))
    assert [item.label for item in TopClasses().explain(context).classes] == [
        "class 19",
        "class 18",
        "class 17",
        "class 16",
    ]


@pytest.mark.parametrize(("logits", "bits"), [([5.0, 5.0, 5.0, 5.0], 2.0), ([1000.0, 0.0], 0.0)])
def test_entropy_is_log_of_the_classes_for_no_idea_and_zero_for_certainty(logits: list[float], bits: float) -> None:
    context, _ = make_context(make_model(Constant(logits), classes=len(logits)), make_pixels(), TopClassesParams())
    assert TopClasses().explain(context).scalars["entropy"] == pytest.approx(bits)


def test_one_class_alone_is_read_out_without_a_second() -> None:
    context, _ = make_context(make_model(Constant([1.0]), classes=1), make_pixels(), TopClassesParams())
    assert TopClasses().explain(context).texts.reading == "The model answers class 0 with 1.00."


def test_a_model_without_classes_predicts_nothing() -> None:
    encoder = make_model(Constant([1.0]), kind=ModelKind.ENCODER).card
    assert "no classes" in (TopClasses().supports(encoder) or "")
    assert TopClasses().supports(make_model(Constant([1.0])).card) is None
