from __future__ import annotations

import json

import pytest

from backend.contract.results import ClassScore, Encoding, Layer, ResultKind, Texts
from frontend.renderers import RENDERERS, render
from frontend.renderers.parts import details_body, split_layers
from frontend.renderers.scalar_map import class_layers
from frontend.renderers.spec import Addresses
from tests.fakes_page import (
    IMAGE,
    KEY,
    array,
    by_attribute,
    by_class,
    label_manifest,
    make_manifest,
    props,
    scalar_manifest,
    words_of,
)

EVERY = {
    ResultKind.SCALAR_MAP: scalar_manifest(),
    ResultKind.LABEL_MAP: label_manifest(),
    ResultKind.PREDICTION: make_manifest(
        ResultKind.PREDICTION, classes=(ClassScore(index=0, label="robin", score=0.9),)
    ),
}


@pytest.mark.parametrize("kind", list(ResultKind))
def test_every_kind_of_result_can_be_drawn(kind: ResultKind) -> None:
    layer = Layer(name="x", title="X", array="x", encoding=Encoding.SEQUENTIAL)
    plain = make_manifest(kind, layers=(layer,), arrays={"x": array("a", (3, 3))}, texts=Texts(reading="Words."))
    look = render(EVERY.get(kind, plain))
    assert look.viewer["run"] == KEY
    assert json.loads(json.dumps(look.viewer)) == look.viewer


def test_every_kind_has_a_renderer_of_its_own() -> None:
    assert set(RENDERERS) == set(ResultKind)


def test_the_viewer_gets_address_frame_and_seen_rectangle() -> None:
    spec = render(scalar_manifest()).viewer
    target = next(layer for layer in spec["layers"] if layer["name"] == "target")
    assert target["url"] == f"/api/v1/artifacts/{'a' * 64}"
    assert target["frame"] == [80, 0, 560, 480] == spec["seen"]
    assert spec["picture"] == {"url": f"/api/v1/images/{IMAGE}/picture", "width": 640, "height": 480}


def test_a_map_of_a_stack_is_fetched_alone() -> None:
    layers = {layer["name"]: layer for layer in render(scalar_manifest()).viewer["layers"]}
    assert layers["c7"]["url"] == f"/api/v1/artifacts/{'b' * 64}/slice?index=1"


def test_a_share_fetches_everything_from_itself() -> None:
    spec = render(label_manifest(), Addresses.of_share("abc")).viewer
    urls = [spec["picture"]["url"], spec["nested"]["lut_url"], *(layer["url"] for layer in spec["layers"])]
    assert all(url.startswith("/api/v1/shares/abc/") for url in urls)


def test_main_layers_come_before_details() -> None:
    roles = [layer["role"] for layer in render(scalar_manifest()).viewer["layers"]]
    assert roles == sorted(roles, key=lambda role: role != "main")


def test_a_layer_whose_array_is_missing_is_left_out() -> None:
    manifest = scalar_manifest(arrays={"map": array("a", (7, 9))})
    assert [layer["name"] for layer in render(manifest).viewer["layers"]] == ["target"]


def test_a_look_that_was_kept_is_shown_again() -> None:
    assert render(scalar_manifest(), look={"layer": "c7"}).viewer["active"] == "c7"
    assert render(scalar_manifest(), look={"layer": "gone"}).viewer["active"] == "target"
    assert render(label_manifest(), look={"k": 9}).viewer["nested"]["k"] == 9


def test_a_partial_map_says_so_and_offers_no_controls() -> None:
    look = render(scalar_manifest(partial=True))
    assert (look.viewer["badge"], look.viewer["state"]) == ("partial map", "partial")
    assert look.controls is None
    assert look.details is None


def test_kept_classes_can_be_chosen_and_compared_without_a_new_pass() -> None:
    manifest = scalar_manifest()
    assert [layer.name for layer in class_layers(list(manifest.layers))] == ["c3", "c7"]
    options = [props(box)["data-options"] for box in by_attribute(render(manifest).controls, "data-options")]
    assert options[:2] == ["c3|c7", "-|c3|c7"]


def test_long_stacks_become_a_list_and_short_ones_buttons() -> None:
    buttons, listed = split_layers([layer for layer in scalar_manifest().layers if layer.target is None])
    assert [layer.name for layer in buttons] == ["spread"]
    assert len(listed) == 5


def test_what_the_picture_scores_stands_beside_what_the_background_scores() -> None:
    strip = render(scalar_manifest()).strip
    assert words_of(strip).split() == ["Whole", "picture", "0.97", "Background", "alone", "0.05"]
    assert render(scalar_manifest(scalars={"p_intact": 0.97})).strip is None


def test_the_strip_of_groups_sets_them_against_a_floor() -> None:
    assert words_of(render(label_manifest()).strip).split() == ["Explained", "0.71", "Colour", "alone", "0.58"]


def test_the_target_is_set_off_in_the_reading() -> None:
    reading = render(scalar_manifest()).reading
    assert [words_of(part) for part in reading.children] == ["Parts give ", "robin", " 0.9."]


def test_cautions_of_a_map_are_in_sight_and_limits_of_groups_one_click_away() -> None:
    scalar, label = render(scalar_manifest()), render(label_manifest())
    assert "The map is flat." in words_of(scalar.cautions)
    assert label.cautions is None
    assert "Groups have no names." in words_of(label.details)


def test_the_slider_runs_over_every_number_of_groups() -> None:
    look = render(label_manifest())
    slider = by_attribute(look.controls, "max", None)[0]
    assert (props(slider)["min"], props(slider)["max"], props(slider)["value"]) == (1, 12, 5)
    info = props(by_class(look.controls, "v-groups")[0])
    assert (info["data-exact"], info["data-layer"], info["data-share"]) == ("5", "groups", "0.71")


def test_the_base_of_the_slider_is_no_layer_to_choose() -> None:
    chips = by_class(render(label_manifest()).controls, "v-chip")
    assert [props(chip)["data-layer"] for chip in chips] == ["groups", "floor"]


def test_without_nested_tables_there_is_no_slider() -> None:
    look = render(label_manifest(nested=False))
    assert look.viewer["nested"] is None
    assert by_class(look.controls, "v-groups") == []


def test_the_legend_of_groups_is_one_sentence() -> None:
    groups = next(layer for layer in render(label_manifest()).viewer["layers"] if layer["name"] == "groups")
    assert groups["ends"] == ["alike", ""]
    assert groups["smooth"] is False


def test_tables_are_drawn_only_when_they_are_unfolded() -> None:
    assert len(by_class(render(label_manifest()).details, "v-table")) == 0
    assert len(by_class(details_body(label_manifest()), "v-table")) == 2


def test_a_region_of_the_table_lights_up_by_run_and_number() -> None:
    button = by_attribute(details_body(scalar_manifest()), "data-action", "region")[0]
    assert (props(button)["data-run"], props(button)["data-region"]) == (KEY, "0")


def test_a_captioner_shows_its_caption() -> None:
    look = render(make_manifest(ResultKind.PREDICTION, caption="a bird on a branch"))
    assert words_of(look.reading) == "“a bird on a branch”"
