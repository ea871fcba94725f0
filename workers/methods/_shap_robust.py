"""The same game with other fillings: do the values depend on what hidden places show?"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from numpy.typing import NDArray

from backend.contract.results import Column, Scalar, Table
from workers.agreement import average_ranks
from workers.methods._shap_game import Outcome, Round
from workers.methods._shap_params import FILLINGS

Floats = NDArray[np.float64]
STABLE, PARTLY = 0.8, 0.5


@dataclass(frozen=True, eq=False)
class Robustness:
    """Outcomes by filling, as far as they are known.

    Args:
        outcomes: By the name of the filling.
    """

    outcomes: Mapping[str, Outcome]

    def values(self) -> Floats:
        """Returns ``[3, M0]``: rows black, mean, blur; 0 where a filling is not known yet."""
        known = next(iter(self.outcomes.values())).phi[:, 0]
        rows = [self.outcomes[name].phi[:, 0] if name in self.outcomes else np.zeros_like(known) for name in FILLINGS]
        return np.stack(rows)

    def agreement(self) -> dict[tuple[str, str], float | None]:
        """Returns Spearman's correlation of each pair of fillings that are known."""
        pairs = [pair for pair in combinations(FILLINGS, 2) if set(pair) <= set(self.outcomes)]
        return {(a, b): spearman(self.outcomes[a].phi[:, 0], self.outcomes[b].phi[:, 0]) for a, b in pairs}

    def verdict(self) -> str | None:
        """Returns ``stable``, ``partly`` or ``unstable``; ``None`` when nothing can be compared."""
        known = [value for value in self.agreement().values() if value is not None]
        if not known or len(self.outcomes) < len(FILLINGS):
            return None
        return "stable" if min(known) >= STABLE else "partly" if min(known) >= PARTLY else "unstable"

    def scalars(self) -> dict[str, Scalar]:
        """Returns the correlations and the verdict."""
        named: dict[str, Scalar] = {f"spearman_{a}_{b}": value for (a, b), value in self.agreement().items()}
        return named | {"robust_verdict": self.verdict()}

    def tables(
        self, labels: Sequence[str], words: Callable[[Round], str | None], top: Callable[[Outcome], str]
    ) -> list[Table]:
        """Returns the values of every region with each filling, and what the fillings do to the whole picture.

        Args:
            labels: Of the regions.
            words: What the model says of the hidden picture, if it says anything.
            top: Label of the largest region.
        """
        known = [name for name in FILLINGS if name in self.outcomes]
        columns = (
            Column(key="region", title="Region"),
            *(Column(key=n, title=n.capitalize(), digits=3) for n in known),
        )
        phi = [self.outcomes[name].phi[:, 0] for name in known]
        rows = tuple((label, *(float(values[index]) for values in phi)) for index, label in enumerate(labels))
        heads = (
            Column(key="filling", title="Filling"),
            Column(key="caption", title="Everything hidden", hint="What the model says then."),
            Column(key="v_empty", title="Value then", digits=3),
            Column(key="delta", title="Total effect", digits=3),
            Column(key="top", title="Largest"),
            Column(key="exact", title="Exact"),
        )
        games = tuple(
            (name, words(one.round), float(one.empty[0]), float(one.delta[0]), top(one), one.exact)
            for name, one in ((name, self.outcomes[name]) for name in known)
        )
        return [
            Table(name="robustness", title="Values by filling", columns=columns, rows=rows),
            Table(name="robust_captions", title="Everything hidden, by filling", columns=heads, rows=games),
        ]


def spearman(one: Floats, two: Floats) -> float | None:
    """Returns the rank correlation, average ranks on ties; ``None`` if one side is constant or has a single value."""
    if len(one) < 2 or not np.ptp(one) or not np.ptp(two):
        return None
    first, second = (average_ranks(torch.from_numpy(values)).numpy() - (len(values) + 1) / 2 for values in (one, two))
    return float((first @ second) / np.sqrt((first @ first) * (second @ second)))
