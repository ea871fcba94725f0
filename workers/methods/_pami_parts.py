"""Which parts did best alone, and what the parts say together: numbers, no words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage, stats
from torch import Tensor

from workers.masks import DiscMasks
from workers.methods._pami_state import Outcome, Part

MOST_ROWS = 24
EXAMINED = 200
MOST_OVERLAP = 0.5

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class PartTable:
    """All parts of a run, one row each, in the order of ``region_scores``.

    Args:
        scores: ``[K]`` score of the target.
        areas: ``[K]`` pixels.
        index: ``[K, 5]`` int32: round, view, partition, label, area.
        owner: ``[K]`` position of the part's partition in the outcome.
    """

    scores: NDArray[np.float32]
    areas: NDArray[np.int64]
    index: NDArray[np.int32]
    owner: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class BestPart:
    """One row of the table of best parts.

    Args:
        row: Position in the table of all parts.
        part: Its partition.
        label: Its label there.
        mask: ``[H, W]`` bool, picture coordinates.
        box: (top, left, bottom, right) in input pixels, bottom and right exclusive; of the larger piece if it wraps.
        wraps: Whether it crosses the seam of a shifted view.
    """

    row: int
    part: Part
    label: int
    mask: Mask
    box: tuple[int, int, int, int]
    wraps: bool


def known(values: Tensor | None) -> Tensor:
    """Returns scores that are there; RuntimeError when a part was never scored."""
    if values is None:
        raise RuntimeError("a part was not scored")
    return values


def list_parts(outcome: Outcome) -> PartTable:
    """Returns all parts of a run as a table."""
    counts = [part.count for part in outcome.parts]
    head = [np.tile((part.round, part.view, part.partition), (part.count, 1)) for part in outcome.parts]
    labels = np.concatenate([np.arange(count) for count in counts])
    areas = np.concatenate([part.areas for part in outcome.parts])
    index = np.column_stack((np.concatenate(head), labels, areas)).astype(np.int32)
    scores = torch.cat([known(part.scores)[:, 0] for part in outcome.parts]).cpu().numpy()
    return PartTable(scores, areas, index, np.repeat(np.arange(len(counts)), counts))


def best_parts(outcome: Outcome, table: PartTable, *, radius: float, limit: int = MOST_ROWS) -> list[BestPart]:
    """Returns the best parts, best first, without those that overlap a better one by more than half.

    Ties: the smaller part first, then the earlier one. Only the best 200 are examined.

    Args:
        outcome: Of the run.
        table: From :func:`list_parts`.
        radius: Of discs, in pixels.
        limit: Most rows.
    """
    size = (int(outcome.target_map.shape[0]), int(outcome.target_map.shape[1]))
    order = np.lexsort((np.arange(len(table.scores)), table.areas, -table.scores))[:EXAMINED]
    chosen: list[BestPart] = []
    for row in order.tolist():
        part, label = outcome.parts[int(table.owner[row])], int(table.index[row, 3])
        mask = _mask(outcome, part, label, radius=radius, size=size)
        if any(_overlap(mask, other.mask) > MOST_OVERLAP for other in chosen):
            continue
        is_wrapped = _crosses_seam(mask, outcome.views[part.view].shift)
        chosen.append(BestPart(row, part, label, mask, _box(mask, largest_only=is_wrapped), is_wrapped))
        if len(chosen) == limit:
            break
    return chosen


def _mask(outcome: Outcome, part: Part, label: int, *, radius: float, size: tuple[int, int]) -> Mask:
    if part.labels is not None:
        return np.asarray(part.labels == label)
    assert outcome.centres is not None
    disc = DiscMasks(outcome.centres, radius, size).visible(label, label + 1)
    return np.asarray(disc[0].numpy(), dtype=np.bool_)


def _overlap(a: Mask, b: Mask) -> float:
    return float((a & b).sum() / (a | b).sum())


def _crosses_seam(mask: Mask, shift: tuple[int, int]) -> bool:
    height, width = mask.shape
    over_rows = shift[0] % height != 0 and bool((mask[0] & mask[-1]).any())
    over_columns = shift[1] % width != 0 and bool((mask[:, 0] & mask[:, -1]).any())
    return over_rows or over_columns


def _box(mask: Mask, *, largest_only: bool) -> tuple[int, int, int, int]:
    if largest_only:
        pieces, count = ndimage.label(mask)
        sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
        mask = pieces == int(sizes.argmax()) + 1
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1


def draw_best(parts: list[BestPart], size: tuple[int, int]) -> NDArray[np.int16]:
    """Returns a label map of the best parts: position in the list, smaller parts on top, -1 elsewhere."""
    labels = np.full(size, -1, np.int16)
    for rank in sorted(range(len(parts)), key=lambda rank: int(-parts[rank].mask.sum())):
        labels[parts[rank].mask] = rank
    return labels


def area_rank_correlation(table: PartTable) -> float | None:
    """Returns Spearman's correlation of score and area over parts; None when either is constant."""
    if np.ptp(table.scores) == 0 or np.ptp(table.areas) == 0:
        return None
    ranks = (stats.rankdata(table.scores), stats.rankdata(table.areas))
    return float(np.corrcoef(*ranks)[0, 1])


def smallest_sufficient_area(table: PartTable, half: float, *, bases: NDArray[np.float32]) -> float | None:
    """Returns the area, in pixels, of the smallest part with at least this probability; None if there is none.

    Args:
        table: All parts, scores are probabilities once ``bases`` are added.
        half: Half of the intact picture's probability.
        bases: ``[K]`` what each score lacks to be a probability.
    """
    enough = table.scores + bases >= half
    if not enough.any():
        return None
    return float(table.areas[enough].min())
