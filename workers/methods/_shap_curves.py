"""Does hiding regions in the order of their values do more than hiding them in any order?

These are this project's own checks over the regions of a game; they are not the published deletion and insertion
metrics over pixels.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workers.methods._shap_game import Outcome

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Curves:
    """Value of the first game along three orders.

    Args:
        deletion: ``[M + 1]``, after hiding j regions, the highest value first.
        insertion: ``[M + 1]``, after showing j regions, the highest value first.
        random_order: ``[M + 1]``, after hiding j regions in any order, on average.
    """

    deletion: Floats
    insertion: Floats
    random_order: Floats


def draw_curves(outcome: Outcome) -> Curves:
    """Returns the curves of a finished game; coalitions that were not played cost a pass, at most 2 M - 2."""
    game = outcome.round
    ids = list(game.players.ids)
    values = outcome.phi[ids, 0]
    order = np.argsort(-values, kind="stable")
    count = len(ids)
    steps = np.arange(count + 1)
    rank = np.empty(count, np.int64)
    rank[order] = np.arange(count)
    shown = rank[None] < steps[:, None]
    every = game.values(np.concatenate([~shown, shown]))[:, 0]
    return Curves(every[: count + 1], every[count + 1 :], _random_order(outcome, count))


def score(curve: Floats) -> float:
    """Returns the mean height of a curve over 0 to 1 (trapezoid rule); its one value when it has no length."""
    if len(curve) < 2:
        return float(curve[0])
    return float(((curve[:-1] + curve[1:]) / 2).mean())


def _random_order(outcome: Outcome, count: int) -> Floats:
    """Returns the mean value of the coalitions of each size that were played.

    All of them in an exact game; else a uniform sample of each size, which is why their mean is unbiased.
    """
    sizes = outcome.coalitions.sum(axis=1)
    means = [outcome.table[sizes == count - hidden, 0].mean() for hidden in range(count + 1)]
    return np.array(means)
