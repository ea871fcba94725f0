"""PAMI: identities of whole runs on tiny models with known answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backend.contract.results import Box, Encoding
from tests.fakes_engine import Additive, Constant, Counted, make_network, noise_picture
from tests.fakes_pami import PRESETS, SIZE, Probability, array, cut_in_thread, explain, lit, use_three_views, with_spots
from workers.method import MapArray, Stored


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_in_thread(monkeypatch)


@pytest.fixture
def three_views(monkeypatch: pytest.MonkeyPatch) -> None:
    use_three_views(monkeypatch)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_constant_model_gives_a_constant_map(preset: str, three_views: None) -> None:
    result = explain(Constant([1.0, 0.0]), preset=preset)
    expected = float(torch.softmax(torch.tensor([1.0, 0.0]), dim=0)[0])
    np.testing.assert_allclose(array(result, "maps")[0], expected, atol=1e-6)
    np.testing.assert_allclose(array(result, "target_map"), expected, atol=1e-6)
    assert float(array(result, "spread").max()) < 1e-6
    assert "The map is nearly flat." in result.texts.cautions


@pytest.mark.parametrize("preset", ["fast", "window"])
def test_probabilities_of_all_classes_sum_to_one_at_every_pixel(preset: str) -> None:
    result = explain(make_network(), classes=4, preset=preset)
    assert array(result, "maps").shape == (4, *SIZE)
    np.testing.assert_allclose(array(result, "maps").sum(axis=0), 1, atol=1e-5)


def test_sigmoid_scores_need_not_sum_to_one() -> None:
    result = explain(Constant([2.0, 1.0]), score="sigmoid")
    expected = torch.sigmoid(torch.tensor([2.0, 1.0])).numpy()
    np.testing.assert_allclose(array(result, "maps").mean(axis=(1, 2)), expected, atol=1e-6)


def test_a_single_output_is_read_as_a_sigmoid() -> None:
    result = explain(Constant([0.5]), classes=1)
    np.testing.assert_allclose(array(result, "maps")[0], float(torch.sigmoid(torch.tensor(0.5))), atol=1e-6)
    assert result.scalars["p_intact"] == pytest.approx(0.62246, abs=1e-4)


@pytest.mark.parametrize("preset", ["fast", "standard", "window"])
def test_the_map_does_not_depend_on_the_batch_size(preset: str) -> None:
    maps = [array(explain(make_network(), classes=4, preset=preset, batch_size=n), "maps") for n in (1, 7, 64)]
    np.testing.assert_allclose(maps[1], maps[0], atol=1e-5)
    np.testing.assert_allclose(maps[2], maps[0], atol=1e-5)


def test_two_runs_are_bit_identical(three_views: None) -> None:
    one, two = (explain(make_network(), classes=4, preset="thorough") for _ in range(2))
    for name in ("maps", "maps_round2", "target_map", "spread", "region_scores"):
        assert array(one, name).tobytes() == array(two, name).tobytes()


def test_one_region_that_is_the_whole_picture_gives_the_models_own_answer() -> None:
    own = Stored({"labels": MapArray(np.zeros(SIZE, np.int16), Box(0, 0, 32, 32))}, (), ())
    result = explain(make_network(), classes=4, regions="own", regions_mode="only", stored={"own": own})
    np.testing.assert_allclose(array(result, "target_map"), result.scalars["p_intact"], atol=1e-6)
    assert result.scalars["passes"] == 2
    assert result.scalars["regions"] == 1


def test_one_region_per_pixel_of_an_additive_model_over_black_gives_its_weights() -> None:
    size = (16, 16)
    weights = torch.randn(size, generator=torch.Generator().manual_seed(0))
    own = Stored({"labels": MapArray(np.arange(256, dtype=np.int16).reshape(size), Box(0, 0, 16, 16))}, (), ())
    result = explain(
        Additive(weights), np.full((*size, 3), 255, np.uint8), target=0, score="logit", substrate="black",
        regions="own", regions_mode="only", stored={"own": own}, model={"size": size},
    )  # fmt: skip
    np.testing.assert_allclose(array(result, "target_map"), weights.numpy(), atol=1e-5)


def test_a_background_equal_to_the_picture_gives_the_models_own_answer_everywhere() -> None:
    result = explain(make_network(), classes=4, substrate="picture", substrate_picture="a" * 64)
    np.testing.assert_allclose(array(result, "target_map"), result.scalars["p_intact"], atol=1e-6)


def test_an_additive_models_scores_sum_to_the_difference_from_the_background() -> None:
    weights = torch.rand(SIZE, generator=torch.Generator().manual_seed(2))
    network = Additive(weights)
    result = explain(network, target=0, score="logit", substrate="black", keep_scores=True)
    index, scores = array(result, "region_index"), array(result, "region_scores")[:, 0]
    for partition in range(20):
        total = scores[index[:, 2] == partition].sum()
        assert total == pytest.approx(float(array(result, "scores_intact")[0]), rel=1e-4)
    painted = (index[:, 4] * scores).sum() / 20
    assert array(result, "target_map").sum() == pytest.approx(painted, rel=1e-4)


def test_evenly_spread_evidence_makes_the_score_follow_the_area_and_says_so() -> None:
    network = Probability(lambda pictures: pictures[:, 0].mean(dim=(1, 2)))
    result = explain(network, np.full((*SIZE, 3), 255, np.uint8), target=0, substrate="black")
    correlation = result.scalars["area_rank_correlation"]
    assert isinstance(correlation, float)
    assert correlation > 0.999
    assert "Larger parts score higher almost everywhere." in result.texts.cautions


def test_weighing_by_area_undoes_evenly_spread_evidence_and_leaves_the_parts_scores_alone() -> None:
    network = Probability(lambda pictures: pictures[:, 0].mean(dim=(1, 2)))
    white = np.full((*SIZE, 3), 255, np.uint8)
    plain = explain(network, white, target=0, substrate="black")
    weighed = explain(network, white, target=0, substrate="black", area_power=1.0)
    assert float(np.ptp(array(weighed, "target_map"))) < 1e-4 < float(np.ptp(array(plain, "target_map")))
    np.testing.assert_array_equal(array(weighed, "region_scores"), array(plain, "region_scores"))
    assert weighed.layers[0].range is None


@pytest.mark.parametrize("preset", ["fast", "thorough", "window"])
def test_weighing_by_area_with_almost_no_power_changes_almost_nothing(preset: str, three_views: None) -> None:
    plain = explain(make_network(), classes=4, preset=preset)
    weighed = explain(make_network(), classes=4, preset=preset, area_power=1e-6)
    for name in ("maps", "target_map", "spread"):
        np.testing.assert_allclose(array(weighed, name), array(plain, name), atol=1e-4)


def test_two_patches_needed_together_give_a_flat_dark_map_and_the_caution() -> None:
    network = Probability(lambda pictures: lit(pictures, 4, 4) * lit(pictures, 26, 26))
    result = explain(
        network, with_spots((4, 4), (26, 26)), target=0, preset="window", substrate="black", window_radius=0.15
    )
    assert float(array(result, "target_map").max()) < 1e-3
    assert "No single part is enough; try occlusion." in result.texts.cautions


def test_two_redundant_patches_are_both_bright_and_nothing_far_away_is() -> None:
    network = Probability(lambda pictures: torch.maximum(lit(pictures, 4, 4), lit(pictures, 26, 26)))
    result = explain(
        network, with_spots((4, 4), (26, 26)), target=0, preset="window", substrate="black", window_radius=0.15
    )
    heat = array(result, "target_map")
    assert min(heat[4, 4], heat[26, 26]) > 0.5
    assert heat[4, 26] < 1e-3
    assert not any("No single part" in text for text in result.texts.cautions)


def test_a_background_that_already_looks_like_the_class_is_said_so() -> None:
    result = explain(Constant([1.0, 0.0]), substrate="noise")
    assert "The background alone (noise) already scores 0.73; choose another background." in result.texts.cautions


def test_black_reaches_the_model_before_normalisation() -> None:
    network = Counted(Constant([1.0, 0.0]))
    explain(network, substrate="black", model={"mean": (0.5, 0.5, 0.5), "std": (0.25, 0.5, 1.0)})
    assert network.batches[0][1].mean(dim=(1, 2)).tolist() == pytest.approx([-2.0, -1.0, -0.5])


def test_gain_is_probability_minus_that_of_the_background() -> None:
    plain = explain(make_network(), classes=4)
    gain = explain(make_network(), classes=4, score="probability_gain")
    hidden = array(plain, "scores_substrate")[array(plain, "kept_classes")]
    np.testing.assert_allclose(array(gain, "maps"), array(plain, "maps") - hidden[:, None, None], atol=1e-5)
    assert gain.layers[0].encoding is Encoding.SIGNED
    assert gain.layers[0].range == (-1.0, 1.0)
    assert gain.scalars["p_intact"] == pytest.approx(plain.scalars["p_intact"])
    assert gain.scalars["smallest_sufficient_area"] == pytest.approx(plain.scalars["smallest_sufficient_area"])


def test_log_odds_and_logits_have_no_sufficient_area() -> None:
    for score in ("log_odds", "logit"):
        result = explain(make_network(), classes=4, score=score)
        assert result.scalars["smallest_sufficient_area"] is None
        assert 0 <= float(result.scalars["p_intact"] or 0) <= 1


def test_log_odds_stay_finite_for_a_model_that_is_quite_sure() -> None:
    result = explain(Constant([500.0, -500.0]), score="log_odds", target=1)
    np.testing.assert_allclose(array(result, "target_map"), -16, atol=1e-3)
    assert float(array(result, "maps")[1].max()) == pytest.approx(16.118, abs=1e-2)


def test_the_brightest_spot_of_a_single_patch_lies_on_it() -> None:
    network = Probability(lambda pictures: lit(pictures, 20, 6))
    result = explain(network, with_spots((20, 6)), target=0, preset="standard", substrate="black")
    row, column = np.unravel_index(array(result, "target_map").argmax(), SIZE)
    assert (int(row), int(column)) in {(20, 6), (20, 7), (21, 6), (21, 7)}
    assert float(result.scalars["peak_x"] or 0) == pytest.approx(6.5, abs=1.1)
    assert float(result.scalars["peak_y"] or 0) == pytest.approx(20.5, abs=1.1)


def test_a_rolled_picture_gives_the_rolled_map_when_nothing_depends_on_place() -> None:
    class RollFree(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            edges = (pictures - torch.roll(pictures, 1, dims=3)).square().mean(dim=(1, 2, 3))
            return torch.stack((edges * 30, torch.ones_like(edges)), dim=1)

    own = np.kron(np.arange(16).reshape(4, 4), np.ones((8, 8))).astype(np.int16)
    pixels = noise_picture(SIZE)

    def run(picture: NDArray[np.uint8], labels: NDArray[np.int16]) -> NDArray[Any]:
        stored = {"own": Stored({"labels": MapArray(labels, Box(0, 0, 32, 32))}, (), ())}
        result = explain(
            RollFree(), picture, target=0, substrate="black", regions="own", regions_mode="only", stored=stored
        )
        return array(result, "target_map")

    plain = run(pixels, own)
    rolled = run(np.roll(pixels, (5, -9), (0, 1)), np.roll(own, (5, -9), (0, 1)))
    np.testing.assert_allclose(np.roll(rolled, (-5, 9), (0, 1)), plain, atol=1e-6)
