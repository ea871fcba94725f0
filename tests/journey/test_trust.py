"""Somebody asks of a finished map whether it beats chance, and still knows it after a reload."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import expect

from tests.journey.house import House
from tests.journey.visitor import FAST_PAMI, Visitor, run_of

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

MODEL = "red-squash"


def test_a_map_is_checked_against_chance_and_the_strip_survives_a_reload(house: House, visitor: Visitor) -> None:
    visitor.remember(models=[MODEL], methods=["pami", "nave"], params={"pami": FAST_PAMI}).open()
    visitor.choose_sample("drawn-crested-tam")
    cell = visitor.finished(MODEL, "pami")
    run = run_of(cell)
    cell.get_by_test_id("check").click()
    strip = cell.get_by_test_id("trust-strip")
    expect(strip).to_contain_text(re.compile(r"Removed\s*\d\.\d\d"))
    expect(strip).to_contain_text(re.compile(r"Shown\s*\d\.\d\d"))
    strip.click()
    card = visitor.page.locator(".v-trust-card")
    expect(card).to_be_visible()
    expect(card).to_contain_text("Middle of the picture")
    expect(card).to_contain_text("Convention: removed places show blur")
    visitor.page.keyboard.press("Escape")
    expect(card).to_be_hidden()

    asked = len(visitor.requests)
    visitor.page.reload()
    cell = visitor.finished(MODEL, "pami")
    assert run_of(cell) == run
    expect(cell.get_by_test_id("trust-strip")).to_be_visible()
    assert [path for method, path in visitor.requests[asked:] if method == "POST" and path == "/api/v1/runs"] == []
    assert house.get("/api/v1/workers")["waiting"] == 0
