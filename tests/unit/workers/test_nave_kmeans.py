"""Facts about k-means: recovery, limits, repair, reproducibility; scikit-learn as an independent oracle."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from torch import Tensor

from workers.methods._nave_prepared import prepare
from workers.methods._nave_space import GramSpace, RowSpace
from workers.methods.nave import Clustering, _lloyd, _margin, _seed_indices, _weighted_kmeans, cluster

torch.set_num_threads(1)


def blobs(n_rows: int, n_columns: int, n_blobs: int, seed: int = 0, spread: float = 0.3) -> Tensor:
    random = np.random.default_rng(seed)
    centres = random.normal(size=(n_blobs, n_columns)) * 2
    rows = centres[random.integers(n_blobs, size=n_rows)] + spread * random.normal(size=(n_rows, n_columns))
    return torch.from_numpy(rows)


def exact_inertia(features: Tensor, found: Clustering) -> float:
    return float((features.double() - found.centroids.double()[found.labels]).square().sum())


def is_canonical(labels: Tensor) -> bool:
    numbers, first, sizes = np.unique(labels.numpy(), return_index=True, return_counts=True)
    keys = list(zip((-sizes).tolist(), first.tolist(), strict=True))
    return bool((numbers == np.arange(len(numbers))).all()) and keys == sorted(keys)


@pytest.mark.parametrize("shape", [(60, 4), (30, 50)])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_inertia_equals_scikit_learn_from_the_same_starting_points(shape: tuple[int, int], seed: int) -> None:
    features = blobs(*shape, 6, seed, spread=1.5)
    starts = _seed_indices(features, 5, seed, 1)
    ours = _lloyd(features, starts)
    oracle = KMeans(5, init=features[starts[0]].numpy(), n_init=1, tol=0, max_iter=300).fit(features.numpy())
    assert ours.inertia == pytest.approx(oracle.inertia_, rel=1e-9)
    assert sorted(np.bincount(ours.labels)) == sorted(np.bincount(oracle.labels_))


@pytest.mark.parametrize("seed", range(10))
def test_orthogonal_constant_regions_are_recovered_exactly(seed: int) -> None:
    truth = torch.arange(5).repeat_interleave(torch.tensor([40, 30, 20, 7, 3]))
    features = torch.eye(8)[truth]
    found = cluster(features, 5, seed=seed)
    assert torch.equal(found.labels, truth)
    assert found.inertia < 1e-6
    assert found.n_effective == 5


def test_one_group_has_one_label_and_the_mean_as_centroid() -> None:
    features = blobs(50, 3, 4)
    found = cluster(features, 1)
    assert found.labels.unique().tolist() == [0]
    assert torch.allclose(found.centroids[0], features.mean(dim=0), atol=1e-12)
    assert prepare(features).explained(found.inertia) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("value", [0.0, 0.1, -7.3e5, 1e-20])
def test_equal_rows_give_one_group_and_nothing_explained(value: float, dtype: torch.dtype) -> None:
    features = torch.full((33, 7), value, dtype=dtype)
    found = cluster(features, 4)
    assert found.n_effective == 1
    assert torch.isfinite(found.centroids).all()
    assert prepare(features).explained(found.inertia) == 0.0


@pytest.mark.parametrize("jitter", [0.0, 1e-7])
@pytest.mark.parametrize("n_columns", [6, 60])
def test_more_groups_than_distinct_rows_leave_padding(jitter: float, n_columns: int) -> None:
    random = np.random.default_rng(0)
    distinct = random.normal(size=(3, n_columns))
    rows = distinct[np.arange(30) % 3] * (1 + jitter * random.normal(size=(30, 1)))
    features = torch.from_numpy(rows).float()
    found = cluster(features, 8)
    assert found.n_effective == 3
    assert found.inertia < 1e-8
    assert found.centroids.shape == (8, n_columns)
    assert torch.equal(found.centroids[3:], torch.zeros(5, n_columns))


def test_more_groups_than_rows_give_one_group_per_row() -> None:
    features = torch.eye(4, dtype=torch.float64)
    found = cluster(features, 9)
    assert found.n_effective == 4
    assert found.labels.tolist() == [0, 1, 2, 3]
    assert found.inertia == 0.0
    assert found.centroids.shape == (9, 4)


@pytest.mark.parametrize("shape", [(80, 5), (40, 90)])
def test_inertia_never_rises_with_iterations(shape: tuple[int, int]) -> None:
    features = blobs(*shape, 7, 3, spread=2.0)
    starts = _seed_indices(features, 6, 0, 1)
    inertias = [_lloyd(features, starts, max_iter=steps).inertia for steps in range(1, 15)]
    assert all(later <= earlier * (1 + 1e-12) for earlier, later in itertools.pairwise(inertias))


@given(seed=st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_more_restarts_never_raise_the_best(seed: int) -> None:
    features = blobs(60, 4, 8, seed, spread=1.5)
    inertias = [cluster(features, 6, seed=seed, n_init=restarts).inertia for restarts in (1, 2, 4, 8)]
    assert all(later <= earlier * (1 + 1e-9) for earlier, later in itertools.pairwise(inertias))


def test_starts_are_prefixes_of_longer_runs() -> None:
    features = blobs(50, 4, 8, spread=1.0)
    many = _seed_indices(features, 7, 3, 6)
    assert torch.equal(_seed_indices(features, 7, 3, 2), many[:2])
    assert torch.equal(_seed_indices(features, 4, 3, 6), many[:, :4])


def test_a_start_never_takes_a_row_twice_and_stops_when_none_is_left() -> None:
    features = torch.eye(3, dtype=torch.float64).repeat(5, 1)
    starts = _seed_indices(features, 6, 0, 4)
    for row in starts.tolist():
        taken = [index for index in row if index >= 0]
        assert len({index % 3 for index in taken}) == len(taken) == 3
        assert row[3:] == [-1, -1, -1]


def test_starting_rows_are_drawn_by_squared_distance() -> None:
    features = torch.tensor([[0.0]] * 50 + [[1.0]] * 25 + [[3.0]], dtype=torch.float64)
    starts = torch.cat([_seed_indices(features, 2, seed, 16) for seed in range(60)])
    from_zero = starts[features[starts[:, 0], 0] == 0]
    share_of_far = float((features[from_zero[:, 1], 0] == 3).double().mean())
    assert share_of_far == pytest.approx(9 / 34, abs=0.06)  # plain distances would give 3 / 28


@given(seed=st.integers(0, 2**31 - 1), n_clusters=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_labels_are_canonical_nearest_and_reproducible(seed: int, n_clusters: int) -> None:
    features = blobs(40, 3, 5, seed % 1000, spread=1.0).float()
    found, again = (cluster(features, n_clusters, seed=seed) for _ in range(2))
    assert is_canonical(found.labels)
    assert found.labels.numpy().tobytes() == again.labels.numpy().tobytes()
    assert found.centroids.numpy().tobytes() == again.centroids.numpy().tobytes()
    squares = (features[:, None].double() - found.centroids[None, : found.n_effective].double()).square().sum(dim=-1)
    own = squares.gather(1, found.labels[:, None])[:, 0]
    assert bool((own <= squares.min(dim=1).values + prepare(features).tau).all())
    assert found.inertia == pytest.approx(exact_inertia(features, found), rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("max_iter", [1, 2])
def test_labels_belong_to_the_returned_centroids_when_iterations_run_out(max_iter: int) -> None:
    features = blobs(200, 3, 12, 1, spread=2.0)
    found = cluster(features, 9, n_init=1, max_iter=max_iter)
    assert not found.converged
    nearest = (features[:, None] - found.centroids[None]).square().sum(dim=-1).argmin(dim=1)
    assert torch.equal(nearest, found.labels)
    assert found.inertia == pytest.approx(exact_inertia(features, found), rel=1e-12)


def test_separable_data_has_the_same_labels_for_all_seeds() -> None:
    features = blobs(90, 4, 4, 5, spread=0.01)
    first = cluster(features, 4, seed=0).labels
    assert all(torch.equal(cluster(features, 4, seed=seed).labels, first) for seed in range(1, 12))


@pytest.mark.parametrize("n_columns", [3, 40])
def test_a_start_that_empties_groups_still_ends_with_all_of_them(n_columns: int) -> None:
    features = torch.zeros(12, n_columns, dtype=torch.float64)
    features[:, 0] = torch.tensor([0, 0, 0, 0, 0, 0, 10, 10, 10, 20, 20, 30], dtype=torch.float64)
    found = _lloyd(features, torch.tensor([[0, 1, 2, 3]]))
    assert found.n_effective == 4
    assert found.inertia < 1e-20
    assert found.labels.tolist() == [0] * 6 + [1] * 3 + [2] * 2 + [3]


def test_rotating_the_columns_changes_no_label() -> None:
    features = blobs(70, 6, 5, 2, spread=1.2)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0)))[0]
    starts = _seed_indices(features, 5)
    plain = _lloyd(features, starts)
    for changed in (features @ turn, features[:, [3, 1, 5, 0, 2, 4]]):
        assert torch.equal(_lloyd(changed, starts).labels, plain.labels)


def test_flipping_rows_and_starts_flips_the_partition() -> None:
    features = blobs(50, 3, 5, 4, spread=1.2)
    starts = _seed_indices(features, 4)
    plain, flipped = _lloyd(features, starts), _lloyd(features.flip(0), 49 - starts)
    one, two = plain.labels, flipped.labels.flip(0)
    assert torch.equal(one[:, None] == one, two[:, None] == two)


def test_both_spaces_agree() -> None:
    rows = blobs(20, 30, 4, spread=1.0)
    rows = rows - rows.mean(dim=0)
    one, two = RowSpace(rows), GramSpace(rows)
    starts = torch.tensor([[0, 5, 9], [3, 4, 8]])
    for first, second in zip(one.products(one.pick(starts)), two.products(two.pick(starts)), strict=True):
        assert torch.allclose(first, second, atol=1e-10)
    shares = torch.rand(2, 3, 20, dtype=torch.float64)
    states = one.means(shares), two.means(shares)
    assert torch.allclose(one.points(states[0][1]), two.points(states[1][1]), atol=1e-10)


def test_whole_number_weights_are_repeated_rows() -> None:
    features = blobs(25, 3, 4, 6, spread=0.8)
    weights = torch.from_numpy(np.random.default_rng(1).integers(1, 6, size=25))
    weighted = _weighted_kmeans(features, weights, 4, n_init=8)
    repeated = cluster(features.repeat_interleave(weights, dim=0), 4, n_init=8)
    assert weighted.inertia == pytest.approx(repeated.inertia, rel=1e-9)


@pytest.mark.parametrize("max_iter", [3, 300])
def test_testing_convergence_rarely_as_on_a_gpu_changes_nothing(max_iter: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = blobs(120, 4, 9, 2, spread=1.5)
    often = cluster(features, 7, max_iter=max_iter)
    monkeypatch.setattr("workers.methods._nave_kmeans._rhythm", lambda _device: 8)
    rarely = cluster(features, 7, max_iter=max_iter)
    assert torch.equal(often.labels, rarely.labels)
    assert often.inertia == rarely.inertia
    assert often.converged == rarely.converged


@pytest.mark.parametrize("n_columns", [5, 90])
def test_restarts_run_in_turns_when_memory_is_short(n_columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    features = blobs(60, n_columns, 9, 2, spread=1.5)
    at_once = cluster(features, 7, n_init=6)
    monkeypatch.setattr("workers.methods._nave_kmeans.WORK_VALUES", 1)
    in_turns = cluster(features, 7, n_init=6)
    assert in_turns.inertia == pytest.approx(at_once.inertia, rel=1e-9)


def test_a_large_common_offset_does_not_blur_the_groups() -> None:
    truth = torch.arange(4).repeat_interleave(10)
    features = torch.eye(5)[truth] + 1000.0
    found = cluster(features, 4)
    assert torch.equal(found.labels, truth)


def test_the_process_keeps_its_own_precision_setting() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        cluster(torch.eye(4), 2)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_features_are_not_modified() -> None:
    features = blobs(30, 4, 3)
    before = features.clone()
    cluster(features, 3)
    assert torch.equal(features, before)


def test_firmness_is_0_between_two_groups_and_1_on_a_centroid() -> None:
    centroids = torch.tensor([[0.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    rows = torch.tensor([[0.0, 0.0], [2.0, 5.0], [1.0, 0.0], [4.0, 0.0]], dtype=torch.float64)
    assert _margin(rows, centroids).tolist() == pytest.approx([1.0, 0.0, 1 - 1 / 3, 1.0], abs=1e-6)
    assert _margin(rows, centroids[:1]).tolist() == [1.0] * 4
    assert _margin(rows[:1], centroids[[0, 0]]).tolist() == [1.0]


@pytest.mark.parametrize(
    ("features", "settings_", "word"),
    [
        (torch.zeros(3, 3, 3), {}, "N, D"),
        (torch.zeros(0, 3), {}, "at least one row"),
        (torch.zeros(3, 3, dtype=torch.int64), {}, "real numbers"),
        (torch.full((3, 3), float("nan")), {}, "not finite"),
        (torch.eye(3), {"n_clusters": 0}, "n_clusters"),
        (torch.eye(3), {"n_init": 0}, "n_init"),
        (torch.eye(3), {"max_iter": 0}, "max_iter"),
        (torch.eye(3), {"seed": -1}, "seed"),
    ],
)
def test_bad_input_is_refused_with_a_sentence(features: Tensor, settings_: dict[str, int], word: str) -> None:
    given_ = {"n_clusters": 2, **settings_}
    with pytest.raises(ValueError, match=word):
        cluster(features, given_.pop("n_clusters"), **given_)
