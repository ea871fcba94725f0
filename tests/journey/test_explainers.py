"""The page Explainers: from a zip of pictures to a word book that explains a picture."""

from __future__ import annotations

import io
import json
import re
import zipfile
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.journey.conftest import Invite
from tests.journey.house import House, wait_for
from tests.journey.test_pages import grave
from tests.journey.visitor import Visitor, run_of

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.timeout(900), pytest.mark.xdist_group("house")]

MODEL = "birds-resnet"
KIND = "Word book"
METHOD = "lvw"
LONG_MS = 300_000
"""A process that trains starts cold; on a busy machine that alone takes a while."""


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as packed:
        for name, data in files.items():
            packed.writestr(name, data)
    return buffer.getvalue()


def coloured_pictures(count: int = 12) -> bytes:
    """Returns a zip with two classes: warm noise and cold noise."""
    files = {}
    for place, name in enumerate(("warm", "cold")):
        for number in range(count):
            noise = np.random.default_rng((place, number)).integers(0, 90, (64, 64, 3), dtype=np.uint8)
            noise[..., 2 * place] += 150
            buffer = io.BytesIO()
            Image.fromarray(noise).save(buffer, "PNG")
            files[f"{name}/{number}.png"] = buffer.getvalue()
    return archive(files)


def upload(page: Page, data: bytes, name: str) -> None:
    with page.expect_file_chooser() as chooser:
        page.get_by_test_id("dataset-choose").click()
    chooser.value.set_files(FilePayload(name=name, mimeType="application/zip", buffer=data))


def fill_settings(page: Page, settings: dict[str, str]) -> None:
    """Fills fields of the folded settings in; each is left, so that it takes its value."""
    form = page.get_by_test_id("train-form")
    form.get_by_text("All settings").click()
    for label, value in settings.items():
        field = form.get_by_role("textbox", name=label, exact=True)
        field.fill(value)
        field.press("Tab")
        expect(field).to_have_value(value)


def start_training(page: Page, title: str) -> Locator:
    """Asks for a word book that takes long, so that it can be watched and then ended early."""
    form = page.get_by_test_id("train-form")
    form.get_by_role("radio", name=KIND, exact=True).check()
    form.get_by_role("radio", name="Frozen trunk", exact=True).check()
    # The settings are drawn anew for the kind and its preset; fields filled in before that would be lost.
    frozen = re.compile('"train_trunk": false')
    expect(form.locator(".v-train-settings")).to_have_attribute("data-defaults", frozen, timeout=LONG_MS)
    model = form.get_by_role("textbox", name="For which model")
    expect(model).not_to_have_value("")
    model.click()
    page.get_by_role("option", name="Birds ResNet (small)", exact=True).click()
    name = form.get_by_role("textbox", name="Name", exact=True)
    name.fill(title)
    name.press("Tab")
    fill_settings(page, {"Words per class": "2", "Warm epochs": "500", "Joint epochs": "500", "Last layer": "2"})
    asked = {
        "title": title,
        "recipe": {"words_per_class": 2, "warm_epochs": 500, "joint_epochs": 500, "last_passes": 2},
    }
    wait_for(lambda: json.loads(form.get_attribute("data-said") or "{}") == asked, "the form took what was typed")
    form.get_by_test_id("train-start").click()
    card = page.get_by_test_id("training").filter(has_text=title)
    expect(card).to_be_visible()
    return card


def test_a_zip_that_is_none_is_refused_in_words_and_leaves_nothing(visitor: Visitor, house: House) -> None:
    visitor.forgiven.append("the server responded with a status of 4")
    before = house.get("/api/v1/datasets")
    page = visitor.open("/explainers")
    answer = page.locator("#dataset-answer")
    upload(page, b"this is a text", "birds.zip")
    expect(answer).to_contain_text("zip")
    upload(page, archive({"one/a.png": b"x", "../two/b.png": b"x"}), "escape.zip")
    expect(answer).to_contain_text("..")
    upload(page, archive({"one/a.txt": b"no picture", "two/b.txt": b"no picture"}), "texts.zip")
    expect(answer).to_contain_text(re.compile("picture", re.IGNORECASE))
    assert house.get("/api/v1/datasets") == before


def test_a_word_book_is_trained_from_a_zip_watched_and_used(visitor: Visitor, house: House) -> None:
    page = visitor.open("/explainers")
    upload(page, coloured_pictures(), "colours.zip")
    expect(page.get_by_role("textbox", name="From which pictures")).to_have_value(re.compile("^colours"))
    expect(page.locator("#explainers-data-note")).to_contain_text("2 classes")
    card = start_training(page, "Warm and cold")
    watch(page, card)
    card.get_by_role("button", name="Finish early").click()
    past = page.get_by_test_id("past-training").filter(has_text="Warm and cold")
    expect(past).to_have_attribute("data-state", "done", timeout=LONG_MS)
    expect(card).to_have_count(0)
    shelf = page.get_by_test_id("explainer-card").filter(has_text="Warm and cold")
    expect(shelf).to_contain_text("2 classes")
    look_inside(page, shelf)
    book = page.url.rsplit("/", 1)[-1]
    page.get_by_role("button", name="Use it").click()
    visitor.choose_sample("drawn-crested-tam")
    cell = visitor.finished(MODEL, METHOD)
    assert house.get(f"/api/v1/runs/{run_of(cell)}/result")["params"]["explainer"] == book
    delete_it(page, "Warm and cold")
    assert book not in [card["id"] for card in house.get("/api/v1/explainers")]


def watch(page: Page, card: Locator) -> None:
    """Waits for the curve and for a word to appear, while nothing is reloaded."""
    expect(card).to_have_attribute("data-state", "running", timeout=LONG_MS)
    losses = card.locator('[data-chart="losses"]')
    expect(losses.locator(".scatterlayer .trace").first).to_be_attached(timeout=LONG_MS)
    expect(losses).to_be_visible()
    expect(card.locator('[data-part="state"]')).to_contain_text("epoch")
    expect(card.locator('[data-value="loss"] dd')).to_have_text(re.compile(r"\d"))
    points = losses.locator(".scatterlayer .trace").first.locator(".point")
    seen = points.count()
    expect(points.nth(seen)).to_be_attached(timeout=LONG_MS)
    assert page.locator(".v-training").count() == 1


def look_inside(page: Page, shelf: Locator) -> None:
    """Opens a book and one of its words, orders and filters."""
    shelf.get_by_role("link", name="Look inside").click()
    words = page.locator("#word-grid > button")
    expect(words).to_have_count(4)
    expect(page.get_by_test_id("distinct-words")).to_contain_text("of 4")
    page.get_by_test_id("word-1").click()
    view = page.locator("#explainers-word-view")
    expect(view.get_by_role("heading", name="Word 1")).to_be_visible()
    expect(view).to_contain_text("Nearest patches")
    expect(page.get_by_test_id("word-1")).to_have_attribute("aria-pressed", "true")
    page.get_by_label("Order").select_option("prevalence")
    often = [float(word.get_attribute("data-prevalence") or "nan") for word in words.all()]
    assert often == sorted(often, reverse=True)
    page.get_by_label("Used by").select_option(label="warm")
    expect(page.locator("#word-grid > button:not([hidden])")).to_have_count(
        sum("1" in (word.get_attribute("data-used") or "").split() for word in words.all())
    )


def delete_it(page: Page, title: str) -> None:
    page.get_by_role("navigation", name="Pages", exact=True).get_by_role("link", name="Explainers").click()
    card = page.get_by_test_id("explainer-card").filter(has_text=title)
    card.get_by_role("button", name=f"Delete {title}").click()
    card.get_by_role("button", name="Keep").click()
    expect(card).to_be_visible()
    card.get_by_role("button", name=f"Delete {title}").click()
    card.get_by_role("button", name="Delete", exact=True).click()
    expect(card).to_have_count(0)


def test_a_training_can_be_stopped_and_goes_on_where_it_was(visitor: Visitor, house: House) -> None:
    page = visitor.open("/explainers")
    upload(page, coloured_pictures(), "again.zip")
    expect(page.get_by_role("textbox", name="From which pictures")).to_have_value(re.compile("^again"))
    card = start_training(page, "Stopped once")
    expect(card.locator('[data-value="loss"] dd')).to_have_text(re.compile(r"\d"), timeout=LONG_MS)
    card.get_by_role("button", name="Stop").click()
    past = page.get_by_test_id("past-training").filter(has_text="Stopped once")
    expect(past).to_have_attribute("data-state", "stopped", timeout=LONG_MS)
    past.get_by_role("button", name="Resume").click()
    expect(card).to_have_attribute("data-state", "running", timeout=LONG_MS)
    card.get_by_role("button", name="Stop").click()
    expect(past).to_have_attribute("data-state", "stopped", timeout=LONG_MS)
    past.get_by_role("button", name=re.compile("^Remove from the list")).click()
    past.get_by_role("button", name="Remove", exact=True).click()
    expect(past).to_have_count(0)
    assert not [one for one in trainings(house) if one["spec"]["title"] == "Stopped once"]


def trainings(house: House) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = house.get("/api/v1/trainings")
    return found


def test_a_card_in_inspect_offers_to_train_what_its_method_lacks(visitor: Visitor) -> None:
    page = visitor.remember(models=["red-squash"], methods=["nave"], params={}).open()
    visitor.choose_sample("drawn-crested-tam")
    offer = page.locator(".v-reason a", has_text="Train one").first
    expect(offer).to_be_visible()
    address = offer.get_attribute("href") or ""
    assert "model=red-squash" in address
    offer.click()
    form = page.get_by_test_id("train-form")
    expect(form.get_by_role("textbox", name="For which model")).to_have_value(re.compile(".+"))
    kind = re.search(r"kind=(\w+)", address)
    assert kind is not None
    expect(form.locator(f'input[type="radio"][value="{kind.group(1)}"]')).to_be_checked()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_among_explainers(invite: Invite, house: House, scheme: str) -> None:
    person = invite(color_scheme=scheme)
    page = person.open("/explainers")
    expect(page.get_by_test_id("train-form")).to_be_visible()
    faults = grave(page, "list")
    for card in house.get("/api/v1/explainers"):
        person.open(f"/explainers?open={card['method']}/{card['base_digest']}/{card['id']}")
        expect(page.get_by_test_id("explainer-detail")).to_be_visible()
        faults += grave(page, card["title"])
    assert faults == []


def test_on_a_phone_nothing_scrolls_sideways(invite: Invite, house: House) -> None:
    person = invite(width=390, height=844, has_touch=True, is_mobile=True)
    addresses = ["/explainers"]
    addresses += [
        f"/explainers?open={card['method']}/{card['base_digest']}/{card['id']}"
        for card in house.get("/api/v1/explainers")
    ]
    for address in addresses:
        page = person.open(address)
        expect(page.locator(".v-page")).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0, address
