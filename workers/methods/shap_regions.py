"""Shapley values of picture regions for a classifier: the game of the captioners' method, played over class scores."""

from __future__ import annotations

from typing import Any

from backend.contract.results import ResultKind
from backend.contract.schemas import ModelCard, ModelKind
from workers.method import Context, Method, Result
from workers.methods._shap_class_report import ClassReport
from workers.methods._shap_classes import ClassAsker
from workers.methods._shap_cuts import make_cut
from workers.methods._shap_game import Round
from workers.methods._shap_params import ClassParams, passes, presets
from workers.methods._shap_run import Stage, Ticker, run


class ShapRegions(Method):
    """Which regions does the class rest on?

    The picture is cut into a handful of regions. The model sees it many times with some of them hidden; each region
    gets the average change that its presence makes, so that all values together are the difference between the whole
    picture and the fully hidden one.

    Limits: hiding is artificial, so the value with everything hidden is always shown and the game can be repeated
    with other fillings. Nothing finer than a region can be seen, and another cut gives other numbers.

    Source: weighted-regression Shapley values, Lundberg and Lee 2017, arXiv 1705.07874; the game over regions follows
    Cafagna et al. 2023, arXiv 2304.14986. Deviations: docs/methods/shap_caption.md.
    Cost: one pass per coalition, all of them up to twelve regions.
    """

    name = "shap_regions"
    title = "Region values"
    question = "Which regions does the class rest on?"
    summary = "Hides regions in every combination and shares the effect out fairly."
    help = """
    The picture is cut into a handful of regions. The model sees it many times with some of them hidden. Each region's
    value is the average change that its presence makes; all values together are the difference between the whole
    picture and the fully hidden one.

    **How to read it**

    - Warm regions support the class, cool ones speak against it; the scale is in units of probability.
    - *Only this* and *without this* say what a region does alone, and what is lost without it.
    - *Exact* means that every combination was tried; otherwise each value has a standard error.
    - The best five classes come from the same passes. With shared regions, the values stand beside those of another
      result, a caption's say.

    **What it cannot tell**

    - Anything finer than a region; another cut gives other numbers.
    - What the model would say of a natural picture without the region: holes are artificial. *Other fillings* repeats
      the game to show how much that matters.
    """
    version = 1
    place = 45
    result_kind = ResultKind.REGION_VALUES
    has_target = True
    has_seed = True
    source = "Lundberg, Lee 2017, arXiv 1705.07874; Cafagna et al. 2023, arXiv 2304.14986"
    Params = ClassParams
    presets = presets()

    def supports(self, model: ModelCard) -> str | None:
        if model.kind == ModelKind.CAPTIONER:
            return "This model writes text; region values of captions are another method."
        if model.kind == ModelKind.ENCODER or (model.described and not model.class_count):
            return "This encoder has no class scores."
        return None

    def cost(self, model: ModelCard, params: Any) -> int:
        """Returns the most passes; fewer when regions merge or equal the filling."""
        return passes(params, model)

    def explain(self, context: Context) -> Result:
        """Returns the signed value of each region, in units of probability (or of the raw score).

        Raises:
            ProblemError: If the target or the result with the regions does not exist, or the settings do not fit.
        """
        params: ClassParams = context.params
        if params.batch_size is not None:
            context.engine.batch_size = params.batch_size
        ticker, stage = Ticker(context), Stage(context)
        asker = ClassAsker(context.engine, stage.x, target=context.target, value=params.value, on_batch=ticker.tick)
        cut = make_cut(context, stage.view, params)

        def make_report(game: Round) -> ClassReport:
            return ClassReport(context, asker, view=stage.view, cut=cut, game=game, unit=params.value)

        return run(
            context,
            stage,
            ticker,
            cut=cut,
            asker=asker,
            is_unmoved=asker.is_unmoved,
            make_report=make_report,
        )
