"""Facts about label maps: matching colours, components, likeness of two maps, firmness of each place.

A label below 0 marks a place that was excluded (padding).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, optimize
from torch import Tensor

Labels = NDArray[np.int64]

EXCLUDED = -1
MIN_COMPONENT_PIXELS = 784
"""A component of this many pixels is still too small: 28 x 28 at an input of 224 x 224."""
COMPONENT_FRAME_PIXELS = 14


def match_labels(reference: Tensor, other: Tensor) -> Tensor:
    """Returns ``other`` renumbered so that groups lying on the same places have the reference's numbers.

    One-to-one, maximising the sum of intersection over union. Groups without a partner get new numbers from
    ``max(reference) + 1`` on, the largest first.

    Args:
        reference: Whole numbers of any shape; below 0 is excluded.
        other: The same shape.

    Returns:
        int64, shape and device of ``other``; excluded places stay -1.

    Raises:
        ValueError: If the shapes differ or the labels are not whole numbers.
    """
    if reference.shape != other.shape:
        raise ValueError(
            f"both maps have one shape, not {list(reference.shape)} and {list(other.shape)}; resample one first"
        )
    for labels in (reference, other):
        if labels.dtype.is_floating_point or labels.dtype == torch.bool or labels.dtype.is_complex:
            raise ValueError(f"labels are whole numbers, not {labels.dtype}")
    renumbered = _match(reference.cpu().numpy().astype(np.int64), other.cpu().numpy().astype(np.int64))
    return torch.from_numpy(renumbered).to(other.device)


def _match(reference: Labels, other: Labels) -> Labels:
    overlap = _Overlap(reference, other)
    union = overlap.sizes_one[:, None] + overlap.sizes_two - overlap.counts
    ratio = overlap.counts / np.maximum(union, 1)
    rows, columns = optimize.linear_sum_assignment(ratio, maximize=True)
    new = {
        int(overlap.two[column]): int(overlap.one[row])
        for row, column in zip(rows, columns, strict=True)
        if overlap.counts[row, column] > 0
    }
    numbers, areas = np.unique(other[other >= 0], return_counts=True)
    start = int(reference.max(initial=EXCLUDED)) + 1
    alone = [int(number) for number in numbers[np.argsort(-areas, kind="stable")] if int(number) not in new]
    new.update({number: max(start, 0) + place for place, number in enumerate(alone)})
    renumbered = np.full(other.shape, EXCLUDED, dtype=np.int64)
    for number in numbers.tolist():
        renumbered[other == number] = new[number]
    return renumbered


class _Overlap:
    """Counts of every pair of labels over the places that neither map excludes.

    ``counts`` is ``[A, B]``; ``one`` and ``two`` are the labels; ``sizes_one`` and ``sizes_two`` their places.
    """

    def __init__(self, first: Labels, second: Labels) -> None:
        known = (first >= 0) & (second >= 0)
        self.one, rows = np.unique(first[known], return_inverse=True)
        self.two, columns = np.unique(second[known], return_inverse=True)
        shape = (len(self.one), len(self.two))
        flat = np.bincount(rows.reshape(-1) * shape[1] + columns.reshape(-1), minlength=shape[0] * shape[1])
        self.counts = flat.reshape(shape).astype(np.float64)
        self.sizes_one, self.sizes_two = self.counts.sum(axis=1), self.counts.sum(axis=0)


def _adjusted_rand(first: Labels, second: Labels) -> float:
    """Likeness of two maps corrected for chance: 1 the same partition, about 0 unrelated.

    Places excluded in either map do not count. 1 for two one-group maps, and when no place is left.
    """
    overlap = _Overlap(np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64))
    pairs = _pairs(overlap.counts).sum()
    ones, twos = _pairs(overlap.sizes_one).sum(), _pairs(overlap.sizes_two).sum()
    everything = _pairs(overlap.counts.sum())
    expected = ones * twos / everything if everything > 0 else 0.0
    most = (ones + twos) / 2
    return 1.0 if most == expected else float((pairs - expected) / (most - expected))


def _pairs(counts: NDArray[np.float64] | np.float64) -> NDArray[np.float64]:
    return np.asarray(counts * (counts - 1) / 2)


def _components(
    labels: Labels, *, min_pixels: int = MIN_COMPONENT_PIXELS, frame: int = COMPONENT_FRAME_PIXELS
) -> list[NDArray[np.bool_]]:
    """Connected parts of the groups of a map at input pixels, without small ones and without the border.

    Args:
        labels: ``[H, W]``; places below 0 belong to no part.
        min_pixels: Parts of this size or less are dropped.
        frame: Width of the border that is blanked afterwards; it may cut a part in two, which stays one.

    Returns:
        Masks ``[H, W]``, one per 4-connected part that is left.
    """
    inner = np.zeros(labels.shape, dtype=np.bool_)
    inner[frame : labels.shape[0] - frame, frame : labels.shape[1] - frame] = True
    parts: list[NDArray[np.bool_]] = []
    for group in np.unique(labels[labels >= 0]).tolist():
        numbered, count = ndimage.label(labels == group)
        areas = np.bincount(numbered.reshape(-1), minlength=count + 1)
        for number in range(1, count + 1):
            if areas[number] > min_pixels and (part := (numbered == number) & inner).any():
                parts.append(part)
    return parts


def count_components(mask: NDArray[np.bool_]) -> int:
    """Returns the number of 4-connected parts of a mask ``[H, W]``."""
    return int(ndimage.label(mask)[1])


def boundary_share(labels: Labels) -> float:
    """Returns the share of 4-neighbour pairs with different labels, 0-1; pairs with an excluded place do not count."""
    different = total = 0
    for one, two in ((labels[:-1], labels[1:]), (labels[:, :-1], labels[:, 1:])):
        known = (one >= 0) & (two >= 0)
        different += int(((one != two) & known).sum())
        total += int(known.sum())
    return different / total if total else 0.0


def size_entropy(labels: Labels, n_clusters: int) -> float:
    """Returns the entropy of the group sizes over ``ln K``: 1 all alike, 0 one group holds everything."""
    if n_clusters < 2 or not (labels >= 0).any():
        return 0.0
    shares = np.bincount(labels[labels >= 0]) / (labels >= 0).sum()
    shares = shares[shares > 0]
    return float(min(1.0, max(0.0, -(shares * np.log(shares)).sum() / np.log(n_clusters))))


def resample_labels(labels: Labels, size: tuple[int, int]) -> Labels:
    """Returns a map ``[H, W]`` on another grid: each cell takes the label at its centre."""
    rows = ((np.arange(size[0]) + 0.5) * labels.shape[0] / size[0]).astype(np.int64)
    columns = ((np.arange(size[1]) + 0.5) * labels.shape[1] / size[1]).astype(np.int64)
    resampled: Labels = labels[rows[:, None], columns[None, :]]
    return resampled


def _margin(features: Tensor, centroids: Tensor) -> Tensor:
    """How firmly each row belongs: 1 - (distance to the nearest centroid) / (distance to the second).

    Args:
        features: ``[N, D]``.
        centroids: ``[K, D]``, those with members only.

    Returns:
        ``[N]`` float32, 0 (between two groups) to 1; 1 everywhere for a single group.
    """
    if len(centroids) < 2:
        return torch.ones(len(features), dtype=torch.float32, device=features.device)
    if features.device.type not in ("cpu", "cuda"):
        return _margin(features.cpu(), centroids.cpu()).to(features.device)
    origin = centroids.double().mean(dim=0)
    points = centroids.double() - origin
    margins = []
    for part in torch.split(features, max(1, (1 << 20) // features.shape[1])):
        rows = part.double() - origin
        squares = rows.square().sum(dim=1, keepdim=True) + points.square().sum(dim=1) - 2 * rows @ points.T
        near = squares.clamp_min(0).sqrt().topk(2, dim=1, largest=False).values
        margins.append(torch.where(near[:, 1] > 0, 1 - near[:, 0] / near[:, 1], 1.0))
    return torch.cat(margins).float()
