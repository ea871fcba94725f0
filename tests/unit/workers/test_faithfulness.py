"""Closed-form cases and oracles for the measures that say which map to trust."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from workers.faithfulness import (
    attention_iou,
    average_drop,
    centred_gaussian,
    deletion_insertion,
    edge_saliency,
    increase_in_confidence,
    pointing_hit,
    random_saliency,
    randomisation_check,
    rank_correlation,
    relevance_mass,
    relevance_rank,
    sparsity,
    stability,
    top_overlap,
)


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_curves_of_an_additive_score_are_the_sums_of_its_weights() -> None:
    weights = _noise(4, 6)
    curves = deletion_insertion(
        lambda x: (x[:, 0] * weights).sum((1, 2)),
        torch.ones(1, 4, 6).double(),
        weights,
        substrate=torch.zeros(1, 4, 6).double(),
        steps=24,
    )
    falling = weights.flatten().sort(descending=True).values
    gained = torch.cat([torch.zeros(1).double(), falling.cumsum(0)])
    assert torch.allclose(curves.insertion, gained)
    assert torch.allclose(curves.deletion, weights.sum() - gained)
    assert curves.fractions.tolist() == pytest.approx([i / 24 for i in range(25)])
    assert curves.insertion_auc == pytest.approx(float(torch.trapezoid(gained, curves.fractions)))


@settings(max_examples=30, deadline=None)
@given(height=st.integers(1, 9), width=st.integers(1, 9), steps=st.integers(1, 100), batch_size=st.integers(1, 7))
def test_curves_hold_both_ends_and_do_not_depend_on_the_batch(
    height: int, width: int, steps: int, batch_size: int
) -> None:
    picture, substrate = _noise(2, height, width), _noise(2, height, width, seed=1)
    score = lambda x: x.mean((1, 2, 3))  # noqa: E731
    saliency = _noise(height, width, seed=2)
    curves = deletion_insertion(score, picture, saliency, substrate=substrate, steps=steps, batch_size=batch_size)
    whole = deletion_insertion(score, picture, saliency, substrate=substrate, steps=steps)
    assert curves.fractions[0] == 0
    assert curves.fractions[-1] == 1
    assert torch.allclose(curves.deletion[[0, -1]], torch.stack([picture.mean(), substrate.mean()]))
    assert torch.allclose(curves.insertion[[0, -1]], torch.stack([substrate.mean(), picture.mean()]))
    assert torch.equal(curves.deletion, whole.deletion)


def test_a_constant_score_has_that_area_and_ties_go_in_row_order() -> None:
    picture = torch.arange(6.0).reshape(1, 2, 3)
    flat = deletion_insertion(lambda x: torch.full((len(x),), 0.3), picture, torch.zeros(2, 3), substrate=picture * 0)
    assert flat.deletion_auc == pytest.approx(0.3)
    assert flat.insertion_auc == pytest.approx(0.3)
    order = deletion_insertion(lambda x: x.sum((1, 2, 3)), picture, torch.zeros(2, 3), substrate=picture * 0, steps=6)
    assert order.insertion.tolist() == [0, 0, 1, 3, 6, 10, 15]


def test_a_cell_is_its_block_of_pixels() -> None:
    picture, substrate = torch.ones(1, 4, 6), torch.zeros(1, 4, 6)
    seen: list[Tensor] = []

    def score(x: Tensor) -> Tensor:
        seen.append(x[:, 0].clone())
        return x.mean((1, 2, 3))

    deletion_insertion(
        score, picture, torch.tensor([[0.0, 9.0], [1.0, 0.5]]), substrate=substrate, steps=4, ranking="cell"
    )
    first_removed = seen[0][1]
    assert first_removed[:2, 3:].sum() == 0
    assert first_removed.sum() == 24 - 6


def test_two_substrates_serve_deletion_and_insertion() -> None:
    picture = torch.ones(1, 2, 2)
    curves = deletion_insertion(
        lambda x: x.mean((1, 2, 3)), picture, torch.zeros(2, 2), substrate=(picture * 0, picture * 0.5), steps=1
    )
    assert curves.deletion.tolist() == [1, 0]
    assert curves.insertion.tolist() == [0.5, 1]


def test_a_perfect_map_beats_a_random_one_and_its_inverse_and_order_is_all_that_counts() -> None:
    weights = torch.zeros(12, 12).double()
    weights[3:6, 7:10] = 1
    score = lambda x: torch.sigmoid((x[:, 0] * weights).sum((1, 2)) - 4)  # noqa: E731
    picture, substrate = torch.ones(1, 12, 12).double(), torch.zeros(1, 12, 12).double()

    def auc(saliency: Tensor) -> tuple[float, float]:
        curves = deletion_insertion(score, picture, saliency, substrate=substrate)
        return curves.deletion_auc, curves.insertion_auc

    perfect, chance, inverse = auc(weights), auc(random_saliency((12, 12), 0)), auc(-weights)
    assert perfect[0] < chance[0] < inverse[0]
    assert perfect[1] > chance[1] > inverse[1]
    assert auc(torch.exp(3 * weights) - 7) == perfect


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_map_that_is_not_finite_is_refused(bad: float) -> None:
    picture = torch.ones(1, 2, 2)
    with pytest.raises(ValueError, match="finite"):
        deletion_insertion(lambda x: x.mean((1, 2, 3)), picture, torch.tensor([[0.0, bad]]), substrate=picture)
    with pytest.raises(ValueError, match="finite"):
        pointing_hit(torch.tensor([[0.0, bad]]), torch.ones(1, 2, dtype=torch.bool))


def test_the_floors_are_what_they_say() -> None:
    assert torch.equal(random_saliency((5, 7), 3), random_saliency((5, 7), 3))
    assert not torch.equal(random_saliency((5, 7), 3), random_saliency((5, 7), 4))
    blob = centred_gaussian((9, 15))
    assert torch.equal(blob, blob.flip(0))
    assert torch.equal(blob, blob.flip(1))
    assert blob.argmax() == 4 * 15 + 7
    assert blob[4, 7 + 3] == pytest.approx(math.exp(-0.5 * (3 / (15 / 4)) ** 2), rel=1e-5)
    ramp = torch.arange(8.0).repeat(3, 6, 1)
    assert torch.allclose(edge_saliency(ramp)[:, 1:-1], torch.full((6, 6), 2.0))
    assert (edge_saliency(torch.full((3, 5, 5), 0.4)) == 0).all()


def test_average_drop_and_increase_are_relative_and_one_sided() -> None:
    full, masked = torch.tensor([0.8, 0.5, 0.4]), torch.tensor([0.4, 0.6, 0.4])
    assert average_drop(full, masked) == pytest.approx((0.5 + 0 + 0) / 3)
    assert increase_in_confidence(full, masked) == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="positive"):
        average_drop(torch.zeros(1), torch.zeros(1))


def test_sparsity_runs_from_one_to_the_number_of_cells() -> None:
    one_hot = torch.zeros(2, 4, 5)
    one_hot[:, 1, 2] = 0.7
    assert sparsity(torch.full((3, 4, 5), 0.05), torch.ones(4, 5)) == pytest.approx(1)
    assert sparsity(one_hot) == pytest.approx(20)
    assert math.isnan(sparsity(torch.zeros(1, 4, 5)))


def test_pointing_counts_the_first_maximum_a_tolerance_and_shares_of_ties() -> None:
    saliency, mask = torch.zeros(9, 9), torch.zeros(9, 9, dtype=torch.bool)
    saliency[4, 4] = saliency[8, 8] = 1
    mask[4, 7] = True
    assert pointing_hit(saliency, mask) == 0
    assert pointing_hit(saliency, mask, 2) == 0
    assert pointing_hit(saliency, mask, 3) == 1
    assert pointing_hit(saliency, mask, 3, ties="mean") == 0.5


def test_relevance_mass_and_rank_are_closed_forms() -> None:
    relevance = torch.tensor([[4.0, -9.0], [1.0, 3.0]])
    mask = torch.tensor([[True, True], [False, False]])
    assert relevance_mass(relevance, mask) == pytest.approx(4 / 8)
    assert relevance_rank(relevance, mask) == 0.5
    assert math.isnan(relevance_mass(-relevance.abs(), mask))
    assert math.isnan(relevance_rank(relevance, mask & False))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), levels=st.integers(2, 50), height=st.integers(2, 8), width=st.integers(2, 8))
def test_rank_correlation_equals_scipys_with_ties(seed: int, levels: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.integers(0, levels, (2, height, width)).astype(float)
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        assert math.isnan(rank_correlation(torch.tensor(a), torch.tensor(b)))
        return
    expected = scipy.stats.spearmanr(a.ravel(), b.ravel()).statistic
    assert rank_correlation(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, abs=1e-12)


def test_rank_correlation_reads_the_coarser_grid_and_only_ranks() -> None:
    coarse = _noise(4, 4)
    fine = coarse.repeat_interleave(3, 0).repeat_interleave(3, 1)
    assert rank_correlation(coarse, fine) == pytest.approx(1)
    assert rank_correlation(coarse, coarse.exp()) == pytest.approx(1)
    assert rank_correlation(coarse, -coarse) == pytest.approx(-1)


def test_overlap_of_top_regions_has_its_known_values() -> None:
    a = _noise(3, 6, 6)
    assert (attention_iou(a, a, 30) == 1).all()
    assert (attention_iou(a, -a, 50) == 0).all()
    assert torch.equal(attention_iou(a, a.flip(0), 20), attention_iou(a.flip(0), a, 20))
    assert torch.equal(attention_iou(a.exp(), a.flip(0) * 9 - 2), attention_iou(a, a.flip(0)))
    assert attention_iou(a[0], a[1], 40) == attention_iou(a, a.roll(-1, 0), 40)[0]
    assert torch.equal(attention_iou(a, a.flip(1), 75), top_overlap(a, a.flip(1), 0.25))


def test_independent_maps_overlap_as_chance_has_it() -> None:
    a, b = _noise(50, 40, 40), _noise(50, 40, 40, seed=1)
    for percentile in (50.0, 80.0):
        share = 1 - percentile / 100
        assert float(attention_iou(a, b, percentile).mean()) == pytest.approx(share / (2 - share), abs=0.01)


def test_constant_maps_mark_exactly_the_first_positions() -> None:
    flat = torch.zeros(4, 4)
    late = torch.arange(16.0).reshape(4, 4)
    assert attention_iou(flat, flat, 50) == 1
    assert attention_iou(flat, late, 50) == 0


@pytest.mark.parametrize("percentile", [-1.0, 100.0])
def test_a_percentile_outside_its_range_is_refused(percentile: float) -> None:
    with pytest.raises(ValueError, match="percentile"):
        attention_iou(torch.zeros(2, 2), torch.zeros(2, 2), percentile)


def test_an_explanation_that_follows_the_picture_is_stable_and_noise_is_not() -> None:
    picture = _noise(3, 16, 16)
    follows = stability(lambda x: x.mean(0), picture, noise=1e-6, shift_px=3)
    assert follows.mean == pytest.approx(1, abs=1e-3)
    assert len(follows.values) == 16
    counter = iter(range(100))
    noise = stability(lambda x: random_saliency((16, 16), next(counter)), picture)
    assert abs(noise.mean) < 0.2


def test_a_map_of_the_edges_does_not_notice_random_weights_and_a_gradient_does() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3))
    before = [p.clone() for p in network.parameters()]
    picture = _noise(3, 8, 8).float()

    def gradient(net: nn.Module, x: Tensor) -> Tensor:
        leaf = x[None].clone().requires_grad_(True)
        return torch.autograd.grad(net(leaf)[0, 0], leaf)[0][0].sum(0)

    assert randomisation_check(lambda net, x: edge_saliency(x), network, picture) == pytest.approx([1.0])
    values = randomisation_check(gradient, network, picture, cascade=True)
    assert len(values) == 2
    assert abs(values[-1]) < 0.5
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
