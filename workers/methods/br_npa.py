"""BR-NPA: ranked feature groups, as attention of a trained explainer or found in a frozen network afterwards."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from backend.contract.explainers import ExplainerRecord
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import ResultKind, Scalar, Texts
from backend.contract.schemas import ModelCard, ModelKind
from models.heads.br_npa import UPSCALED_STAGES, _composite, _group
from workers.faithfulness import sparsity
from workers.method import Context, Method, Params, Result
from workers.methods._br_npa_features import Features, native_features, sharpened
from workers.methods._br_npa_result import COLUMNS, arrays, clamped_share, draw, layers
from workers.methods._br_npa_result import regions as _regions
from workers.methods._br_npa_texts import LABEL, cautions, reading_post_hoc
from workers.methods._br_npa_trained import explain_trained

__all__ = ["LABEL", "BrNpa", "BrNpaParams", "_composite", "_regions"]

OUTLIER_NORM = 3.0
DEFAULT_MAPS = 3
POST_HOC = "post_hoc"


class BrNpaParams(Params):
    """Whose groups, how many, and on which grid."""

    mode: Literal["auto", "trained", "post_hoc"] = Field(
        default="auto",
        title="Mode",
        description="trained: what a second classifier, trained for this model, really read; post_hoc: groups in the "
        "model's own features, which are not its attention; auto: trained where an explainer exists.",
        json_schema_extra={"when_explainer": "trained", "otherwise": "post_hoc"},
    )
    explainer: str = Field(
        default="auto",
        max_length=64,
        title="Explainer",
        description="Which trained explainer; auto: the newest one for this model.",
        json_schema_extra={"explainer": True},
    )
    n_maps: int | None = Field(
        default=None,
        ge=1,
        le=8,
        title="Groups",
        description="How many groups are looked for. Empty: 3, or as many as the explainer has.",
    )
    contrast: Literal["none", "runner_up", "mean"] = Field(
        default="none",
        title="Compare with",
        description="Trained mode: what the contributions are measured against. A softmax answer depends on "
        "differences of logits only.",
    )
    resolution: Literal["auto", "native", "dense"] = Field(
        default="auto",
        title="Grid",
        description="Post hoc: auto: the finest grid that agrees with the model's own; native: the model's own; "
        "dense: stride 8, even where it only approximates the model.",
    )
    input_size: int | None = Field(
        default=None,
        ge=64,
        le=1024,
        multiple_of=32,
        title="Input size",
        description="Post hoc, in pixels; a larger input gives a finer map of a convolutional network. Empty: the "
        "model's own.",
    )
    outlier_tokens: Literal["mask", "keep"] = Field(
        default="mask",
        title="Outlier tokens",
        description="Post hoc: whether tokens of a transformer with more than three times the usual strength may start "
        "a group.",
    )
    region_level: float = Field(
        default=0.5,
        ge=0.05,
        le=0.95,
        title="Outline",
        description="Share of a map's maximum from which a cell belongs to the group's outline.",
    )


class BrNpa(Method):
    """Groups the strongest features of a network, in the order in which they stand out.

    The strongest place is found first and everything that resembles it joins; then the strongest place *unlike* the
    first, and so on. Red, green and blue are the first three groups; mixed colours belong to several, dark places are
    weak. No class enters: the maps are the same whichever class is asked.

    With a trained explainer the maps are the attention of a second classifier that sees nothing but these groups, so
    its answer splits exactly into groups and cells. Without one they are **feature groups, not the model's
    attention**: the model's own head reads its features in another way, so the maps did not produce the answer.

    Rank means strength, not importance for the answer. A place has seen a wide surrounding, so a strong feature can be
    caused by pixels outside its cell. The split holds the maps fixed; it is no promise of what happens when pixels
    change.
    """

    name = "br_npa"
    title = "BR-NPA: ranked feature groups"
    question = "Which parts, in what order?"
    summary = "Groups the strongest features by likeness, strongest first."
    help = """
    The strongest place of the network's last map is found first, and what resembles it joins. Then comes the strongest
    place unlike the first, and so on. The result is a few groups, in the order in which they stand out.

    There are two modes. *Trained*: an explainer, a second classifier that sees only these groups, was trained for the
    model; its answer splits exactly into what each group and each cell added. *Post hoc*: the same groups in the
    features of the model itself, which reads them in another way.

    **How to read it**

    - The badge says which mode it is. Trained: both answers, and how often the explainer gives the model's answer.
    - Red, green and blue are the first three groups. Mixed colours belong to several; dark places are weak.
    - The single maps say the same without colour. Two groups with a likeness near 1 are one thing found twice.
    - Trained: contributions are signed logits and add up to the explainer's answer, which is written out.
    - Post hoc: the grid is made finer where the finer map agrees with the model's own on this very picture.

    **What it cannot tell**

    - Post hoc: what the answer rests on. These are groups of features, not the model's attention.
    - Trained: what the model itself computes. The explainer is another network; its agreement is always shown.
    - Which group matters more by its rank: rank is strength. Maps are the same whichever class is asked.
    - Where a feature came from, to the pixel: every place has seen a wide surrounding.
    """
    version = 2
    place = 30
    result_kind = ResultKind.RANKED_MAPS
    has_target = True
    source = "Gomez, Ling, Fréour, Mouchère: BR-NPA. Pattern Recognition 2022, arXiv 2106.02566"
    Params = BrNpaParams

    def supports(self, model: ModelCard) -> str | None:
        if model.kind == ModelKind.CAPTIONER:
            return "This model writes text; its features have no ranked groups here."
        if not model.blocks or min(model.blocks[-1].grid) < 2:
            return "This network has no feature map before its pooling."
        return None

    def remedy(self, model: ModelCard) -> str:
        if not self._can_be_trained(model) or self._own(model):
            return ""
        return f"{self._offer(model.name)} to see the attention of a classifier that reads nothing else."

    def cost(self, model: ModelCard, params: Any) -> int:
        if params.mode == "trained" or (params.mode == "auto" and self._own(model)):
            return 2
        is_token = bool(model.blocks) and model.blocks[-1].layout == "tokens"
        return 1 + (params.input_size is not None) + (not is_token and params.resolution != "native")

    def explain(self, context: Context) -> Result:
        """Returns ranked maps: of a trained explainer, or of the frozen model itself.

        Raises:
            ProblemError: ``not_supported`` in mode ``trained`` without an explainer; ``not_found`` or
                ``model_broken`` for an explainer that was asked for by its id.
        """
        mode = context.params.mode
        record = None if mode == POST_HOC else self._find_explainer(context)
        if record is not None:
            return self._explain_trained(context, record)
        if mode == "trained":
            raise ProblemError(
                ProblemCode.NOT_SUPPORTED,
                f"No explainer trained for this model; train one or choose post_hoc. {self._advice(context)}".strip(),
            )
        return self._explain_post_hoc(context)

    def _find_explainer(self, context: Context) -> ExplainerRecord | None:
        """Returns the explainer asked for, or the newest one that is whole; ``None`` when there is none."""
        return context.explainers.find(self.name, context.model.weights_digest, context.params.explainer)

    def _explain_trained(self, context: Context, record: ExplainerRecord) -> Result:
        return explain_trained(context, record)

    def _explain_post_hoc(self, context: Context) -> Result:
        """Returns ranked maps of the frozen model; the native grid is shown first, the finer one replaces it.

        Cost: one pass, one more for another input size, one for each dilated twin that is tried.
        """
        total = self.cost(context.model.card, context.params.model_copy(update={"mode": POST_HOC}))
        advice = self._advice(context)
        context.progress(0, total)
        native = native_features(context)
        context.progress(context.engine.passes, total)
        context.partial(_result(context, native, advice))
        context.check_cancelled()
        features = sharpened(context, native)
        context.progress(total, total)
        return _result(context, features, advice)

    def _own(self, model: ModelCard) -> bool:
        return any(card.method == self.name for card in model.explainers)

    def _can_be_trained(self, model: ModelCard) -> bool:
        stages = {block.name.partition(".")[0] for block in model.blocks}
        return model.kind == ModelKind.CLASSIFIER and stages >= set(UPSCALED_STAGES)

    def _advice(self, context: Context) -> str:
        """Returns the offer to train an explainer, where there is none and one can be trained."""
        model = context.model.card
        if not self._can_be_trained(model) or self._find_newest(context) is not None:
            return ""
        return f"{self._offer(model.name)} to see the attention of a classifier that reads nothing else."

    def _find_newest(self, context: Context) -> ExplainerRecord | None:
        return next(iter(context.explainers.list(self.name, context.model.weights_digest)), None)

    def _offer(self, model: str) -> str:
        command = self.name.replace("_", "-")
        return (
            f"Train an explainer on the Explainers page, or by `vitrine train {command} --model {model} --data FOLDER`,"
        )


def _result(context: Context, features: Features, advice: str) -> Result:
    params = context.params
    count = params.n_maps or DEFAULT_MAPS
    allowed, masked = _allowed_seeds(features, params.outlier_tokens)
    groups = _group(features.map, count, allowed)
    drawn = draw(groups, params.region_level)
    clamped = clamped_share(features.map, groups)
    regions = _regions(drawn, features.frame, context.picture.pixels.shape[:2], params.region_level)
    n_valid = int(groups.valid.sum())
    scalars: dict[str, Scalar] = {
        "n_valid": n_valid,
        "grid": f"{features.map.shape[1]} x {features.map.shape[2]}",
        "output_stride": features.stride,
        "dense_error": features.error,
        "clamped_share": clamped,
        "masked_tokens": masked,
        "passes": features.passes,
        "sparsity": sparsity(groups.maps[groups.valid].cpu(), groups.activity.cpu()) if n_valid else None,
        "mode": POST_HOC,
    }
    return Result(
        arrays=arrays(drawn, features.frame, features.logits),
        layers=layers(groups, LABEL, stride=features.stride),
        regions=regions,
        region_columns=COLUMNS,
        scalars=scalars,
        texts=Texts(
            reading=reading_post_hoc(regions),
            badge="post hoc",
            cautions=(*features.cautions, *cautions(drawn, wanted=count, clamped=clamped, masked=masked)),
            notes=tuple(filter(None, (f"These are {LABEL}.", *features.notes, advice))),
        ),
        seen=features.frame,
    )


def _allowed_seeds(features: Features, outliers: str) -> tuple[Tensor | None, int]:
    """Returns which cells may start a group, and how many may not."""
    if not features.is_tokens or outliers == "keep":
        return None, 0
    norms = torch.linalg.vector_norm(features.map.float(), dim=0)
    allowed = norms <= OUTLIER_NORM * norms.median()
    return allowed, int((~allowed).sum())
