"""Weighs scores by area, which turns the map into a relative quantity."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from workers.methods._pami_paint import Accumulator, aggregate_windows
from workers.methods._pami_parts import known
from workers.methods._pami_state import Outcome
from workers.methods._pami_windows import disc_spread


def weigh_by_area(outcome: Outcome, power: float, *, radius: float) -> None:
    """Repaints the maps of an outcome with scores times ``(median area / area) ** power``.

    Args:
        outcome: Changed in place; the parts keep their raw scores.
        power: 0 to 1.
        radius: Of discs, in pixels.
    """
    median = float(np.median(np.concatenate([part.areas for part in outcome.parts])))
    weighted = []
    for part in outcome.parts:
        scores = known(part.scores)
        weights = torch.from_numpy((median / part.areas) ** power).to(scores)
        weighted.append(scores * weights[:, None])
    if outcome.centres is not None:
        _repaint_discs(outcome, weighted[0], radius)
    else:
        _repaint_partitions(outcome, weighted)


def _repaint_discs(outcome: Outcome, scores: Tensor, radius: float) -> None:
    assert outcome.centres is not None
    size = (int(outcome.target_map.shape[0]), int(outcome.target_map.shape[1]))
    outcome.maps = aggregate_windows(outcome.centres, radius, scores, size)
    outcome.target_map = outcome.maps[0]
    outcome.spread = disc_spread(outcome.centres, radius, scores[:, 0], size)


def _repaint_partitions(outcome: Outcome, weighted: list[Tensor]) -> None:
    size = (int(outcome.target_map.shape[0]), int(outcome.target_map.shape[1]))
    device = weighted[0].device
    total = Accumulator(size, 1, device)
    rounds = [Accumulator(size, weighted[0].shape[1], device) for _ in range(outcome.rounds_used)]
    for part, scores in zip(outcome.parts, weighted, strict=True):
        assert part.labels is not None
        labels = torch.from_numpy(part.labels).to(device)
        rounds[part.round - 1].add(labels, scores)
        total.add(labels, scores[:, :1])
    outcome.maps = rounds[0].maps()
    outcome.maps_round2 = rounds[1].maps() if len(rounds) > 1 else None
    outcome.target_map, outcome.spread = total.target_map(), total.spread()
