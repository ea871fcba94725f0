"""BR-NPA after the fact: the strongest features of a frozen network, grouped by likeness, in order of strength."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from backend.contract.results import Box, Column, Encoding, Layer, Region, ResultKind, Scalar, Texts
from backend.contract.schemas import ModelCard, ModelKind
from models.heads.br_npa import FeatureGroups, _composite, _group
from workers.faithfulness import sparsity
from workers.method import Context, MapArray, Method, Params, Result
from workers.methods._br_npa_features import Features, native_features, sharpened

LABEL = "feature groups, not the model's attention"
ORDINALS = ("1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th")
OUTLIER_NORM = 3.0
FLAT_ACTIVITY = 1.2
MUCH_CLAMPED = 0.05
COLUMNS = (
    Column(key="importance", title="Importance", digits=2, hint="Mean activity under the map, 0-1."),
    Column(key="strength", title="Strength", digits=2, hint="Strength of the seed, 1 for the first."),
    Column(key="likeness", title="Likeness to 1st", digits=2, hint="Cosine of the group's feature to the first one's."),
)


class BrNpaParams(Params):
    """How many groups, on which grid."""

    n_maps: int = Field(default=3, ge=1, le=8, title="Groups", description="How many groups are looked for.")
    resolution: Literal["auto", "native", "dense"] = Field(
        default="auto",
        title="Grid",
        description="auto: the finest grid that agrees with the model's own; native: the model's own; dense: stride 8, "
        "even where it only approximates the model.",
    )
    input_size: int | None = Field(
        default=None,
        ge=64,
        le=1024,
        multiple_of=32,
        title="Input size",
        description="Pixels; a larger input gives a finer map of a convolutional network. Empty: the model's own.",
    )
    outlier_tokens: Literal["mask", "keep"] = Field(
        default="mask",
        title="Outlier tokens",
        description="Whether tokens of a transformer with more than three times the usual strength may start a group.",
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

    These are **feature groups, not the model's attention**. The model's own head reads its features in another way
    (the average over all places, or a class token), so the maps did not produce the answer. Rank means strength, not
    importance for the answer. A place has seen a wide surrounding, so a strong feature can be caused by pixels outside
    its cell.

    On convolutional networks the grid is made finer by dilation where the finer map agrees exactly with the model's
    own; how well it agrees is measured on the picture itself.
    """

    name = "br_npa"
    title = "BR-NPA: ranked feature groups"
    question = "Which parts, in what order?"
    summary = "Groups the strongest features by likeness, strongest first."
    help = """
    The strongest place of the network's last map is found first, and what resembles it joins. Then comes the strongest
    place unlike the first, and so on. The result is a few groups, in the order in which they stand out.

    **How to read it**

    - Red, green and blue are the first three groups. Mixed colours belong to several; dark places are weak.
    - The single maps say the same without colour. Two groups with a likeness near 1 are one thing found twice.
    - The grid is made finer where the finer map agrees with the model's own on this very picture.

    **What it cannot tell**

    - What the answer rests on. These are groups of features, not the model's attention, and rank is strength.
    - Anything about a class: the maps are the same whichever class is asked.
    - Where a feature came from, to the pixel: every place has seen a wide surrounding.
    """
    version = 1
    place = 30
    result_kind = ResultKind.RANKED_MAPS
    source = "Gomez, Ling, Fréour, Mouchère: BR-NPA. Pattern Recognition 2022, arXiv 2106.02566"
    Params = BrNpaParams

    def supports(self, model: ModelCard) -> str | None:
        if model.kind == ModelKind.CAPTIONER:
            return "This model writes text; its features have no ranked groups here."
        if not model.blocks or min(model.blocks[-1].grid) < 2:
            return "This network has no feature map before its pooling."
        return None

    def cost(self, model: ModelCard, params: Any) -> int:
        is_token = bool(model.blocks) and model.blocks[-1].layout == "tokens"
        return 1 + (params.input_size is not None) + (not is_token and params.resolution != "native")

    def explain(self, context: Context) -> Result:
        """Returns ranked maps; the native grid is shown first, the finer one replaces it.

        Cost: one pass, one more for another input size, one for each dilated twin that is tried.
        """
        total = self.cost(context.model.card, context.params)
        context.progress(0, total)
        native = native_features(context)
        context.progress(context.engine.passes, total)
        context.partial(_result(context, native))
        context.check_cancelled()
        features = sharpened(context, native)
        context.progress(total, total)
        return _result(context, features)


@dataclass(frozen=True, eq=False)
class _Drawn:
    """Groups on the CPU with what is shown of them."""

    groups: FeatureGroups
    weighted: NDArray[np.float32]
    importance: NDArray[np.float64]
    labels: NDArray[np.int8]


def _result(context: Context, features: Features) -> Result:
    params = context.params
    allowed, masked = _allowed_seeds(features, params.outlier_tokens)
    groups = _group(features.map, params.n_maps, allowed)
    drawn = _draw(groups, params.region_level)
    clamped = _clamped_share(features.map, groups)
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
    }
    return Result(
        arrays=_arrays(drawn, features),
        layers=_layers(params.n_maps, groups),
        regions=regions,
        region_columns=COLUMNS,
        scalars=scalars,
        texts=Texts(
            reading=_reading(regions),
            badge="post hoc",
            cautions=_cautions(drawn, features, params, clamped=clamped, masked=masked),
            notes=(f"These are {LABEL}.", *features.notes),
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


def _draw(groups: FeatureGroups, level: float) -> _Drawn:
    activity = groups.activity
    weighted = (groups.maps * activity).cpu().numpy().astype(np.float32)
    peak = activity.max()
    importance = (groups.maps * activity).sum((1, 2)) / peak if float(peak) > 0 else torch.zeros(len(groups.maps))
    valid = groups.valid.cpu().numpy()
    peaks = weighted.max((1, 2), keepdims=True)
    inside = (weighted >= level * peaks) & (peaks > 0) & valid[:, None, None]
    best = np.where(inside, weighted, -1).argmax(0) + 1
    labels = np.where(inside.any(0), best, 0).astype(np.int8)
    return _Drawn(groups, weighted, importance.double().cpu().numpy(), labels)


def _clamped_share(features: Tensor, groups: FeatureGroups) -> float:
    """Returns the share of all similarity to the seeds that was negative and cut off, 0-1."""
    seeds = groups.seeds[groups.valid]
    if not len(seeds):
        return 0.0
    cells = features.flatten(1).float()
    unit = cells / (torch.linalg.vector_norm(cells, dim=0) + 1e-5)
    cosines = unit[:, seeds].T @ unit
    return float(cosines.clamp(max=0).abs().sum() / cosines.abs().sum())


def _arrays(drawn: _Drawn, features: Features) -> dict[str, MapArray]:
    groups = drawn.groups
    maps = groups.maps.float().cpu().numpy()
    activity = groups.activity.float().cpu().numpy()
    arrays = {
        "maps": MapArray(maps, features.frame),
        "activity": MapArray(activity, features.frame),
        "composite": MapArray(_composite(maps, activity, groups.valid.cpu().numpy()), features.frame),
        "groups": MapArray(drawn.labels, features.frame),
    }
    if features.logits is not None:
        arrays["logits"] = MapArray(features.logits.float().cpu().numpy())
    return arrays


def _layers(count: int, groups: FeatureGroups) -> list[Layer]:
    words = ("elsewhere", "in the group")
    layers = [
        Layer(name="composite", title="Groups together", array="composite", encoding=Encoding.RGB, ends=(LABEL, ""))
    ]
    layers += [
        Layer(
            name=f"map {rank + 1}",
            title=f"{ORDINALS[rank]} group",
            array="maps",
            index=rank,
            encoding=Encoding.SEQUENTIAL,
            ends=words,
        )
        for rank in range(count)
        if bool(groups.valid[rank])
    ]
    strength = ("weak features", "strong features")
    layers.append(
        Layer(
            name="activity",
            title="Strength of the features",
            array="activity",
            encoding=Encoding.SEQUENTIAL,
            ends=strength,
            role="detail",
        )
    )
    return layers


def _regions(drawn: _Drawn, frame: Box, picture: tuple[int, ...], level: float) -> list[Region]:
    groups = drawn.groups
    regions = []
    first = groups.vectors[0].double()
    for rank in range(len(groups.maps)):
        if not bool(groups.valid[rank]):
            continue
        mask = drawn.weighted[rank] >= level * drawn.weighted[rank].max()
        vector = groups.vectors[rank].double()
        likeness = torch.nn.functional.cosine_similarity(vector, first, dim=0)
        regions.append(
            Region(
                id=rank + 1,
                label=f"{ORDINALS[rank]} group",
                score=float(drawn.importance[rank]),
                area=float(mask.mean()),
                box=_box(mask, frame, picture),
                colour=rank,
                values={
                    "importance": float(drawn.importance[rank]),
                    "strength": float(groups.scores[rank] / groups.scores[0]),
                    "likeness": float(likeness),
                },
            )
        )
    return regions


def _box(mask: NDArray[np.bool_], frame: Box, picture: tuple[int, ...]) -> Box:
    """Returns the tight box of cells in picture pixels, cut at the picture's edge."""
    rows, columns = np.nonzero(mask)
    height, width = (frame.bottom - frame.top) / mask.shape[0], (frame.right - frame.left) / mask.shape[1]
    return Box(
        left=float(np.clip(frame.left + columns.min() * width, 0, picture[1])),
        top=float(np.clip(frame.top + rows.min() * height, 0, picture[0])),
        right=float(np.clip(frame.left + (columns.max() + 1) * width, 0, picture[1])),
        bottom=float(np.clip(frame.top + (rows.max() + 1) * height, 0, picture[0])),
    )


def _reading(regions: list[Region]) -> str:
    if not regions:
        return "The features are zero everywhere, so there is nothing to group."
    shares = [f"{region.area:.0%}".replace("%", " %") for region in regions]
    first, *others = (f"the {region.label} covers {share}" for region, share in zip(regions, shares, strict=True))
    parts = ", ".join([first, *(text.replace(" covers", "") for text in others)])
    return f"Strongest first: {parts} of what the model saw. These are {LABEL}."


def _cautions(
    drawn: _Drawn, features: Features, params: BrNpaParams, *, clamped: float, masked: int
) -> tuple[str, ...]:
    groups = drawn.groups
    n_valid = int(groups.valid.sum())
    said = list(features.cautions)
    if n_valid < params.n_maps:
        said.append(f"Only {n_valid} of {params.n_maps} groups were found; after that, nothing strong was left.")
    if clamped > MUCH_CLAMPED:
        said.append(f"The features have both signs; {clamped:.0%} of all likeness was negative and left out.")
    if masked:
        said.append(f"{masked} unusually strong tokens were not allowed to start a group.")
    median = float(groups.activity.median())
    if median > 0 and float(groups.activity.max()) / median < FLAT_ACTIVITY:
        said.append("All places are about equally strong, so the ranking is close to arbitrary.")
    return tuple(said)
