from __future__ import annotations

import json
from typing import Any

import pytest

from backend.contract.results import ResultKind
from frontend.renderers import render
from frontend.renderers.parts import details_body
from frontend.renderers.spec import Addresses
from tests.fakes_page import by_attribute, by_class, find, make_manifest, props, words_of
from tests.fakes_panels import word_arrays, word_manifest


def facts_of(look: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(props(by_class(look.controls, "v-panel")[0])["data-facts"])
    return found


def test_all_words_come_out_of_one_array() -> None:
    layers = {layer["name"]: layer for layer in render(word_manifest()).viewer["layers"]}
    assert layers["word 5"]["url"] == layers["word 0"]["url"] == f"/api/v1/artifacts/{'01' * 32}"
    assert (layers["word 0"]["index"], layers["word 5"]["index"]) == (0, 5)
    assert "index" not in layers["overlap"]


def test_the_overlap_map_comes_first_and_single_words_are_no_buttons_of_their_own() -> None:
    look = render(word_manifest())
    assert look.viewer["active"] == "overlap"
    assert [layer["name"] for layer in facts_of(look)["layers"]] == ["overlap", "attention", "logit"]


def test_the_panel_knows_every_array_it_needs_to_change_the_class() -> None:
    facts = facts_of(render(word_manifest()))
    assert set(facts["arrays"]) == {
        "word_maps",
        "word_ids",
        "scores",
        "word_cells",
        "contributions",
        "contribution_classes",
    }
    assert facts["length"] == 3
    assert facts["frame"] == [0, 0, 96, 64]
    assert facts["target"] == 3
    assert [one["label"] for one in facts["classes"]] == ["crested tam", "jay"]


def test_the_class_explained_has_the_number_that_the_word_book_gives_it() -> None:
    assert facts_of(render(word_manifest(target=41)))["target"] == 3


def test_crops_are_pictures_of_the_result_and_say_their_class_in_words() -> None:
    crops = facts_of(render(word_manifest(), Addresses.of_share("abc")))["crops"]
    assert crops[0]["url"].startswith("/api/v1/shares/abc/artifacts/")
    assert crops[1]["url"].endswith("/image?index=1")
    assert (crops[0]["class"], crops[0]["kind"]) == ("crested tam", "source")


def test_both_answers_stand_under_the_map_and_whether_they_agree() -> None:
    strip = render(word_manifest()).strip
    assert "agree" in words_of(by_class(strip, "is-same"))
    assert [words_of(one) for one in by_class(strip, "v-bar-label")] == ["crested tam", "crested tam"]
    scalars = {**word_manifest().scalars, "agree": False, "base_answer": "jay"}
    other = render(word_manifest(scalars=scalars)).strip
    assert "disagree" in words_of(by_class(other, "is-different"))
    unmatched = render(word_manifest(scalars={**scalars, "agree": None})).strip
    assert "not comparable" in words_of(unmatched)


def test_overlap_never_stands_without_its_floors() -> None:
    [sentence] = by_attribute(render(word_manifest()).controls, "data-testid", "fidelity")
    words = words_of(sentence).replace("\u00a0", " ")
    assert "the same answer as Tiny on 96 % of test pictures" in words
    assert "IoU 0.63 (Gaussian 0.60, other picture 0.41, chance 0.33)" in words


def test_the_other_words_are_in_the_table_but_not_on_the_map() -> None:
    manifest = word_manifest()
    assert -1 not in [region["id"] for region in render(manifest).viewer["regions"]]
    body = details_body(manifest)
    [rest] = by_class(body, "is-rest")
    assert "the other 2 words" in words_of(rest)
    assert "-1" not in [props(one)["data-region"] for one in by_attribute(body, "data-action", "region")]


def test_the_contribution_column_adds_up_to_the_logit() -> None:
    total = sum(float(region.values["contribution"]) for region in word_manifest().regions)
    assert total == pytest.approx(float(word_arrays()["contributions"][0].sum()))


def test_the_overlap_curve_stands_beside_its_floors() -> None:
    [graph] = find(details_body(word_manifest(), word_arrays()), lambda one: one.to_plotly_json()["type"] == "Graph")
    traces = props(graph)["figure"]["data"]
    assert [trace["name"] for trace in traces] == [
        "this picture",
        "chance",
        "centred Gaussian",
        "mean of test pictures",
    ]
    assert all(trace["line"].get("dash") for trace in traces[1:])
    assert len({trace["line"]["dash"] for trace in traces[1:]}) == 3


def test_a_partial_result_has_no_panel_and_an_empty_one_is_drawn() -> None:
    assert render(word_manifest(partial=True)).controls is None
    assert facts_of(render(make_manifest(ResultKind.VISUAL_WORDS)))["known"] == []
