"""How far a PAMI run is, and whether more views still change its map."""

from __future__ import annotations

from torch import Tensor, corrcoef, stack

from workers.methods import _pami_cuts as cuts
from workers.methods._pami_paint import find_peak

ALMOST_CONSTANT = 1e-6
SAME_MAP = 1e-4
SAME_PEAK = 0.02
"""Share of the diagonal by which the brightest spot may move between two views that agree."""
QUIET_CHECKS = 2


class StopWatch:
    """Knows when the map has stopped changing from view to view.

    Args:
        threshold: Correlation above which two maps agree; None: never stops.
        size: Height and width in pixels.
    """

    def __init__(self, threshold: float | None, size: tuple[int, int]) -> None:
        self._threshold = threshold
        self._diagonal = (size[0] ** 2 + size[1] ** 2) ** 0.5
        self._previous: Tensor | None = None
        self._quiet = 0

    def is_settled(self, heat: Tensor) -> bool:
        """Returns whether two checks in a row found no change; called once per view with the map ``[H, W]``."""
        if self._threshold is None:
            return False
        previous, self._previous = self._previous, heat
        if previous is not None:
            self._quiet = self._quiet + 1 if self._agree(previous, heat, self._threshold) else 0
        return self._quiet >= QUIET_CHECKS

    def _agree(self, before: Tensor, after: Tensor, threshold: float) -> bool:
        if float(before.std()) < ALMOST_CONSTANT or float(after.std()) < ALMOST_CONSTANT:
            return float((before - after).abs().max()) < SAME_MAP
        row, column, _ = find_peak(after)
        old_row, old_column, _ = find_peak(before)
        moved = ((row - old_row) ** 2 + (column - old_column) ** 2) ** 0.5
        correlation = float(corrcoef(stack((before.flatten(), after.flatten())).double())[0, 1])
        return correlation > threshold and moved < SAME_PEAK * self._diagonal


class PassEstimate:
    """How many passes a run takes: exact for partitions that are cut, expected for the others.

    Args:
        views: Number of views.
        partitions: Indices of the partitions of each view.
        rounds: 1 or 2.
    """

    def __init__(self, views: int, partitions: list[int], rounds: int) -> None:
        self.rounds = rounds
        self._views = views
        self._partitions = partitions
        self._scored: dict[tuple[int, bytes], int] = {}
        self._counts: dict[int, list[int]] = {}
        self._seen: set[tuple[int, int, int]] = set()

    def add(self, number: int, view: int, partition: int, identity: bytes, count: int) -> None:
        """Notes one partition of a round: the bytes of its labels and how many regions it has. Twice is harmless."""
        if (number, view, partition) in self._seen:
            return
        self._seen.add((number, view, partition))
        self._counts.setdefault(partition, []).append(count)
        self._scored[view, identity] = count if count > 1 else 0

    def total(self) -> int:
        """Returns the passes of all rounds, those of whole pictures and substrates included."""
        expected = 0.0
        for number in range(1, self.rounds + 1):
            for partition in self._partitions:
                unseen = sum((number, view, partition) not in self._seen for view in range(self._views))
                expected += unseen * self._expected(number, partition)
        return 2 * self._views + sum(self._scored.values()) + round(expected)

    def _expected(self, number: int, partition: int) -> float:
        if number > 1 and (partition < cuts.GRIDS or partition == cuts.OWN):
            return 0.0  # never cut anew
        known = self._counts.get(partition)
        if known:
            return sum(known) / len(known)
        mean = sum(cuts.TYPICAL_REGIONS) / len(cuts.TYPICAL_REGIONS)
        return cuts.TYPICAL_REGIONS[partition] if partition < cuts.OWN else mean
