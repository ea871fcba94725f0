"""Grad-CAM: which places of the last feature map raise a class, to first order."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Encoding, ResultKind, Texts
from backend.contract.schemas import ModelCard
from models.grad_cam import cam_layer
from models.grad_cam import grad_cam as class_maps
from workers.method import Context, Method, Params, Result
from workers.methods._reference_map import CHECK_PASSES, Drawn, ask, map_result, no_classes


class GradCamParams(Params):
    """Which layer, how many classes."""

    layer: str | None = Field(
        default=None,
        title="Layer",
        description="Block whose places are weighted; empty: the last one that reaches the answer.",
    )
    classes: int = Field(default=3, ge=1, le=10, title="Classes", description="How many of the best classes get a map.")
    negative: bool = Field(
        default=False, title="Keep negative", description="Also shows the places whose features lower the class."
    )


class GradCam(Method):
    """Weights the channels of a feature map by how much the class score rises with them, and adds them up.

    One forward and one backward pass. Channels are weighted by the mean gradient of the logit over all places; negative
    sums are cut, because they speak for other classes.

    The map has the grid of the layer, often 7 x 7: fine detail in a drawing of it is interpolation. It is a first-order
    picture of the last layers only, and says nothing about what earlier layers made of the pixels.
    """

    name = "grad_cam"
    title = "Grad-CAM"
    question = "Where do features raise this class?"
    summary = "Reference: the last feature map, weighted by the gradient of the class."
    version = 1
    place = 60
    result_kind = ResultKind.SCALAR_MAP
    has_target = True
    source = "Selvaraju et al.: Grad-CAM. ICCV 2017, arXiv 1610.02391"
    Params = GradCamParams

    def supports(self, model: ModelCard) -> str | None:
        if reason := no_classes(model):
            return reason
        if model.described and not model.blocks:
            return "This network keeps no grid of places."
        return None

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - part of the contract
        return 1 + 2 * int(params.classes) + CHECK_PASSES

    def explain(self, context: Context) -> Result:
        """Returns one map ``[h, w]`` per class, in logits per unit of the layer's mean gradient; >= 0 unless negative.

        Cost: one pass, a forward and a backward pass for each class, five passes for the reading.

        Raises:
            ProblemError: ``not_supported`` or ``params_invalid``.
        """
        params: GradCamParams = context.params
        asked = ask(context, classes=params.classes)
        context.check_cancelled()
        names = [block.name for block in context.model.layout.blocks]
        layer = params.layer or cam_layer(context.model).name
        if params.layer is not None and params.layer not in names:
            raise _unknown_layer(params.layer, names)
        targets = torch.tensor(asked.indices)
        pictures = asked.pictures.expand(len(targets), -1, -1, -1)
        found = class_maps(context.model, pictures, targets, params.layer, relu=not params.negative, scale=False)
        context.engine.passes += 2 * len(targets)
        context.progress(1 + 2 * len(targets), self.cost(context.model.card, params))
        grid = f"{found.maps.shape[1]} x {found.maps.shape[2]}"
        drawn = Drawn(
            "logits",
            ("lowers the class", "raises the class") if params.negative else ("nothing", "raises the class"),
            Encoding.SIGNED if params.negative else Encoding.SEQUENTIAL,
        )
        texts = Texts(notes=(f"Layer {layer}, {grid} places.",), cautions=_cautions(found.maps[0]))
        return map_result(context, asked, found.maps, drawn, texts=texts)


def _unknown_layer(name: str, names: list[str]) -> ProblemError:

    few = ", ".join(names[-6:])
    return ProblemError(ProblemCode.PARAMS_INVALID, f"There is no layer {name!r}. The last ones are {few}.")


def _cautions(first: torch.Tensor) -> tuple[str, ...]:
    if float(first.max()) > 0:
        return ()
    return ("No place raises this class to first order: all weighted sums were negative and have been cut.",)
