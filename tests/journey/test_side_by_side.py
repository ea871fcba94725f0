"""Two models and two methods at once, and everything one can change without asking the server again."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.journey.conftest import Invite
from tests.journey.house import House, wait_for
from tests.journey.visitor import FAST_PAMI, Visitor, alike, description, pixels, still

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

MODELS = ("red-center", "red-squash")
METHODS = ("nave", "pami")


@pytest.fixture
def grid(invite: Invite) -> Visitor:
    """Somebody who looks at four finished maps."""
    person = invite(width=1500, height=1250)
    person.remember(models=list(MODELS), methods=list(METHODS), params={"pami": FAST_PAMI}).open()
    person.choose_sample("drawn-crested-tam")
    for model in MODELS:
        for method in METHODS:
            person.finished(model, method)
    return person


def cells_of(person: Visitor) -> list[Locator]:
    return [person.cell(model, method) for model in MODELS for method in METHODS]


@contextmanager
def no_request(person: Visitor) -> Iterator[None]:
    """Fails when the page asked the server for anything meanwhile."""
    before = len(person.requests)
    yield
    assert person.requests[before:] == []


def becomes_different(cell: Locator, before: np.ndarray, what: str) -> None:
    wait_for(lambda: not alike(pixels(cell), before), what)


def choose(page: Page, label: str, option: str) -> None:
    page.get_by_role("textbox", name=label).click()
    page.get_by_role("option", name=option, exact=True).click()


def test_two_models_and_two_methods_fill_a_grid_of_four(grid: Visitor) -> None:
    expect(grid.page.locator(".v-row")).to_have_count(2)
    expect(grid.page.locator(".v-column-head")).to_have_count(2)
    boxes = [cell.bounding_box() for cell in cells_of(grid)]
    assert len({round(box["x"]) for box in boxes if box}) == 2
    assert len({round(box["y"]) for box in boxes if box}) == 2


def test_pointing_at_one_map_shows_the_same_place_in_all_four(grid: Visitor) -> None:
    first = cells_of(grid)[0]
    width, height = (description(first)["picture"][name] for name in ("width", "height"))
    with no_request(grid):
        grid.point_at(first, width / 2, height / 2)
        for cell in cells_of(grid):
            expect(cell.locator(".v-viewer-badge-value")).to_be_visible()
            expect(cell.locator(".v-viewer-cross")).to_have_class(re.compile("v-viewer-cross-on"))
    crosses = [cell.locator(".v-viewer-cross").bounding_box() for cell in cells_of(grid)]
    canvases = [cell.locator(".v-viewer-canvas").bounding_box() for cell in cells_of(grid)]
    places = {
        (round(cross["x"] - canvas["x"]), round(cross["y"] - canvas["y"]))
        for cross, canvas in zip(crosses, canvases, strict=True)
        if cross and canvas
    }
    assert len(places) == 1


def test_a_picked_group_is_marked_in_every_cell(grid: Visitor) -> None:
    groups, *others = cells_of(grid)
    before = [still(cell) for cell in others]
    width, height = (description(groups)["picture"][name] for name in ("width", "height"))
    grid.point_at(groups, width / 2, height / 2)
    named = groups.locator(".v-viewer-badge-value").inner_text()
    grid.page.mouse.down()
    grid.page.mouse.up()
    for cell, plain in zip(others, before, strict=True):
        becomes_different(cell, plain, "the region is outlined in the other cells")
    grid.page.mouse.move(5, 5)
    expect(groups.locator(".v-viewer-badge-value")).to_have_text(named)
    groups.locator(".v-viewer-canvas").focus()
    grid.page.keyboard.press("Escape")
    for cell, plain in zip(others, before, strict=True):
        wait_for(lambda cell=cell, plain=plain: alike(pixels(cell), plain), "the outline is gone again")


def test_the_number_of_groups_slides_without_a_request(grid: Visitor) -> None:
    groups = cells_of(grid)[0]
    before = still(groups)
    slider = groups.get_by_role("slider", name="Number of groups")
    with no_request(grid):
        slider.focus()
        grid.page.keyboard.press("ArrowRight")
        grid.page.keyboard.press("ArrowRight")
        expect(groups.locator(".v-groups-count")).to_have_text("7")
        expect(groups.locator(".v-groups-words")).to_have_text(re.compile(r"nested, explains \d+ %"))
        becomes_different(groups, before, "seven groups")
        grid.page.keyboard.press("ArrowLeft")
        grid.page.keyboard.press("ArrowLeft")
        expect(groups.locator(".v-groups-words")).to_have_text(re.compile(r"exact, explains \d+ %"))
        wait_for(lambda: alike(pixels(groups), before), "the five groups as they were")


def test_opacity_colours_and_threshold_change_the_maps_without_a_request(grid: Visitor) -> None:
    heat = cells_of(grid)[1]
    page = grid.page
    with no_request(grid):
        before = still(heat)
        page.get_by_role("slider", name="Opacity").focus()
        for _ in range(10):
            page.keyboard.press("ArrowLeft")
        becomes_different(heat, before, "a fainter map")
        before = pixels(heat)
        choose(page, "Colours", "Viridis")
        becomes_different(heat, before, "another palette")
        before = pixels(heat)
        choose(page, "Show", "Top share")
        becomes_different(heat, before, "only the top of the map")
        before = pixels(heat)
        choose(page, "Range", "Own")
        page.get_by_text("Side by side", exact=True).click()
        becomes_different(heat, before, "picture and map beside each other")


def test_another_class_is_shown_without_another_run(house: House, grid: Visitor) -> None:
    heat = cells_of(grid)[1]
    before, asked = still(heat), len(grid.requests)
    runs = house.get("/api/v1/workers")["waiting"]
    heat.get_by_role("textbox", name="Class").click()
    grid.page.get_by_role("option", name=re.compile("^other")).click()
    becomes_different(heat, before, "the map of the other class")
    assert [request for request in grid.requests[asked:] if "/runs" in request[1]] == []
    assert house.get("/api/v1/workers")["waiting"] == runs == 0


def test_all_finished_maps_are_compared_and_a_pair_is_subtracted_without_another_run(grid: Visitor) -> None:
    page = grid.page
    page.get_by_test_id("compare").click()
    comparison = page.get_by_test_id("comparison")
    expect(comparison).to_be_visible()
    expect(comparison.locator(".v-viewer")).to_have_attribute("data-viewer-state", "ready")
    pairs = comparison.locator(".v-pair")
    maps = comparison.locator(".v-triangle tbody tr")
    assert pairs.count() == maps.count() * (maps.count() - 1) // 2 >= 1
    before = still(comparison)
    asked = len(grid.requests)
    pairs.first.click()
    expect(pairs.first).to_have_attribute("aria-pressed", "true")
    becomes_different(comparison, before, "one map minus the other")
    assert {method for method, _path in grid.requests[asked:]} <= {"GET"}
    assert [path for _method, path in grid.requests[asked:] if "/runs" in path] == []
    assert " minus " in comparison.locator(".v-viewer").get_attribute("data-viewer")
