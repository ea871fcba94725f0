from __future__ import annotations

from typing import Any

from backend.contract.problems import ProblemCode, make_problem
from backend.contract.results import Box, ClassScore, ResultKind
from backend.contract.schemas import Capability, ModelCard, ModelKind
from frontend import ids
from frontend.components.bars import bar
from frontend.components.hero import hero
from frontend.components.method_card import method_cards, reason_words
from frontend.components.model_chooser import prediction_body, search_options, top_classes
from frontend.components.picture_panel import covers, picture_panel
from frontend.components.problem_notice import problem_notice
from frontend.components.share_dialog import share_dialog
from frontend.components.target_chip import target_chip
from frontend.components.tool_row import tool_row
from tests.fakes_page import (
    by_attribute,
    by_class,
    find,
    make_manifest,
    method_card,
    picture_record,
    props,
    words_of,
)

CLASSES = tuple(ClassScore(index=i, label=f"bird {i}", score=0.5 / (i + 1)) for i in range(5))


def model(name: str, **changes: Any) -> ModelCard:
    base: dict[str, Any] = {"name": name, "title": name, "kind": ModelKind.CLASSIFIER, "source": "timm", "weights": ""}
    return ModelCard(**{**base, **changes})


def can(name: str, *, possible: bool, reason: str = "", remedy: str = "") -> Capability:
    return Capability(model=name, method="probe", possible=possible, reason=reason, remedy=remedy)


def test_a_bar_stays_inside_its_track() -> None:
    widths = [bar(share).children.style["width"] for share in (-1.0, 0.25, 7.0)]
    assert widths == ["0.0%", "25.0%", "100.0%"]


def test_the_target_is_among_the_bars_even_when_it_is_weak() -> None:
    rows = by_class(top_classes(CLASSES, 4), "v-bar-row")
    assert len(rows) == 3
    strong = [words_of(row) for row in rows if "is-strong" in row.className]
    assert strong == ["bird 4 0.10"]


def test_without_a_target_the_strongest_class_is_marked() -> None:
    strong = [words_of(row) for row in by_class(top_classes(CLASSES, None), "is-strong")]
    assert strong == ["bird 0 0.50"]


def test_a_model_without_weights_says_so_where_its_bars_would_be() -> None:
    problem = make_problem(ProblemCode.WEIGHTS_MISSING, "The weights are not on this machine.")
    body = prediction_body(manifest=None, problem=problem, state="failed", target=None)
    assert "The weights are not on this machine." in words_of(body)
    assert by_attribute(body, "data-action", "predict-again")


def test_search_leaves_out_what_is_chosen_and_groups_by_origin() -> None:
    cards = [model("a", source="demo"), model("b"), model("c")]
    groups = search_options(cards, ["c"], "")
    assert [(group["group"], [item["value"] for item in group["items"]]) for group in groups] == [
        ("Built in", ["a"]),
        ("timm", ["b"]),
    ]


def test_a_hub_name_can_be_typed() -> None:
    groups = search_options([], [], " hf-hub:owner/net ")
    assert groups == [{"group": "By name", "items": [{"value": "hf-hub:owner/net", "label": "hf-hub:owner/net"}]}]


def test_the_reason_names_the_models_it_is_true_for() -> None:
    both = [can("a", possible=True), can("b", possible=False, reason="No grid.", remedy="Choose a CNN.")]
    assert reason_words(both, {"b": "Bee"}) == "Not for Bee: No grid. Choose a CNN."
    assert reason_words(both[1:], {}) == "No grid. Choose a CNN."
    assert reason_words(both[:1], {}) == ""


def test_the_first_visit_checks_the_first_methods_and_later_ones_what_was_left() -> None:
    cards = [method_card(name=name, presets=()) for name in ("a", "b", "c")]

    def is_box(one: Any) -> bool:
        name = getattr(one, "id", None)
        return isinstance(name, dict) and name["type"] == "method-check"

    def checked(saved: dict[str, Any] | None) -> list[str]:
        return [box.id["method"] for box in find(method_cards(cards, saved), is_box) if box.checked]

    assert checked(None) == ["a", "b"]
    assert checked({"chosen": ["c"]}) == ["c"]


def test_predictions_are_no_method_to_choose() -> None:
    cards = method_cards([method_card(role="prediction")], None)
    assert "No worker" in words_of(cards)


def test_margins_the_model_never_sees_are_dimmed() -> None:
    panel = picture_panel(picture_record(), Box(80, 0, 560, 480), url="/p")
    sides = [one.className.split()[-1] for one in by_class(panel, "v-unseen")]
    assert sides == ["is-left", "is-right"]
    assert "dimmed: not seen" in words_of(panel)
    assert props(by_class(panel, "v-unseen")[0])["style"]["width"] == "12.500%"


def test_a_picture_seen_whole_has_no_margins() -> None:
    record = picture_record()
    assert covers(Box(-10, 0, 640.2, 480), record)
    assert by_class(picture_panel(record, Box(0, 0, 640, 480), url="/p"), "v-unseen") == []
    assert by_class(picture_panel(record, None, url="/p"), "v-unseen") == []


def prediction() -> Any:
    return make_manifest(ResultKind.PREDICTION, classes=CLASSES)


def test_predicted_and_expected_are_compared_where_the_truth_is_known() -> None:
    right = picture_record(truth={"species": "Bird-0"})
    wrong = picture_record(truth={"species": "crested tam"})
    assert words_of(target_chip("m", prediction(), None, right)).startswith("predicted = expected")
    assert words_of(target_chip("m", prediction(), None, wrong)).startswith("expected crested tam, predicted")
    assert words_of(target_chip("m", prediction(), None, picture_record())).startswith("predicted bird 0 0.50")


def test_the_chip_offers_every_kept_class_and_the_models_own_answer() -> None:
    chip = target_chip("m", prediction(), 2, None)
    items = by_attribute(chip, "data-action", "target")
    assert [props(item)["data-target"] for item in items] == ["", "0", "1", "2", "3", "4"]
    assert [props(item)["aria-pressed"] for item in items].index("true") == 3
    assert "asked for" in words_of(chip)


def test_before_the_model_has_answered_there_is_no_chip() -> None:
    assert target_chip("m", None, None, None) == []


def test_a_problem_is_told_in_words_with_its_code_for_tests() -> None:
    notice = problem_notice(make_problem(ProblemCode.PICTURE_TOO_LARGE, "It has 30 MB; 20 MB is the most."))
    assert props(notice)["data-code"] == "picture_too_large"
    assert words_of(notice) == "File too large It has 30 MB; 20 MB is the most."


def test_the_first_visit_is_a_promise_a_drop_zone_and_samples() -> None:
    sample = {"id": "x", "title": "X", "group": "drawn", "thumbnail": "/t", "width": 4, "height": 3, "credit": "c"}
    page = hero([sample], None, max_bytes=20_000_000)
    assert "See what a model sees." in words_of(page)
    assert by_attribute(page, "data-testid", "sample-x")
    assert len(by_class(page, "v-button-filled")) == 1
    assert by_class(page, "v-example") == []


def test_only_the_first_photographs_are_seen_before_the_fold_is_opened() -> None:
    base = {"group": "photograph", "thumbnail": "/t", "width": 4, "height": 3, "credit": "c"}
    page = hero([{**base, "id": f"p{i}", "title": f"P{i}"} for i in range(7)], None, max_bytes=1)
    folded = by_class(page, "v-more-samples")
    assert words_of(folded) == "More samples P5 P6"
    assert len(by_class(page, "v-sample")) == 7
    assert by_class(hero([{**base, "id": "p", "title": "P"}], None, max_bytes=1), "v-more-samples") == []


def test_a_finished_result_can_be_swiped_on_the_first_visit() -> None:
    example = {"viewer": {"run": "r"}, "title": "Robin", "reading": "Enough."}
    assert "Robin" in words_of(by_class(hero([], example, max_bytes=1_000_000), "v-example"))


def test_every_tool_has_a_name() -> None:
    groups = {"look-custom", "look-threshold"}
    for one in find(tool_row(), lambda one: str(getattr(one, "id", "")).startswith("look-") and one.id not in groups):
        named = {"label", "aria-label", "thumbLabel"} & set(props(one))
        assert named or words_of(one), one.id


def test_the_share_dialog_has_one_filled_button() -> None:
    dialog = share_dialog()
    assert len(by_class(dialog, "v-button-filled")) == 1
    assert find(dialog, lambda one: getattr(one, "id", None) == ids.SHARE_TITLE)
