"""Integrated gradients: how the class score is made up of the pixels, on the straight way from an empty picture."""

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

MUCH_MISSING = 0.05


class IntegratedGradientsParams(Params):
    """From where, in how many steps."""

    baseline: Literal["black", "white", "mean", "dataset_mean", "blur"] = Field(
        default="black",
        title="Start",
        description="The empty picture where the way begins; its own colour counts for 0.",
    )
    steps: int = Field(default=50, ge=8, le=500, title="Steps", description="Gradients along the way.")
    magnitude: bool = Field(
        default=False,
        title="Without sign",
        description="Adds up the sizes of the three colours instead of their values.",
    )


class IntegratedGradients(Method):
    """Divides a class score among the pixels: what each adds on the straight way from an empty picture to this one.

    The gradient of the logit is averaged along the way and multiplied by how far each pixel moves. The values of all
    pixels add up to the logit of the picture minus the logit of the empty one; how exactly is stored with the result.

    Pixels that look like the empty picture get nothing, whatever they mean: with a black start, a black bird is
    invisible. Neighbouring pixels differ wildly in sign; read areas, not dots.
    """

    name = "integrated_gradients"
    title = "Integrated gradients"
    question = "What does each pixel add to this class?"
    summary = "Reference: gradients along the way from an empty picture; they add up to the score."
    version = 1
    place = 62
    result_kind = ResultKind.SCALAR_MAP
    has_target = True
    source = "Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks. ICML 2017, arXiv 1703.01365; captum"
    Params = IntegratedGradientsParams
    presets = (
        Preset(name="standard", title="Standard", hint="50 steps from black.", params={}),
        Preset(name="exact", title="Exact", hint="300 steps; adds up more closely.", params={"steps": 300}),
    )

    def supports(self, model: ModelCard) -> str | None:
        return no_classes(model)

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - part of the contract
        return 2 * int(params.steps) + 3 + CHECK_PASSES

    def explain(self, context: Context) -> Result:
        """Returns a map ``[H, W]`` of the target in logits: positive speaks for the class.

        Cost: a forward and a backward pass per step, two passes at the ends, one for the classes, five for the reading.

        Raises:
            ProblemError: ``not_supported``, ``params_invalid`` or ``out_of_memory``.
        """
        params: IntegratedGradientsParams = context.params
        asked = ask(context)
        substrate = make_substrate(
            params.baseline, asked.prepared.pixels, dataset_mean=context.model.preprocessing.mean, seed=context.seed
        )
        baseline = context.model.preprocessing.normalise(substrate.unsqueeze(0)).to(context.model.device)
        values, empty = _attribute(context, asked, baseline, params.steps)
        difference = float(asked.logits[asked.target]) - empty
        gap = float(values.sum()) - difference
        heat = values.abs().sum(0) if params.magnitude else values.sum(0)
        scalars = {"logit": float(asked.logits[asked.target]), "logit_empty": empty, "gap": gap, "steps": params.steps}
        drawn = Drawn("logits", ("nothing", "much"))
        if not params.magnitude:
            drawn = Drawn("logits", ("speaks against the class", "speaks for the class"), Encoding.SIGNED)
        return map_result(
            context, asked, heat[None], drawn, texts=Texts(cautions=_cautions(gap, difference)), scalars={**scalars}
        )


def _attribute(context: Context, asked: Asked, baseline: Tensor, steps: int) -> tuple[Tensor, float]:
    """Returns ``[3, H, W]`` attributions on the CPU and the target's logit on the empty picture."""
    batch = min(context.engine.batch_size, steps)
    return in_smaller_batches(lambda size: _attribute_in(context, asked, baseline, steps, size), batch)


def _attribute_in(context: Context, asked: Asked, baseline: Tensor, steps: int, batch: int) -> tuple[Tensor, float]:
    from captum.attr import IntegratedGradients as CaptumIntegratedGradients  # here: every worker would wait for it

    network, engine = context.model.network, context.engine
    total = 2 * steps + 3 + CHECK_PASSES

    def logits(pictures: Tensor) -> Tensor:
        context.check_cancelled()
        engine.passes += 2 * len(pictures)
        context.progress(min(engine.passes, total), total)
        answer: Tensor = network(pictures)
        return answer

    with torch.inference_mode(False), torch.enable_grad(), taps.evaluation_mode(network):
        picture = asked.pictures.clone()
        found = CaptumIntegratedGradients(logits).attribute(
            picture, baseline.clone(), target=asked.target, n_steps=steps, internal_batch_size=batch
        )
    empty = engine.forward(baseline)[0, asked.target]
    return found[0].detach().double().cpu(), float(empty)


def _cautions(gap: float, difference: float) -> tuple[str, ...]:
    if abs(gap) <= MUCH_MISSING * max(abs(difference), 1e-6):
        return ()
    share = abs(gap) / max(abs(difference), 1e-6)
    return (f"The values miss the score they should add up to by {share:.0%}; more steps bring them closer.",)
