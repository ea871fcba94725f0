"""Ranked maps: the composite first, every part alone, bars in the place of the strip, a table that isolates."""

from __future__ import annotations

from typing import Any

from backend.contract.results import (
    ArrayRef,
    Box,
    ClassScore,
    Column,
    Encoding,
    Layer,
    Manifest,
    Region,
    ResultKind,
    Texts,
)
from frontend.renderers import RENDERERS, ranked_maps, render
from frontend.renderers.parts import details_body
from tests.fakes_page import by_attribute, by_class, make_manifest, props, words_of

FRAME = Box(0, 0, 640, 480)
ORDINALS = ("1st", "2nd", "3rd", "4th", "5th")


def ref(digit: str, shape: tuple[int, ...]) -> ArrayRef:
    return ArrayRef(digest=digit * 64, dtype="float32", shape=shape, frame=FRAME)


def ranked_manifest(count: int = 3, **changes: Any) -> Manifest:
    layers = [Layer(name="composite", title="Groups together", array="composite", encoding=Encoding.RGB)]
    layers += [
        Layer(name=f"map {k + 1}", title=f"{ORDINALS[k]} group", array="maps", index=k, encoding=Encoding.SEQUENTIAL)
        for k in range(count)
    ]
    layers.append(
        Layer(name="activity", title="Strength", array="activity", encoding=Encoding.SEQUENTIAL, role="detail")
    )
    regions = [
        Region(
            id=k + 1,
            label=f"{ORDINALS[k]} group",
            score=0.9 - 0.2 * k,
            area=0.1,
            box=FRAME,
            colour=k,
            values={"importance": 0.8 - 0.2 * k},
        )
        for k in range(count)
    ]
    given: dict[str, Any] = {
        "layers": tuple(layers),
        "arrays": {
            "composite": ref("a", (6, 8, 3)),
            "maps": ref("b", (count, 6, 8)),
            "activity": ref("c", (6, 8)),
        },
        "regions": tuple(regions),
        "region_columns": (Column(key="importance", title="Importance", digits=2),),
        "texts": Texts(reading="Strongest first.", badge="post hoc", cautions=("Nearly flat.",)),
    }
    return make_manifest(ResultKind.RANKED_MAPS, **{**given, **changes})


def test_the_kind_has_a_renderer_of_its_own() -> None:
    assert RENDERERS[ResultKind.RANKED_MAPS] is ranked_maps.render


def test_the_composite_comes_first_and_every_part_is_one_click_away() -> None:
    look = render(ranked_manifest(5))
    assert look.viewer["active"] == "composite"
    assert look.viewer["badge"] == "post hoc"
    chips = [props(chip)["data-layer"] for chip in by_attribute(look.controls, "data-layer")]
    assert chips == ["composite", *(f"map {k}" for k in range(1, 6)), "activity"]
    assert look.viewer["layers"][2]["url"].endswith("slice?index=1")


def test_bars_of_importance_stand_in_the_strip_four_at_most_and_named_by_colour() -> None:
    strip = render(ranked_manifest(5)).strip
    assert words_of(strip) == "1st group 0.80 2nd group 0.60 3rd group 0.40 4th group 0.20"
    swatches = [props(swatch) for swatch in by_class(strip, "v-swatch")]
    assert [swatch["data-colour"] for swatch in swatches] == ["0", "1", "2"]
    assert {swatch["data-palette"] for swatch in swatches} == {"parts"}


def test_a_row_of_the_table_shows_its_part_alone() -> None:
    picks = by_attribute(details_body(ranked_manifest()), "data-action", "region")
    assert [(props(pick)["data-region"], props(pick)["data-layer"]) for pick in picks] == [
        ("1", "map 1"),
        ("2", "map 2"),
        ("3", "map 3"),
    ]


def test_cautions_are_seen_and_a_partial_result_has_no_controls() -> None:
    look = render(ranked_manifest())
    assert "Nearly flat." in words_of(look.cautions)
    partial = render(ranked_manifest(partial=True))
    assert (partial.controls, partial.strip, partial.viewer["badge"]) == (None, None, "partial map")


def test_a_result_without_any_part_has_no_strip() -> None:
    assert render(ranked_manifest(0)).strip is None


def test_a_score_that_a_column_repeats_is_not_shown_twice() -> None:
    regions = tuple(
        region.model_copy(update={"score": region.values["importance"]}) for region in ranked_manifest().regions
    )
    assert "Score" in words_of(details_body(ranked_manifest()))
    assert "Score" not in words_of(details_body(ranked_manifest(regions=regions)))


def trained_manifest(**scalars: Any) -> Manifest:
    plain = ranked_manifest(2)
    added = (2.1, -0.4)
    regions = tuple(
        region.model_copy(update={"values": {**region.values, "contribution": added[k]}})
        for k, region in enumerate(plain.regions)
    )
    known = {
        "mode": "trained",
        "explainer": "0123456789abcdef",
        "explainer_data": "Coloured squares",
        "accuracy_validation": 0.975,
        "base_accuracy_validation": 0.99,
        "agreement_validation": 0.98,
        "answer": "finch",
        "base_answer": "heron",
        "base_probability": 0.6,
        "agree": False,
        "explained_class": "finch",
        "contrast_class": None,
        "sum": "2.10 − 0.40 = 1.70 = logit",
    }
    return plain.model_copy(
        update={
            "regions": regions,
            "scalars": {**known, **scalars},
            "classes": (ClassScore(index=0, label="finch", score=0.8),),
        }
    )


def test_maps_that_a_classifier_read_carry_another_label_than_groups_that_answered_nothing() -> None:
    used = by_class(render(trained_manifest()).controls, "v-kind")
    assert [words_of(one) for one in used] == ["attention used by the BR-NPA classifier"]
    assert "is-used" in props(used[0])["className"]
    post_hoc = by_class(render(ranked_manifest(scalars={"mode": "post_hoc"})).controls, "v-kind")
    assert [words_of(one) for one in post_hoc] == ["feature groups, not the model's attention"]
    assert "is-used" not in props(post_hoc[0])["className"]
    assert not by_class(render(ranked_manifest(scalars={"mode": "post_hoc"})).controls, "v-ranked")


def test_a_trained_panel_shows_both_answers_and_how_good_the_explainer_is() -> None:
    look = render(trained_manifest())
    answers = words_of(look.strip)
    assert "finch 0.80" in answers
    assert "heron 0.60" in answers
    assert "disagree" in answers
    quality = words_of(by_class(look.controls, "v-fidelity"))
    for part in ("0123456789abcdef", "Coloured squares", "97.5\u00a0%", "99.0\u00a0%", "98.0\u00a0%"):
        assert part in quality
    assert "not comparable" in words_of(render(trained_manifest(agree=None)).strip)


def test_each_group_has_its_importance_and_signed_contribution_and_the_sum_is_written_out() -> None:
    controls = render(trained_manifest()).controls
    rows = words_of(by_class(controls, "v-ranked"))
    assert "1st group 0.80 +2.10" in rows
    assert "2nd group 0.60 −0.40" in rows
    bars = by_class(controls, "v-signed-bar")
    assert [("is-against" in props(one)["className"], props(one)["style"]["width"]) for one in bars] == [
        (False, "50.0%"),
        (True, "9.5%"),
    ]
    assert " ".join(words_of(by_class(controls, "v-sum")).split()) == "2.10 − 0.40 = 1.70 = logit for finch"
