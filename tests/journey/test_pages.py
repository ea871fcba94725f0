"""The other pages, and all of them for people with a keyboard, a screen reader or a phone."""

from __future__ import annotations

import re
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page, expect

from tests.journey.conftest import Invite
from tests.journey.test_share import share_in_dialog
from tests.journey.visitor import FAST_PAMI, Visitor, run_of

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

MODEL = "red-squash"
ENCODER = "vit_small_patch14_dinov2.lvd142m"
BOTH = ["pami", "nave"]
MOST_TABS = 90


def look_at_a_sample(person: Visitor, *, name: str = "drawn-crested-tam") -> Page:
    """Opens Inspect on a finished sample."""
    page = person.remember(models=[MODEL], methods=BOTH, params={"pami": FAST_PAMI}).open()
    person.choose_sample(name)
    for method in BOTH:
        person.finished(MODEL, method)
    return page


def test_the_library_keeps_what_was_looked_at_and_opens_it_again(visitor: Visitor) -> None:
    page = look_at_a_sample(visitor)
    run = run_of(visitor.cell(MODEL, "pami"))
    page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Library").click()
    card = page.locator(".v-library-card")
    expect(card).to_have_count(1)
    expect(card).to_contain_text("Crested tam")
    expect(card).to_contain_text("2 maps")
    card.click()
    expect(page.locator(".v-work")).to_be_visible()
    assert run_of(visitor.finished(MODEL, "pami")) == run


def test_a_timm_name_can_be_added_and_the_matrix_says_why_an_encoder_has_no_heat_map(visitor: Visitor) -> None:
    page = visitor.open("/models")
    expect(page.get_by_role("row", name=re.compile("red-center")).locator(".is-possible")).not_to_have_count(0)
    page.get_by_label("Add a model").fill(ENCODER)
    page.get_by_test_id("add-model").click()
    row = page.get_by_role("row").filter(has_text=ENCODER)
    expect(row).to_contain_text("encoder")
    expect(row.locator(".is-impossible").first).to_contain_text("no class scores")
    expect(row.locator(".is-possible").first).to_be_visible()


def test_a_name_that_nobody_knows_is_refused_in_words(visitor: Visitor) -> None:
    visitor.forgiven.append("404 (Not Found)")
    page = visitor.open("/models")
    page.get_by_label("Add a model").fill("resnot50")
    page.get_by_test_id("add-model").click()
    expect(page.locator("#add-model-answer")).to_contain_text("resnot50")


def test_the_guide_says_what_each_method_can_and_cannot_show(visitor: Visitor) -> None:
    page = visitor.open("/guide")
    for method in ("NAVE", "PAMI"):
        section = page.locator(f"#{method.lower()}")
        expect(section.get_by_role("heading", level=2)).to_contain_text(method)
        expect(section).to_contain_text("What it cannot tell")
        expect(section).to_contain_text("arXiv")


def test_an_unknown_address_says_so_and_leads_back(visitor: Visitor) -> None:
    page = visitor.open("/no-such-page")
    expect(page.get_by_role("heading", name="Nothing here")).to_be_visible()
    page.get_by_role("link", name="Go to Inspect").click()
    expect(page.get_by_role("heading", name="See what a model sees.")).to_be_visible()


def grave(page: Page, where: str) -> list[str]:
    """Returns what axe finds serious or critical, in words."""
    found: list[dict[str, Any]] = Axe().run(page).response["violations"]
    return [
        f"{where}: {item['id']} ({item['impact']}): {node['target']} {node.get('failureSummary', '')[:300]}"
        for item in found
        if item["impact"] in {"serious", "critical"}
        for node in item["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_on_any_page(invite: Invite, scheme: str) -> None:
    person = invite(color_scheme=scheme).remember(models=[MODEL], methods=BOTH, params={"pami": FAST_PAMI})
    page = person.open()
    expect(page.locator("html")).to_have_attribute("data-mantine-color-scheme", scheme)
    faults = grave(page, "empty")
    look_at_a_sample(person)
    faults += grave(page, "done")
    path = share_in_dialog(person)
    faults += grave(page, "dialog")
    for where in (path, "/models", "/library", "/guide"):
        person.open(where)
        faults += grave(page, where)
    assert faults == []


def tab_to(page: Page, selector: str) -> None:
    """Presses Tab until what matches has the focus."""
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if page.evaluate("selector => Boolean(document.activeElement?.matches(selector))", selector):
            return
    raise AssertionError(f"not within {MOST_TABS} steps of Tab: {selector}")


def test_the_keyboard_alone_chooses_a_sample_runs_it_and_reaches_a_map(visitor: Visitor) -> None:
    page = visitor.remember(models=[MODEL], methods=["nave"], params={"pami": FAST_PAMI}).open()
    tab_to(page, '[data-testid="sample-drawn-crested-tam"]')
    page.keyboard.press("Enter")
    visitor.finished(MODEL, "nave")
    tab_to(page, '[data-testid="method-pami"] input, input[data-testid="method-pami"]')
    page.keyboard.press("Space")
    expect(visitor.cell(MODEL, "pami")).to_have_attribute("data-state", "idle")
    tab_to(page, '[data-testid="run"]')
    page.keyboard.press("Enter")
    visitor.finished(MODEL, "pami")
    tab_to(page, '.v-cell[data-method="nave"] .v-viewer-canvas')
    page.keyboard.press("r")
    expect(visitor.cell(MODEL, "nave").locator(".v-viewer-badge-value")).to_have_text(re.compile("group"))


def test_on_a_phone_one_map_is_shown_at_a_time_and_nothing_scrolls_sideways(invite: Invite) -> None:
    person = invite(width=390, height=844, has_touch=True, is_mobile=True)
    page = person.remember(models=[MODEL, "red-center"], methods=BOTH, params={"pami": FAST_PAMI}).open()

    def overflow() -> int:
        width: int = page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        return width

    assert overflow() <= 0
    page.get_by_test_id("sample-drawn-crested-tam").tap()
    person.finished(MODEL, "pami")
    shown = page.locator(".v-cell:visible")
    expect(shown).to_have_count(1)
    expect(shown).to_have_attribute("data-method", "pami")
    assert overflow() <= 0
    page.locator('.v-tab[data-method="nave"]').tap()
    expect(shown).to_have_count(1)
    expect(shown).to_have_attribute("data-method", "nave")
    expect(shown).to_have_attribute("data-state", "done")
    page.locator('.v-switch[data-model="red-center"]').tap()
    expect(shown).to_have_count(1)
    expect(shown).to_have_attribute("data-model", "red-center")
    assert overflow() <= 0
    page.locator('[data-action="open-rail"]:visible').first.tap()
    expect(page.locator("#rail")).to_be_in_viewport()
    assert overflow() <= 0
