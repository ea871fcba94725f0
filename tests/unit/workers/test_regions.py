"""Partitions are partitions, blocks of features are found, and nothing depends on scale or repetition."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import NMF

from workers.factorisation import factorise, fold
from workers.regions import RegionMap, factor_regions, grid_regions, label_regions, slic_regions


def _blocks(height: int, width: int, *, seed: int = 0, channels: int = 24) -> tuple[torch.Tensor, np.ndarray]:
    """Four quadrants, each with channels of its own, plus a little noise."""
    random = np.random.default_rng(seed)
    truth = (np.arange(height)[:, None] >= height // 2) * 2 + (np.arange(width)[None] >= width // 2)
    means = np.kron(np.eye(4), np.ones(channels // 4)) * 3
    features = means[truth] + random.uniform(0, 0.2, (height, width, channels))
    return torch.from_numpy(features.transpose(2, 0, 1)), truth


def _is_partition(found: RegionMap, size: tuple[int, int]) -> bool:
    return (
        found.labels.shape == size
        and found.labels.dtype == np.int32
        and np.array_equal(np.unique(found.labels), np.arange(found.count))
        and abs(found.area.sum() - 1) < 1e-12
    )


def _best_ious(found: np.ndarray, truth: np.ndarray) -> list[float]:
    return [
        max(((found == b) & (truth == a)).sum() / ((found == b) | (truth == a)).sum() for b in np.unique(found))
        for a in np.unique(truth)
    ]


@pytest.mark.parametrize("artefact", [False, True])
def test_synthetic_blocks_are_found_also_with_a_strong_outer_ring(artefact: bool) -> None:
    features, truth = _blocks(16, 16)
    if artefact:
        ring = torch.ones(16, 16, dtype=torch.bool)
        ring[1:-1, 1:-1] = False
        features[:6, ring] += 0.8
    found = factor_regions(features, 4, (16, 16))
    assert found.count == 4
    assert min(_best_ious(found.labels, truth)) > 0.95


@pytest.mark.parametrize("factor", [10.0, 0.001])
def test_scale_and_repetition_change_nothing(factor: float) -> None:
    features, _ = _blocks(14, 10)
    base = factor_regions(features, 4, (56, 40))
    assert np.array_equal(base.labels, factor_regions(features * factor, 4, (56, 40)).labels)
    assert base.digest == factor_regions(features, 4, (56, 40)).digest


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    channels=st.integers(1, 12),
    height=st.integers(1, 12),
    width=st.integers(1, 12),
    k=st.integers(1, 16),
    size=st.tuples(st.integers(1, 90), st.integers(1, 90)),
    signed=st.booleans(),
)
def test_factor_regions_are_partitions_without_tiny_parts(
    seed: int, channels: int, height: int, width: int, k: int, size: tuple[int, int], signed: bool
) -> None:
    features = torch.randn(channels, height, width, generator=torch.Generator().manual_seed(seed))
    found = factor_regions(features if signed else features.relu(), k, size, seed=seed)
    assert _is_partition(found, size)
    assert 1 <= found.count <= max(1, min(k, height * width, channels))
    assert found.count == 1 or found.area.min() >= 0.01


@pytest.mark.parametrize("features", [torch.zeros(5, 4, 4), torch.full((5, 4, 4), 2.5), torch.full((5, 4, 4), -1.0)])
def test_a_map_without_variation_is_one_region(features: torch.Tensor) -> None:
    assert factor_regions(features, 6, (20, 30)).count == 1


def test_scores_of_merged_factors_are_summed_and_follow_the_new_numbers() -> None:
    features, truth = _blocks(12, 12)
    found = factor_regions(features, 4, (12, 12))
    assert found.scores is not None
    assert found.scores.shape == (found.count, 12, 12)
    assert (found.scores >= 0).all()
    inner = np.s_[1:-1, 1:-1]
    assert (found.scores.argmax(0)[inner] == found.labels[inner]).mean() > 0.98
    assert np.array_equal(found.labels[2:4, 2:4], truth[2:4, 2:4])


def test_large_grids_are_pooled_for_the_fit_only() -> None:
    features, truth = _blocks(48, 64)
    found = factor_regions(features, 4, (48, 64))
    assert min(_best_ious(found.labels, truth)) > 0.95


@pytest.mark.parametrize(
    ("rows", "cols", "size"), [(3, 3, (100, 97)), (1, 1, (5, 5)), (4, 6, (4, 6)), (2, 5, (31, 17))]
)
def test_a_grid_has_equal_cells_in_row_order(rows: int, cols: int, size: tuple[int, int]) -> None:
    found = grid_regions(rows, cols, size)
    assert _is_partition(found, size)
    assert found.count == rows * cols
    sizes = (found.boxes[:, 2] - found.boxes[:, 0], found.boxes[:, 3] - found.boxes[:, 1])
    assert all(np.ptp(side) <= 1 for side in sizes)
    assert np.array_equal(found.labels, np.sort(found.labels.ravel()).reshape(size)) or cols > 1


@pytest.mark.parametrize(("rows", "cols"), [(0, 2), (11, 2), (2, 21)])
def test_a_grid_finer_than_the_picture_is_refused(rows: int, cols: int) -> None:
    with pytest.raises(ValueError, match="cells"):
        grid_regions(rows, cols, (10, 20))


def test_superpixels_are_a_partition_of_at_most_24() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    found = slic_regions(picture, 40)
    assert _is_partition(found, (60, 80))
    assert found.count <= 24
    assert found.area.min() >= 0.01


def test_given_labels_with_gaps_negatives_and_specks_become_a_partition() -> None:
    labels = np.full((40, 50), 7)
    labels[:, 25:] = 90
    labels[:4] = -1
    labels[20, 20] = 3  # one pixel: too small to stand alone
    picture = np.zeros((40, 50, 3), np.uint8)
    picture[:, 25:] = 200
    found = label_regions(labels, picture, source="drawn by hand")
    assert _is_partition(found, (40, 50))
    assert found.count == 3
    assert found.labels[20, 20] == found.labels[20, 19]
    assert found.notes


@pytest.mark.parametrize("bad", [torch.zeros(4, 4), torch.zeros(0, 4, 4), torch.full((2, 3, 3), float("nan"))])
def test_features_that_are_no_map_are_refused(bad: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="features"):
        factor_regions(bad, 3, (9, 9))


def test_the_factorisation_is_as_close_as_scikit_learns() -> None:
    random = np.random.default_rng(1)
    rows = random.random((120, 5)) @ random.random((5, 30)) + 0.05 * random.random((120, 30))
    basis = factorise(rows, 5)
    ours = np.linalg.norm(rows - fold(rows, basis) @ basis)
    theirs = NMF(5, init="nndsvda", max_iter=500).fit(rows).reconstruction_err_
    assert (basis >= 0).all()
    assert (ours - theirs) / np.linalg.norm(rows) < 1e-3  # the stop rule is a relative error of this order


def test_folding_onto_the_true_basis_recovers_the_weights() -> None:
    random = np.random.default_rng(2)
    weights, basis = random.random((40, 3)), np.kron(np.eye(3), np.ones(4))
    assert np.allclose(fold(weights @ basis, basis), weights, atol=1e-8)
