"""Identities of the grouping behind BR-NPA and of its exact split of a logit."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from models.heads.br_npa import BrNpaClassifier, _group, group_features


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def _unclamped_reference(features: Tensor, n_maps: int) -> list[Tensor]:
    """The same rounds, written cell by cell, without clamp or guard."""
    _, height, width = features.shape
    cells = [features[:, i, j] for i in range(height) for j in range(width)]
    norms = [cell.norm() + 1e-5 for cell in cells]
    left = list(norms)
    maps = []
    for _ in range(n_maps):
        seed = max(range(len(cells)), key=lambda p: (left[p], -p))
        cosines = [cells[p] @ cells[seed] / (norms[p] * norms[seed]) for p in range(len(cells))]
        total = sum(cosines)
        maps.append(torch.stack([c / total for c in cosines]).reshape(height, width))
        left = [(1 - c) * q for c, q in zip(cosines, left, strict=True)]
    return maps


def test_the_worked_example_gives_two_groups_and_an_invalid_third() -> None:
    features = torch.tensor([[[3.0, 2.0], [0.0, 0.0]], [[0.0, 0.0], [2.5, 1.0]]])
    groups = group_features(features, 3)
    expected = torch.tensor([[[0.5, 0.5], [0, 0]], [[0, 0], [0.5, 0.5]], [[0.25, 0.25], [0.25, 0.25]]])
    assert torch.allclose(groups.maps, expected, rtol=1e-5, atol=1e-5)
    assert torch.allclose(groups.vectors, torch.tensor([[2.5, 0], [0, 1.75], [1.25, 0.875]]), rtol=1e-5, atol=2e-5)
    assert groups.seeds.tolist() == [0, 2, -1]
    assert groups.valid.tolist() == [True, True, False]
    assert groups.scores[:2].tolist() == pytest.approx([3.00001, 2.50001], rel=1e-5)
    assert 0 < groups.scores[2] < 1e-4


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_channels=st.integers(1, 9),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
    n_maps=st.integers(1, 6),
)
def test_maps_sum_to_one_and_vectors_are_maps_times_features(
    seed: int, n_channels: int, height: int, width: int, n_maps: int
) -> None:
    features = _random(n_channels, height, width, seed=seed)
    groups = group_features(features, n_maps)
    assert torch.allclose(groups.maps.sum((1, 2)), torch.ones(n_maps), atol=1e-5)
    assert (groups.maps >= 0).all()
    cells = features.flatten(1)
    assert torch.allclose(groups.vectors, groups.maps.flatten(1) @ cells.T, atol=1e-5)
    assert (groups.vectors <= cells.amax(1) + 1e-5).all()
    assert (groups.vectors >= cells.amin(1) - 1e-5).all()


def test_a_zero_cell_belongs_to_no_valid_map() -> None:
    features = _random(4, 3, 3)
    features[:, 1, 1] = 0
    groups = group_features(features, 2)
    assert groups.valid.all()
    assert (groups.maps[:, 1, 1] == 0).all()


def test_scores_never_increase_and_the_first_seed_is_the_most_active_cell() -> None:
    groups = group_features(_random(5, 8, 7, 7), 5)
    assert (groups.scores[:, 1:] <= groups.scores[:, :-1]).all()
    assert torch.equal(groups.seeds[:, 0], groups.activity.flatten(1).argmax(1))
    assert torch.equal(groups.maps.flatten(2).argmax(2), groups.seeds)


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_maps_are_a_prefix_of_more_maps_to_the_bit(count: int) -> None:
    features = _random(2, 6, 5, 4)
    few, many = group_features(features, count), group_features(features, 5)
    assert torch.equal(few.maps, many.maps[:, :count])
    assert torch.equal(few.vectors, many.vectors[:, :count])


def test_permuting_cells_permutes_maps_and_rotating_channels_leaves_them() -> None:
    features = _random(6, 4, 4, dtype=torch.float64)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(1))
    shuffled = features.flatten(1)[:, order].reshape(6, 4, 4)
    base = group_features(features, 3)
    assert torch.allclose(group_features(shuffled, 3).maps.flatten(1), base.maps.flatten(1)[:, order], atol=1e-12)
    rotation = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(2), dtype=torch.float64))[0]
    rotated = torch.einsum("dc,chw->dhw", rotation, features)
    assert torch.allclose(group_features(rotated, 3).maps, base.maps, atol=1e-10)


def test_scaling_features_leaves_maps_and_scales_vectors() -> None:
    features = _random(6, 4, 4) + 0.1
    base, scaled = group_features(features, 3), group_features(10 * features, 3)
    assert torch.allclose(base.maps, scaled.maps, atol=1e-6)
    assert torch.allclose(10 * base.vectors, scaled.vectors, rtol=1e-4)


def test_constant_features_form_one_group_and_then_nothing_is_left() -> None:
    groups = group_features(torch.full((3, 4, 4), 0.7), 3)
    assert groups.valid.tolist() == [True, False, False]
    assert torch.allclose(groups.maps, torch.full((3, 4, 4), 1 / 16))
    assert torch.allclose(groups.vectors, torch.full((3, 3), 0.7))


@pytest.mark.parametrize("shape", [(4, 1, 1), (1, 3, 3), (2, 1, 2)])
def test_tiny_inputs_and_more_maps_than_cells_stay_finite(shape: tuple[int, int, int]) -> None:
    groups = group_features(_random(*shape) + 0.1, 5)
    assert groups.maps.isfinite().all()
    assert groups.vectors.isfinite().all()
    assert groups.valid[0]


def test_a_picture_alone_equals_the_same_picture_in_a_batch() -> None:
    batch = _random(4, 8, 6, 5)
    together = group_features(batch, 3)
    for row in range(4):
        alone = group_features(batch[row], 3)
        assert alone.maps.shape == (3, 6, 5)
        assert torch.equal(alone.seeds, together.seeds[row])
        assert torch.allclose(alone.maps, together.maps[row], atol=1e-6)


@pytest.mark.parametrize(
    ("features", "n_maps"),
    [
        (torch.rand(3, 4), 3),
        (torch.rand(1, 2, 3, 4, 5), 3),
        (torch.rand(3, 0, 4), 3),
        (torch.rand(3, 4, 4), 0),
        (torch.ones(3, 4, 4, dtype=torch.int64), 3),
    ],
)
def test_bad_input_is_refused_with_a_sentence(features: Tensor, n_maps: int) -> None:
    with pytest.raises(ValueError, match=r"\w+ .*\w+"):
        group_features(features, n_maps)


def test_all_zero_features_are_invalid_everywhere_with_finite_gradients() -> None:
    features = torch.zeros(2, 3, 4, 4, requires_grad=True)
    groups = group_features(features, 3)
    assert not groups.valid.any()
    assert (groups.seeds == -1).all()
    (groups.vectors.sum() + groups.maps.square().sum()).backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_some_zero_cells_leave_the_gradient_finite() -> None:
    features = _random(3, 4, 4)
    features[:, ::2] = 0
    features.requires_grad_(True)
    group_features(features, 3).vectors.square().sum().backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


def test_nan_features_travel_on_without_an_index_error() -> None:
    features = _random(3, 4, 4)
    features[0, 0, 0] = float("nan")
    assert group_features(features, 3).vectors.isnan().any()


def test_signed_features_give_proper_maps() -> None:
    groups = group_features(torch.randn(8, 5, 5, generator=torch.Generator().manual_seed(3)), 4)
    assert (groups.maps >= 0).all()
    assert torch.allclose(groups.maps.sum((1, 2)), torch.ones(4), atol=1e-6)


def test_on_non_negative_features_the_clamp_changes_nothing() -> None:
    features = _random(5, 4, 3, dtype=torch.float64)
    maps = group_features(features, 3).maps
    for found, expected in zip(maps, _unclamped_reference(features, 3), strict=True):
        assert torch.allclose(found, expected, atol=1e-12, rtol=1e-12)


def test_ties_take_the_lowest_cell() -> None:
    features = torch.zeros(2, 2, 2)
    features[0, 0, 1] = features[1, 1, 0] = 1.0
    assert group_features(features, 1).seeds.tolist() == [1]


def test_the_gradient_of_the_vectors_is_right() -> None:
    features = (_random(1, 3, 2, 2, dtype=torch.float64) + 0.1).requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: group_features(x, 2).vectors, (features,))


def test_half_precision_with_large_norms_stays_finite_also_under_autocast() -> None:
    features = (_random(16, 4, 4) * 1000).half()
    assert group_features(features, 3).maps.isfinite().all()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        groups = group_features(features, 3)
    assert groups.maps.dtype == torch.float32
    assert groups.maps.isfinite().all()


def test_a_masked_cell_is_no_seed_but_stays_in_the_maps() -> None:
    features = _random(4, 3, 3) + 0.1
    features[:, 1, 1] *= 50
    allowed = torch.ones(3, 3, dtype=torch.bool)
    allowed[1, 1] = False
    groups = _group(features, 3, allowed)
    assert 4 not in groups.seeds.tolist()
    assert (groups.maps[0, 1, 1] > 0).all()
    assert group_features(features, 3).seeds[0] == 4


class _Trunk(nn.Module):
    num_features = 6

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3, stride=2, padding=1)

    def forward_features(self, pictures: Tensor) -> Tensor:
        return self.conv(pictures).relu()


@pytest.fixture
def classifier() -> BrNpaClassifier:
    torch.manual_seed(0)
    return BrNpaClassifier(_Trunk(), 5, n_maps=3, dropout=0.3).eval()


def test_the_split_adds_up_to_the_logit_also_with_invalid_groups(classifier: BrNpaClassifier) -> None:
    pictures = torch.cat([_random(2, 3, 12, 12), torch.zeros(1, 3, 12, 12)])
    with torch.no_grad():
        classifier.trunk.conv.bias.zero_()  # the black picture then has no feature at all
    logits, groups = classifier(pictures)
    assert not groups.valid[2].any()
    for index in range(5):
        assert torch.allclose(classifier.decompose(index).sum((1, 2, 3)), logits[:, index], rtol=1e-4, atol=1e-6)
    mixed = torch.tensor([4, 0, 2])
    assert torch.allclose(classifier.decompose(mixed).sum((1, 2, 3)), logits.gather(1, mixed[:, None])[:, 0], atol=1e-5)


def test_contrasts_of_the_split_are_differences_of_logits(classifier: BrNpaClassifier) -> None:
    logits, _ = classifier(_random(2, 3, 12, 12))
    difference = classifier.decompose(1) - classifier.decompose(3)
    assert torch.allclose(difference.sum((1, 2, 3)), logits[:, 1] - logits[:, 3], atol=1e-5)


def test_there_is_nothing_to_split_before_a_forward_pass_or_after_training_mode(classifier: BrNpaClassifier) -> None:
    with pytest.raises(RuntimeError, match="forward"):
        classifier.decompose(0)
    classifier(_random(1, 3, 12, 12))
    classifier.train()
    with pytest.raises(RuntimeError, match="forward"):
        classifier.decompose(0)
    classifier(_random(1, 3, 12, 12))
    with pytest.raises(RuntimeError, match="forward"):
        classifier.decompose(0)


def test_the_head_has_no_bias(classifier: BrNpaClassifier) -> None:
    assert classifier.head.bias is None
    assert [name for name, _ in classifier.named_parameters() if name.startswith("head")] == ["head.weight"]
