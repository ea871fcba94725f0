"""Occlusion: a window slides over the picture, and what hiding it costs is the map."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from backend.contract.results import Encoding, ResultKind, Texts
from backend.contract.schemas import ModelCard, Preset
from models import taps
from workers.method import Context, Method, Params, Result
from workers.methods._reference_map import (
    CHECK_PASSES,
    Asked,
    Drawn,
    ask,
    in_smaller_batches,
    map_result,
    no_classes,
)
from workers.substrates import make_substrate

REFERENCE_SIZE = (224, 224)


class OcclusionParams(Params):
    """How large the window is, how far it moves, what it shows."""

    window: float = Field(
        default=0.2, ge=0.03, le=0.6, title="Window", description="Side, as a share of the shorter side of the input."
    )
    step: float = Field(
        default=0.08, ge=0.01, le=0.5, title="Step", description="How far it moves, as a share of the shorter side."
    )
    substrate: Literal["blur", "black", "white", "mean", "dataset_mean"] = Field(
        default="blur", title="Hidden shows", description="What is seen in the window."
    )


class Occlusion(Method):
    """Slides a window over the picture and measures how far the class falls when it is hidden.

    Each place of the map is the mean fall of the probability over all windows that held it. Nothing but the picture is
    changed, so the map speaks of the model's behaviour, not of its insides.

    What is important together but not alone stays invisible: of two eyes, each can be hidden. The window's size decides
    what can be found.
    """

    name = "occlusion"
    title = "Occlusion"
    question = "Which window is missed most?"
    summary = "Reference: hides one window after another and measures the fall."
    version = 1
    place = 64
    result_kind = ResultKind.SCALAR_MAP
    has_target = True
    source = "Zeiler, Fergus: Visualizing and Understanding Convolutional Networks. ECCV 2014, arXiv 1311.2901; captum"
    Params = OcclusionParams
    presets = (
        Preset(name="standard", title="Standard", hint="Windows of a fifth, about 140 of them.", params={}),
        Preset(name="fine", title="Fine", hint="Windows of a tenth, about 500.", params={"window": 0.1, "step": 0.04}),
    )

    def supports(self, model: ModelCard) -> str | None:
        return no_classes(model)

    def cost(self, model: ModelCard, params: Any) -> int:
        return _windows(model.input_size or REFERENCE_SIZE, params) + 2 + CHECK_PASSES

    def explain(self, context: Context) -> Result:
        """Returns a map ``[H, W]`` of the target, in probability: positive where hiding lowers it.

        Cost: one pass per window, two at the ends, five for the reading.

        Raises:
            ProblemError: ``not_supported``, ``params_invalid`` or ``out_of_memory``.
        """
        params: OcclusionParams = context.params
        asked = ask(context)
        substrate = make_substrate(
            params.substrate, asked.prepared.pixels, dataset_mean=context.model.preprocessing.mean, seed=context.seed
        )
        hidden = context.model.preprocessing.normalise(substrate.unsqueeze(0)).to(context.model.device)
        heat = _attribute(context, asked, hidden)
        window, step = _pixels(asked.size, params)
        note = f"Windows of {window} x {window} pixels of the model's input, {step} apart, showing {params.substrate}."
        drawn = Drawn("probability", ("hiding helps", "hiding hurts"), Encoding.SIGNED)
        scalars = {"windows": _windows(asked.size, params)}
        return map_result(context, asked, heat[None], drawn, texts=Texts(notes=(note,)), scalars={**scalars})


def _attribute(context: Context, asked: Asked, hidden: Tensor) -> Tensor:
    """Returns ``[H, W]``, the mean fall of the probability over the windows that held a pixel."""
    return in_smaller_batches(lambda size: _attribute_in(context, asked, hidden, size), context.engine.batch_size)


def _attribute_in(context: Context, asked: Asked, hidden: Tensor, batch: int) -> Tensor:
    from captum.attr import Occlusion as CaptumOcclusion  # here: every worker would wait for it at its start

    network, engine = context.model.network, context.engine
    window, step = _pixels(asked.size, context.params)
    total = _windows(asked.size, context.params) + 2 + CHECK_PASSES

    def probabilities(pictures: Tensor) -> Tensor:
        context.check_cancelled()
        answer = torch.softmax(network(pictures).float(), dim=1)
        engine.passes += len(pictures)
        context.progress(min(engine.passes, total), total)
        return answer

    channels = asked.pictures.shape[1]
    with torch.inference_mode(), taps.evaluation_mode(network):
        found = CaptumOcclusion(probabilities).attribute(
            asked.pictures,
            sliding_window_shapes=(channels, window, window),
            strides=(channels, step, step),
            baselines=hidden,
            target=asked.target,
            perturbations_per_eval=batch,
        )
    heat: Tensor = found[0].mean(0).double().cpu()
    return heat


def _pixels(size: tuple[int, int], params: OcclusionParams) -> tuple[int, int]:
    """Returns side and step of the window in pixels; the step never jumps over places."""
    window = max(1, round(params.window * min(size)))
    return window, min(window, max(1, round(params.step * min(size))))


def _windows(size: tuple[int, int], params: OcclusionParams) -> int:
    window, step = _pixels(size, params)
    rows, columns = (-(-max(0, side - window) // step) + 1 for side in size)
    return rows * columns
