"""PAMI: passes, partial maps, rounds, early stop, precision and the parts of its result."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backend.contract.results import Box
from tests.fakes_engine import Constant, Counted, make_context, make_model, make_network, noise_picture
from tests.fakes_pami import PRESETS, SIZE, array, cut_in_thread, explain, use_three_views
from workers.method import Result
from workers.methods import pami as pami_module
from workers.methods._pami_parts import _box, _crosses_seam
from workers.methods.pami import Pami, PamiParams, aggregate


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_in_thread(monkeypatch)


@pytest.fixture
def three_views(monkeypatch: pytest.MonkeyPatch) -> None:
    use_three_views(monkeypatch)


@pytest.mark.parametrize("preset", ["fast", "standard"])
def test_the_stored_map_is_the_aggregate_of_the_stored_parts(preset: str) -> None:
    result = explain(make_network(), classes=4, preset=preset, keep_scores=True)
    labels = torch.from_numpy(array(result, "all_labels").astype(np.int64))
    counts = [int(labels_of.max()) + 1 for labels_of in labels]
    rows = torch.split(torch.from_numpy(array(result, "region_scores")), counts)
    np.testing.assert_allclose(aggregate(labels, rows).numpy(), array(result, "maps"), atol=1e-6)
    every = torch.split(torch.from_numpy(array(result, "all_scores")), counts)
    kept = array(result, "kept_classes")
    np.testing.assert_allclose(aggregate(labels, every).numpy()[kept], array(result, "maps"), atol=1e-3)
    assert set(array(result, "coverage").ravel()) == {len(labels)}


def expected_passes(result: Result, views: int, rounds: int = 1) -> int:
    """The formula of the specification, from the stored labels."""
    index, labels = array(result, "region_index"), array(result, "all_labels")
    total, seen, at = 2 * views, set(), 0
    for row in labels:
        count = int(row.max()) + 1
        identity = (int(index[at][1]), row.tobytes())
        if count > 1 and identity not in seen:
            total += count
        seen.add(identity)
        at += count
    assert at == len(index)
    return total


@pytest.mark.parametrize(("preset", "views"), [("fast", 1), ("standard", 5), ("thorough", 3)])
def test_not_one_pass_more_than_needed_is_made(preset: str, views: int, three_views: None) -> None:
    result = explain(make_network(), classes=4, preset=preset, keep_scores=True)
    assert result.scalars["passes"] == expected_passes(result, views)
    assert result.scalars["views_used"] == views


def test_the_window_preset_makes_one_pass_per_disc_and_two_more() -> None:
    result = explain(make_network(), classes=4, preset="window")
    assert result.scalars["passes"] == len(array(result, "centres")) + 2
    assert result.scalars["passes"] == Pami().cost(
        make_model(make_network(), size=SIZE).card, PamiParams(preset="window")
    )
    assert array(result, "region_index")[0].tolist()[:4] == [1, 0, -1, 0]


def test_equal_partitions_are_scored_once_and_painted_as_often_as_they_occur() -> None:
    flat = np.full((*SIZE, 3), 120, np.uint8)
    result = explain(make_network(), flat, classes=4, keep_scores=True)
    labels = array(result, "all_labels")
    distinct = {row.tobytes(): int(row.max()) + 1 for row in labels}
    assert len(distinct) < 20
    assert result.scalars["passes"] == 2 + sum(count for count in distinct.values() if count > 1)
    assert int(array(result, "coverage").max()) == 20


def test_the_model_sees_the_pictures_pixels_in_the_second_round_too(three_views: None) -> None:
    network = Counted(make_network())
    pixels = noise_picture(SIZE)
    explain(network, pixels, classes=4, preset="thorough", substrate="black", batch_size=64)
    values = set(np.unique(torch.cat(network.batches).mul(255).round().numpy().astype(int)).tolist())
    assert values <= set(np.unique(pixels).tolist()) | {0}


def test_a_flat_first_map_skips_the_second_round_and_says_so() -> None:
    result = explain(Constant([1.0, 0.0]), preset="thorough")
    assert result.scalars["rounds_used"] == 1
    assert "maps_round2" not in result.arrays
    assert any("Second round skipped" in note for note in result.texts.notes)


def test_thorough_keeps_both_rounds_and_shows_their_mean(three_views: None) -> None:
    result = explain(make_network(), classes=4, preset="thorough")
    both = (array(result, "maps")[0] + array(result, "maps_round2")[0]) / 2
    np.testing.assert_allclose(array(result, "target_map"), both, atol=1e-5)
    assert set(array(result, "coverage").ravel()) == {120}
    assert result.scalars["rounds_used"] == 2


def test_half_precision_agrees_with_full_precision() -> None:
    network = make_network()
    with torch.no_grad():
        network[-1].weight.mul_(3)
    full = explain(network, classes=4)
    half = explain(network, classes=4, precision="bf16")
    a, b = array(full, "target_map"), array(half, "target_map")
    assert np.abs(array(full, "region_scores") - array(half, "region_scores")).max() <= 0.01
    assert np.corrcoef(a.ravel().argsort().argsort(), b.ravel().argsort().argsort())[0, 1] > 0.99


def test_half_precision_that_moves_scores_falls_back_and_says_so() -> None:
    class Rough(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Linear(3, 2)
            self.head = nn.Linear(2, 2)

        def forward(self, pictures: Tensor) -> Tensor:
            body = self.body(pictures.mean(dim=(2, 3)))
            off = 0.0 if body.dtype == torch.float32 else 3.0
            return self.head(body + torch.tensor([off, 0.0]))

    torch.manual_seed(0)
    network = Rough().eval().requires_grad_(False)
    half, full = explain(network, precision="bf16"), explain(network, precision="fp32")
    np.testing.assert_allclose(array(half, "maps"), array(full, "maps"), atol=1e-6)
    assert any("single precision" in note for note in half.texts.notes)


def test_a_map_that_no_longer_changes_stops_the_run_at_the_third_view() -> None:
    result = explain(Constant([1.0, 0.0]), preset="standard", early_stop=0.99)
    assert result.scalars["views_used"] == 3
    assert result.scalars["stopped_early"] is True
    assert any("Stopped after 3 views" in note for note in result.texts.notes)
    assert int(array(result, "coverage").max()) == 60


def test_stopping_early_makes_no_pass_for_the_views_left_out() -> None:
    result = explain(Constant([1.0, 0.0]), preset="standard", early_stop=0.99, keep_scores=True, batch_size=64)
    assert result.scalars["passes"] == expected_passes(result, 3)


@pytest.mark.parametrize("preset", ["fast", "window"])
def test_stopping_early_means_nothing_where_there_is_one_view(preset: str) -> None:
    result = explain(Constant([1.0, 0.0]), preset=preset, early_stop=0.99)
    assert result.scalars["stopped_early"] is False
    assert result.scalars["views_used"] == 1


def test_without_early_stop_all_views_are_used() -> None:
    result = explain(Constant([1.0, 0.0]), preset="standard")
    assert result.scalars["views_used"] == 5
    assert result.scalars["stopped_early"] is False


def test_partial_maps_hold_complete_partitions_only_and_the_last_equals_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = make_model(make_network(), size=SIZE, classes=4)
    monkeypatch.setattr(pami_module, "PARTIAL_INTERVAL_S", 0.0)
    params = PamiParams(preset="standard", keep_scores=True)
    context, recorded = make_context(loaded, noise_picture(SIZE), params, batch_size=16)
    result = Pami().explain(context)
    first, *maps = recorded.partials
    assert first.layers == ()
    assert "scores_intact" in first.arrays
    assert first.target == result.target
    labels = torch.from_numpy(array(result, "all_labels").astype(np.int64))
    rows = torch.split(torch.from_numpy(array(result, "region_scores")), [int(row.max()) + 1 for row in labels])
    sizes = [*range(1, 21), 40, 60, 80, 100]
    means = [aggregate(labels[:n], rows[:n])[0].numpy() for n in sizes]
    at = 0
    for partial in maps:
        heat = array(partial, "target_map")
        assert heat.dtype == np.float16
        while at < len(means) and np.abs(heat - means[at]).max() > 1e-3:
            at += 1
        assert at < len(means), "a partial map is no mean of complete partitions"
    np.testing.assert_allclose(array(maps[-1], "target_map"), array(result, "target_map"), atol=1e-3)


def test_partial_maps_come_at_most_five_times_a_second() -> None:
    loaded = make_model(make_network(), size=SIZE, classes=4)
    context, recorded = make_context(loaded, noise_picture(SIZE), PamiParams(preset="standard"), batch_size=16)
    started = time.perf_counter()
    Pami().explain(context)
    assert len(recorded.partials) <= 5 * (time.perf_counter() - started) + 3


def test_progress_ends_with_the_passes_made_and_never_goes_back(three_views: None) -> None:
    loaded = make_model(make_network(), size=SIZE, classes=4)
    for preset in PRESETS:
        context, recorded = make_context(loaded, noise_picture(SIZE), PamiParams(preset=preset), batch_size=16)
        result = Pami().explain(context)
        done = [entry[0] for entry in recorded.progress]
        assert done == sorted(done)
        assert recorded.progress[-1][:2] == (result.scalars["passes"], result.scalars["passes"])
        assert all(now <= total for now, total, _ in recorded.progress)


def test_the_best_parts_are_ranked_thinned_and_lie_on_the_picture() -> None:
    pixels = noise_picture((64, 48))
    result = explain(make_network(), pixels, classes=4, preset="standard")
    assert 1 <= len(result.regions) <= 24
    scores = [region.score for region in result.regions]
    assert scores == sorted(scores, reverse=True)
    for region in result.regions:
        assert 0 <= region.box.left < region.box.right <= 48
        assert 0 <= region.box.top < region.box.bottom <= 64
        assert set(region.values) == {column.key for column in result.region_columns}
        assert (
            region.area <= (region.box.right - region.box.left) * (region.box.bottom - region.box.top) / (64 * 48) + 0.6
        )


def test_a_part_over_the_seam_is_marked_and_its_box_is_that_of_the_larger_piece() -> None:
    mask = np.zeros((20, 30), bool)
    mask[:2, 5:9], mask[15:, 5:9] = True, True
    assert _crosses_seam(mask, (4, 0))
    assert not _crosses_seam(mask, (0, 4))
    assert not _crosses_seam(mask, (0, 0))
    assert _box(mask, largest_only=True) == (15, 5, 20, 9)
    assert _box(mask, largest_only=False) == (0, 5, 20, 9)


def test_maps_cover_the_frame_that_the_model_saw() -> None:
    result = explain(make_network(), noise_picture((64, 96)), classes=4)
    assert result.arrays["maps"].frame == Box(0, 0, 96, 64)
    assert result.arrays["partition_labels"].frame == Box(0, 0, 96, 64)
    assert result.arrays["region_scores"].frame is None


def test_the_first_layer_is_the_targets_map_and_every_kept_class_has_one() -> None:
    result = explain(make_network(), classes=4, model={"class_names": ("ant", "bee", "cat", "dog")})
    assert result.layers[0].name == "target_map"
    classes = [layer for layer in result.layers if layer.array == "maps"]
    assert [layer.index for layer in classes] == [0, 1, 2, 3]
    assert {layer.title for layer in classes} == {"ant", "bee", "cat", "dog"}
    assert len([layer for layer in result.layers if layer.array == "partition_scores"]) == 20
    assert [item.score for item in result.classes] == sorted((item.score for item in result.classes), reverse=True)
    assert result.texts.reading.startswith("Shown alone, parts around the brightest spot give ")
