"""Explains by a trained explainer: a second classifier that read nothing but its groups, and so splits exactly."""

from __future__ import annotations

import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from backend.contract.explainers import ExplainerRecord
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, ClassScore, Column, Encoding, Layer, Scalar, Table, Texts
from models.heads.br_npa import FeatureGroups
from models.loader import LoadedModel
from models.training._br_npa_artifact import OpenExplainer, open_explainer
from models.twins import exact_float32
from workers.faithfulness import sparsity
from workers.method import Context, MapArray, Result
from workers.methods import _br_npa_texts as texts
from workers.methods._br_npa_result import (
    COLUMNS_TRAINED,
    ORDINALS,
    arrays,
    clamped_share,
    draw,
    layers,
    regions,
)

KEPT = 2
SHOWN_CLASSES = 5
_opened: OrderedDict[str, tuple[weakref.ref[torch.nn.Module], OpenExplainer]] = OrderedDict()
"""Explainers opened last, each with the network of its base; one of a base that has left is forgotten."""
ANSWERS = (
    Column(key="class", title="Class"),
    Column(key="explainer", title="Explainer", digits=3, hint="Probability."),
    Column(key="logit", title="Logit", digits=2, hint="Of the explainer."),
    Column(key="base", title="Model", digits=3, hint="Probability; empty: no class of the model."),
)


@dataclass(frozen=True, eq=False)
class Reading:
    """One picture as an explainer read it, on the CPU.

    Attributes:
        opened: The explainer.
        groups: Without batch.
        features: ``[C, H, W]``.
        logits: ``[K]``.
        base: ``[K']``, the base model's logits.
        target: Class explained, in the explainer's own counting.
        against: What the target is compared with, in words; ``None``: nothing.
        explained: The logit, or the difference of logits, that was split.
        contributions: float32 ``[N, H, W]``, in logits.
        frame: Rectangle of the picture that the grid covers.
    """

    opened: OpenExplainer
    groups: FeatureGroups
    features: Tensor
    logits: Tensor
    base: Tensor
    target: int
    against: str | None
    explained: float
    contributions: Tensor
    frame: Box


def explain_trained(context: Context, record: ExplainerRecord) -> Result:
    """Returns the attention of an explainer with an exact split of its answer.

    Cost: one pass of the explainer and one of the model, whose answer stands beside it.
    """
    context.progress(0, 2)
    opened = open_cached(record, context.model)
    _require_its_own_count(context.params.n_maps, opened)
    reading = _read(context, opened)
    context.progress(2, 2)
    return _result(context, record, reading)


def open_cached(record: ExplainerRecord, model: LoadedModel) -> OpenExplainer:
    """Returns an explainer from memory while its base model is there, else from its files."""
    known = _opened.get(record.id)
    if known is not None and known[0]() is model.network and known[1].content == record.content:
        _opened.move_to_end(record.id)
        return known[1]
    opened = open_explainer(record, model)
    if opened.network.trunk is not model.network:  # else it would keep the base model alive
        _opened[record.id] = (weakref.ref(model.network), opened)
    for name in [name for name, (base, _) in _opened.items() if base() is None]:
        del _opened[name]
    while len(_opened) > KEPT:
        _opened.popitem(last=False)
    return opened


def _require_its_own_count(asked: int | None, opened: OpenExplainer) -> None:
    if asked not in (None, opened.network.n_maps):
        raise ProblemError(
            ProblemCode.PARAMS_INVALID,
            f"This explainer was trained with {opened.network.n_maps} groups; {asked} are only possible with "
            "mode post_hoc.",
        )


def _read(context: Context, opened: OpenExplainer) -> Reading:
    model, pixels = context.model, context.picture.pixels
    with exact_float32():
        base = context.engine.forward(model.preprocessing.normalise(model.preprocessing.prepare(pixels).pixels[None]))
    context.progress(1, 2)
    context.check_cancelled()
    prepared = opened.geometry.prepare(pixels)
    batch = opened.geometry.normalise(prepared.pixels[None]).to(model.device)
    network = opened.network
    try:
        with torch.inference_mode(), exact_float32():
            logits, groups = network(batch.contiguous(memory_format=torch.channels_last))
            if not bool(torch.isfinite(logits).all()):
                raise ProblemError(ProblemCode.NOT_FINITE, "The explainer's answer to this picture is no number.")
            target = _find_target(context, opened, int(logits.argmax()))
            row, value, against = _contrasted(opened, logits[0], target, context.params.contrast)
            contributions = network._split_rows(row)[0].float().cpu()
            assert network._last is not None
            features = network._last[0][0].float().cpu()
    finally:
        network.train(False)  # forgets the pass
    context.engine.passes += 1
    return Reading(
        opened=opened,
        groups=FeatureGroups(*(getattr(groups, name)[0].cpu() for name in FeatureGroups.__dataclass_fields__)),
        features=features,
        logits=logits[0].float().cpu(),
        base=base[0].float().cpu(),
        target=target,
        against=against,
        explained=value,
        contributions=contributions,
        frame=prepared.frame,
    )


def _find_target(context: Context, opened: OpenExplainer, answer: int) -> int:
    """Returns the class to explain in the explainer's counting; the base's classes are matched by name."""
    if context.target is None:
        return answer
    names = context.model.class_names
    name = names[context.target] if context.target < len(names) else str(context.target)
    if name not in opened.classes:
        raise ProblemError(
            ProblemCode.TARGET_UNKNOWN,
            f"The explainer does not know the class {name!r}. It knows: {', '.join(opened.classes[:12])}"
            f"{' ...' if len(opened.classes) > 12 else ''}.",
        )
    return opened.classes.index(name)


def _contrasted(
    opened: OpenExplainer, logits: Tensor, target: int, contrast: Literal["none", "runner_up", "mean"]
) -> tuple[Tensor, float, str | None]:
    """Returns the row of the head to split, the logit (or difference) it gives, and what it is compared with."""
    weight = opened.network.head.weight.detach()
    if contrast == "none" or len(logits) < 2:
        return weight[target], float(logits[target]), None
    if contrast == "mean":
        return weight[target] - weight.mean(0), float(logits[target] - logits.mean()), "the mean of all classes"
    others = logits.clone()
    others[target] = -torch.inf
    other = int(others.argmax())
    return weight[target] - weight[other], float(logits[target] - logits[other]), f"'{opened.classes[other]}'"


def _result(context: Context, record: ExplainerRecord, reading: Reading) -> Result:
    params, groups, frame = context.params, reading.groups, reading.frame
    drawn = draw(groups, params.region_level)
    contributions = reading.contributions.numpy()
    added = contributions.astype(np.float64).sum((1, 2))
    clamped = clamped_share(reading.features, groups)
    scalars = _scalars(context, record, reading, clamped)
    found = regions(drawn, frame, context.picture.pixels.shape[:2], params.region_level, added=added)
    same = bool(reading.opened.content.get("same_classes_as_base", True))
    cautions = (
        *texts.cautions_trained(scalars, same_classes=same),
        *texts.cautions(drawn, wanted=len(groups.maps), clamped=clamped),
    )
    scalars["sum"] = texts.sum_line(found, scalars)
    return Result(
        arrays={
            **arrays(drawn, frame, reading.logits),
            "contributions": MapArray(contributions, frame),
            "relevance": MapArray(contributions.sum(0), frame),
        },
        layers=[*_with_contributions(layers(groups, texts.USED, stride=_stride(reading)), reading)],
        regions=found,
        region_columns=COLUMNS_TRAINED,
        tables=(_answers(context, reading),),
        classes=_classes(reading),
        scalars=scalars,
        texts=Texts(
            reading=texts.reading_trained(found, scalars),
            badge="attention used",
            cautions=cautions,
            notes=texts.notes_trained(scalars),
        ),
        target=_in_base(context.model, reading.opened.classes[reading.target]),
        seen=frame,
    )


def _with_contributions(shown: list[Layer], reading: Reading) -> list[Layer]:
    """Returns the layers with the signed ones behind the maps: all groups together, then each group alone."""
    most = float(reading.contributions.abs().max())
    most = max(most, float(reading.contributions.sum(0).abs().max())) or 1.0
    ends = ("speaks against it", "speaks for it")
    smooth = shown[0].smooth
    signed = [
        Layer(
            name="relevance",
            title="All contributions",
            array="relevance",
            encoding=Encoding.SIGNED,
            range=(-most, most),
            ends=ends,
            unit="logits",
            smooth=smooth,
        )
    ]
    signed += [
        Layer(
            name=f"contribution {rank + 1}",
            title=f"{ORDINALS[rank]} group's contribution",
            array="contributions",
            index=rank,
            encoding=Encoding.SIGNED,
            range=(-most, most),
            ends=ends,
            unit="logits",
            role="detail",
            smooth=smooth,
        )
        for rank in range(len(reading.contributions))
        if bool(reading.groups.valid[rank])
    ]
    return [*shown[:-1], *signed, shown[-1]]


def _scalars(context: Context, record: ExplainerRecord, reading: Reading, clamped: float) -> dict[str, Scalar]:
    groups, model, opened = reading.groups, context.model, reading.opened
    metrics = record.manifest.metrics
    n_valid = int(groups.valid.sum())
    answer = opened.classes[int(reading.logits.argmax())]
    base_answer = _base_name(model, int(reading.base.argmax()))
    name = opened.classes[reading.target]
    place = _in_base(model, name)
    return {
        "n_valid": n_valid,
        "grid": f"{groups.maps.shape[1]} x {groups.maps.shape[2]}",
        "output_stride": _stride(reading),
        "dense_error": None,
        "clamped_share": clamped,
        "masked_tokens": 0,
        "passes": 2,
        "sparsity": sparsity(groups.maps[groups.valid], groups.activity) if n_valid else None,
        "logit": float(reading.logits[reading.target]),
        "split_residual": abs(float(reading.contributions.double().sum()) - reading.explained),
        "p_explainer": float(reading.logits.softmax(0)[reading.target]),
        "p_base": None if place is None else float(reading.base.softmax(0)[place]),
        "agreement_validation": metrics.get("agreement"),
        "accuracy_validation": metrics.get("accuracy"),
        "base_accuracy_validation": metrics.get("base_accuracy"),
        "mode": "trained",
        "explainer": record.id,
        "explainer_title": record.manifest.title or record.id,
        "explainer_data": str(record.manifest.data.get("description") or record.manifest.data.get("name", "")).rstrip(
            "."
        ),
        "explained": reading.explained,
        "explained_class": name,
        "contrast_class": reading.against,
        "answer": answer,
        "base_answer": base_answer,
        "base_probability": float(reading.base.softmax(0).max()),
        "agree": answer == base_answer if base_answer in opened.classes else None,
    }


def _stride(reading: Reading) -> float:
    return reading.opened.geometry.input_size[0] / reading.groups.maps.shape[1]


def _in_base(model: LoadedModel, name: str) -> int | None:
    return model.class_names.index(name) if name in model.class_names else None


def _base_name(model: LoadedModel, index: int) -> str:
    return model.class_names[index] if index < len(model.class_names) else f"class {index}"


def _classes(reading: Reading) -> tuple[ClassScore, ...]:
    chances = reading.logits.softmax(0)
    best = chances.argsort(descending=True, stable=True)[:SHOWN_CLASSES].tolist()
    return tuple(ClassScore(index=i, label=reading.opened.classes[i], score=float(chances[i])) for i in best)


def _answers(context: Context, reading: Reading) -> Table:
    """Returns the best classes of the explainer beside what the model says of them."""
    chances, base = reading.logits.softmax(0), reading.base.softmax(0)
    rows = []
    for one in _classes(reading):
        place = _in_base(context.model, one.label)
        known = None if place is None else float(base[place])
        rows.append((one.label, float(chances[one.index]), float(reading.logits[one.index]), known))
    return Table(name="answers", title="Both answers", columns=ANSWERS, rows=tuple(rows))
