"""Results over several pictures: one description for the viewer, in which every picture can be shown."""

from __future__ import annotations

import json
from typing import Any

from backend.contract.results import ArrayRef, Box, Column, Encoding, Layer, Manifest, Region, ResultKind, Table
from frontend.components.further_pictures import further_pictures
from frontend.renderers import render
from frontend.renderers.parts import details_body
from frontend.renderers.spec import Addresses
from tests.fakes_page import by_attribute, by_class, make_manifest, props, words_of

IMAGES = ("1" * 64, "2" * 64)
FRAMES = (Box(80, 0, 560, 480), Box(-20, 0, 220, 240))
DIGITS = "abcdef0123456789"


def ref(digit: str, frame: Box | None) -> ArrayRef:
    return ArrayRef(digest=digit * 64, dtype="int16", shape=(5, 5), frame=frame)


def joint_manifest(**changes: Any) -> Manifest:
    """Groups shared by a wide and a square picture; the second group occurs in the second picture only."""
    layers, arrays = [], {}
    for place, frame in enumerate(FRAMES):
        for number, (stem, role) in enumerate((("labels", "main"), ("nested_base", "main"), ("firm", "detail"))):
            name = f"{stem}_{place:03d}"
            encoding = Encoding.SEQUENTIAL if stem == "firm" else Encoding.LABELS
            title = stem if place == 0 else f"{stem}, picture {place + 1}"
            layers.append(
                Layer(
                    name=name,
                    title=title,
                    array=name,
                    encoding=encoding,
                    role=role if place == 0 else "detail",
                    picture=place,
                )
            )
            arrays[name] = ref(DIGITS[4 * place + number], frame)
    tables = {f"nested_{stem}": ref(digit, None) for stem, digit in (("lut", "8"), ("colour", "9"))}
    columns = tuple(Column(key=key, title=key) for key in ("picture", "group_1", "group_2"))
    given: dict[str, Any] = {
        "image_ids": IMAGES,
        "picture_sizes": ((640, 480), (200, 240)),
        "params": {"joint": True},
        "layers": tuple(layers),
        "arrays": {**arrays, **tables},
        "regions": (
            Region(id=0, label="group 1", area=1, box=FRAMES[0], colour=4, layer="labels_000"),
            Region(id=1, label="group 2, picture 2", area=0.5, box=Box(0, 0, 9, 9), colour=1, layer="labels_001"),
        ),
        "tables": (Table(name="proportions", title="Share", columns=columns, rows=((1, 1.0, 0.0), (2, 0.25, 0.75))),),
        "scalars": {"n_effective": 2},
    }
    return make_manifest(ResultKind.LABEL_MAP, **{**given, **changes})


def test_every_picture_has_its_own_size_frame_and_what_was_seen_of_it() -> None:
    viewer = render(joint_manifest()).viewer
    assert json.loads(json.dumps(viewer)) == viewer
    first, second = viewer["pictures"]
    assert (first["picture"]["width"], first["picture"]["height"]) == (640, 480)
    assert (second["picture"]["width"], second["picture"]["height"]) == (200, 240)
    assert second["picture"]["url"].endswith(f"{IMAGES[1]}/picture")
    assert first["seen"] == [80, 0, 560, 480]
    assert second["seen"] == [0, 0, 200, 240]
    assert {tuple(layer["frame"]) for layer in second["layers"]} == {tuple(FRAMES[1])}


def test_the_same_layer_has_one_name_on_all_pictures_and_its_own_array() -> None:
    first, second = render(joint_manifest()).viewer["pictures"]
    assert [layer["name"] for layer in first["layers"]] == ["labels_000", "nested_base_000", "firm_000"]
    assert {layer["name"] for layer in second["layers"]} == {layer["name"] for layer in first["layers"]}
    assert {layer["title"] for layer in second["layers"]} == {"labels", "nested_base", "firm"}
    assert not {layer["url"] for layer in second["layers"]} & {layer["url"] for layer in first["layers"]}
    assert second["nested"] == first["nested"]


def test_groups_keep_their_colours_from_picture_to_picture() -> None:
    viewer = render(joint_manifest()).viewer
    first, second = viewer["pictures"]
    assert viewer["shared"] is True
    assert [region["id"] for region in first["regions"]] == [0]
    assert [(region["id"], region["layer"]) for region in second["regions"]] == [(1, "labels_000")]
    colours = {layer["name"]: layer.get("colours") for layer in second["layers"]}
    assert colours == {"labels_000": [[0, 4], [1, 1]], "nested_base_000": [], "firm_000": None}


def test_pictures_that_were_grouped_alone_are_not_called_shared_and_have_no_slider_of_their_own() -> None:
    manifest = joint_manifest(params={"joint": False})
    layers = tuple(layer for layer in manifest.layers if layer.name != "nested_base_001")
    viewer = render(joint_manifest(params={"joint": False}, layers=layers)).viewer
    assert viewer["shared"] is False
    assert [bool(part["nested"]) for part in viewer["pictures"]] == [True, False]


def test_a_look_says_which_picture_comes_first() -> None:
    viewer = render(joint_manifest(), look={"picture": 1}).viewer
    assert viewer["picture"] == viewer["pictures"][1]["picture"]
    assert viewer["active"] == "labels_000"
    assert render(joint_manifest(), look={"picture": 7}).viewer["picture"] == viewer["pictures"][0]["picture"]


def test_the_strip_switches_and_says_which_share_of_each_picture_a_group_has() -> None:
    look = render(joint_manifest(), look={"picture": 1})
    buttons = by_attribute(look.pictures, "data-action", "show-picture")
    assert [props(button)["aria-pressed"] for button in buttons] == ["false", "true"]
    assert [props(by_class(button, "v-picture")[0])["data-place"] for button in buttons] == ["0", "1"]
    assert "max_side=96" in str(look.pictures)
    words = words_of(by_class(look.pictures, "v-proportions"))
    assert "1 100 % 0 %" in words
    assert "2 25 % 75 %" in words
    assert [props(swatch)["data-colour"] for swatch in by_class(look.pictures, "v-swatch")] == ["4", "1"]
    assert "Share" not in words_of(details_body(joint_manifest()))


def test_a_share_fetches_every_picture_from_itself() -> None:
    look = render(joint_manifest(), Addresses.of_share("abc"))
    text = json.dumps(look.viewer) + str(look.pictures)
    assert text.count("/api/v1/") == text.count("/api/v1/shares/abc/") > 0


def test_one_picture_or_a_partial_map_has_no_strip() -> None:
    assert render(joint_manifest(partial=True)).pictures is None
    single = joint_manifest(image_ids=IMAGES[:1], picture_sizes=((640, 480),))
    assert render(single).pictures is None
    assert [layer["name"] for layer in render(single).viewer["layers"]] == ["labels_000", "nested_base_000", "firm_000"]


def test_results_that_do_not_know_the_sizes_show_their_first_picture() -> None:
    assert render(joint_manifest(picture_sizes=())).pictures is None


def test_further_pictures_can_be_chosen_dropped_or_taken_from_the_samples() -> None:
    panel = further_pictures([{"id": "tam", "title": "Tam", "thumbnail": "/t.jpg"}])
    assert "Add pictures" in words_of(panel)
    assert by_attribute(panel, "data-action", "choose-further")
    assert props(by_attribute(panel, "data-sample", "tam")[0])["aria-label"] == "Add Tam"
    assert "data-further" in props(panel)
