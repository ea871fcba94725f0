"""Which coalitions of a game are evaluated, and in which order: pairs of complements, stratum by stratum.

The stratified plan without replacement is this project's own; see :mod:`workers.shapley` for what is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.bool_]

EXACT_PLAYERS = 12
SAMPLED_PAIRS = 1024
MOST_PLAYERS = 64


@dataclass(frozen=True, eq=False)
class Plan:
    """Which pairs of complementary coalitions are evaluated, and in which order.

    Attributes:
        pairs: ``[P, M]`` bool; each row stands for itself and its complement.
        sizes: ``[P]``, stratum: size of the smaller member.
        first: Number of pairs of step 1 (one player alone, and all but one).
        second: Number of pairs up to the end of step 2 (two of every further stratum).
        chosen: ``{stratum: n_s}``.
        exact: Whether the plan holds every coalition.
    """

    pairs: Bits
    sizes: NDArray[np.int64]
    first: int
    second: int
    chosen: dict[int, int]
    exact: bool


def make_plan(n_players: int, *, budget: int | None, seed: int) -> Plan:
    """Returns the plan of a game; see :func:`shapley_values` for bounds and errors."""
    coalitions = _checked_budget(n_players, budget)
    exact = n_players <= 30 and coalitions >= 2**n_players
    strata = {s: stratum_size(n_players, s) for s in range(1, n_players // 2 + 1)}
    chosen = dict(strata) if exact else _allocate(n_players, strata, (coalitions - 2) // 2)
    random = np.random.default_rng(seed)
    per_stratum = {s: _draw(n_players, s, count, strata[s], random) for s, count in chosen.items()}
    first = per_stratum.get(1, np.zeros((0, n_players), bool))
    second = [rows[:2] for s, rows in per_stratum.items() if s > 1]
    third = [rows[2:] for s, rows in per_stratum.items() if s > 1]
    rest = np.concatenate([*third, np.zeros((0, n_players), bool)])
    rest = rest[random.permutation(len(rest))]
    pairs = np.concatenate([first, *second, rest])
    counts = pairs.sum(1)
    return Plan(
        pairs=pairs,
        sizes=np.minimum(counts, n_players - counts).astype(np.int64),
        first=len(first),
        second=len(first) + sum(len(rows) for rows in second),
        chosen=chosen,
        exact=exact,
    )


def kernel(n_players: int, size: int) -> float:
    """Returns the Shapley kernel weight of a coalition of ``size`` players, 0 < size < M."""
    return (n_players - 1) / (comb(n_players, size) * size * (n_players - size))


def stratum_size(n_players: int, size: int) -> int:
    """Returns the number of pairs of complements whose smaller member has ``size`` players."""
    count = comb(n_players, size)
    return count // 2 if 2 * size == n_players else count


def _checked_budget(n_players: int, budget: int | None) -> int:
    if not 1 <= n_players <= MOST_PLAYERS:
        raise ValueError(f"a game has 1 to {MOST_PLAYERS} players, not {n_players}")
    if budget is None:
        return 2**n_players if n_players <= EXACT_PLAYERS else 2 * n_players + 2 * SAMPLED_PAIRS
    least = min(2**n_players, 4 * n_players)
    if budget < least:
        raise ValueError(f"{n_players} players need a budget of at least {least} coalitions, not {budget}")
    return budget


def _allocate(n_players: int, strata: dict[int, int], pairs: int) -> dict[int, int]:
    """Returns how many pairs each stratum gets: all of the first, two of the others, then by weight."""
    chosen = {s: strata[s] if s == 1 else min(2, strata[s]) for s in strata}
    weight = {s: strata[s] * kernel(n_players, s) for s in strata}
    left = pairs - sum(chosen.values())
    waiting = [(-weight[s] / (chosen[s] + 1), s) for s in strata if chosen[s] < strata[s]]
    heapify(waiting)
    while left > 0 and waiting:
        stratum = heappop(waiting)[1]
        chosen[stratum] += 1
        left -= 1
        if chosen[stratum] < strata[stratum]:
            heappush(waiting, (-weight[stratum] / (chosen[stratum] + 1), stratum))
    return chosen


def _draw(n_players: int, size: int, count: int, available: int, random: np.random.Generator) -> Bits:
    """Returns ``count`` different pairs of a stratum, uniformly without replacement."""
    if size == 1:
        return np.eye(n_players, dtype=bool)[:available]
    if 2 * count > available:
        rows = _all_of_size(n_players, size)
        return rows[random.permutation(len(rows))[:count]]
    chosen: dict[bytes, Bits] = {}
    while len(chosen) < count:
        row = np.zeros(n_players, bool)
        row[random.choice(n_players, size, replace=False)] = True
        if 2 * size == n_players and not row[0]:
            row = ~row
        chosen.setdefault(row.tobytes(), row)
    return np.stack(list(chosen.values()))


def _all_of_size(n_players: int, size: int) -> Bits:
    halved = 2 * size == n_players
    tails = combinations(range(1, n_players), size - 1) if halved else combinations(range(n_players), size)
    rows = []
    for members in tails:
        row = np.zeros(n_players, bool)
        row[list(members)] = True
        if halved:
            row[0] = True
        rows.append(row)
    return np.stack(rows)
