from __future__ import annotations

import json
from typing import Any

import pytest

from backend.contract.problems import ProblemCode, make_problem
from backend.contract.schemas import Progress
from frontend.components.viewer_cell import CellView, left_words, running_words, viewer_cell
from tests.fakes_page import KEY, by_attribute, by_class, props, scalar_manifest, words_of

STATES = ["idle", "refused", "lost", "queued", "running", "done", "failed", "cancelled"]


def make_view(state: str, **changes: Any) -> CellView:
    base: dict[str, Any] = {
        "model": "tiny.one",
        "model_title": "Tiny",
        "method": "probe",
        "method_title": "Probe",
        "picture": {"url": "/p.png", "width": 640, "height": 480},
        "key": KEY,
        "state": state,
    }
    if state == "done":
        base["manifest"] = scalar_manifest()
    return CellView(**{**base, **changes})


def spec_of(cell: Any) -> dict[str, Any]:
    return json.loads(props(by_class(cell, "v-viewer")[0])["data-viewer"])


@pytest.mark.parametrize("state", STATES)
def test_every_state_has_the_picture_at_the_same_place(state: str) -> None:
    cell = viewer_cell(make_view(state))
    assert "v-case" in cell.children[0].className
    assert props(by_class(cell, "v-viewer")[0])["id"] == "viewer-tiny-one-probe"
    assert spec_of(cell)["picture"]["width"] == 640


@pytest.mark.parametrize("state", STATES)
def test_every_state_is_named_for_tests_and_for_screen_readers(state: str) -> None:
    attributes = props(viewer_cell(make_view(state)))
    assert (attributes["data-testid"], attributes["data-state"]) == ("cell", state)
    assert attributes["aria-label"] == "Probe, Tiny"


def test_a_waiting_cell_says_its_place_and_can_be_cancelled() -> None:
    cell = viewer_cell(make_view("queued", position=0, seconds=9.0, passes=420))
    assert "Queued, next in line" in words_of(cell)
    assert "Takes about 9 s" in words_of(cell)
    assert props(by_attribute(cell, "data-action", "cancel")[0])["data-run"] == KEY
    assert "Queued, 3 before it" in words_of(viewer_cell(make_view("queued", position=3)))


def test_a_waiting_cell_says_what_it_waits_for() -> None:
    assert "Waiting for Other on the same model." in words_of(viewer_cell(make_view("queued", waiting_for="Other")))


def test_a_running_cell_counts_its_passes() -> None:
    progress = Progress(done=212, total=420, seconds_left=9.2)
    words = words_of(viewer_cell(make_view("running", progress=progress)))
    assert "Running, 212 / 420 passes" in words
    assert "9 s left" in words


def test_a_running_cell_shows_its_partial_map_without_a_veil() -> None:
    partial = scalar_manifest(partial=True)
    cell = viewer_cell(make_view("running", manifest=partial))
    assert props(cell)["data-partial"] == "true"
    assert spec_of(cell)["badge"] == "partial map"
    assert by_class(cell, "v-veil") == []


def test_a_failed_cell_says_what_happened_and_offers_what_helps() -> None:
    problem = make_problem(ProblemCode.OUT_OF_MEMORY, "One picture needs 1.4 GB, and 0.9 GB is free.")
    cell = viewer_cell(make_view("failed", problem=problem, attempt=2))
    assert "Not enough memory" in words_of(cell)
    assert "One picture needs 1.4 GB" in words_of(cell)
    assert "after 2 tries" in words_of(cell)
    assert by_attribute(cell, "data-action", "retry")


def test_a_failure_that_would_happen_again_offers_no_retry() -> None:
    problem = make_problem(ProblemCode.NOT_FINITE, "The model gave NaN.")
    assert by_attribute(viewer_cell(make_view("failed", problem=problem)), "data-action") == []


def test_a_cached_result_says_so_unless_something_matters_more() -> None:
    assert spec_of(viewer_cell(make_view("done", cached=True)))["badge"] == "from cache"
    texts = scalar_manifest().texts.model_copy(update={"badge": "post hoc"})
    badge = spec_of(viewer_cell(make_view("done", cached=True, manifest=scalar_manifest(texts=texts))))["badge"]
    assert badge == "post hoc"


def test_a_cell_without_a_map_lets_the_picture_wait() -> None:
    for state in ("idle", "queued", "failed", "cancelled"):
        assert spec_of(viewer_cell(make_view(state)))["state"] == "waiting"


def test_a_share_names_the_method_in_the_reading() -> None:
    reading = by_class(viewer_cell(make_view("done", named=True)), "v-reading")[0]
    assert words_of(reading).startswith("Probe.")


def test_before_anything_is_counted_the_stage_is_told() -> None:
    assert running_words(None) == "Running, loading the model"
    assert running_words(Progress(done=0, total=0, stage="cutting")) == "Running, cutting"
    assert left_words(Progress(done=1, total=2)) == ""


@pytest.mark.parametrize("state", ["idle", "queued", "running", "failed", "cancelled", "refused", "lost"])
def test_a_cell_without_a_result_keeps_the_room_that_its_result_will_take(state: str) -> None:
    [room] = by_class(viewer_cell(make_view(state, kind="region_values")), "v-reserve")
    assert props(room)["data-kind"] == "region_values"
