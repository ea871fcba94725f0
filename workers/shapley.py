"""Shapley values of a small game: exact when it fits, else by pairs of complementary coalitions.

Knows nothing of pictures, torch or models. A game is a function from coalitions ``[B, M]`` (bool) to values ``[B]``.

Source: weighted-regression Shapley values, S. Lundberg, S.-I. Lee, 2017, arXiv 1705.07874. The stratified plan without
replacement, the hard constraint in place of heavy end weights, and the standard error are this project's own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import comb

import numpy as np
from numpy.typing import NDArray

from workers.shapley_plan import Plan, kernel, make_plan, stratum_size

Bits = NDArray[np.bool_]
Floats = NDArray[np.float64]

__all__ = [
    "GamesEstimate",
    "Plan",
    "ShapleyEstimate",
    "estimate_from_pairs",
    "exact_values",
    "kernel",
    "make_plan",
    "play_games",
    "preview_values",
    "shapley_values",
]

CHUNK = 256
LEAST_CHUNK = 64


@dataclass(frozen=True, eq=False)
class ShapleyEstimate:
    """Values of the players of one game.

    Attributes:
        values: ``[M]``, signed, in units of the game; they sum to ``full - empty`` always.
        empty: Value of the coalition of nobody, measured.
        full: Value of everybody.
        std_error: ``[M]``, >= 0; zeros when exact, NaN while unknown.
        evaluations: Coalitions evaluated so far.
        exact: Whether every coalition was evaluated.
    """

    values: Floats
    empty: float
    full: float
    std_error: Floats
    evaluations: int
    exact: bool


def shapley_values(
    value: Callable[[Bits], Floats],
    n_players: int,
    *,
    budget: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int, ShapleyEstimate | None], object] | None = None,
) -> ShapleyEstimate:
    """Returns the Shapley value of each player.

    Args:
        value: Maps coalitions ``[B, M]`` (True = present), at most 256 at once and none twice, to values ``[B]``.
        n_players: M, 1-64.
        budget: Most coalitions to evaluate, the empty and the full one included; ``None``: all up to
            M = 12, else 2 M + 2,048.
        seed: Draws the pairs when not all are taken.
        on_progress: Called after each chunk with (done, total, estimate or ``None``); the estimate comes after the
            first chunk and whenever the pairs have doubled. Returning True ends the game with what is known.

    Returns:
        The values; exact when all ``2**M`` coalitions fit the budget.

    Raises:
        ValueError: If M is out of range, the budget below ``min(2**M, 4 M)``, or a value is not finite or not ``[B]``.
    """
    return _play(value, n_players, budget=budget, seed=seed, on_progress=on_progress, n_games=None)[1]


@dataclass(frozen=True, eq=False)
class GamesEstimate:
    """Values of the players of several games over the same coalitions.

    Attributes:
        values: ``[M, T]``; each column sums to ``full - empty`` of its game.
        std_error: ``[M, T]``, >= 0; zeros when exact, NaN while unknown.
        coalitions: ``[N, M]`` bool, in the order of evaluation; the empty and the full one come first.
        table: ``[N, T]``, the value of each coalition in each game.
        exact: Whether every coalition was evaluated.
    """

    values: Floats
    std_error: Floats
    coalitions: Bits
    table: Floats
    exact: bool

    @property
    def empty(self) -> Floats:
        """``[T]``, value of nobody."""
        values: Floats = self.table[0]
        return values

    @property
    def full(self) -> Floats:
        """``[T]``, value of everybody."""
        values: Floats = self.table[1]
        return values

    @property
    def evaluations(self) -> int:
        """Coalitions evaluated so far."""
        return len(self.table)

    def game(self, index: int) -> ShapleyEstimate:
        """Returns one game alone."""
        return ShapleyEstimate(
            values=self.values[:, index],
            empty=float(self.empty[index]),
            full=float(self.full[index]),
            std_error=self.std_error[:, index],
            evaluations=self.evaluations,
            exact=self.exact,
        )


def play_games(
    value: Callable[[Bits], Floats],
    n_players: int,
    n_games: int,
    *,
    budget: int | None = None,
    seed: int = 0,
    on_progress: Callable[[int, int, GamesEstimate | None], object] | None = None,
) -> GamesEstimate:
    """Returns the Shapley values of several games that are evaluated together; see :func:`shapley_values`.

    Args:
        value: Maps coalitions ``[B, M]`` to values ``[B, T]``.
        n_players: M, 1-64.
        n_games: T, at least 1.
        budget: Most coalitions to evaluate.
        seed: Draws the pairs when not all are taken.
        on_progress: As in :func:`shapley_values`, with the estimate of all games.
    """
    return _run(value, n_players, n_games=n_games, budget=budget, seed=seed, on_progress=on_progress)


def exact_values(table: Floats) -> Floats:
    """Returns exact Shapley values from the value of every coalition.

    Args:
        table: ``[2**M]`` or ``[2**M, T]``; bit i of the index says whether player i is present.

    Returns:
        ``[M]`` or ``[M, T]``.
    """
    n_players = int(table.shape[0]).bit_length() - 1
    masks = np.arange(2**n_players)
    sizes = np.bitwise_count(masks).astype(np.int64)
    weights = np.array([1.0 / (n_players * comb(n_players - 1, s)) for s in range(n_players)])
    rows = []
    for player in range(n_players):
        without = masks[(masks >> player) & 1 == 0]
        gain = table[without | (1 << player)] - table[without]
        rows.append(np.tensordot(weights[sizes[without]], gain, axes=(0, 0)))
    return np.stack(rows)


def estimate_from_pairs(
    pairs: Bits, sizes: NDArray[np.int64], odd: Floats, delta: Floats, *, complete: bool = True
) -> tuple[Floats, Floats]:
    """Returns values and standard errors from evaluated pairs, by constrained weighted least squares.

    Args:
        pairs: ``[P, M]`` representatives; sizes: ``[P]`` strata.
        sizes: Stratum of each pair.
        odd: ``[P, T]``, value of the pair's representative minus that of its complement.
        delta: ``[T]``, full minus empty; the values of each game sum to it.
        complete: Whether two pairs of every stratum are there; the standard error is NaN otherwise.

    Returns:
        ``[M, T]`` values and ``[M, T]`` standard errors.
    """
    n_players = pairs.shape[1]
    basis = _zero_sum_basis(n_players)
    seen = {int(s): int(count) for s, count in zip(*np.unique(sizes, return_counts=True), strict=True)}
    weight_of = {s: kernel(n_players, s) * stratum_size(n_players, s) / count for s, count in seen.items()}
    weights = np.array([weight_of[int(s)] for s in sizes])
    signs = 2.0 * pairs - 1.0
    design = signs @ basis
    target = odd - np.outer(signs.sum(1), delta / n_players)
    root = np.sqrt(weights)[:, None]
    solution = np.linalg.lstsq(root * design, root * target, rcond=None)[0]
    values = delta / n_players + basis @ solution
    if not complete:
        return values, np.full_like(values, np.nan)
    residual = target - design @ solution
    return values, _standard_error(design, weights, residual, sizes, basis, seen)


def preview_values(odd: Floats, delta: Floats) -> Floats:
    """Returns the closed form after step 1: the mean of each player's first-in and last-in effect, shifted to sum up.

    Args:
        odd: ``[M, T]``, value of player i alone minus that of all but i.
        delta: ``[T]``.
    """
    raw: Floats = (odd + delta) / 2
    shifted: Floats = raw + (delta - raw.sum(0)) / len(raw)
    return shifted


def _play(
    value: Callable[[Bits], Floats],
    n_players: int,
    *,
    budget: int | None,
    seed: int,
    on_progress: Callable[[int, int, ShapleyEstimate | None], object] | None,
    n_games: int | None,
) -> tuple[Floats, ShapleyEstimate]:
    """Plays one game, or ``n_games`` at once when ``value`` answers ``[B, T]``; the estimate speaks of game 0."""

    def tell(done: int, total: int, partial: GamesEstimate | None) -> object:
        return None if on_progress is None else on_progress(done, total, None if partial is None else partial.game(0))

    played = _run(value, n_players, n_games=n_games, budget=budget, seed=seed, on_progress=tell)
    return played.table, played.game(0)


def _run(
    value: Callable[[Bits], Floats],
    n_players: int,
    *,
    n_games: int | None,
    budget: int | None,
    seed: int,
    on_progress: Callable[[int, int, GamesEstimate | None], object] | None,
) -> GamesEstimate:
    plan = make_plan(n_players, budget=budget, seed=seed)
    board = _Board(plan, n_players, n_games)
    total = 2 + 2 * len(plan.pairs)
    announced = 0
    for bits in board.chunks():
        board.add(value(bits.copy()), len(bits))
        partial = None
        if announced == 0 or board.n_pairs >= 2 * announced:
            partial, announced = board.estimate(), max(board.n_pairs, 1)
        if on_progress is not None and on_progress(board.done, total, partial) is True:
            break
    return board.estimate()


class _Board:
    """What is known of a running game."""

    def __init__(self, plan: Plan, n_players: int, n_games: int | None) -> None:
        self._plan = plan
        self._n_players = n_players
        self._n_games = n_games
        ends = np.stack([np.zeros(n_players, bool), np.ones(n_players, bool)])
        both = np.stack([plan.pairs, ~plan.pairs], axis=1).reshape(-1, n_players)
        self._order: Bits = np.concatenate([ends, both])
        self._values: list[Floats] = []
        self.done = 0

    @property
    def n_pairs(self) -> int:
        return max(0, (self.done - 2) // 2)

    def chunks(self) -> list[Bits]:
        """Returns the coalitions in portions that end where the pairs have doubled, so that estimates come early.

        Portions are not cut so small that a network could not take them in full batches.
        """
        starts = [0]
        end = 2 + 2 * self._plan.first  # at most 130, so step 1 is always one chunk
        while end < len(self._order):
            starts.append(end)
            doubled = 2 * end - 2
            end = min(end + CHUNK, max(end + LEAST_CHUNK, doubled))
        ends = [*starts[1:], len(self._order)]
        return [self._order[a:b] for a, b in zip(starts, ends, strict=True) if b > a]

    def add(self, values: Floats, count: int) -> None:
        array = np.asarray(values, dtype=np.float64)
        expected = (count,) if self._n_games is None else (count, self._n_games)
        if array.shape != expected:
            raise ValueError(f"a game of {count} coalitions answers {list(expected)} numbers, not {list(array.shape)}")
        if not np.isfinite(array).all():
            raise ValueError("the value of a coalition is not a finite number")
        self._values.append(array.reshape(count, -1))
        self.done += count

    def estimate(self) -> GamesEstimate:
        values: Floats = np.concatenate(self._values)
        phi, error, exact = self._solve(values)
        return GamesEstimate(phi, error, self._order[: self.done], values, exact)

    def _solve(self, values: Floats) -> tuple[Floats, Floats, bool]:
        delta = values[1] - values[0]
        finished = self.done == len(self._order)
        if self._plan.exact and finished:
            table = np.empty_like(values)
            table[self._order @ (1 << np.arange(self._n_players, dtype=np.int64))] = values
            phi = exact_values(table)
            return phi, np.zeros_like(phi), True
        count = self.n_pairs
        odd = values[2 : 2 + 2 * count : 2] - values[3 : 3 + 2 * count : 2]
        pairs, sizes = self._plan.pairs[:count], self._plan.sizes[:count]
        return (*estimate_from_pairs(pairs, sizes, odd, delta, complete=count >= self._plan.second), False)


def _standard_error(
    design: Floats,
    weights: Floats,
    residual: Floats,
    sizes: NDArray[np.int64],
    basis: Floats,
    seen: dict[int, int],
) -> Floats:
    n_players = basis.shape[0]
    inverse = np.linalg.pinv(design.T @ (weights[:, None] * design))
    spread = design @ inverse
    leverage = weights * np.einsum("pk,pk->p", spread, design)
    scale = weights / np.maximum(1 - leverage, 0.1)
    variance = np.zeros((n_players, residual.shape[1]))
    for stratum, count in seen.items():
        rest = 1 - count / stratum_size(n_players, stratum)
        if rest <= 0 or count < 2:
            continue
        rows = sizes == stratum
        influence = (spread[rows] @ basis.T)[:, :, None] * (scale[rows, None] * residual[rows])[:, None]
        centred = influence - influence.mean(0)
        variance += rest * count / (count - 1) * np.square(centred).sum(0)
    error: Floats = np.sqrt(variance)
    return error


def _zero_sum_basis(n_players: int) -> Floats:
    """Returns an orthonormal basis ``[M, M - 1]`` of the vectors that sum to zero."""
    full = np.concatenate([np.ones((n_players, 1)), np.eye(n_players)[:, : n_players - 1]], axis=1)
    basis: Floats = np.linalg.qr(full)[0][:, 1:]
    return basis
