from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from backend.contract.results import ResultKind, Texts
from frontend.components.viewer_cell import CellView, viewer_cell
from frontend.renderers import render
from frontend.renderers.parts import details_body
from frontend.renderers.spec import Addresses
from tests.fakes_page import KEY, by_attribute, by_class, find, make_manifest, props, words_of
from tests.fakes_panels import class_manifest, region_arrays, region_manifest


def facts_of(look: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(props(by_class(look.controls, "v-panel")[0])["data-facts"])
    return found


def test_the_signed_map_comes_first_then_the_regions_then_soft_maps() -> None:
    spec = render(region_manifest()).viewer
    assert [layer["name"] for layer in spec["layers"]][:3] == ["contribution", "regions", "factor 0"]
    assert spec["active"] == "contribution"
    assert spec["numbered"]
    assert spec["badge"] == "exact"


def test_soft_maps_come_out_of_one_array() -> None:
    layers = render(region_manifest()).viewer["layers"]
    soft = [layer for layer in layers if layer["name"].startswith("factor")]
    assert {layer["url"] for layer in soft} == {f"/api/v1/artifacts/{'03' * 32}"}
    assert [layer["index"] for layer in soft] == [0, 1, 2, 3]


def test_the_panel_knows_value_error_share_area_and_both_captions_of_a_region() -> None:
    region = facts_of(render(region_manifest()))["regions"][1]
    assert region == {
        "id": 1,
        "label": "region 2",
        "value": 0.25,
        "error": 0.03,
        "share": 0.25 / 0.62,
        "area": 0.25,
        "flags": "",
        "only": {"caption": "a bird", "value": 0.75},
        "without": {"caption": "a red bird", "value": 0.75},
    }


def test_values_of_regions_add_up_to_what_hiding_everything_takes_away() -> None:
    facts = facts_of(render(region_manifest()))
    total = sum(region["value"] for region in facts["regions"])
    assert total == pytest.approx(facts["full"] - facts["empty"])
    assert facts["hidden"] == "nothing visible"


def test_phrases_come_before_words_and_both_have_their_values() -> None:
    levels = facts_of(render(region_manifest()))["levels"]
    assert [level["kind"] for level in levels] == ["phrase", "word"]
    assert [choice["text"] for choice in levels[0]["choices"]] == ["a red bird", "on a branch"]
    assert all(level["unit"] == "nats" for level in levels)
    assert len({level["url"] for level in levels}) == 2


def test_a_caption_without_values_for_words_has_nothing_to_choose() -> None:
    manifest = region_manifest()
    arrays = {name: one for name, one in manifest.arrays.items() if not name.endswith("_phi")}
    assert facts_of(render(manifest.model_copy(update={"arrays": arrays})))["levels"] == []


def test_classes_take_the_place_of_words_and_are_read_as_words() -> None:
    facts = facts_of(render(class_manifest()))
    [level] = facts["levels"]
    assert level["kind"] == "class"
    assert level["unit"] == ""
    assert [choice["text"] for choice in level["choices"]] == ["crested tam", "jay"]
    assert [choice["class"] for choice in level["choices"]] == [3, 7]
    assert (facts["target"], facts["name"]) == (3, "crested tam")


def test_a_share_takes_every_array_from_itself() -> None:
    text = json.dumps(facts_of(render(region_manifest(), Addresses.of_share("abc"))))
    assert "/api/v1/shares/abc/artifacts/" in text
    assert '"/api/v1/artifacts' not in text


def test_what_was_chosen_before_is_told_to_the_panel() -> None:
    assert facts_of(render(region_manifest(), look={"layer": "values word 1-2"}))["shown"] == "values word 1-2"


def test_the_strip_sets_the_whole_picture_against_everything_hidden() -> None:
    words = words_of(render(region_manifest()).strip)
    assert "Whole picture 1.00" in " ".join(words.split())
    assert "All hidden 0.38" in " ".join(words.split())
    in_logits = region_manifest(scalars={"v_full": 7.2, "v_empty": -1.0})
    assert render(in_logits).strip is None


def test_a_preview_says_so_and_has_no_panel_yet() -> None:
    look = render(region_manifest(partial=True, texts=Texts(badge="preview")))
    assert look.viewer["badge"] == "preview"
    assert look.controls is None
    assert render(region_manifest(partial=True, texts=Texts())).viewer["badge"] == "partial map"


def test_a_result_without_a_partition_is_drawn_all_the_same() -> None:
    look = render(make_manifest(ResultKind.REGION_VALUES))
    assert look.viewer["layers"] == []
    assert not look.viewer["numbered"]


def test_the_cell_of_such_a_result_holds_its_panel() -> None:
    view = CellView("m", "M", "x", "X", {"url": "/p", "width": 96, "height": 64}, state="done", key=KEY)
    cell = viewer_cell(CellView(**{**view.__dict__, "manifest": region_manifest()}))
    [panel] = by_attribute(cell, "data-panel", "region_values")
    assert props(panel)["role"] == "group"
    assert getattr(panel, "children", None) is None


def test_the_details_have_tabs_for_what_there_is() -> None:
    names = [props(tab)["value"] for tab in find(details_body(region_manifest(), region_arrays()), _is("TabsTab"))]
    assert names == ["Regions", "Robustness", "Check", "Captions", "Words"]
    without = [props(tab)["value"] for tab in find(details_body(class_manifest(), {}), _is("TabsTab"))]
    assert without == ["Regions", "Robustness", "More"]


def test_robustness_is_judged_by_the_least_correlation() -> None:
    words = words_of(details_body(region_manifest()))
    assert "partly stable" in words
    assert "black and blur 0.70" in words
    bad = region_manifest(scalars={"spearman_black_mean": 0.2})
    assert "is unstable" in words_of(details_body(bad))


def test_the_check_has_both_curves_and_the_random_order_dashed() -> None:
    [graph] = find(details_body(region_manifest(), region_arrays()), _is("Graph"))
    traces = props(graph)["figure"]["data"]
    assert [trace["name"] for trace in traces] == [
        "Hide, strongest first",
        "Show, strongest first",
        "Hide in random order",
    ]
    assert [trace["line"].get("dash") for trace in traces] == [None, None, "dash"]
    np.testing.assert_allclose(traces[0]["y"], region_arrays()["deletion"])


def test_the_table_of_regions_can_be_sorted_and_chosen_from() -> None:
    body = details_body(region_manifest())
    heads = by_attribute(body, "data-action", "sort")
    assert [props(head)["data-place"] for head in heads][:3] == ["0", "1", "2"]
    assert len(by_attribute(body, "data-action", "region")) == 4
    values = [props(cell)["data-value"] for cell in find(body, lambda one: "data-value" in props(one))]
    assert "0.4" in values


def _is(name: str) -> Any:
    return lambda one: one.to_plotly_json()["type"] == name
