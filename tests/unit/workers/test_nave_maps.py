"""Facts about label maps: matching, components, chance-corrected likeness, and the nested slider."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import linkage
from sklearn.metrics import adjusted_rand_score

from workers.methods._nave_maps import boundary_share, resample_labels, size_entropy
from workers.methods._nave_nested import _align_colours, palette_order
from workers.methods.nave import _adjusted_rand, _components, _ward_tables, cluster, match_labels

torch.set_num_threads(1)

SEEDS = st.integers(0, 10_000)


def random_map(seed: int, groups: int = 5, size: tuple[int, int] = (9, 11)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, groups, size)


# Matching


@given(seed=SEEDS, groups=st.integers(1, 8))
@settings(max_examples=30, deadline=None)
def test_matching_a_map_with_itself_or_renumbered_gives_the_map(seed: int, groups: int) -> None:
    reference = torch.from_numpy(random_map(seed, groups))
    assert torch.equal(match_labels(reference, reference), reference)
    numbers = torch.from_numpy(np.random.default_rng(seed).permutation(groups * 3)[:groups])
    assert torch.equal(match_labels(reference, numbers[reference]), reference)


def test_groups_without_a_partner_get_new_numbers_by_falling_area() -> None:
    reference = torch.tensor([0, 0, 0, 0, 0, 0, 0, 0])
    other = torch.tensor([5, 5, 5, 2, 9, 9, 2, 9])
    matched = match_labels(reference, other)
    # Groups 5 and 9 tie in area and overlap; one of them is matched, the other comes before the smaller 2.
    assert sorted(matched.unique().tolist()) == [0, 1, 2]
    assert (matched[[3, 6]] == 2).all()
    disjoint = match_labels(torch.tensor([3, 3, -1, -1]), torch.tensor([-1, -1, 0, 0]))
    assert disjoint.tolist() == [-1, -1, 4, 4]


def test_matching_maximises_the_sum_of_intersection_over_union() -> None:
    reference = torch.tensor([0] * 6 + [1] * 6)
    other = torch.tensor([0] * 5 + [1] * 2 + [0] * 5)  # group 0 overlaps both sides equally, group 1 one place each
    matched = match_labels(reference, other)
    overlaps = [(int(((matched == n) & (reference == n)).sum())) for n in (0, 1)]
    assert sorted(overlaps) == [1, 5]


def test_excluded_places_stay_excluded_and_do_not_count() -> None:
    reference = torch.tensor([[0, 0, 1, -1], [0, 1, 1, -1]])
    other = torch.tensor([[7, 7, 4, -1], [-1, 4, 4, -1]], dtype=torch.int16)
    matched = match_labels(reference, other)
    assert matched.tolist() == [[0, 0, 1, -1], [-1, 1, 1, -1]]
    assert matched.dtype == torch.int64
    nothing = torch.full((2, 2), -1)
    assert match_labels(nothing, nothing).tolist() == [[-1, -1], [-1, -1]]


def test_matching_refuses_other_shapes_and_other_types() -> None:
    with pytest.raises(ValueError, match="one shape"):
        match_labels(torch.zeros(2, 2, dtype=torch.int64), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(ValueError, match="whole numbers"):
        match_labels(torch.zeros(2), torch.zeros(2))


# Likeness


@given(seed=SEEDS, one=st.integers(1, 6), two=st.integers(1, 6))
@settings(max_examples=40, deadline=None)
def test_likeness_equals_scikit_learn(seed: int, one: int, two: int) -> None:
    first, second = random_map(seed, one), random_map(seed + 1, two)
    expected = adjusted_rand_score(first.reshape(-1), second.reshape(-1))
    assert _adjusted_rand(first, second) == pytest.approx(expected, abs=1e-12)


def test_likeness_is_1_for_renumbered_maps_and_for_one_group_and_about_0_by_chance() -> None:
    first = random_map(0)
    assert _adjusted_rand(first, (first + 3) % 5) == 1.0
    assert _adjusted_rand(np.zeros(9, int), np.zeros(9, int)) == 1.0
    assert _adjusted_rand(np.full(4, -1), np.full(4, -1)) == 1.0
    values = [_adjusted_rand(random_map(seed), random_map(seed + 500)) for seed in range(60)]
    assert abs(float(np.mean(values))) < 0.01


def test_likeness_ignores_places_excluded_in_either_map() -> None:
    first, second = np.array([0, 0, 1, 1, -1, 2]), np.array([1, 1, 0, 0, 5, -1])
    assert _adjusted_rand(first, second) == 1.0


# Components


def test_a_component_of_784_pixels_is_dropped_and_one_of_785_kept() -> None:
    labels = np.full((120, 120), -1)
    labels[20:48, 20:48] = 0
    assert _components(labels) == []
    labels[48, 20] = 0
    assert [int(part.sum()) for part in _components(labels)] == [785]


def test_diagonal_contact_does_not_connect() -> None:
    labels = np.full((120, 120), -1)
    labels[20:50, 20:50] = labels[50:80, 50:80] = 0
    assert [int(part.sum()) for part in _components(labels)] == [900, 900]


def test_the_border_is_blanked_after_the_area_test_without_new_numbers() -> None:
    labels = np.full((100, 100), -1)
    labels[0:30, 0:30] = 0  # 900 pixels, of which 16 x 16 lie inside
    labels[86:100, :] = 1  # large, but wholly in the border
    parts = _components(labels)
    assert [int(part.sum()) for part in parts] == [16 * 16]
    bridge = np.full((100, 100), -1)
    bridge[5:60, 20:30] = bridge[5:60, 60:70] = bridge[5:10, 20:70] = 2  # two legs joined within the border
    assert [int(part.sum()) for part in _components(bridge)] == [2 * 46 * 10]


def test_a_component_needs_one_group() -> None:
    labels = np.zeros((100, 100), dtype=int)
    labels[:, 50:] = 1
    assert sorted(int(part.sum()) for part in _components(labels)) == [72 * 36, 72 * 36]


# Other numbers of a map


def test_boundary_share_counts_neighbours_with_other_labels() -> None:
    assert boundary_share(np.array([[0, 0], [1, 1]])) == 0.5
    assert boundary_share(np.array([[0, -1], [0, 1]])) == pytest.approx(1 / 2)
    assert boundary_share(np.zeros((3, 3), int)) == 0.0
    assert boundary_share(np.array([[4]])) == 0.0


def test_size_entropy_is_1_for_equal_groups_and_0_for_one() -> None:
    assert size_entropy(np.array([0, 1, 2, 3]), 4) == pytest.approx(1)
    assert size_entropy(np.array([0, 0, 0, -1]), 4) == 0.0
    assert size_entropy(np.array([0, 1]), 1) == 0.0


def test_resampling_by_whole_ratios_gives_exact_blocks_and_no_new_values() -> None:
    labels = np.array([[0, 5], [7, 2], [3, 3]])
    assert np.array_equal(resample_labels(labels, (9, 8)), labels.repeat(3, axis=0).repeat(4, axis=1))
    assert set(np.unique(resample_labels(random_map(0), (23, 17)))) <= set(range(5))


# Nested tables


def nested_case(seed: int, base: int = 12) -> tuple[np.ndarray, np.ndarray, float, float, torch.Tensor]:
    features = torch.from_numpy(np.random.default_rng(seed).normal(size=(150, 6)))
    found = cluster(features, base)
    total = float((features - features.mean(dim=0)).square().sum())
    first = np.unique(found.labels.numpy(), return_index=True)[1]
    return found.centroids.numpy(), first, found.inertia, total, found.labels


@pytest.mark.parametrize("seed", range(4))
def test_nested_maps_are_merges_with_falling_detail_and_costs_that_add_up(seed: int) -> None:
    centroids, first, inertia, total, labels = nested_case(seed)
    sizes = np.bincount(labels.numpy())
    tables = _ward_tables(centroids, sizes, first, inertia=inertia, total=total)
    count = len(sizes)
    assert inertia + tables.costs.sum() == pytest.approx(total, rel=1e-6)
    assert (np.diff(tables.explained) >= -1e-7).all()
    assert tables.explained[0] == 0
    assert tables.explained[-1] == pytest.approx(1 - inertia / total, abs=1e-6)
    for groups in range(1, count + 1):
        row = tables.lut[groups - 1]
        assert sorted(set(row.tolist())) == list(range(groups))
        areas = np.bincount(row[labels.numpy()])
        assert (np.diff(areas) <= 0).all()
        if groups < count:
            parents = {(finer, coarser) for finer, coarser in zip(tables.lut[groups], row, strict=True)}
            assert len(parents) == groups + 1  # every finer group lies in one coarser group
    assert tables.lut[-1].tolist() == list(range(count))


@pytest.mark.parametrize("seed", range(4))
def test_merge_costs_are_those_of_ward(seed: int) -> None:
    rows = np.random.default_rng(seed).normal(size=(12, 4))
    total = float(((rows - rows.mean(axis=0)) ** 2).sum())
    tables = _ward_tables(rows, np.ones(12, np.int64), np.arange(12), inertia=0.0, total=total)
    heights = linkage(rows, method="ward")[:, 2]
    assert np.allclose(np.sort(tables.costs), np.sort(heights**2 / 2), atol=1e-10)


@pytest.mark.parametrize("seed", range(4))
def test_one_group_changes_colour_per_merge_and_the_larger_part_keeps_its_own(seed: int) -> None:
    centroids, first, inertia, total, labels = nested_case(seed)
    sizes = np.bincount(labels.numpy())
    tables = _ward_tables(centroids, sizes, first, inertia=inertia, total=total)
    colours = _align_colours(tables.appearance, {0: 2, 3: 0}, palette_order(5))
    for groups in range(1, len(sizes)):
        fine, coarse = colours[groups], colours[groups - 1]
        changed = np.unique(fine[fine != coarse])
        assert len(changed) == 1  # one colour ends with each merge
        heir = np.unique(coarse[fine == changed[0]])
        assert len(heir) == 1
        assert sizes[fine == heir[0]].sum() >= sizes[fine == changed[0]].sum()
        assert len(np.unique(fine)) == groups + 1


def test_colours_of_the_slider_follow_the_exact_map_where_groups_match() -> None:
    appearance = np.array([[0, 0, 0], [0, 1, 0], [0, 1, 2]], dtype=np.uint8)
    colours = _align_colours(appearance, {1: 0, 0: 1}, palette_order(2))
    assert colours.tolist() == [[0, 0, 0], [0, 4, 0], [0, 4, 1]]


def test_the_largest_group_gets_the_palest_colour_in_use() -> None:
    assert palette_order(1) == [4]
    assert palette_order(5) == [4, 0, 1, 2, 3]
    assert palette_order(7) == [4, 0, 1, 2, 3, 5, 6]
    assert palette_order(8)[0] == 7  # yellow is paler, and in use from eight groups on
    for count in range(1, 21):
        assert len(set(palette_order(count))) == count
        assert max(palette_order(count)) <= 19


def test_a_single_base_group_has_a_table_of_one() -> None:
    tables = _ward_tables(np.zeros((1, 3)), np.array([9]), np.array([0]), inertia=0.0, total=0.0)
    assert tables.lut.tolist() == [[0]]
    assert tables.explained.tolist() == [0.0]
    assert len(tables.costs) == 0
