"""PAMI: cut the picture in many ways, show each part alone, average the scores of the parts that held a pixel."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import ResultKind
from backend.contract.schemas import ModelCard, ModelKind, Preset
from models.preprocessing import Prepared
from workers.masks import Scene
from workers.method import Context, Method, Params, Result
from workers.methods import _pami_cuts as cuts
from workers.methods._pami_area import weigh_by_area
from workers.methods._pami_cuts import compact as _compact
from workers.methods._pami_cuts import cut as _segment
from workers.methods._pami_cuts import list_views as _views
from workers.methods._pami_own import fetch_background, fetch_own_regions
from workers.methods._pami_paint import Accumulator as _Accumulator
from workers.methods._pami_paint import aggregate, aggregate_windows, window_centres
from workers.methods._pami_paint import second_round_picture as _second_round_picture
from workers.methods._pami_parts import best_parts as _best_parts
from workers.methods._pami_report import Reporter
from workers.methods._pami_rounds import PartitionRun
from workers.methods._pami_scores import Score
from workers.methods._pami_state import Outcome, Question, Scorer
from workers.methods._pami_windows import WindowRun
from workers.substrates import make_substrate

__all__ = [
    "Pami",
    "PamiParams",
    "_Accumulator",
    "_best_parts",
    "_compact",
    "_second_round_picture",
    "_segment",
    "_views",
    "aggregate",
    "aggregate_windows",
    "partitions",
    "window_centres",
]

PARTIAL_INTERVAL_S = 0.2
MOST_STORED_SCORES = 32_000_000
TYPICAL_PASSES = {"fast": 450, "standard": 2270, "thorough": 12_000}
REFERENCE_SIZE = (224, 224)


class PamiParams(Params):
    """How the picture is cut, what hides the rest, and which classes are kept."""

    preset: Literal["fast", "standard", "thorough", "window"] = Field(
        default="standard",
        title="Preset",
        description="How many ways the picture is cut: 20, 100 or 520 partitions, or overlapping discs.",
    )
    classes: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        default=(), max_length=50, title="Further classes", description="Class numbers whose maps are kept as well."
    )
    top_k: int = Field(
        default=10, ge=1, le=50, title="Classes kept", description="How many class maps are kept, best classes first."
    )
    score: Literal["probability", "sigmoid", "probability_gain", "log_odds", "logit"] = Field(
        default="probability",
        title="Score",
        description="The number given to each part: softmax probability, sigmoid per class, probability minus that of "
        "the background, log odds, or the raw output.",
    )
    substrate: Literal["blur", "black", "white", "mean", "dataset_mean", "noise", "picture"] = Field(
        default="blur", title="Background", description="What is seen where the picture is hidden."
    )
    substrate_picture: str | None = Field(
        default=None,
        title="Background picture",
        description="Identity of the picture used as background; needed for the background 'picture'.",
    )
    regions: str | None = Field(
        default=None,
        title="Own regions",
        description="Run key of a result with a label map (a NAVE map, say) whose regions are used as parts.",
    )
    regions_mode: Literal["add", "only"] = Field(
        default="add", title="Use of own regions", description="As one more partition of each view, or as the only one."
    )
    window_radius: float = Field(
        default=0.1786,
        ge=0.02,
        le=0.5,
        title="Disc radius",
        description="Of the window preset, as a share of the shorter side.",
    )
    window_stride: float = Field(
        default=0.0268,
        gt=0,
        le=0.5,
        title="Disc spacing",
        description="Distance of neighbouring discs as a share of the shorter side, at most the radius.",
    )
    view_seed: int | None = Field(
        default=None,
        ge=0,
        title="Draw the shifts",
        description="Empty: fixed shifts. A number draws other shifts: does the map survive other cuts?",
    )
    early_stop: float | None = Field(
        default=None,
        ge=0.9,
        le=0.9999,
        title="Stop early",
        description="Correlation of successive maps above which further views are given up (0.995 is sensible).",
    )
    area_power: float = Field(
        default=0.0,
        ge=0,
        le=1,
        title="Weigh by area",
        description="Scores times (median area / area) to this power; above 0 the map is a relative quantity.",
    )
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field(
        default="auto",
        title="Precision",
        description="Of the network's body; auto is half precision where the hardware has it.",
    )
    batch_size: int | None = Field(
        default=None, ge=1, le=2048, title="Batch size", description="Pictures at once; empty: chosen by the device."
    )
    keep_scores: bool = Field(
        default=False,
        title="Keep all scores",
        description="Store the scores of every class, so that any class can be drawn later without new passes.",
    )

    @model_validator(mode="after")
    def _validate_together(self) -> PamiParams:
        if self.window_stride > self.window_radius:
            raise ValueError(
                f"window_stride is at most window_radius ({self.window_radius:g}), not {self.window_stride:g}"
            )
        if self.substrate == "picture" and self.substrate_picture is None:
            raise ValueError("the background 'picture' needs substrate_picture")
        return self


def partitions(
    picture: NDArray[np.uint8],
    preset: str,
    *,
    seed: int | None = None,
    regions: NDArray[np.integer[Any]] | None = None,
    regions_mode: str = "add",
) -> Tensor:
    """Returns every label map of a preset, view by view, in picture coordinates.

    Args:
        picture: ``[H, W, 3]`` or ``[H, W]`` uint8, at least 16 pixels a side.
        preset: ``fast`` (1 view), ``standard`` (5) or ``thorough`` (13; its first round: call again on the heat map
            for the second). Each is a prefix of the next.
        seed: Draws the shifts other than the first.
        regions: ``[H, W]`` integers, the user's own parts; negative: rest.
        regions_mode: ``add`` (one more partition per view) or ``only``.

    Returns:
        ``[P, H, W]`` int32 on the CPU, labels ``0 .. R_p - 1``, twenty partitions per view.

    Raises:
        ValueError: For a preset without partitions (``window``), or a picture or regions that do not fit.
    """
    return torch.from_numpy(cuts.cut_all(picture, preset, seed=seed, regions=regions, regions_mode=regions_mode))


class Pami(Method):
    """Which parts are enough on their own?

    The picture is cut into parts in many different ways. Each part is shown to the model alone, with a blur everywhere
    else; each pixel receives the average score of the parts that held it. Bright means: sufficient alone.

    Limits: it measures what suffices alone, not what is lost when removed. Two distant parts that are needed together
    give a dark map; two redundant parts are both bright. Where a part says nothing, the map shows the background's own
    score. Larger parts tend to score higher because more is visible. The outline of a cut-out part is itself a shape
    that the model may react to, so a bright pixel is no proof of what the model uses.

    Source: W. Shi, W. Zhang, W.-S. Zheng, R. Wang, "PAMI: partition input and aggregate outputs for model
    interpretation", Pattern Recognition 2024, arXiv 2302.03318. Deviations: docs/methods/pami.md.
    Cost: one pass per part plus two per view.
    """

    name = "pami"
    title = "PAMI: parts shown alone"
    question = "Which parts are enough on their own?"
    summary = "Shows each part of the picture alone and averages how sure the model is."
    place = 10
    result_kind = ResultKind.SCALAR_MAP
    help = """
    The picture is cut into parts in many ways: grids, superpixels, coarse and fine. Each part is shown to the model
    alone, with a blur everywhere else. A pixel's value is the average score of the parts that held it.

    **How to read it**

    - Bright places are enough on their own: parts that hold them make the model say the class.
    - The scale is absolute. 0.60 means that such parts give the class 0.60 on average; the numbers under the map say
      what the whole picture gives and what the background alone gives.
    - *Class* and *Compare with* switch without a new run. *Spread* is high where the answer depends on the cut.

    **What it cannot tell**

    - What is lost when a part is removed. Two parts that are needed together stay dark; two that say the same are
      both bright.
    - Where a part says nothing, the map shows the score of the background, not zero.
    - Larger parts score higher because more is visible, and the outline of a part is itself a shape. A bright pixel
      is no proof of what the model uses.
    """
    has_target = True
    has_seed = True
    source = "Shi, Zhang, Zheng, Wang: PAMI. Pattern Recognition 2024, arXiv 2302.03318."
    Params = PamiParams
    presets = (
        Preset(name="fast", title="Fast", hint="First look: about 450 passes, one view.", params={"preset": "fast"}),
        Preset(
            name="standard", title="Standard", hint="Five views: about 2,300 passes.", params={"preset": "standard"}
        ),
        Preset(
            name="thorough",
            title="Thorough",
            hint="About 12,000 passes: thirteen views, and a second round cut along the first map.",
            params={"preset": "thorough"},
        ),
        Preset(
            name="window",
            title="Window",
            hint="About 2,500 overlapping discs; no dependence on segmenters.",
            params={"preset": "window"},
        ),
    )

    def supports(self, model: ModelCard) -> str | None:
        if model.kind == ModelKind.CAPTIONER:
            return "This model writes text; PAMI needs class scores."
        if model.kind == ModelKind.ENCODER or (model.described and not model.class_count):
            return "This encoder has no class scores."
        if model.input_size is not None and min(model.input_size) < cuts.SMALLEST_SIDE:
            return f"This model sees {min(model.input_size)} pixels a side; PAMI needs at least {cuts.SMALLEST_SIDE}."
        return None

    def cost(self, model: ModelCard, params: Any) -> int:
        """Returns the typical number of passes."""
        if params.preset == "window":
            size = model.input_size or REFERENCE_SIZE
            return len(window_centres(size, *_window_pixels(params, size))) + 2
        views = cuts.VIEWS[params.preset]
        if params.regions is None:
            return TYPICAL_PASSES[params.preset]
        own = views * sum(cuts.TYPICAL_REGIONS) // len(cuts.TYPICAL_REGIONS)
        return own + (2 * views if params.regions_mode == "only" else TYPICAL_PASSES[params.preset])

    def explain(self, context: Context) -> Result:
        """Returns maps of the kept classes, 0-1 for probabilities: mean score of the parts that held a pixel.

        Raises:
            ProblemError: If the target does not exist, the settings do not go together or the model gives no numbers.
        """
        params: PamiParams = context.params
        if params.batch_size is not None:
            context.engine.batch_size = params.batch_size
        prepared = context.model.preprocessing.prepare(context.picture.pixels)
        question, notes = _ask(context, prepared)
        scorer = Scorer(question, context.engine, _scene_maker(context, prepared))
        self._validate_storage(context, len(scorer.plain[0]))
        reporter = Reporter(
            scorer=scorer,
            frame=prepared.frame,
            seen=prepared.seen,
            class_names=context.model.class_names,
            substrate=params.substrate,
        )
        shower = _Shower(context, reporter, (int(prepared.pixels.shape[1]), int(prepared.pixels.shape[2])))
        outcome = _run(context, scorer, prepared, shower)
        shower.show(lambda: outcome.target_map, is_last=True)
        outcome.notes[:0] = notes
        if params.area_power > 0:
            weigh_by_area(outcome, params.area_power, radius=question.radius)
        return reporter.result(outcome)

    def _validate_storage(self, context: Context, classes: int) -> None:
        count = self.cost(context.model.card, context.params) * classes
        if context.params.keep_scores and count > MOST_STORED_SCORES:
            raise ProblemError(
                ProblemCode.PARAMS_INVALID,
                f"Keeping all scores would store {count / 1e6:.0f} million numbers; at most "
                f"{MOST_STORED_SCORES / 1e6:.0f} million are allowed. Choose a smaller preset or keep fewer classes.",
            )


class _Shower:
    """Publishes partial maps, at most five a second; the last one always."""

    def __init__(self, context: Context, reporter: Reporter, shape: tuple[int, int]) -> None:
        self._context = context
        self._reporter = reporter
        self._shape = shape
        self._next = 0.0
        context.partial(reporter.partial(None, shape=shape))

    def show(self, heat: Callable[[], Tensor], *, is_last: bool = False) -> None:
        now = time.monotonic()
        if now < self._next and not is_last:
            return
        self._next = now + PARTIAL_INTERVAL_S
        self._context.partial(self._reporter.partial(heat(), shape=self._shape))


def _run(context: Context, scorer: Scorer, prepared: Prepared, shower: _Shower) -> Outcome:
    size = (int(prepared.pixels.shape[1]), int(prepared.pixels.shape[2]))
    if scorer.question.preset == "window":
        return WindowRun(scorer, size, on_progress=context.progress, on_map=shower.show).run()
    picture = (prepared.pixels * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    return PartitionRun(
        scorer,
        picture,
        on_progress=context.progress,
        on_map=shower.show,
        check_cancelled=context.check_cancelled,
    ).run()


def _ask(context: Context, prepared: Prepared) -> tuple[Question, list[str]]:
    """Returns the question in pixels of the model's input, and what was lost on the way there."""
    params: PamiParams = context.params
    own: cuts.Labels | None = None
    notes: list[str] = []
    if params.regions is not None and params.preset != "window":
        own, notes = fetch_own_regions(context, prepared, params.regions)
    elif params.regions is not None:
        notes = ["Your regions were not used: the window preset shows discs."]
    radius, stride = _window_pixels(params, (int(prepared.pixels.shape[1]), int(prepared.pixels.shape[2])))
    question = Question(
        preset=params.preset,
        score=Score(params.score),
        target=context.target,
        classes=params.classes,
        top_k=params.top_k,
        own=own,
        regions_mode=params.regions_mode,
        view_seed=params.view_seed,
        early_stop=params.early_stop,
        precision=params.precision,
        keep_scores=params.keep_scores,
        area_power=params.area_power,
        radius=radius,
        stride=stride,
    )
    return question, notes


def _window_pixels(params: PamiParams, size: tuple[int, int]) -> tuple[float, float]:
    """Returns radius (to a tenth) and stride (whole, at most the radius) of the discs in pixels."""
    radius = max(1.0, round(params.window_radius * min(size), 1))
    return radius, float(min(max(1, round(params.window_stride * min(size))), int(radius)))


def _scene_maker(context: Context, prepared: Prepared) -> Callable[[cuts.Shift], Scene]:
    """Returns what builds the picture and its background for a shifted view."""
    params: PamiParams = context.params
    other = None
    if params.substrate == "picture" and params.substrate_picture is not None:
        other = fetch_background(context, params.substrate_picture)

    def make_scene(shift: cuts.Shift) -> Scene:
        picture = torch.roll(prepared.pixels, shift, dims=(1, 2))
        substrate = make_substrate(
            params.substrate,
            picture,
            dataset_mean=context.model.preprocessing.mean,
            seed=context.seed,
            other=None if other is None else torch.roll(other, shift, dims=(1, 2)),
        )
        return context.engine.scene(picture, substrate)

    return make_scene
