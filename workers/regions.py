"""Partitions of a picture into a handful of regions: by deep features, by a grid, by colour, or given.

Every function returns a partition: each pixel has exactly one label ``0 .. count - 1``, numbered by centroid from
top to bottom and left to right.

Source: deep feature factorisation, E. Collins, R. Achanta, S. Süsstrunk, ECCV 2018, arXiv 1806.10206; superpixels,
R. Achanta et al. 2012 (scikit-image). The clean-up rules are this project's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray
from torch import Tensor

from workers.factorisation import factorise, fold

SMALLEST_SHARE = 0.01
MOST_REGIONS = 24
FIT_POSITIONS = 1024
RING_FROM = 8
"""Grids with both sides at least this long are fitted without their outermost ring, where padding speaks."""
STRIP_PIXELS = 262_144

Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class RegionMap:
    """A partition of a picture.

    Attributes:
        labels: ``[H, W]`` int32, ``0 .. count - 1``.
        count: Number of regions M, >= 1.
        area: ``[M]`` share of the picture, sums to 1.
        boxes: ``[M, 4]`` int64, tight (left, top, right, bottom), right and bottom exclusive.
        scores: ``[M, h, w]`` float32, >= 0, soft membership at the feature grid, or ``None``.
        source: How it was made, in words.
        notes: What was merged or left out.
    """

    labels: Labels
    count: int
    area: NDArray[np.float64]
    boxes: NDArray[np.int64]
    scores: NDArray[np.float32] | None
    source: str
    notes: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """Identity of the partition: sha256 over its size and labels."""
        head = f"{self.labels.shape[0]}x{self.labels.shape[1]}:".encode()
        return hashlib.sha256(head + np.ascontiguousarray(self.labels).tobytes()).hexdigest()


def factor_regions(features: Tensor, k: int, size: tuple[int, int], *, seed: int = 0) -> RegionMap:
    """Returns regions whose deep features point the same way: non-negative factorisation, then arg-max per pixel.

    Args:
        features: ``[C, h, w]``, finite; signed features are brought to 0-1 channel by channel.
        k: Factors asked for, >= 1; fewer come back when the map has a lower rank or regions are tiny.
        size: (height, width) of the partition in pixels.
        seed: Seed of the start.

    Raises:
        ValueError: If the features are not ``[C, h, w]``, empty or not finite, or ``k`` < 1.
    """
    _validate_features(features, k, size)
    n_channels, height, width = features.shape
    rows = _to_non_negative(features.detach().double().cpu().reshape(n_channels, -1).T.numpy())
    if rows is None:
        return _region_map(np.zeros(size, np.int32), None, "deep features", ("The features are the same everywhere.",))
    basis = factorise(_fit_rows(rows, height, width), min(k, height * width, n_channels), seed=seed)
    weights = fold(rows, basis) * np.linalg.norm(basis, axis=1)
    scores = _fill_empty_cells(weights.T.reshape(-1, height, width))
    labels = _upsampled_labels(scores, size)
    ring = _ring_pixels(height, width, size) if min(height, width) >= RING_FROM else None
    labels, groups = _merge_small(labels, basis, ring)
    labels, order = _renumber(labels)
    soft = np.stack([scores[groups[label]].sum(0) for label in order]).astype(np.float32)
    merged = sum(len(groups[label]) for label in order) - len(order)
    notes = (f"{merged} small regions joined their neighbours.",) if merged else ()
    return _region_map(labels, soft, "deep features", notes)


def grid_regions(rows: int, cols: int, size: tuple[int, int]) -> RegionMap:
    """Returns a regular grid, cut at ``round(i H / rows)`` and ``round(j W / cols)``, numbered row by row.

    Raises:
        ValueError: If there are more rows or columns than pixels, or fewer than one.
    """
    height, width = size
    if not (1 <= rows <= height and 1 <= cols <= width):
        raise ValueError(f"a picture of {width} x {height} pixels cannot be cut into {cols} x {rows} cells")
    lines, columns = _cell_index(height, rows), _cell_index(width, cols)
    labels = (lines[:, None] * cols + columns[None]).astype(np.int32)
    return _region_map(labels, None, f"grid {rows} x {cols}", ())


def slic_regions(picture: NDArray[np.uint8], k: int, *, compactness: float = 20.0) -> RegionMap:
    """Returns connected superpixels of alike colour.

    Args:
        picture: ``[H, W, 3]`` uint8.
        k: Superpixels asked for, >= 1; at most 24 come back.
        compactness: Weight of distance against colour (Lab).
    """
    from skimage.segmentation import slic

    if k < 1:
        raise ValueError(f"at least one region is needed, not {k}")
    labels = slic(picture, n_segments=k, compactness=compactness, start_label=0, enforce_connectivity=True)
    return label_regions(labels, picture, source="superpixels")


def label_regions(
    labels: NDArray[Any], picture: NDArray[np.uint8], *, source: str, smallest: float = SMALLEST_SHARE
) -> RegionMap:
    """Returns a given label map as a partition: tiny regions join the neighbour of most alike colour, at most 24 stay.

    Args:
        labels: ``[H, W]`` integers; all negative labels together form one further region.
        picture: ``[H, W, 3]`` uint8, for the mean colours.
        source: Where the labels come from, in words.
        smallest: Regions below this share of the picture are tiny; 0 keeps what somebody drew, however small.

    Raises:
        ValueError: If the sizes differ.
    """
    if labels.shape != picture.shape[:2]:
        raise ValueError(f"labels {list(labels.shape)} and picture {list(picture.shape[:2])} differ in size")
    whole = np.where(labels < 0, labels.max() + 1, labels)
    compact = np.unique(whole, return_inverse=True)[1].reshape(labels.shape).astype(np.int32)
    before = int(compact.max()) + 1
    counts = np.bincount(compact.ravel())
    flat = picture.reshape(-1, 3).astype(np.float64)
    colours = np.stack([np.bincount(compact.ravel(), weights=flat[:, c]) / counts for c in range(3)], axis=1)
    merged, _ = _merge_small(compact, colours + 1.0, None, most=MOST_REGIONS, smallest=smallest)
    numbered, order = _renumber(merged)
    notes = (f"{before - len(order)} small regions joined their neighbours.",) if before > len(order) else ()
    return _region_map(numbered, None, source, notes)


def _to_non_negative(rows: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Returns ``[P, C]`` >= 0 with overall mean 1, or ``None`` when nothing varies."""
    spans = np.ptp(rows, axis=0)
    if spans.max() <= 1e-12 * max(1.0, float(np.abs(rows).max())):
        return None
    if rows.min() < 0:
        kept = spans > 1e-6 * spans.max()
        rows = np.where(kept, (rows - rows.min(0)) / np.where(kept, spans, 1.0), 0.0)
    result: NDArray[np.float64] = rows / rows.mean()
    return result


def _fit_rows(rows: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    grid = rows.reshape(height, width, -1)
    if min(height, width) >= RING_FROM:
        grid = grid[1:-1, 1:-1]
    if grid.shape[0] * grid.shape[1] > FIT_POSITIONS:
        shrink = np.sqrt(FIT_POSITIONS / (grid.shape[0] * grid.shape[1]))
        pooled = functional.adaptive_avg_pool2d(
            torch.from_numpy(grid.transpose(2, 0, 1).copy())[None],
            (max(1, int(grid.shape[0] * shrink)), max(1, int(grid.shape[1] * shrink))),
        )
        grid = pooled[0].numpy().transpose(1, 2, 0)
    return grid.reshape(-1, grid.shape[2])


def _fill_empty_cells(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Gives a cell without any score the scores of the nearest cell that has one."""
    from scipy.ndimage import distance_transform_edt

    empty = scores.max(0) <= 0
    if not empty.any() or empty.all():
        return scores
    nearest = distance_transform_edt(empty, return_distances=False, return_indices=True)
    return scores[:, nearest[0], nearest[1]]


def _upsampled_labels(scores: NDArray[np.float64], size: tuple[int, int]) -> Labels:
    """Returns the arg-max of the bilinearly enlarged scores, strip by strip so that memory stays small."""
    height, width = size
    source = torch.from_numpy(scores)
    columns = functional.interpolate(source[None], size=(scores.shape[1], width), mode="bilinear")[0]
    centres = (torch.arange(height, dtype=torch.float64) + 0.5) * scores.shape[1] / height - 0.5
    low = centres.floor().clamp(0, scores.shape[1] - 1).long()
    high = (low + 1).clamp(max=scores.shape[1] - 1)
    share = (centres - low).clamp(0, 1)[None, :, None]
    labels = np.empty(size, np.int32)
    step = max(1, STRIP_PIXELS // width)
    for top in range(0, height, step):
        part = slice(top, top + step)
        strip = columns[:, low[part]] * (1 - share[:, part]) + columns[:, high[part]] * share[:, part]
        labels[part] = np.argmax(strip.numpy(), axis=0)  # the first of equals: the lower factor
    return labels


def _ring_pixels(height: int, width: int, size: tuple[int, int]) -> NDArray[np.bool_]:
    rows, columns = _cell_index(size[0], height), _cell_index(size[1], width)
    edge_rows, edge_columns = (rows == 0) | (rows == height - 1), (columns == 0) | (columns == width - 1)
    ring: NDArray[np.bool_] = edge_rows[:, None] | edge_columns[None]
    return ring


def _cell_index(length: int, cells: int) -> NDArray[np.int64]:
    edges = np.round(np.arange(1, cells) * length / cells)
    return np.searchsorted(edges, np.arange(length), side="right")


def given_regions(labels: NDArray[np.integer[Any]], *, source: str) -> RegionMap:
    """Returns a partition that is already one, region by region as it is.

    Args:
        labels: ``[H, W]``, ``0 .. count - 1``, none missing.
        source: Where it comes from, in words.

    Raises:
        ValueError: If a label is missing or negative.
    """
    counts = np.bincount(labels.ravel()) if labels.size and labels.min() >= 0 else np.zeros(1)
    if not counts.all():
        raise ValueError("the labels of a partition are 0, 1, 2 ... without a gap")
    return _region_map(labels.astype(np.int32), None, source, ())


def _merge_small(
    labels: Labels,
    traits: NDArray[np.float64],
    ring: NDArray[np.bool_] | None,
    *,
    most: int | None = None,
    smallest: float = SMALLEST_SHARE,
) -> tuple[Labels, dict[int, list[int]]]:
    """Joins tiny regions, smallest first, to the adjacent region with the most similar trait (cosine)."""
    labels = labels.copy()
    traits = traits.copy()
    groups = {int(label): [int(label)] for label in np.unique(labels)}
    areas = np.bincount(labels.ravel(), minlength=len(traits))
    inner = areas if ring is None else np.bincount(labels[~ring], minlength=len(traits))
    while len(groups) > 1:
        present = sorted(groups)
        doomed = [label for label in present if areas[label] < smallest * labels.size or not inner[label]]
        if not doomed and most is not None and len(present) > most:
            doomed = present
        if not doomed:
            break
        small = min(doomed, key=lambda label: (areas[label], label))
        partner = _most_similar(traits, small, _neighbours(labels, small))
        labels[labels == small] = partner
        total = areas[small] + areas[partner]
        traits[partner] = (traits[small] * areas[small] + traits[partner] * areas[partner]) / total
        groups[partner] += groups.pop(small)
        for counts in (areas, inner) if inner is not areas else (areas,):
            counts[partner] += counts[small]
    return labels, groups


def _neighbours(labels: Labels, label: int) -> list[int]:
    mask = labels == label
    found: set[int] = set()
    for one, two in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        found |= set(labels[one][mask[two]].tolist()) | set(labels[two][mask[one]].tolist())
    return sorted(found - {label})


def _most_similar(traits: NDArray[np.float64], label: int, candidates: Sequence[int]) -> int:
    norms = np.maximum(np.linalg.norm(traits, axis=1), 1e-12)
    cosine = {c: round(float(traits[c] @ traits[label] / (norms[c] * norms[label])), 12) for c in candidates}
    return min(candidates, key=lambda c: (-cosine[c], c))


def _renumber(labels: Labels) -> tuple[Labels, list[int]]:
    """Numbers regions by centroid, top to bottom, then left to right; returns the old labels in new order."""
    present = np.unique(labels).tolist()
    centres = {label: tuple(float(axis.mean()) for axis in np.nonzero(labels == label)) for label in present}
    order = sorted(present, key=lambda label: (*centres[label], label))
    table = np.zeros(max(present) + 1, np.int32)
    table[order] = np.arange(len(order), dtype=np.int32)
    return table[labels], order


def _region_map(labels: Labels, scores: NDArray[np.float32] | None, source: str, notes: tuple[str, ...]) -> RegionMap:
    count = int(labels.max()) + 1
    boxes = []
    for label in range(count):
        rows, columns = np.nonzero(labels == label)
        boxes.append((columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    return RegionMap(
        labels=labels.astype(np.int32),
        count=count,
        area=np.bincount(labels.ravel(), minlength=count) / labels.size,
        boxes=np.array(boxes, np.int64),
        scores=scores,
        source=source,
        notes=notes,
    )


def _validate_features(features: Tensor, k: int, size: tuple[int, int]) -> None:
    if features.ndim != 3 or features.numel() == 0:
        raise ValueError(f"features are [C, h, w], not {list(features.shape)}")
    if not features.isfinite().all():
        raise ValueError("features hold a value that is not finite")
    if k < 1:
        raise ValueError(f"at least one region is needed, not {k}")
    if min(size) < 1:
        raise ValueError(f"a partition needs at least one pixel, not {size[1]} x {size[0]}")
