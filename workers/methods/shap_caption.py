"""Shapley values of picture regions for a caption: which regions the whole sentence rests on, and which each word."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import ResultKind
from backend.contract.schemas import ModelCard, ModelKind, Preset
from models.captioners import Captioner, Decoding
from workers.method import Context, Method, Result
from workers.methods._shap_caption_report import CaptionReport
from workers.methods._shap_captioning import CaptionAsker, Embedder
from workers.methods._shap_cuts import make_cut
from workers.methods._shap_game import Round
from workers.methods._shap_params import CaptionParams, passes, presets
from workers.methods._shap_run import Stage, Ticker, run

BATCH = {"cpu": 16, "cuda": 64}


class ShapCaption(Method):
    """Which parts of the picture does the whole sentence rest on?

    The picture is cut into a handful of regions. The model captions it many times with some of them hidden; each
    region gets the average change that its presence makes to the closeness in meaning to the original caption.

    Limits: closeness is what a sentence embedder finds close, and says nothing about truth. Hiding is artificial:
    blacked-out pictures draw stock captions, so the caption of the fully hidden picture is always shown. Nothing finer
    than a region can be seen, and another cut gives other numbers.

    Source: M. Cafagna, L. M. Rojas-Barahona, K. van Deemter, A. Gatt, "Interpreting Vision and Language Generative
    Models with Semantic Visual Priors", 2023, arXiv 2304.14986. Deviations: docs/methods/shap_caption.md.
    Cost: one caption per coalition of regions, all of them up to twelve; one comparison per distinct caption.
    """

    name = "shap_caption"
    title = "SHAP-caption: what a sentence rests on"
    question = "Which parts does the sentence rest on?"
    summary = "Hides regions in every combination and sees how far the caption moves in meaning."
    help = """
    The picture is cut into a handful of regions, by what the captioner itself sees as alike. The model captions it
    many times with some regions hidden. A region's value is the average change that its presence makes to the
    closeness in meaning to the original caption; all values together are the difference between the whole picture and
    the fully hidden one.

    **How to read it**

    - Warm regions keep the caption what it is; cool ones move it away.
    - *Only this* and *without this* are the captions that the model writes then; read them before the numbers.
    - With *Words*, every word and phrase has values of its own: which region made the model write it?
    - *Exact* means that every combination was tried; otherwise each value has a standard error.

    **What it cannot tell**

    - Whether the caption is true: closeness is what a sentence embedder finds close.
    - Anything finer than a region; another cut gives other numbers. These are effects on this model, not objects.
    - What the model would write of a natural picture without the region: holes are artificial, so the caption with
      everything hidden is always shown, and *Other fillings* repeats the game.
    - A negative value means that the caption comes closer to the original when the region is hidden, not that the
      region contradicts it.
    """
    version = 1
    place = 40
    result_kind = ResultKind.REGION_VALUES
    has_seed = True
    source = "Cafagna, Rojas-Barahona, van Deemter, Gatt, 2023, arXiv 2304.14986"
    Params = CaptionParams
    presets = (
        *presets(),
        Preset(
            name="published",
            title="Close to the published setting",
            hint="Ten regions, black, five beams; the empty picture is still measured.",
            params={"k": 10, "hidden": "black", "num_beams": 5, "budget": 65_536},
        ),
    )

    def __init__(self, embedder: Callable[[], Embedder] | None = None) -> None:
        self._embedder = embedder

    def supports(self, model: ModelCard) -> str | None:
        if model.kind != ModelKind.CAPTIONER:
            return "This model writes no captions."
        return None

    def remedy(self, model: ModelCard) -> str:
        """Returns which method asks the same of a classifier."""
        return "Region values ask the same of its classes." if model.kind == ModelKind.CLASSIFIER else ""

    def cost(self, model: ModelCard, params: Any) -> int:
        """Returns the most captions written; fewer when regions merge or equal the filling."""
        return passes(params, model)

    def explain(self, context: Context) -> Result:
        """Returns the signed value of each region in units of cosine, and of each word in nats where asked.

        Raises:
            ProblemError: If the model gives no caption for the picture, fails on the way, or the settings do not fit.
        """
        params: CaptionParams = context.params
        captioner = _captioner(context, params)
        context.engine.batch_size = params.batch_size or BATCH.get(context.model.device.type, BATCH["cpu"])
        ticker, stage = Ticker(context), Stage(context)
        embedder = self._embedder() if self._embedder is not None else _load_embedder(str(context.model.device))
        asker = CaptionAsker(
            captioner,
            context.engine,
            stage.x,
            embedder=embedder,
            wants_tokens=params.token_view,
            on_batch=ticker.tick,
        )
        cut = make_cut(context, stage.view, params, asker.features)
        identity = (str(getattr(embedder, "name", "")), str(getattr(embedder, "digest", "")))

        def make_report(game: Round) -> CaptionReport:
            return CaptionReport(context, captioner, asker, view=stage.view, cut=cut, game=game, embedder=identity)

        return run(context, stage, ticker, cut=cut, asker=asker, is_unmoved=asker.is_unmoved, make_report=make_report)


def _load_embedder(device: str) -> Embedder:
    from models.embedders import load_embedder  # the library behind it is slow to import

    return load_embedder(device=device)


def _captioner(context: Context, params: CaptionParams) -> Captioner:
    """Returns the model's captioner with the decoding settings of this run."""
    captioner = context.model.captioner
    if captioner is None:
        raise ProblemError(ProblemCode.NOT_SUPPORTED, f"{context.model.card.title} writes no captions.")
    decoding = Decoding(prompt=params.prompt, num_beams=params.num_beams, max_new_tokens=params.max_new_tokens)
    return captioner.with_decoding(decoding)
