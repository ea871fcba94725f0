"""Which map to trust: shared measures, each with its convention in its name or its docstring.

Pure functions on tensors. Half of the differences between libraries are conventions (pixels or cells, softmax or
logit, one baseline or two, end points, order of ties); here every function states its own.

Sources: insertion and deletion, V. Petsiuk, A. Das, K. Saenko, RISE, 2018, arXiv 1806.07421. Average drop and increase
in confidence, A. Chattopadhay et al., Grad-CAM++, 2018, arXiv 1710.11063. Pointing game, J. Zhang et al., 2016,
arXiv 1608.00507. Randomisation check, J. Adebayo et al., 2018, arXiv 1810.03292. Relevance mass and rank,
L. Arras, A. Osman, W. Samek, 2022, arXiv 2003.07258.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from workers.agreement import attention_iou, rank_correlation, top_mask, top_overlap

__all__ = [
    "FaithfulnessCurves",
    "Stability",
    "attention_iou",
    "average_drop",
    "centred_gaussian",
    "deletion_insertion",
    "edge_saliency",
    "increase_in_confidence",
    "pointing_hit",
    "random_saliency",
    "randomisation_check",
    "rank_correlation",
    "relevance_mass",
    "relevance_rank",
    "sparsity",
    "stability",
    "top_overlap",
]

Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class FaithfulnessCurves:
    """Scores while a picture disappears and appears.

    Attributes:
        fractions: ``[S + 1]``, true share of positions changed, 0 to 1.
        deletion: ``[S + 1]``, score after removing that share of the most salient positions; lower is better.
        insertion: ``[S + 1]``, score after showing it; higher is better.
        deletion_auc: Trapezoid area under ``deletion`` over ``fractions``, in the range of the score.
        insertion_auc: Likewise.
    """

    fractions: Tensor
    deletion: Tensor
    insertion: Tensor
    deletion_auc: float
    insertion_auc: float


@dataclass(frozen=True)
class Stability:
    """Rank correlation of an explanation with itself under small changes of the picture.

    Attributes:
        mean: Mean over the changed pictures, -1 to 1.
        spread: Standard deviation over them.
        values: One per changed picture: first all noisy ones, then all shifted ones.
    """

    mean: float
    spread: float
    values: tuple[float, ...]


@torch.no_grad()
def deletion_insertion(
    score: Score,
    picture: Tensor,
    saliency: Tensor,
    *,
    substrate: Tensor | tuple[Tensor, Tensor],
    steps: int = 50,
    ranking: Literal["pixel", "cell"] = "pixel",
    batch_size: int = 64,
) -> FaithfulnessCurves:
    """Returns the deletion and insertion curves of a map.

    Each step changes ``ceil(P / steps)`` positions in descending saliency (stable: on ties the first index first); the
    last step takes what is left; both ends are part of the curves.

    Args:
        score: ``[B, C, H, W] -> [B]``.
        picture: ``[C, H, W]``, in the space that ``score`` takes.
        saliency: ``[h, w]``; resized bilinearly (half-pixel) to ``H x W`` for pixel ranking, native for cell ranking.
        substrate: ``[C, H, W]`` that replaces hidden positions, or a pair (for deletion, for insertion).
        steps: Number of steps, >= 1.
        ranking: ``pixel``, or ``cell``: a cell is its block of pixels.
        batch_size: Pictures at once.

    Raises:
        ValueError: If shapes do not fit, ``steps`` < 1, or the saliency is not finite.
    """
    hide_with, start_from = substrate if isinstance(substrate, tuple) else (substrate, substrate)
    _validate_curves(picture, saliency, hide_with, start_from, steps)
    rank, counts = _ranks(picture, saliency, steps, ranking)
    deletion = _scores_along(score, picture, hide_with, rank, counts, batch_size)
    insertion = _scores_along(score, start_from, picture, rank, counts, batch_size)
    fractions = counts.double() / counts[-1]
    return FaithfulnessCurves(
        fractions=fractions,
        deletion=deletion,
        insertion=insertion,
        deletion_auc=float(torch.trapezoid(deletion, fractions)),
        insertion_auc=float(torch.trapezoid(insertion, fractions)),
    )


def random_saliency(size: tuple[int, int], seed: int) -> Tensor:
    """Returns independent uniform noise ``[h, w]`` float32 in 0-1, the floor every map must beat."""
    return torch.from_numpy(np.random.default_rng(seed).random(size, dtype=np.float32))


def centred_gaussian(size: tuple[int, int]) -> Tensor:
    """Returns a Gaussian ``[h, w]`` float32 around the middle, sigma a quarter of each side, maximum <= 1."""
    axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in size]
    rows, columns = ((-0.5 * (axis / (n / 4)) ** 2).exp() for axis, n in zip(axes, size, strict=True))
    blob: Tensor = rows[:, None] * columns[None]
    return blob


def edge_saliency(picture: Tensor) -> Tensor:
    """Returns the Sobel magnitude ``[H, W]``, >= 0, of the mean over channels of a picture ``[C, H, W]``."""
    grey = functional.pad(picture.float().mean(0)[None, None], (1, 1, 1, 1), mode="replicate")[0, 0]
    right, down = grey[:, 2:] - grey[:, :-2], grey[2:] - grey[:-2]  # differences first: flat places give exactly 0
    across = (right[:-2] + 2 * right[1:-1] + right[2:]) / 4
    along = (down[:, :-2] + 2 * down[:, 1:-1] + down[:, 2:]) / 4
    return torch.hypot(across, along)


def average_drop(full: Tensor, masked: Tensor) -> float:
    """Returns the mean over pictures of ``max(0, full - masked) / full`` (relative drop, 0-1; lower is better).

    Args:
        full: ``[N]`` scores of the intact pictures, > 0.
        masked: ``[N]`` scores of picture x map + substrate x (1 - map), map in 0-1.
    """
    _validate_scores(full, masked)
    if not (full > 0).all():
        raise ValueError("average drop divides by the full score, which must be positive")
    return float(((full - masked).clamp_min(0) / full).double().mean())


def increase_in_confidence(full: Tensor, masked: Tensor) -> float:
    """Returns the share of pictures whose masked score exceeds the full one (0-1; higher is better)."""
    _validate_scores(full, masked)
    return float((masked > full).double().mean())


def sparsity(maps: Tensor, activity: Tensor | None = None) -> float:
    """Returns how concentrated ranked maps are: 1 (uniform) to the number of cells (one hot cell).

    Each map, times activity over its maximum, is divided by its own maximum; the result is one over the mean over maps
    and cells. NaN when a map is zero everywhere.

    Args:
        maps: ``[N, H, W]``, >= 0.
        activity: ``[H, W]``, >= 0, or ``None`` for equal activity.
    """
    weighted = maps.double()
    if activity is not None:
        weighted = weighted * (activity.double() / activity.double().max())
    peaks = weighted.amax((1, 2), keepdim=True)
    return float(1 / (weighted / peaks).mean()) if (peaks > 0).all() else float("nan")


def pointing_hit(
    saliency: Tensor, mask: Tensor, tolerance_px: int = 0, *, ties: Literal["first", "mean"] = "first"
) -> float:
    """Returns 1 when the maximum of a map lies in a mask grown by a disc, else 0.

    Args:
        saliency: ``[H, W]``.
        mask: ``[H, W]`` bool.
        tolerance_px: Radius of the disc in pixels.
        ties: ``first``: the first maximum in row order counts; ``mean``: the share of tied maxima inside.
    """
    _validate_pair(saliency, mask)
    inside = _grown(mask.bool(), tolerance_px).flatten()
    values = saliency.flatten()
    if ties == "mean":
        return float(inside[values == values.max()].double().mean())
    return float(inside[top_mask(values, 1)][0])


def relevance_mass(relevance: Tensor, mask: Tensor) -> float:
    """Returns the share (0-1) of positive relevance ``[H, W]`` that lies inside ``mask``; NaN without any."""
    _validate_pair(relevance, mask)
    positive = relevance.double().clamp_min(0)
    total = positive.sum()
    return float(positive[mask.bool()].sum() / total) if total > 0 else float("nan")


def relevance_rank(relevance: Tensor, mask: Tensor) -> float:
    """Returns the share (0-1) of the K highest pixels that lie inside ``mask``, K its area; NaN for an empty mask."""
    _validate_pair(relevance, mask)
    area = int(mask.bool().sum())
    if area == 0:
        return float("nan")
    return float((top_mask(relevance.flatten(), area) & mask.bool().flatten()).sum() / area)


def stability(
    explain: Callable[[Tensor], Tensor],
    picture: Tensor,
    *,
    n: int = 8,
    noise: float = 0.02,
    shift_px: int = 4,
    seed: int = 0,
) -> Stability:
    """Returns how far an explanation survives small noise and small shifts of its picture.

    ``n`` pictures get Gaussian noise, ``n`` are rolled; a shifted map is rolled back (by the same share of its grid,
    rounded to whole cells) before it is compared by rank correlation.

    Args:
        explain: ``[C, H, W] -> [h, w]``.
        picture: ``[C, H, W]``.
        n: Pictures of each kind, >= 1.
        noise: Standard deviation, in units of the picture's values.
        shift_px: Largest shift along each axis, in pixels.
        seed: Seed of both.
    """
    random = np.random.default_rng(seed)
    reference = explain(picture)
    values: list[float] = []
    for _ in range(n):
        grain = torch.from_numpy(random.normal(0, noise, picture.shape)).to(picture)
        values.append(rank_correlation(reference, explain(picture + grain)))
    for _ in range(n):
        down, right = (int(v) for v in random.integers(-shift_px, shift_px + 1, 2))
        moved = explain(torch.roll(picture, (down, right), (1, 2)))
        rows = round(down * moved.shape[0] / picture.shape[1])
        columns = round(right * moved.shape[1] / picture.shape[2])
        values.append(rank_correlation(reference, torch.roll(moved, (-rows, -columns), (0, 1))))
    return Stability(float(np.mean(values)), float(np.std(values)), tuple(values))


def randomisation_check(
    explain: Callable[[nn.Module, Tensor], Tensor],
    model: nn.Module,
    picture: Tensor,
    *,
    cascade: bool = False,
    seed: int = 0,
) -> list[float]:
    """Returns rank correlations of a map with the maps of the same network with re-initialised weights.

    Above 0.5 a map hardly depends on what the network learned. The model itself is left untouched.

    Args:
        explain: ``(network, picture) -> [h, w]``.
        model: Network whose layers offer ``reset_parameters``.
        picture: ``[C, H, W]``.
        cascade: ``False``: one value, everything re-initialised. ``True``: one value after each layer, last first.
        seed: Seed of the new weights.

    Raises:
        ValueError: If the network has no layer that can be re-initialised.
    """
    reference = explain(model, picture)
    twin = copy.deepcopy(model)
    layers = [module for module in twin.modules() if callable(getattr(module, "reset_parameters", None))]
    if not layers:
        raise ValueError("no layer of this network can be re-initialised")
    values: list[float] = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for position, layer in enumerate(reversed(layers), start=1):
            layer.reset_parameters()  # type: ignore[operator]
            if cascade or position == len(layers):
                values.append(rank_correlation(reference, explain(twin, picture)))
    return values


def _ranks(picture: Tensor, saliency: Tensor, steps: int, ranking: str) -> tuple[Tensor, Tensor]:
    """Returns the rank of each pixel's position ``[H, W]`` and the number of positions changed ``[S + 1]``."""
    height, width = picture.shape[1:]
    values = saliency.detach().to(picture.device, torch.float64)
    if ranking == "pixel" and values.shape != (height, width):
        values = functional.interpolate(values[None, None], size=(height, width), mode="bilinear")[0, 0]
    flat = values.flatten()
    order = torch.argsort(flat, descending=True, stable=True)
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=order.device)
    rank = rank.reshape(values.shape)
    if ranking == "cell":
        rows, columns = (
            ((torch.arange(n, device=rank.device) + 0.5) * cells / n).long()
            for n, cells in zip((height, width), values.shape, strict=True)
        )
        rank = rank[rows][:, columns]
    step = math.ceil(len(flat) / steps)
    counts = torch.arange(math.ceil(len(flat) / step) + 1, device=rank.device).mul(step).clamp(max=len(flat))
    return rank, counts


def _scores_along(score: Score, keep: Tensor, replace: Tensor, rank: Tensor, counts: Tensor, batch_size: int) -> Tensor:
    """Scores pictures in which the first ``counts`` positions come from ``replace``; composed on the device."""
    parts = [
        score(torch.where(rank < chunk[:, None, None, None], replace, keep)).reshape(-1).double()
        for chunk in torch.split(counts, batch_size)
    ]
    scores = torch.cat(parts)
    if len(scores) != len(counts):
        raise ValueError(f"score answered {len(scores)} numbers for {len(counts)} pictures")
    return scores


def _grown(mask: Tensor, radius: int) -> Tensor:
    if radius <= 0:
        return mask
    axis = torch.arange(-radius, radius + 1, device=mask.device)
    disc = (axis[:, None] ** 2 + axis[None] ** 2 <= radius**2).double()
    grown = functional.conv2d(mask[None, None].double(), disc[None, None], padding=radius)
    return grown[0, 0] > 0.5


def _validate_curves(picture: Tensor, saliency: Tensor, hide_with: Tensor, start_from: Tensor, steps: int) -> None:
    if picture.ndim != 3 or hide_with.shape != picture.shape or start_from.shape != picture.shape:
        raise ValueError(
            f"picture and substrates are [C, H, W] of one shape, not {list(picture.shape)}, "
            f"{list(hide_with.shape)} and {list(start_from.shape)}"
        )
    if saliency.ndim != 2 or saliency.numel() == 0:
        raise ValueError(f"saliency is [h, w], not {list(saliency.shape)}")
    if not saliency.isfinite().all():
        raise ValueError("saliency holds a value that is not finite")
    if steps < 1:
        raise ValueError(f"at least one step is needed, not {steps}")


def _validate_scores(full: Tensor, masked: Tensor) -> None:
    if full.shape != masked.shape or full.ndim != 1 or len(full) == 0:
        raise ValueError(f"two rows of scores [N] are needed, not {list(full.shape)} and {list(masked.shape)}")


def _validate_pair(values: Tensor, mask: Tensor) -> None:
    if values.ndim != 2 or values.shape != mask.shape:
        raise ValueError(f"map and mask are [H, W] of one size, not {list(values.shape)} and {list(mask.shape)}")
    if not values.isfinite().all():
        raise ValueError("the map holds a value that is not finite")
