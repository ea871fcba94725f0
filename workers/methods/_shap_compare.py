"""A classifier's values beside those of another result on the same regions: shares, because the units differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.contract.results import Column, Scalar, Table
from workers.methods._shap_cuts import Cut
from workers.methods._shap_game import Outcome
from workers.methods._shap_report import LEAST_DELTA
from workers.methods._shap_robust import spearman

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two results on the same regions, or why they cannot be compared.

    Args:
        reason: Why not; empty when they can.
        own: ``[M0]`` values of this result.
        other: ``[M0]`` values of the other one.
        own_delta: Total effect here.
        other_delta: Total effect there.
    """

    reason: str
    own: Floats
    other: Floats
    own_delta: float = 0.0
    other_delta: float = 0.0

    def tables(self) -> list[Table]:
        """Returns one row per region."""
        if self.reason:
            return []
        columns = (
            Column(key="region", title="Region"),
            Column(key="own", title="Here", digits=3),
            Column(key="own_share", title="Share here", digits=2),
            Column(key="other", title="Other result", digits=3),
            Column(key="other_share", title="Share there", digits=2),
        )
        rows = tuple(
            (
                f"region {index + 1}",
                float(self.own[index]),
                _share(self.own[index], self.own_delta),
                float(self.other[index]),
                _share(self.other[index], self.other_delta),
            )
            for index in range(len(self.own))
        )
        return [Table(name="comparison", title="Beside the other result", columns=columns, rows=rows)]

    def scalars(self) -> dict[str, Scalar]:
        """Returns the reason, the rank correlation and whether the same region is largest."""
        if self.reason:
            return {"comparison_reason": self.reason, "comparison_spearman": None, "comparison_same_top": None}
        return {
            "comparison_reason": "",
            "comparison_spearman": spearman(self.own, self.other),
            "comparison_same_top": bool(np.argmax(self.own) == np.argmax(self.other)),
        }


def compare(outcome: Outcome, cut: Cut, *, hidden: str) -> Comparison:
    """Returns this result beside the one whose regions it took.

    Args:
        outcome: Of this result.
        cut: Its regions, with the other result if its regions were taken over whole.
        hidden: Filling of this result.
    """
    nothing = np.zeros(0)
    if cut.shared is None:
        reason = "The other result has no values on these very regions, so only the regions were taken over."
        return Comparison(reason, nothing, nothing)
    theirs = cut.shared.scalars.get("hidden")
    if theirs != hidden:
        return Comparison(f"The other result hides regions with {theirs}, this one with {hidden}.", nothing, nothing)
    digest = cut.shared.scalars.get("region_hash")
    if cut.rest is None and digest != cut.regions.digest:
        return Comparison("The regions of the two results differ.", nothing, nothing)
    other = np.asarray(cut.shared.arrays["phi"].data, np.float64)
    own = outcome.phi[: len(other), 0]  # the remainder that the other result does not cover is left out
    return Comparison("", own, other, float(outcome.delta[0]), float(other.sum()))


def _share(value: float, delta: float) -> float | None:
    return float(value) / delta if abs(delta) >= LEAST_DELTA else None
