"""How well a word book stands for its base model: same answer? same place? Each beside what would be had for nothing.

The top region of a map at a percentile is the first ``n = max(1, round(N (100 - p) / 100))`` positions of its stable
descending order, as in the workers' ``attention_iou``; here a map is ranked once for all percentiles.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models.training._lvw_evidence import Evidence

PERCENTILES = tuple(range(5, 100, 5))
HEADLINE = 50
DRAWS = 1000


def fidelity(batches: Iterable[Evidence], *, seed: int = 0) -> dict[str, Any]:
    """Returns the figures of a book on some pictures.

    Keys: ``pictures``, ``accuracy``, ``base_accuracy``, ``agreement`` (``None`` where no class has a namesake),
    ``agreement_base_right``, ``agreement_base_wrong``, ``iou`` at the 50th percentile with ``iou_low`` and ``iou_high``
    (bootstrap, 95 %), the floors ``iou_chance``, ``iou_other`` and ``iou_gaussian``, the upper mark ``iou_mirrored``
    (``None`` when not measured), ``constant`` (pictures left out of the overlap), and ``curves`` over the percentiles.

    Args:
        batches: Both networks on the same pictures.
        seed: Of the bootstrap.
    """
    answers: list[Tensor] = []
    curves: dict[str, list[Tensor]] = {"book": [], "other": [], "gaussian": [], "mirrored": [], "tied": []}
    constant, size = 0, 1
    for batch in batches:
        answers.append(torch.stack([batch.answers, batch.base_answers, batch.labels]))
        kept = ~batch.constant
        constant += int(batch.constant.sum())
        size = batch.view.shape[-1]
        seen = ranks(batch.attention[kept])
        view = batch.view[kept]
        curves["book"].append(ranked_iou(ranks(view), seen))
        curves["other"].append(ranked_iou(ranks(batch.other[kept]), seen))
        curves["gaussian"].append(ranked_iou(ranks(gaussian(size)[None]).expand_as(seen), seen))
        curves["tied"].append((tied_cuts(view) | tied_cuts(batch.attention[kept])).double())
        if batch.mirrored is not None:
            curves["mirrored"].append(ranked_iou(ranks(batch.mirrored[kept]), seen))
    joined = {name: torch.cat(parts) for name, parts in curves.items() if parts}
    return {**_answers(torch.cat(answers, dim=1)), **_overlaps(joined, size, seed), "constant": constant}


def iou_curve(a: Tensor, b: Tensor) -> Tensor:
    """Returns the overlap ``[B, 19]`` of the top regions of maps ``[B, H, W]`` at the percentiles 5, 10, ..., 95."""
    return ranked_iou(ranks(a), ranks(b))


def ranks(maps: Tensor) -> Tensor:
    """Returns the rank of every position ``[B, N]`` in the stable descending order of maps ``[B, H, W]``."""
    order = torch.argsort(maps.flatten(1), dim=1, descending=True, stable=True)
    positions = torch.arange(order.shape[1], device=order.device).expand_as(order)
    return torch.empty_like(order).scatter_(1, order, positions)


def ranked_iou(a: Tensor, b: Tensor) -> Tensor:
    """Returns the overlap ``[B, 19]`` of maps given by their ranks ``[B, N]``."""
    both = torch.maximum(a, b).sort(dim=1).values
    counts = torch.tensor(top_counts(a.shape[1]), device=a.device)
    inside = torch.searchsorted(both, counts.expand(len(both), -1).contiguous()).double()
    return inside / (2 * counts - inside)


def tied_cuts(maps: Tensor) -> Tensor:
    """Returns whether each percentile's cut falls between two equal values, ``[B, 19]`` bool, of ``[B, H, W]``."""
    values = maps.flatten(1).sort(dim=1, descending=True).values
    counts = torch.tensor(top_counts(values.shape[1]), device=maps.device)
    inside = counts < values.shape[1]
    last, following = values[:, counts - 1], values[:, counts.clamp(max=values.shape[1] - 1)]
    return (last == following) & inside


def top_counts(positions: int) -> list[int]:
    """Returns how many positions the top region holds at each percentile."""
    return [max(1, round(positions * (100 - percentile) / 100)) for percentile in PERCENTILES]


def chance(positions: int) -> list[float]:
    """Returns the expected overlap of independent maps at each percentile: a / (2 - a) for a share of a."""
    shares = [count / positions for count in top_counts(positions)]
    return [share / (2 - share) for share in shares]


def gaussian(size: int) -> Tensor:
    """Returns a Gaussian ``[size, size]`` around the middle, sigma a quarter of the side."""
    axis = torch.arange(size, dtype=torch.float32) - (size - 1) / 2
    bell = (-0.5 * (axis / (size / 4)) ** 2).exp()
    return bell[:, None] * bell[None]


def headline(figures: dict[str, Any]) -> str:
    """Returns the overlap as it is always printed: beside its floors."""
    floors = f"Gaussian {figures['iou_gaussian']:.2f}, other picture {figures['iou_other']:.2f}"
    return f"IoU {figures['iou']:.2f} ({floors}, chance {figures['iou_chance']:.2f})"


def _answers(answers: Tensor) -> dict[str, Any]:
    own, base, label = answers
    known = base >= 0
    same, right = (own == base)[known], (base == label)[known]
    return {
        "pictures": int(own.numel()),
        "accuracy": float((own == label).double().mean()),
        "base_accuracy": _mean(right),
        "agreement": _mean(same),
        "agreement_base_right": _mean(same[right]),
        "agreement_base_wrong": _mean(same[~right]),
    }


def _overlaps(curves: dict[str, Tensor], size: int, seed: int) -> dict[str, Any]:
    if not len(curves.get("book", ())):
        return dict.fromkeys(("iou", "iou_low", "iou_high", "iou_chance", "iou_other", "iou_gaussian", "iou_mirrored"))
    at = PERCENTILES.index(HEADLINE)
    floors = chance(size * size)
    means = {name: curve.mean(0).tolist() for name, curve in curves.items()}
    low, high = _bootstrap(curves["book"][:, at], seed)
    return {
        "iou": means["book"][at],
        "iou_low": low,
        "iou_high": high,
        "iou_chance": floors[at],
        "iou_other": means["other"][at],
        "iou_gaussian": means["gaussian"][at],
        "iou_mirrored": means["mirrored"][at] if "mirrored" in means else None,
        "curves": {"percentile": list(PERCENTILES), "chance": floors, **means},
    }


def _mean(values: Tensor) -> float | None:
    return float(values.double().mean()) if values.numel() else None


def _bootstrap(values: Tensor, seed: int) -> tuple[float, float]:
    """Returns the 2.5th and 97.5th percentile of the mean over redrawn pictures."""
    numbers = values.double().numpy()
    random = np.random.default_rng(seed)
    means = [float(numbers[random.integers(0, len(numbers), len(numbers))].mean()) for _ in range(DRAWS)]
    return float(np.percentile(means, 2.5)), float(np.percentile(means, 97.5))
