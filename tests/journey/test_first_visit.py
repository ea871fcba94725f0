"""Somebody opens Vitrine for the first time and clicks on one picture."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.journey.house import House
from tests.journey.visitor import Visitor, coloured_share, description

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

FIRST_MAPS_MS = 240_000
"""The first visit uses no fast preset: about 2,300 passes."""


def test_one_click_on_a_drawn_bird_gives_a_cluster_map_and_a_heat_map_offline(house: House, visitor: Visitor) -> None:
    page = visitor.open()
    expect(page.get_by_role("heading", name="See what a model sees.")).to_be_visible()
    visitor.choose_sample("drawn-crested-tam")
    cells = page.get_by_test_id("cell")
    expect(cells).to_have_count(2)
    expect(page.locator('.v-cell[data-state="done"]')).to_have_count(2, timeout=FIRST_MAPS_MS)
    model = cells.first.get_attribute("data-model") or ""
    assert house.get(f"/api/v1/models/{model}")["source"] == "demo"
    groups, heat = visitor.finished(model, "nave"), visitor.finished(model, "pami")
    assert description(groups)["group"] == "label_map"
    assert description(heat)["group"] == "scalar_map"
    for cell in (groups, heat):
        assert coloured_share(cell) > 0.3

    expect(groups.locator(".v-viewer-legend")).to_contain_text("same colour: represented alike")
    expect(groups.locator(".v-reading")).to_contain_text("groups that account for")
    low, high = description(heat)["layers"][0]["ends"]
    assert low
    assert high
    expect(heat.locator(".v-viewer-legend")).to_contain_text(low)
    expect(heat.locator(".v-viewer-legend")).to_contain_text(high)
    expect(heat.locator(".v-reading")).to_contain_text("crested tam")
    assert visitor.strayed == []


def test_the_model_says_what_it_predicts_and_that_it_is_right_about_the_drawn_bird(visitor: Visitor) -> None:
    page = visitor.remember(models=["birds-resnet"], methods=["nave"], params={}).open()
    visitor.choose_sample("drawn-lesser-ochre")
    expect(page.locator(".v-row-target")).to_contain_text("predicted = expected")
    expect(page.locator(".v-model")).to_contain_text("lesser ochre")


def test_a_picture_chosen_before_any_worker_is_ready_is_explained_as_soon_as_one_is(
    house: House, visitor: Visitor
) -> None:
    house.stop("worker")
    house.flush()
    try:
        visitor.remember(models=["birds-resnet"], methods=["nave"], params={}).open()
        visitor.choose_sample("drawn-crested-tam")
        expect(visitor.page.get_by_text("No worker has said yet what it can do")).to_be_visible()
    finally:
        house.start_worker()
    cell = visitor.finished("birds-resnet", "nave")
    assert coloured_share(cell) > 0.1
    expect(visitor.page.locator(".v-model")).to_contain_text("crested tam")
