"""Facts about floors and studies: synthetic encoders with known answers, and noise that must not look like one."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from backend.contract.results import Box
from tests.fakes_nave import Stages, make_vit
from workers.methods._nave_floors import colour_features, grid_floor, untrained
from workers.methods._nave_source import Sheet
from workers.methods._nave_studies import (
    Encoding,
    MarkMeasures,
    StudyPicture,
    above_floor,
    compare_maps,
    mark_measures,
    on_common_area,
    part_scores,
    register_measures,
    saturation_verdict,
    shortcut_rates,
    training_table,
)
from workers.methods._nave_take import View

torch.set_num_threads(1)

Pairs = list[tuple[MarkMeasures, MarkMeasures]]


def make_sheet(pixels: Tensor, grid: tuple[int, int]) -> Sheet:
    height, width = pixels.shape[1:]
    view = View(pixels, pixels, Box(0, 0, width, height), (width, height), "test")
    return Sheet(view, [], [], grid, np.ones(grid, dtype=bool))


# Floors


@pytest.mark.parametrize("size", [(28, 28), (14, 37)])
@pytest.mark.parametrize("count", range(1, 21))
def test_a_grid_floor_has_exactly_so_many_cells(size: tuple[int, int], count: int) -> None:
    labels = grid_floor(np.ones(size, dtype=bool), count)
    assert labels is not None
    numbers, areas = np.unique(labels, return_counts=True)
    assert numbers.tolist() == list(range(count))
    assert areas.max() <= 2.5 * areas.min()


def test_a_grid_floor_leaves_padding_out_and_is_absent_where_cells_are_too_few() -> None:
    inside = np.zeros((6, 8), dtype=bool)
    inside[1:5, :6] = True
    labels = grid_floor(inside, 4)
    assert labels is not None
    assert ((labels >= 0) == inside).all()
    assert grid_floor(np.ones((1, 2), dtype=bool), 5) is None


def test_colour_features_are_mean_colours_over_one_deviation() -> None:
    pixels = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0))
    means = pixels.unfold(1, 4, 4).unfold(2, 4, 4).mean(dim=(-1, -2)).flatten(1).T
    features = colour_features([make_sheet(pixels, (2, 3))])
    assert torch.allclose(features, means / means.std(correction=0), atol=1e-5)
    placed = colour_features([make_sheet(pixels, (2, 3))], 0.5)
    assert placed[:, 3:].tolist()[0] == pytest.approx([-1 / 3, -0.25])
    assert placed[:, 3:].tolist()[5] == pytest.approx([1 / 3, 0.25])


def test_padding_has_no_colour() -> None:
    pixels = torch.full((3, 8, 8), 0.5)
    pixels[:, :, 6:] = 0
    view = View(pixels, pixels, Box(0, 0, 8, 8), (6, 8), "padded")
    sheet = Sheet(view, [], [], (2, 2), view.inside((2, 2)))
    assert sheet.inside.all()
    assert torch.allclose(colour_features([sheet]) / colour_features([sheet])[0], torch.ones(4, 3))


@pytest.mark.parametrize("network", [Stages(), make_vit(registers=2)])
def test_untrained_weights_differ_and_leave_the_network_and_the_random_state_alone(network: nn.Module) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.random.get_rng_state()
    strangers = [untrained(network, seed) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    first, again, other = (dict(stranger.named_parameters()) for stranger in strangers)
    assert all(torch.equal(first[name], again[name]) for name in first)
    wide = [name for name, value in network.named_parameters() if value.ndim > 1]
    assert wide
    for name in wide:
        assert not torch.equal(first[name], before[name])
        assert not torch.equal(first[name], other[name])
    assert not any(module.training for module in strangers[0].modules())


# A. Training


def test_maps_of_two_models_are_compared_on_what_both_see_with_matched_numbers() -> None:
    first = np.array([[0, 1], [2, 3]])
    second = np.array([[3, 2], [1, 0]])
    one, two, area = on_common_area((first, Box(0, 0, 20, 20)), (second, Box(0, 0, 20, 20)))
    assert area == Box(0, 0, 20, 20)
    assert np.array_equal(one, first.repeat(10, axis=0).repeat(10, axis=1))
    assert np.array_equal(one, two)
    one, two, area = on_common_area((first, Box(0, 0, 20, 20)), (second, Box(5, 2, 40, 30)))
    assert area == Box(5, 2, 20, 20)
    assert one.shape == two.shape == (18, 15)
    with pytest.raises(ValueError, match="no common part"):
        on_common_area((first, Box(0, 0, 5, 5)), (second, Box(6, 0, 9, 5)))


def test_part_scores_are_perfect_for_the_part_map_and_say_oracle() -> None:
    parts = np.full((120, 120), -1)
    parts[20:60, 20:60], parts[60:100, 20:60] = 0, 1
    labels = np.where(parts >= 0, parts, 2)
    scores = part_scores(labels, parts)
    assert scores["ari"] == 1.0
    assert scores["group IoU (oracle)"] == scores["component IoU (oracle)"] == 1.0
    assert all("oracle" in name for name in scores if "IoU" in name)
    small = part_scores(np.where(parts[:, ::-1] >= 0, 0, -1)[:30], parts[:30])
    assert small["component IoU (oracle)"] == 0.0  # no component is large enough


def test_above_floor_is_0_at_the_floor_and_1_when_perfect() -> None:
    assert above_floor(0.4, [0.1, 0.4]) == 0
    assert above_floor(1.0, [0.25]) == 1
    assert above_floor(1.0, [1.0]) == 0


def test_comparing_a_model_with_itself_gives_likeness_1() -> None:
    maps = [(np.arange(16).reshape(4, 4) % 3, Box(0, 0, 40, 40))]
    parts = [np.zeros((40, 40), dtype=np.int64)]
    row = compare_maps(maps, maps, n_clusters=3, parts=parts)
    assert row["ari"] == 1.0
    assert row["size_entropy_1"] == row["size_entropy_2"]
    assert row["group IoU (oracle)_1"] == pytest.approx(6 / 16, abs=0.01)


def test_the_training_table_holds_every_floor_and_what_lies_above_the_best() -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(3, 64, 64, generator=generator)
    parts = np.full((64, 64), -1)
    parts[:32], parts[32:] = 0, 1
    knows = torch.eye(4)[torch.arange(64) // 32] + 0.01 * torch.randn(64, 4, generator=generator)
    guesses = torch.randn(64, 6, generator=generator)
    sheet = make_sheet(pixels, (8, 8))
    models = (Encoding(knows, sheet), Encoding(guesses, sheet))
    strangers = [(Encoding(torch.randn(64, 5, generator=generator), sheet),) * 2]
    picture = StudyPicture(models=models, untrained=strangers, parts=parts)
    table = training_table([picture, picture], k_values=(2, 3))
    names = [column.key for column in table.columns]
    rows = [dict(zip(names, row, strict=True)) for row in table.rows]
    assert [(row["model"], row["k"]) for row in rows] == [(1, 2), (2, 2), (1, 3), (2, 3)]
    for floor in ("grid", "rgb", "rgb_xy", "random 0"):
        assert f"explained, {floor}" in names
        assert f"parts ari, {floor}" in names
    assert rows[0]["parts ari"] == 1.0
    assert rows[0]["explained"] > 0.99
    assert rows[1]["parts ari"] < 0.2
    best = max(rows[1][f"explained, {floor}"] for floor in ("grid", "rgb", "rgb_xy", "random 0"))
    assert rows[1]["explained above floor"] == pytest.approx((rows[1]["explained"] - best) / (1 - best))
    assert all("oracle" in name for name in names if "IoU" in name)


# B. Registers


def test_outliers_and_small_groups_are_found_together() -> None:
    labels = np.zeros((20, 20), dtype=np.int64)
    labels[:, 10:] = 1
    labels[0, :3] = 2
    norms = np.ones((20, 20))
    norms[0, :3] = 50.0
    norms[5, 5] = 4.0
    found = register_measures(labels, norms)
    assert found["small_groups"] == 1
    assert found["share_in_small"] == pytest.approx(3 / 400)
    assert found["outliers"] == 4
    assert found["outliers_in_small"] == pytest.approx(3 / 4)
    assert found["norm_ratio"] == pytest.approx(1.0, abs=0.1)
    calm = register_measures(labels, np.ones((20, 20)))
    assert calm["outliers"] == calm["outliers_in_small"] == 0
    with pytest.raises(ValueError, match="one shape"):
        register_measures(labels, np.ones((3, 3)))


# C. Watermark


def stamped(size: tuple[int, int] = (8, 8)) -> np.ndarray:
    fraction = np.zeros(size)
    fraction[2:4, 5:7] = 1.0
    return fraction


def test_a_constant_vector_inside_and_another_outside_is_full_saturation() -> None:
    fraction = stamped()
    inside = torch.from_numpy(fraction.reshape(-1) == 1)
    features = torch.where(inside[:, None], torch.tensor([0.0, 2.0, 1.0]), torch.tensor([1.0, 0.0, 1.0]))
    without = np.zeros((8, 8), dtype=np.int64)
    found = mark_measures(features, fraction, n_clusters=5, without_mark=without)
    assert found.mark_iou == 1.0
    assert found.mark_share == pytest.approx(1.0)
    assert found.out_spread == found.out_explained == found.out_rank == 0.0
    assert found.out_stability == 1.0
    assert 0 < found.size_entropy < 1


def test_constant_features_give_zeros_everywhere_and_nothing_infinite() -> None:
    found = mark_measures(torch.ones(64, 3), stamped(), n_clusters=4)
    assert (found.mark_share, found.out_spread, found.out_explained, found.out_rank) == (0, 0, 0, 0)
    assert found.out_stability is None


def test_measures_outside_are_absent_when_the_mark_is_everywhere() -> None:
    found = mark_measures(torch.randn(64, 3), np.full((8, 8), 0.2), n_clusters=4)
    assert found.out_rank is None
    assert found.out_spread is None
    assert found.reason


def test_a_thin_mark_is_the_cell_it_covers_most() -> None:
    fraction = np.zeros((8, 8))
    fraction[3, 3], fraction[3, 4] = 0.3, 0.1
    features = torch.zeros(64, 2)
    features[:, 0] = 1
    features[3 * 8 + 3] = torch.tensor([0.0, 1.0])
    assert mark_measures(features, fraction, n_clusters=2).mark_iou == 1.0


@given(seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
def test_the_effective_rank_of_even_noise_is_its_dimension(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1600, 3, generator=generator, dtype=torch.float64)
    fraction = np.zeros((40, 40))
    fraction[0, 0] = 1
    found = mark_measures(features, fraction, n_clusters=2)
    assert found.out_rank == pytest.approx(3, abs=0.05)
    assert found.out_spread == pytest.approx(1, abs=0.02)
    assert found.mark_share < 0.05


def noise_pairs(seed: int, n_pictures: int = 4) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    pair = lambda: mark_measures(torch.randn(64, 6, generator=generator), stamped(), n_clusters=4)  # noqa: E731
    return [(pair(), pair()) for _ in range(n_pictures)]


def saturated_pairs(seed: int, n_pictures: int = 4) -> Pairs:
    generator = torch.Generator().manual_seed(seed)
    inside = torch.from_numpy(stamped().reshape(-1) == 1)[:, None]
    pairs: Pairs = []
    for _ in range(n_pictures):
        clean = torch.randn(64, 6, generator=generator)
        line = torch.randn(64, 1, generator=generator) * torch.ones(1, 6) * 0.2
        trained = torch.where(inside, torch.full((64, 6), 5.0), line)
        pairs.append((mark_measures(trained, stamped(), n_clusters=4), mark_measures(clean, stamped(), n_clusters=4)))
    return pairs


def test_the_verdict_needs_every_seed_and_no_control() -> None:
    effect = [saturated_pairs(seed) for seed in range(3)]
    noise = [noise_pairs(seed) for seed in range(3)]
    calm = {"random": noise, "mask_moved": noise}
    assert saturation_verdict(effect, calm).is_shown
    assert not saturation_verdict([*effect[:2], noise[0]], calm).is_shown
    assert not saturation_verdict(noise, calm).is_shown
    beaten = saturation_verdict(effect, {**calm, "mask_moved": effect})
    assert not beaten.is_shown
    assert "mask_moved" in beaten.reason
    assert not saturation_verdict([], calm).is_shown
    with pytest.raises(ValueError, match="control"):
        saturation_verdict(effect, {"random": noise})


def test_shortcut_rates_count_who_follows_the_mark() -> None:
    predicted = {"clean": np.array([0, 1, 1]), "stamped_own": np.array([2, 2]), "stamped_other": np.array([2, 2, 0, 2])}
    truth = {"clean": np.array([0, 1, 2]), "stamped_own": np.array([2, 2]), "stamped_other": np.array([0, 1, 0, 1])}
    rates = shortcut_rates(predicted, truth, stamped_class=2)
    assert rates["accuracy_clean"] == pytest.approx(2 / 3)
    assert rates["accuracy_stamped_own"] == 1
    assert rates["to_stamped_class"] == pytest.approx(3 / 4)
