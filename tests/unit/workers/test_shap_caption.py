"""The caption's game on captioners with known answers: values, words, checks, and what is never done twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelCard, ModelKind
from models.preprocessing import Preprocessing
from tests.fakes_captions import (
    SIZE,
    CountingEmbedder,
    ToyCaptioner,
    caption_by,
    colour_captioner,
    explain_caption,
    names,
    numbers,
    quadrants,
    visible_colours,
)
from tests.fakes_engine import noise_picture
from workers.method import Result
from workers.methods.shap_caption import CaptionParams, ShapCaption

GEOMETRY = colour_captioner().geometry


def _table(result: Result, name: str) -> list[dict[str, Any]]:
    table = next(one for one in result.tables if one.name == name)
    keys = [column.key for column in table.columns]
    return [dict(zip(keys, row, strict=True)) for row in table.rows]


def _seen(pictures: Tensor) -> list[list[str]]:
    """The colours of the squares that can be seen in each picture."""
    return visible_colours(pictures, preprocessing=GEOMETRY)


def _word_scores(pictures: Tensor, words: Sequence[str]) -> Tensor:
    """A colour is likely where it is seen; other words follow how much is seen."""
    rows = []
    for seen in _seen(pictures):
        rows.append([-0.1 if word in seen else -3.0 - 0.2 * len(seen) for word in words])
    return torch.tensor(rows)


def _assert_adds_up(result: Result) -> None:
    gap = numbers(result, "phi").sum() - (result.scalars["v_full"] - result.scalars["v_empty"])
    assert abs(gap) <= 1e-9
    assert result.arrays["phi"].precise


def test_four_named_squares_share_the_meaning_equally() -> None:
    result, _ = explain_caption(colour_captioner())
    assert np.allclose(numbers(result, "phi"), 0.25, atol=1e-7)
    assert result.caption == "red green blue white"
    assert result.scalars["caption_hidden"] == "nothing"
    assert result.scalars["exact"] is True
    assert result.texts.badge == "exact"
    _assert_adds_up(result)
    first = result.regions[0]
    assert (first.label, first.values["only_caption"], first.values["without_caption"]) == (
        "region 1", "red", "green blue white",
    )  # fmt: skip
    assert first.values["only_value"] == pytest.approx(0.5)
    assert np.allclose(numbers(result, "first_in"), 0.5)
    assert np.allclose(numbers(result, "last_in"), 1 - np.sqrt(3 / 4))
    assert np.array_equal(np.unique(numbers(result, "contribution")), np.unique(numbers(result, "phi").astype("f4")))


def test_a_captioner_that_reads_one_square_gives_it_all_the_credit() -> None:
    captioner = caption_by(
        lambda pictures: ["red bird" if "red" in seen else "nothing" for seen in _seen(pictures)],
        geometry=GEOMETRY,
    )
    result, _ = explain_caption(captioner)
    assert np.array_equal(numbers(result, "phi"), [1, 0, 0, 0])
    assert "rests mostly on region 1 (100 % of the total effect 1.00)" in result.texts.reading
    assert "without it the model writes 'nothing'" in result.texts.reading
    assert result.scalars["deletion_score"] <= result.scalars["random_score"]


def test_the_hidden_picture_is_measured_and_not_assumed() -> None:
    captioner = caption_by(
        lambda pictures: [f"a bird {' '.join(seen)}".strip() for seen in _seen(pictures)],
        geometry=GEOMETRY,
    )
    result, _ = explain_caption(captioner)
    expected = 2 / np.sqrt(6 * 2)  # "a bird" against "a bird" and four colours
    assert result.scalars["v_empty"] == pytest.approx(expected, abs=1e-6)
    assert result.scalars["v_full"] == 1.0
    assert numbers(result, "phi").sum() == pytest.approx(1 - expected, abs=1e-6)
    black = torch.tensor([-m / s for m, s in zip(GEOMETRY.mean, GEOMETRY.std, strict=True)])
    hidden = black[:, None, None].expand(3, *SIZE)
    assert any(torch.allclose(picture, hidden, atol=1e-6) for picture in captioner.seen)


def test_every_picture_is_captioned_once_and_every_caption_compared_once() -> None:
    captioner, embedder = colour_captioner(token_rule=_word_scores), CountingEmbedder()
    result, _ = explain_caption(
        captioner, embedder=embedder, token_view=True, robustness=True, rows=2, cols=3, curves=True
    )
    pictures = [picture.numpy().tobytes() for picture in captioner.seen]
    assert len(pictures) == len(set(pictures)) == 3 * 64 - 2
    assert len(embedder.given) == len(set(embedder.given))
    assert set(embedder.given) == {row["caption"] for row in _table(result, "captions")}
    assert sum(row["count"] for row in _table(result, "captions")) == len(pictures)


@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_values_do_not_depend_on_the_batch_size(batch_size: int) -> None:
    captioner = colour_captioner(token_rule=_word_scores)
    result, _ = explain_caption(captioner, batch_size=batch_size, token_view=True)
    assert max(captioner.batches) <= batch_size
    expected, _ = explain_caption(colour_captioner(token_rule=_word_scores), token_view=True)
    for name in ("phi", "token_phi", "values", "caption_index"):
        assert np.array_equal(numbers(result, name), numbers(expected, name))


def test_running_out_of_memory_halves_the_batch_and_changes_nothing() -> None:
    def rule(pictures: Tensor) -> list[str]:
        if len(pictures) > 2:
            raise torch.OutOfMemoryError("out of memory")
        return names(pictures, GEOMETRY)

    captioner = caption_by(rule, geometry=GEOMETRY)
    result, _ = explain_caption(captioner)
    expected, _ = explain_caption(colour_captioner())
    assert np.array_equal(numbers(result, "phi"), numbers(expected, "phi"))


def test_a_black_square_with_black_filling_is_flagged_gets_nothing_and_halves_the_work() -> None:
    pixels = quadrants()
    pixels[16:, 16:] = 0
    captioner = colour_captioner()
    result, _ = explain_caption(captioner, pixels)
    assert result.regions[3].values["flags"] == "equals the filling"
    assert numbers(result, "phi")[3] == 0
    assert numbers(result, "std_error")[3] == 0
    assert result.scalars["players"] == 3
    assert len(captioner.seen) == 8
    assert result.regions[3].values["without_caption"] == result.caption


def test_a_wholly_black_picture_has_no_players_and_no_numbers_that_are_none() -> None:
    result, _ = explain_caption(colour_captioner(), np.zeros((*SIZE, 3), np.uint8))
    assert np.array_equal(numbers(result, "phi"), np.zeros(4))
    assert "does not depend on what is visible" in result.texts.reading


def test_a_captioner_that_always_says_the_same_ends_early() -> None:
    captioner = caption_by(lambda pictures: ["a bird"] * len(pictures))
    result, _ = explain_caption(captioner, rows=3, cols=3)
    assert np.array_equal(numbers(result, "phi"), np.zeros(9))
    assert len(captioner.seen) == 2 * 9 + 2
    assert result.scalars["exact"] is False
    assert result.scalars["early_stop"] is True
    assert result.texts.reading == (
        "The caption did not change in any of the 20 pictures tried: it does not depend on what is visible."
    )
    assert result.scalars["evaluations"] == 20
    assert result.regions[0].values["share"] is None


def test_words_that_move_keep_a_constant_captioner_going() -> None:
    captioner = caption_by(
        lambda pictures: ["a bird"] * len(pictures),
        token_rule=lambda pictures, words: -pictures.mean(dim=(1, 2, 3))[:, None].expand(-1, len(words)) - 0.1,
    )
    result, _ = explain_caption(captioner, rows=3, cols=3, token_view=True)
    assert result.scalars["exact"] is True
    assert len(captioner.seen) == 512
    assert np.allclose(numbers(result, "phi"), 0)
    assert np.abs(numbers(result, "token_phi")).max() > 0.01


def test_a_hidden_picture_that_meets_the_caption_by_chance_is_warned_of() -> None:
    captioner = caption_by(
        lambda pictures: ["red bird" if len(seen) in (0, 4) else "nothing" for seen in _seen(pictures)],
        geometry=GEOMETRY,
    )
    result, _ = explain_caption(captioner)
    assert result.scalars["delta"] == 0
    assert result.scalars["exact"] is True
    assert result.texts.reading == "Hiding everything hardly changes the caption; the values below say little."
    assert any("by chance" in caution for caution in result.texts.cautions)
    assert all(region.values["share"] is None for region in result.regions)


def test_tokens_words_and_phrases_add_up_and_point_at_their_squares() -> None:
    captioner = caption_by(
        lambda pictures: ["a red bird on green branch"] * len(pictures), geometry=GEOMETRY, token_rule=_word_scores
    )
    result, _ = explain_caption(captioner, token_view=True)
    tokens, words, phrases = (numbers(result, f"{kind}_phi") for kind in ("token", "word", "phrase"))
    assert tokens.shape == (6, 4)
    assert np.array_equal(tokens, words)
    assert np.allclose(phrases, [tokens[:3].sum(0), tokens[3:].sum(0)], atol=1e-12)
    assert np.allclose(tokens.sum(1), numbers(result, "token_full") - numbers(result, "token_empty"), atol=1e-9)
    assert tokens[1].argmax() == 0
    assert tokens[4].argmax() == 1
    rows = _table(result, "phrases")
    assert [(row["text"], row["first"], row["last"]) for row in rows] == [
        ("a red bird", 0, 3),
        ("on green branch", 3, 6),
    ]
    assert rows[0]["full"] == pytest.approx(numbers(result, "token_full")[:3].sum())
    assert result.caption is not None
    for row in [*_table(result, "tokens"), *_table(result, "words"), *rows]:
        assert result.caption[row["start"] : row["end"]] == row["text"]


def test_the_mean_over_tokens_is_the_value_of_the_mean_log_probability() -> None:
    captioner = colour_captioner(token_rule=_word_scores)
    result, _ = explain_caption(captioner, token_view=True)
    mean = caption_by(
        lambda pictures: names(pictures, GEOMETRY),
        geometry=GEOMETRY,
        token_rule=lambda pictures, words: _word_scores(pictures, words).mean(1, keepdim=True).expand(-1, len(words)),
    )
    other, _ = explain_caption(mean, token_view=True)
    assert np.allclose(numbers(result, "token_phi").mean(0), numbers(other, "token_phi")[0], atol=1e-7)


def test_a_captioner_without_reliable_tokens_says_so_and_is_explained_all_the_same() -> None:
    result, _ = explain_caption(colour_captioner(), token_view=True)
    assert result.scalars["token_view"] is False
    assert "token_phi" not in result.arrays
    assert any("do not follow" in note for note in result.texts.notes)
    assert [row["full"] for row in _table(result, "tokens")] == [None] * 4


def test_partial_results_come_in_order_and_their_values_always_add_up() -> None:
    result, recorded = explain_caption(colour_captioner(), rows=3, cols=3, robustness=True)
    stages = [partial.scalars["stage"] for partial in recorded.partials]
    assert stages[:2] == ["regions", "preview"]
    assert set(stages[2:-3]) == {"refined"}
    assert stages[-3:] == ["final"] * 3
    assert recorded.partials[0].caption == result.caption
    for partial in recorded.partials[1:]:
        gap = numbers(partial, "phi").sum() - (partial.scalars["v_full"] - partial.scalars["v_empty"])
        assert abs(gap) < 1e-9
        assert partial.regions[0].values["only_caption"]
    assert "std_error" not in recorded.partials[1].arrays
    assert recorded.partials[1].texts.badge == "preview"
    done = [one[0] for one in recorded.progress]
    assert done == sorted(done)
    assert recorded.progress[-1][:2] == (3 * 512 - 2, 3 * 512 - 2)


def test_a_sampled_game_says_so_stays_in_its_budget_and_still_adds_up() -> None:
    captioner = colour_captioner()
    result, _ = explain_caption(captioner, rows=4, cols=4, budget=300, tolerance=0, curves=True)
    assert result.scalars["exact"] is False
    assert result.scalars["evaluations"] <= 300
    assert len(captioner.seen) <= 300 + 2 * 16 - 2
    assert result.texts.badge == "sampled, 300 of 65,536"
    assert result.arrays["std_error"].data.max() > 0
    assert len(numbers(result, "deletion")) == len(numbers(result, "random_order")) == 17
    _assert_adds_up(result)
    redone = np.unpackbits(result.arrays["coalitions"].data, axis=1)[:, :16].astype(bool)
    assert not redone[0].any()
    assert redone[1].all()
    captions = [row["caption"] for row in _table(result, "captions")]
    index = result.arrays["caption_index"].data
    assert captions[index[1]] == result.caption
    assert captions[index[0]] == result.scalars["caption_hidden"]


def test_a_sampled_game_stops_once_its_values_are_precise_enough() -> None:
    loose, _ = explain_caption(colour_captioner(), rows=4, cols=4, budget=20_000, tolerance=0.2)
    assert loose.scalars["stopped"] == "precise"
    assert loose.scalars["evaluations"] < 20_000
    assert loose.arrays["std_error"].data.max() <= 0.2


def test_the_random_order_is_the_mean_over_all_orders() -> None:
    from itertools import permutations

    result, _ = explain_caption(colour_captioner(), rows=2, cols=2)
    bits = np.unpackbits(result.arrays["coalitions"].data, axis=1)[:, :4].astype(bool)
    value = {tuple(row): number for row, number in zip(bits, numbers(result, "values"), strict=True)}
    curves = []
    for order in permutations(range(4)):
        curves.append([value[tuple(player not in order[:hidden] for player in range(4))] for hidden in range(5)])
    assert np.allclose(numbers(result, "random_order"), np.mean(curves, axis=0), atol=1e-12)


def test_other_fillings_are_compared() -> None:
    captioner = caption_by(
        lambda pictures: ["red bird" if float(picture[0, 4, 4]) > 0.9 else "nothing" for picture in pictures]
    )
    result, _ = explain_caption(captioner, robustness=True)
    assert numbers(result, "robust_phi").shape == (3, 4)
    assert np.allclose(numbers(result, "robust_phi")[0], numbers(result, "phi"))
    assert [row["filling"] for row in _table(result, "robust_captions")] == ["black", "mean", "blur"]
    assert [row["black"] for row in _table(result, "robustness")] == numbers(result, "phi").tolist()
    assert result.scalars["robust_verdict"] in {"stable", "partly", "unstable"}
    assert result.scalars["spearman_black_mean"] == pytest.approx(1.0)


def test_factor_regions_come_from_the_captioners_own_features() -> None:
    def features(pictures: Tensor) -> Tensor:
        pooled = torch.nn.functional.avg_pool2d(pictures, 4)
        return torch.cat([pooled.relu(), (-pooled).relu()], dim=1)

    result, _ = explain_caption(colour_captioner(feature_rule=features), regions="factors", k=16)
    assert 2 <= result.scalars["regions"] <= 6  # the features have a rank of at most six
    assert result.arrays["scores"].data.shape[1:] == (8, 8)
    assert any(layer.name == "factor 1" for layer in result.layers)
    _assert_adds_up(result)
    with pytest.raises(ProblemError, match="not known") as caught:
        explain_caption(colour_captioner(), regions="factors")
    assert caught.value.code == ProblemCode.NOT_SUPPORTED


def test_drawn_regions_keep_their_outlines_and_the_rest_is_one_more() -> None:
    result, _ = explain_caption(colour_captioner(), regions="drawn", drawn="0,0 15,0 15,15 0,15; 20,20 22,20 22,22")
    assert result.scalars["regions"] == 3
    labels = result.arrays["labels"].data
    assert len(np.unique(labels[:15, :15])) == 1
    assert len(np.unique(labels)) == 3


@pytest.mark.parametrize("drawn", ["0,0 5,5", "a,b c,d e,f", "0,0 1,1 2", "900,900 910,900 905,910"])
def test_drawings_that_are_no_regions_are_refused_in_words(drawn: str) -> None:
    with pytest.raises(ProblemError) as caught:
        explain_caption(colour_captioner(), regions="drawn", drawn=drawn)
    assert caught.value.code == ProblemCode.PARAMS_INVALID


def test_no_caption_at_all_is_a_clear_problem() -> None:
    with pytest.raises(ProblemError, match="gives no caption for this picture"):
        explain_caption(caption_by(lambda pictures: [""] * len(pictures)))


def test_empty_captions_of_masked_pictures_are_worth_exactly_nothing() -> None:
    captioner = caption_by(
        lambda pictures: [" ".join(seen) for seen in _seen(pictures)],
        geometry=GEOMETRY,
    )
    embedder = CountingEmbedder()
    result, _ = explain_caption(captioner, embedder=embedder)
    assert result.scalars["v_empty"] == 0.0
    assert result.scalars["caption_hidden"] == ""
    assert "" not in embedder.given
    assert np.allclose(numbers(result, "phi"), 0.25, atol=1e-7)


def test_a_captioner_that_fails_ends_the_run_with_a_problem() -> None:
    def rule(pictures: Tensor) -> list[str]:
        if len(pictures) > 1:
            raise RuntimeError("index out of range")
        return ["a bird"]

    with pytest.raises(ProblemError) as caught:
        explain_caption(caption_by(rule))
    assert caught.value.code == ProblemCode.MODEL_BROKEN
    assert "RuntimeError" in caught.value.message


def test_scores_that_are_no_numbers_are_a_problem_and_not_a_map() -> None:
    captioner = colour_captioner(token_rule=lambda pictures, words: torch.full((len(pictures), len(words)), -torch.inf))
    with pytest.raises(ProblemError) as caught:
        explain_caption(captioner, token_view=True)
    assert caught.value.code == ProblemCode.NOT_FINITE


class _StoppedError(Exception):
    pass


@pytest.mark.parametrize("at", [1, 2, 3, 5])
def test_a_run_that_is_no_longer_wanted_stops_within_one_batch(at: int) -> None:
    captioner = colour_captioner()

    def on_check(count: int) -> None:
        if count == at:
            raise _StoppedError

    with pytest.raises(_StoppedError):
        explain_caption(captioner, batch_size=2, rows=3, cols=3, on_check=on_check)
    assert len(captioner.batches) == at - 1


def test_the_decoding_of_a_run_leaves_the_captioner_as_it_was() -> None:
    captioner = colour_captioner()
    before = captioner.decoding
    result, _ = explain_caption(captioner, num_beams=3, max_new_tokens=9, prompt="a")
    assert captioner.decoding == before
    assert (result.scalars["num_beams"], result.scalars["max_new_tokens"], result.scalars["prompt"]) == (3, 9, "a")


def test_the_same_seed_gives_the_same_bits() -> None:
    one, two = (explain_caption(colour_captioner(), rows=4, cols=4, budget=200, seed=3)[0] for _ in range(2))
    assert np.array_equal(numbers(one, "phi"), numbers(two, "phi"))


@pytest.mark.parametrize(
    "params",
    [{"budget": 12}, {"budget": 10**9}, {"k": 1}, {"rows": 6, "cols": 5}, {"hidden": "fog"}, {"tolerance": 1.0},
     {"regions": "shared"}, {"regions": "drawn"}, {"num_beams": 0}, {"batch_size": 0}, {"unknown": 1}],
)  # fmt: skip
def test_absurd_settings_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        CaptionParams.model_validate(params)


def test_words_of_the_specification_are_understood_as_settings() -> None:
    params = CaptionParams.model_validate({"budget": "auto", "batch_size": "auto", "curves": True})
    assert (params.budget, params.batch_size, params.curves) == (None, None, "on")


def test_only_captioners_are_offered_and_the_cost_follows_the_settings() -> None:
    method = ShapCaption()
    card = ModelCard(name="x", title="X", kind=ModelKind.CAPTIONER, source="demo", weights="0" * 64)
    assert method.supports(card) is None
    classifier = card.model_copy(update={"kind": ModelKind.CLASSIFIER})
    assert method.supports(classifier)
    assert method.remedy(classifier)
    costs = [method.cost(card, CaptionParams.model_validate(preset.params)) for preset in method.presets]
    assert costs == [64, 256, 1024, 1024]
    assert method.cost(card, CaptionParams(k=8, robustness=True)) == 3 * 256 - 2
    assert method.cost(card, CaptionParams(regions="grid")) == 512
    assert method.cost(card, CaptionParams(k=16)) == 2 * 16 + 2048
    assert method.card().params_schema["properties"]["k"]["default"] == 8


def test_toy_captioner_fits_the_protocol() -> None:
    from models.captioners import Captioner

    assert isinstance(colour_captioner(), Captioner)
    assert isinstance(colour_captioner(), ToyCaptioner)


@pytest.mark.parametrize(("mode", "size"), [("border", (30, 60)), ("center", (40, 90))])
def test_factor_regions_cover_what_is_seen_of_pictures_that_do_not_fit(mode: str, size: tuple[int, int]) -> None:
    def features(pictures: Tensor) -> Tensor:
        pooled = torch.nn.functional.avg_pool2d(pictures, 4)
        return torch.cat([pooled, 1 - pooled], dim=1)

    geometry = Preprocessing(input_size=SIZE, mean=(0.0,) * 3, std=(1.0,) * 3, crop_pct=1.0, crop_mode=mode)
    captioner = caption_by(
        lambda pictures: ["red" if float(one.mean()) > 0.2 else "blue" for one in pictures],
        geometry=geometry,
        feature_rule=features,
    )
    pixels = noise_picture(size)
    result, _ = explain_caption(captioner, pixels, regions="factors", k=5)
    seen = geometry.seen(size[1], size[0])
    frame = result.arrays["labels"].frame
    assert frame == seen
    assert result.arrays["labels"].data.shape == (round(seen.bottom - seen.top), round(seen.right - seen.left))
    assert len(result.arrays["scores"].data) == result.scalars["regions"]
    assert result.arrays["scores"].frame == geometry.frame(size[1], size[0])
    assert sum(region.area for region in result.regions) == pytest.approx(1.0)
    assert all(0 <= region.box.left < region.box.right <= size[1] for region in result.regions)
    _assert_adds_up(result)
