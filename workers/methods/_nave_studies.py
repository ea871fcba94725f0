"""Inspection studies: what training changes, what registers change, what a watermark does.

Pure functions on features and label maps; whoever runs a study brings pictures, models and part masks. Measures and
thresholds of the watermark study are Vitrine's own definitions. Every score that lets a reference choose its best
group carries the word "oracle": it rises for any partition as the number of groups grows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.methods._nave_floors import colour_features, grid_floor, untrained
from workers.methods._nave_kmeans import cluster
from workers.methods._nave_maps import _adjusted_rand, boundary_share, size_entropy
from workers.methods._nave_prepared import prepare
from workers.methods._nave_training import (
    Encoding,
    StudyPicture,
    above_floor,
    compare_maps,
    iou,
    on_common_area,
    part_scores,
    training_table,
)

__all__ = [
    "Encoding",
    "MarkMeasures",
    "StudyPicture",
    "Verdict",
    "above_floor",
    "colour_features",
    "compare_maps",
    "grid_floor",
    "mark_measures",
    "on_common_area",
    "part_scores",
    "register_measures",
    "saturation_verdict",
    "shortcut_rates",
    "training_table",
    "untrained",
]

Labels = NDArray[np.int64]
Values = NDArray[np.floating]

NOTHING_VARIES = 1e-10
SMALL_GROUP = 0.01
OUTLIER_RATIO = 3.0
MARK_SHARE_RISE = 0.05
SPREAD_FALL = -0.05
RANK_FALL = -0.10


# B. Registers


def register_measures(labels: Labels, norms: Values) -> dict[str, float]:
    """Returns what registers are said to change in a model's last block.

    Args:
        labels: ``[H, W]``, canonical order not needed.
        norms: ``[H, W]``, vector lengths on the raw residual stream (the final norm hides outliers).

    Returns:
        ``small_groups`` (groups under 1 % of the positions), ``share_in_small``, ``norm_ratio`` (99th percentile
        over median), ``outliers`` (positions above three medians), ``outliers_in_small`` (their share inside small
        groups, 0 without outliers), ``boundary_share``.
    """
    if labels.shape != norms.shape:
        raise ValueError(f"labels and norms have one shape, not {labels.shape} and {norms.shape}")
    numbers, counts = np.unique(labels[labels >= 0], return_counts=True)
    in_small = np.isin(labels, numbers[counts < SMALL_GROUP * counts.sum()])
    known = norms[labels >= 0].astype(np.float64)
    median = float(np.median(known))
    is_outlier = (norms > OUTLIER_RATIO * median) & (labels >= 0)
    return {
        "small_groups": float((counts < SMALL_GROUP * counts.sum()).sum()),
        "share_in_small": float(in_small.sum() / counts.sum()),
        "norm_ratio": float(np.percentile(known, 99)) / median if median > 0 else 0.0,
        "outliers": float(is_outlier.sum()),
        "outliers_in_small": float((is_outlier & in_small).sum() / is_outlier.sum()) if is_outlier.any() else 0.0,
        "boundary_share": boundary_share(labels),
    }


# C. Watermark and saturation


@dataclass(frozen=True)
class MarkMeasures:
    """Vitrine's own measures of what a mark does to a block; ``None`` where a measure does not exist.

    ``reason`` says why some are missing.
    """

    mark_iou: float
    mark_share: float
    out_explained: float | None
    out_rank: float | None
    out_spread: float | None
    size_entropy: float
    out_stability: float | None
    reason: str = ""


def mark_measures(
    features: Tensor,
    mark_fraction: Values,
    *,
    n_clusters: int,
    seed: int = 0,
    without_mark: Labels | None = None,
) -> MarkMeasures:
    """Returns the measures of one block (or of the composite) of one picture with a mark.

    Args:
        features: ``[H * W, D]``, rows in raster order.
        mark_fraction: ``[H, W]``, part of each cell's area that the mark covers, 0-1.
        n_clusters: K.
        seed: Of k-means.
        without_mark: Labels ``[H, W]`` of the same picture without the mark, for ``out_stability``.
    """
    rows = features.double()
    is_mark, is_outside = _mark_cells(mark_fraction)
    found = cluster(features, n_clusters, seed=seed)
    labels = found.labels.cpu().numpy()
    everywhere = _spread(rows)
    measures = MarkMeasures(
        mark_iou=max(iou(labels == group, is_mark) for group in range(found.n_effective)),
        mark_share=_between_share(rows, is_mark, everywhere),
        size_entropy=size_entropy(labels, n_clusters),
        out_explained=None,
        out_rank=None,
        out_spread=None,
        out_stability=None,
        reason="the mark touches every cell" if not is_outside.any() else "",
    )
    if not is_outside.any():
        return measures
    outside = rows[torch.from_numpy(is_outside).to(rows.device)]
    spread = _spread(outside)
    stability = None
    if without_mark is not None:
        stability = _adjusted_rand(labels[is_outside], without_mark.reshape(-1)[is_outside])
    return MarkMeasures(
        mark_iou=measures.mark_iou,
        mark_share=measures.mark_share,
        size_entropy=measures.size_entropy,
        out_explained=_explained(outside, n_clusters, seed=seed) if spread > 0 else 0.0,
        out_rank=_effective_rank(outside) if spread > 0 else 0.0,
        out_spread=spread / everywhere if everywhere > 0 else 0.0,
        out_stability=stability,
    )


def _mark_cells(fraction: Values) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Cells of the mark (at least half covered, else the most covered one) and cells free of it, both ``[N]``."""
    flat = fraction.reshape(-1)
    is_mark = flat >= 0.5
    if not is_mark.any():
        is_mark = np.arange(len(flat)) == int(np.argmax(flat))
    return is_mark, flat == 0


def _spread(rows: Tensor) -> float:
    """Mean squared deviation from the mean row; 0 when it is nothing beside the rows' own size."""
    deviation = float((rows - rows.mean(dim=0)).square().sum(dim=1).mean())
    size = float(rows.square().sum(dim=1).mean())
    return deviation if deviation > NOTHING_VARIES * size else 0.0


def _between_share(rows: Tensor, is_mark: NDArray[np.bool_], everywhere: float) -> float:
    """Share of the variation that lies between mark and rest, 0-1."""
    inside = torch.from_numpy(is_mark).to(rows.device)
    n_mark, n_rest = int(is_mark.sum()), int((~is_mark).sum())
    if everywhere == 0 or not n_mark or not n_rest:
        return 0.0
    gap = float((rows[inside].mean(dim=0) - rows[~inside].mean(dim=0)).square().sum())
    return min(1.0, n_mark * n_rest / len(rows) * gap / (len(rows) * everywhere))


def _explained(rows: Tensor, n_clusters: int, *, seed: int) -> float:
    return prepare(rows).explained(cluster(rows, n_clusters, seed=seed).inertia)


def _effective_rank(rows: Tensor) -> float:
    """Exponential of the entropy of the eigenvalue shares of the centred rows, by their inner products."""
    centred = rows - rows.mean(dim=0)
    short = centred if centred.shape[0] <= centred.shape[1] else centred.T
    values = torch.linalg.eigvalsh(short @ short.T).clamp_min(0)
    shares = values / values.sum()
    shares = shares[shares > 0]
    return float(torch.exp(-(shares * shares.log()).sum()))


Control = Literal["random", "mask_moved"]


@dataclass(frozen=True)
class Verdict:
    """Whether saturation is shown at a block, and the reason when it is not."""

    is_shown: bool
    reason: str


def saturation_verdict(
    effect: Sequence[Sequence[tuple[MarkMeasures, MarkMeasures]]],
    controls: Mapping[Control, Sequence[Sequence[tuple[MarkMeasures, MarkMeasures]]]],
) -> Verdict:
    """Returns whether a block is saturated by a mark, by Vitrine's own test.

    The mark must take at least 0.05 more of the variation, the rest must spread at least 0.05 less and have an
    effective rank at least 10 % lower, as medians over pictures, for every seed; and neither untrained weights nor
    the mask moved elsewhere may pass the same test.

    Args:
        effect: Per seed, per stamped picture: measures of the stamp-trained and of the clean-trained model.
        controls: The same pairs for ``random`` weights and for ``mask_moved``; both are needed.
    """
    missing = {"random", "mask_moved"} - set(controls)
    if missing:
        raise ValueError(f"the control {sorted(missing)[0]!r} is needed")
    if not effect or not all(_passes(pairs) for pairs in effect):
        return Verdict(False, "not shown: the effect is absent or too small for at least one seed")
    for name, seeds in controls.items():
        if seeds and all(_passes(pairs) for pairs in seeds):
            return Verdict(False, f"not shown: the control {name!r} shows the same")
    return Verdict(True, "shown for every seed, and by no control")


def _passes(pairs: Sequence[tuple[MarkMeasures, MarkMeasures]]) -> bool:
    """The test on one seed: medians over pictures of (stamped - clean)."""
    usable = [pair for pair in pairs if pair[0].out_rank is not None and pair[1].out_rank is not None]
    if not usable:
        return False
    share = np.median([one.mark_share - two.mark_share for one, two in usable])
    spread = np.median([(one.out_spread or 0.0) - (two.out_spread or 0.0) for one, two in usable])
    rank = np.median([_relative(one.out_rank or 0.0, two.out_rank or 0.0) for one, two in usable])
    return bool(share >= MARK_SHARE_RISE and spread <= SPREAD_FALL and rank <= RANK_FALL)


def _relative(value: float, reference: float) -> float:
    return (value - reference) / reference if reference > 0 else 0.0


def shortcut_rates(
    predicted: Mapping[str, NDArray[np.integer]], truth: Mapping[str, NDArray[np.integer]], *, stamped_class: int
) -> dict[str, float]:
    """Returns accuracy on each set of pictures and how often the mark alone decides.

    Args:
        predicted: Predicted classes per set: ``clean``, ``stamped_own``, ``stamped_other``.
        truth: True classes, same keys and lengths.
        stamped_class: The class that carried the mark in training.

    Returns:
        ``accuracy_<set>`` for each set, and ``to_stamped_class``: the share of ``stamped_other`` that is taken for
        the stamped class.
    """
    rates = {f"accuracy_{name}": float(np.mean(classes == truth[name])) for name, classes in predicted.items()}
    rates["to_stamped_class"] = float(np.mean(predicted["stamped_other"] == stamped_class))
    return rates
