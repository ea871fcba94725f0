"""Facts about Shapley values: hand-derived games, identities, and error that falls without bias."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from workers.shapley import (
    _play,
    estimate_from_pairs,
    exact_values,
    kernel,
    make_plan,
    play_games,
    preview_values,
    shapley_values,
)

Floats = NDArray[np.float64]
Bits = NDArray[np.bool_]


class RandomGame:
    """Rounded tanh of sparse linear and pair terms: plateaus, saturation and interaction."""

    def __init__(self, n_players: int, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.linear = random.uniform(0, 0.6, n_players) * (random.random(n_players) < 0.6)
        self.pairs = (
            [(*random.choice(n_players, 2, replace=False), random.uniform(0, 0.5)) for _ in range(3)]
            if n_players > 1
            else []
        )

    def __call__(self, bits: Bits) -> Floats:
        total = 0.2 + bits @ self.linear + sum(w * (bits[:, i] & bits[:, j]) for i, j, w in self.pairs)
        return np.round(6 * np.tanh(total)) / 6


def by_orders(game: RandomGame, n_players: int) -> Floats:
    """The definition itself: mean marginal contribution over all orders of arrival."""
    phi = np.zeros(n_players)
    orders = list(permutations(range(n_players)))
    for order in orders:
        bits = np.zeros((n_players + 1, n_players), bool)
        for step, player in enumerate(order):
            bits[step + 1 :, player] = True
        phi[list(order)] += np.diff(game(bits))
    return phi / len(orders)


@pytest.mark.parametrize("n_players", [1, 2, 3, 5, 6])
def test_exact_values_are_the_mean_over_all_orders_of_arrival(n_players: int) -> None:
    game = RandomGame(n_players, seed=n_players)
    estimate = shapley_values(game, n_players)
    assert estimate.exact
    assert estimate.evaluations == 2**n_players
    assert np.allclose(estimate.values, by_orders(game, n_players), atol=1e-12)
    assert (estimate.std_error == 0).all()


@settings(max_examples=25, deadline=None)
@given(n_players=st.integers(1, 14), seed=st.integers(0, 1000), share=st.floats(0.1, 1))
def test_values_always_sum_to_full_minus_empty(n_players: int, seed: int, share: float) -> None:
    budget = max(min(2**n_players, 4 * n_players), int(share * min(2**n_players, 600)))
    seen = []
    estimate = shapley_values(
        RandomGame(n_players, seed), n_players, budget=budget, seed=seed, on_progress=lambda d, t, e: seen.append(e)
    )
    for partial in [e for e in seen if e is not None] + [estimate]:
        assert abs(partial.values.sum() - (partial.full - partial.empty)) < 1e-9
    assert estimate.evaluations <= budget


def test_an_additive_game_gives_its_weights_even_when_sampled() -> None:
    weights = np.linspace(-1, 2, 14)
    estimate = shapley_values(lambda bits: bits @ weights, 14, budget=200)
    assert not estimate.exact
    assert np.allclose(estimate.values, weights, atol=1e-10)
    assert np.nanmax(estimate.std_error) < 1e-10


@pytest.mark.parametrize("count", [2, 4, 7])
def test_equal_players_share_equally(count: int) -> None:
    estimate = shapley_values(lambda bits: np.sqrt(bits.sum(1) / count), count)
    assert np.allclose(estimate.values, 1 / count, atol=1e-12)


def test_redundant_and_jointly_needed_players_split_and_a_dummy_gets_exactly_nothing() -> None:
    either = shapley_values(lambda bits: (bits[:, 0] | bits[:, 1]).astype(float), 3)
    both = shapley_values(lambda bits: (bits[:, 0] & bits[:, 1]).astype(float), 3)
    for estimate in (either, both):
        assert np.allclose(estimate.values[:2], 0.5, atol=1e-12)
        assert estimate.values[2] == 0


def test_a_threshold_game_has_its_known_values() -> None:
    # Weights 3, 1, 1, quota 4: the large player is pivotal in 4 of 6 orders, the others in one each.
    estimate = shapley_values(lambda bits: (bits @ np.array([3, 1, 1]) >= 4).astype(float), 3)
    assert np.allclose(estimate.values, [4 / 6, 1 / 6, 1 / 6], atol=1e-12)


def test_the_kernel_for_four_players_is_known() -> None:
    assert [kernel(4, s) for s in (1, 2, 3)] == pytest.approx([0.25, 0.125, 0.25])


@pytest.mark.parametrize("n_players", [2, 3, 4, 5, 8, 11])
def test_regression_on_all_pairs_equals_the_exact_values(n_players: int) -> None:
    game = RandomGame(n_players, seed=7)
    plan = make_plan(n_players, budget=None, seed=0)
    odd = (game(plan.pairs) - game(~plan.pairs))[:, None]
    delta = game(np.ones((1, n_players), bool)) - game(np.zeros((1, n_players), bool))
    values, error = estimate_from_pairs(plan.pairs, plan.sizes, odd, delta)
    assert np.allclose(values[:, 0], shapley_values(game, n_players).values, atol=1e-12)
    assert np.allclose(error, 0, atol=1e-12)


@pytest.mark.parametrize("n_players", [3, 6, 11])
def test_the_preview_is_the_regression_on_the_first_step(n_players: int) -> None:
    game = RandomGame(n_players, seed=3)
    alone = np.eye(n_players, dtype=bool)
    odd = (game(alone) - game(~alone))[:, None]
    delta = game(np.ones((1, n_players), bool)) - game(np.zeros((1, n_players), bool))
    closed = preview_values(odd, delta)
    solved, error = estimate_from_pairs(alone, np.ones(n_players, np.int64), odd, delta, complete=False)
    assert np.allclose(closed, solved, atol=1e-12)
    assert np.isnan(error).all()


def test_the_same_seed_gives_the_same_bits_and_relabelling_permutes_exact_values() -> None:
    game = RandomGame(13, seed=1)
    one, two = (shapley_values(game, 13, budget=300, seed=5) for _ in range(2))
    assert np.array_equal(one.values, two.values)
    order = np.random.default_rng(0).permutation(8)
    small = RandomGame(8, seed=2)
    inverse = np.argsort(order)
    renamed = shapley_values(lambda bits: small(bits[:, inverse]), 8)
    assert np.allclose(renamed.values, shapley_values(small, 8).values[order], atol=1e-12)


def test_a_budget_of_every_coalition_is_exact() -> None:
    game = RandomGame(6, seed=4)
    assert shapley_values(game, 6, budget=64).exact
    assert shapley_values(game, 6, budget=5000).evaluations == 64


def test_the_error_falls_along_the_budget() -> None:
    errors = []
    for budget in (64, 128, 256, 512):
        squares = []
        for seed in range(40):
            game = RandomGame(11, seed)
            truth = shapley_values(game, 11).values
            squares.append(np.mean((shapley_values(game, 11, budget=budget, seed=seed).values - truth) ** 2))
        errors.append(np.sqrt(np.mean(squares)))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 2


@pytest.mark.slow
def test_the_error_does_not_depend_on_the_number_of_the_player() -> None:
    totals = np.zeros(12)
    for seed in range(400):
        game = RandomGame(12, seed)
        order = np.random.default_rng(seed + 10_000).permutation(12)
        shuffled = lambda bits, game=game, order=order: game(bits[:, order])  # noqa: E731
        truth = shapley_values(shuffled, 12).values
        totals += np.abs(shapley_values(shuffled, 12, budget=128, seed=seed).values - truth)
    assert np.ptp(totals) <= 0.25 * totals.mean()


def test_two_standard_errors_hold_most_values() -> None:
    inside = []
    for seed in range(40):
        game = RandomGame(11, seed)
        estimate = shapley_values(game, 11, budget=128, seed=seed)
        truth = shapley_values(game, 11).values
        inside.append(np.abs(estimate.values - truth) <= 2 * estimate.std_error + 1e-12)
    assert np.mean(inside) >= 0.85


@pytest.mark.parametrize(("n_players", "budget"), [(0, None), (65, None), (5, 19), (20, 79), (3, 7)])
def test_impossible_sizes_and_budgets_are_refused(n_players: int, budget: int | None) -> None:
    with pytest.raises(ValueError, match=r"\d"):
        shapley_values(lambda bits: bits.sum(1).astype(float), n_players, budget=budget)


@pytest.mark.parametrize(
    "answer", [lambda b: np.full(len(b), np.nan), lambda b: np.zeros((len(b), 2)), lambda b: np.zeros(1)]
)
def test_answers_that_are_no_numbers_are_refused(answer: object) -> None:
    with pytest.raises(ValueError, match="coalition"):
        shapley_values(answer, 4)  # type: ignore[arg-type]


def test_progress_ends_the_game_and_exceptions_pass_through() -> None:
    game = RandomGame(16, seed=0)
    stopped = shapley_values(game, 16, budget=2000, on_progress=lambda done, total, partial: done >= 34)
    assert not stopped.exact
    assert stopped.evaluations == 34
    assert np.isnan(stopped.std_error).all()

    def broken(bits: Bits) -> Floats:
        raise KeyError("cancelled")

    with pytest.raises(KeyError):
        shapley_values(broken, 4)


def test_no_coalition_is_asked_twice_and_chunks_are_bounded() -> None:
    asked: list[bytes] = []

    def game(bits: Bits) -> Floats:
        assert len(bits) <= 256
        asked.extend(row.tobytes() for row in bits)
        return bits.sum(1).astype(float)

    estimate = shapley_values(game, 15, budget=1001)
    assert len(asked) == len(set(asked)) == estimate.evaluations == 1000


def test_several_games_at_once_equal_one_by_one() -> None:
    games = [RandomGame(13, seed) for seed in range(3)]
    plan_value = lambda bits: np.stack([game(bits) for game in games], axis=1)  # noqa: E731
    values, first = _play(plan_value, 13, budget=400, seed=9, on_progress=None, n_games=3)
    assert values.shape == (400, 3)
    assert np.allclose(first.values, shapley_values(games[0], 13, budget=400, seed=9).values, atol=1e-12)


def test_exact_values_of_a_table_are_linear() -> None:
    random = np.random.default_rng(0)
    one, two = random.normal(size=(2, 32))
    assert np.allclose(exact_values(2 * one - two), 2 * exact_values(one) - exact_values(two), atol=1e-12)


@pytest.mark.parametrize("n_players", [2, 3, 5])
def test_exact_values_agree_with_an_independent_implementation(n_players: int) -> None:
    from captum.attr import ShapleyValues

    for seed in range(3):
        game = RandomGame(n_players, seed=100 + seed)
        present = torch.ones(1, n_players, dtype=torch.float64)
        other = ShapleyValues(lambda shown, game=game: torch.from_numpy(game(shown.numpy() > 0.5)))
        expected = other.attribute(present, baselines=0.0, perturbations_per_eval=1)
        assert np.allclose(shapley_values(game, n_players).values, expected[0].numpy(), atol=1e-6)


def test_several_games_have_values_errors_and_totals_of_their_own() -> None:
    games = [RandomGame(13, seed) for seed in range(3)]
    seen = []
    found = play_games(
        lambda bits: np.stack([game(bits) for game in games], axis=1),
        13,
        3,
        budget=400,
        seed=9,
        on_progress=lambda done, total, partial: seen.append(partial),
    )
    assert found.coalitions.shape == (400, 13)
    for index, game in enumerate(games):
        alone = shapley_values(game, 13, budget=400, seed=9)
        assert np.allclose(found.values[:, index], alone.values, atol=1e-12)
        assert np.allclose(found.std_error[:, index], alone.std_error, atol=1e-12)
        assert np.allclose(found.table[:, index], game(found.coalitions))
    for partial in [one for one in seen if one is not None]:
        assert np.allclose(partial.values.sum(0), partial.full - partial.empty, atol=1e-9)


def test_estimates_come_when_the_pairs_have_at_least_doubled() -> None:
    done = []
    shapley_values(
        RandomGame(10, 0), 10, on_progress=lambda count, total, partial: done.append(count) if partial else None
    )
    assert done == [22, 86, 170, 338, 850]


def test_a_large_budget_is_shared_out_by_weight_among_the_sizes() -> None:
    plan = make_plan(24, budget=65_536, seed=0)
    assert sum(plan.chosen.values()) == 32_767
    assert len({row.tobytes() for row in np.concatenate([plan.pairs, ~plan.pairs])}) == 65_534
    assert plan.chosen[1] == 24
    assert min(plan.chosen.values()) >= 2
