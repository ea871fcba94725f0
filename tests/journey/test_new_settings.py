"""Settings that change while a map is made: the map that nobody waits for any more makes way."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.journey.house import House
from tests.journey.questions import make_noise
from tests.journey.visitor import Visitor, run_of

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]


def test_a_map_asked_with_new_settings_does_not_wait_for_the_one_it_replaces(house: House, visitor: Visitor) -> None:
    slow = {"preset": "standard", "batch_size": 16}
    visitor.remember(models=["slow"], methods=["pami"], params={"pami": slow}).open()
    visitor.upload(make_noise(41), "patches-41.png")
    cell = visitor.cell("slow", "pami")
    expect(cell).to_have_attribute("data-state", "running")
    replaced = run_of(cell)

    visitor.page.locator(".v-methods summary", has_text="Settings").first.click()
    visitor.page.locator(".v-methods label", has_text="Fast").first.click()
    expect(cell).to_have_attribute("data-state", "idle")
    visitor.page.get_by_test_id("run").click()
    expect(cell).to_have_attribute("data-state", "running")
    assert run_of(cell) != replaced
    assert house.finished(replaced)["state"] == "cancelled"
    visitor.page.get_by_test_id("stop-all").click()
    expect(cell).to_have_attribute("data-state", "cancelled")
