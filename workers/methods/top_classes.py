"""What the model answers, without any explanation: its best classes."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field

from backend.contract.results import ClassScore, ResultKind, Texts
from backend.contract.schemas import ModelCard, ModelKind
from workers.method import Context, Method, Params, Result


class TopClassesParams(Params):
    """How many classes are kept."""

    count: int = Field(default=10, ge=1, le=100, title="Classes", description="How many of the best classes are kept.")


class TopClasses(Method):
    """The classes that a classifier finds most likely, with their probabilities.

    One forward pass on the picture as the model sees it; probabilities are the softmax of its logits. They say how the
    model divides its belief among the classes it knows, not how likely it is to be right.
    """

    name = "top_classes"
    title = "Prediction"
    question = "What does the model answer?"
    summary = "The model's best classes with their probabilities."
    result_kind = ResultKind.PREDICTION
    role = "prediction"
    Params = TopClassesParams

    def supports(self, model: ModelCard) -> str | None:
        if model.kind == ModelKind.CLASSIFIER:
            return None
        return f"{model.title} has no classes, so it predicts nothing."

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - always one
        return 1

    def explain(self, context: Context) -> Result:
        """Returns the best classes, most likely first.

        Cost: one pass.
        """
        preprocessing = context.model.preprocessing
        prepared = preprocessing.prepare(context.picture.pixels)
        logits = context.engine.forward(preprocessing.normalise(prepared.pixels.unsqueeze(0)))[0]
        probabilities = torch.softmax(logits.double(), dim=0).cpu()
        best = torch.topk(probabilities, min(context.params.count, probabilities.numel()))
        classes = [
            ClassScore(index=index, label=_label(context.model.class_names, index), score=score)
            for score, index in zip(best.values.tolist(), best.indices.tolist(), strict=True)
        ]
        return Result(
            classes=classes,
            scalars={"entropy": _entropy_bits(probabilities), "class_count": probabilities.numel()},
            texts=Texts(reading=_reading(classes)),
        )


def _label(class_names: tuple[str, ...], index: int) -> str:
    return class_names[index] if index < len(class_names) else f"class {index}"


def _entropy_bits(probabilities: torch.Tensor) -> float:
    """Returns the entropy of ``[C]`` probabilities in bits: 0 for certainty, log2 C for none at all."""
    positive = probabilities[probabilities > 0]
    return float(-(positive * positive.log()).sum() / math.log(2)) + 0.0


def _reading(classes: list[ClassScore]) -> str:
    first = f"The model answers {classes[0].label} with {classes[0].score:.2f}"
    return f"{first}." if len(classes) == 1 else f"{first}; next is {classes[1].label} with {classes[1].score:.2f}."
