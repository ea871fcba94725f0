"""How far two maps agree: rank correlation and overlap of their top shares."""

from __future__ import annotations

import torch
import torch.nn.functional as functional
from torch import Tensor


def rank_correlation(a: Tensor, b: Tensor) -> float:
    """Returns Spearman's correlation of two maps, pixel by pixel on the grid of the coarser one.

    Args:
        a: ``[h, w]``, any finite values.
        b: ``[h', w']``; the finer map (more cells) is averaged down to the coarser one's grid.

    Returns:
        -1 to 1, with average ranks on ties; NaN when one map is constant.

    Raises:
        ValueError: If a map is not two-dimensional or not finite.
    """
    for name, values in (("first", a), ("second", b)):
        _validate_map(values, name)
    first, second = _on_coarser_grid(a.double(), b.double())
    x, y = average_ranks(first.flatten()), average_ranks(second.flatten())
    x, y = x - x.mean(), y - y.mean()
    norm = torch.linalg.vector_norm(x) * torch.linalg.vector_norm(y)
    return float((x @ y) / norm) if norm > 0 else float("nan")


def attention_iou(a: Tensor, b: Tensor, percentile: float = 50.0) -> Tensor:
    """Returns the overlap of the top regions of two maps of one shape.

    The top region is the first ``n = max(1, round(N (100 - percentile) / 100))`` positions of the stable descending
    order, flattened row by row, so that it has exactly ``n`` positions whatever the ties.

    Args:
        a: ``[..., H, W]``, finite.
        b: Same shape.
        percentile: Cut in per cent, 0 <= percentile < 100.

    Returns:
        Intersection over union ``[...]``, 0-1; identical maps give 1.

    Raises:
        ValueError: For other shapes, NaN or infinite values, or a percentile outside its range.
    """
    if not 0 <= percentile < 100:
        raise ValueError(f"a percentile lies in 0 <= p < 100, not {percentile}")
    n_positions = a.shape[-2] * a.shape[-1] if a.ndim >= 2 else 0
    count = max(1, round(n_positions * (100 - percentile) / 100))
    return _top_iou(a, b, count)


def top_overlap(a: Tensor, b: Tensor, share: float) -> Tensor:
    """Returns the overlap of the top ``share`` (0 < share <= 1) of two maps; see :func:`attention_iou`."""
    if not 0 < share <= 1:
        raise ValueError(f"a share lies in 0 < share <= 1, not {share}")
    return attention_iou(a, b, 100 * (1 - share))


def top_mask(values: Tensor, count: int) -> Tensor:
    """Returns ``[..., N]`` bool: the first ``count`` positions of the stable descending order of ``[..., N]``."""
    order = torch.argsort(values, dim=-1, descending=True, stable=True)[..., :count]
    return torch.zeros_like(values, dtype=torch.bool).scatter_(-1, order, True)


def _top_iou(a: Tensor, b: Tensor, count: int) -> Tensor:
    if a.shape != b.shape or a.ndim < 2:
        raise ValueError(f"two maps of one shape [..., H, W] are needed, not {list(a.shape)} and {list(b.shape)}")
    if not (a.isfinite().all() and b.isfinite().all()):
        raise ValueError("a map holds a value that is not finite")
    first, second = top_mask(a.flatten(-2), count), top_mask(b.flatten(-2), count)
    return (first & second).sum(-1).double() / (first | second).sum(-1).double()


def _on_coarser_grid(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    if a.shape == b.shape:
        return a, b
    size = a.shape if a.numel() <= b.numel() else b.shape
    return tuple(  # type: ignore[return-value]
        values if values.shape == size else functional.adaptive_avg_pool2d(values[None, None], (size[0], size[1]))[0, 0]
        for values in (a, b)
    )


def average_ranks(values: Tensor) -> Tensor:
    """Returns the rank of each value, 1 for the lowest, ties sharing their mean rank: float64, in the same shape."""
    _, inverse, counts = torch.unique(values, return_inverse=True, return_counts=True)
    ends = counts.cumsum(0)
    ranks: Tensor = (ends - (counts - 1) / 2.0).double()[inverse]
    return ranks


def _validate_map(values: Tensor, name: str) -> None:
    if values.ndim != 2 or values.numel() == 0:
        raise ValueError(f"the {name} map is [H, W], not {list(values.shape)}")
    if not values.isfinite().all():
        raise ValueError(f"the {name} map holds a value that is not finite")
