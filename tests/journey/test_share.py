"""A link that outlives everything it was made with: Redis, the web process, the model."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, expect

from tests.fakes_models import write_red_model
from tests.journey.conftest import Invite
from tests.journey.house import House, wait_for
from tests.journey.questions import make_noise
from tests.journey.visitor import FAST_PAMI, Visitor, alike, coloured_share, description, still

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

MODEL = "doomed"
METHODS = ("nave", "pami")
TITLE = "Patches, seen by a model that will be gone"

Maps = dict[str, NDArray[np.uint8]]


@dataclass
class Pinned:
    """A share, its owner's browser, and what was seen before everything else was taken away."""

    path: str
    owner: Visitor
    inspected: Maps
    shared: Maps


def maps_of(person: Visitor) -> Maps:
    """Returns what each of the two viewers shows."""
    return {method: still(person.finished(MODEL, method)) for method in METHODS}


@pytest.fixture(scope="module")
def pinned(house: House, chromium: Browser) -> Iterator[Pinned]:
    """Makes a share in the dialog, then removes the model, empties Redis and starts the web process again."""
    write_red_model(house.models_dir, MODEL)
    wait_for(lambda: MODEL in [card["name"] for card in models(house)], "the new model is on offer")
    owner = Visitor(chromium.new_context(viewport={"width": 1440, "height": 1000}, reduced_motion="reduce"), house.url)
    owner.remember(models=[MODEL], methods=list(METHODS), params={"pami": FAST_PAMI}).open()
    owner.upload(make_noise(77, 300, 200), "patches.png")
    inspected = maps_of(owner)
    path = share_in_dialog(owner)
    owner.open(path)
    shared = maps_of(owner)
    shutil.rmtree(house.models_dir / MODEL)
    house.flush()
    house.stop("web")
    house.start_web()
    wait_for(lambda: house.get("/api/v1/methods"), "the worker offers its methods again")
    wait_for(lambda: MODEL not in [card["name"] for card in models(house)], "the model is gone")
    yield Pinned(path, owner, inspected, shared)
    owner.context.close()
    assert owner.strayed == []


def models(house: House) -> list[dict[str, object]]:
    found: list[dict[str, object]] = house.get("/api/v1/models?limit=50")["items"]
    return found


def share_in_dialog(person: Visitor) -> str:
    """Makes a share as a person does and returns its path."""
    page = person.page
    page.get_by_test_id("share-button").click()
    page.get_by_label("Title").fill(TITLE)
    page.get_by_test_id("share-create").click()
    link = page.get_by_test_id("share-link")
    expect(link).to_be_visible()
    address = link.input_value()
    assert address.startswith(f"{person.url}/s/")
    return address.removeprefix(person.url)


def test_the_link_opens_with_the_same_pixels_in_a_clean_browser_after_everything_else_is_gone(
    pinned: Pinned, invite: Invite
) -> None:
    stranger = invite()
    page = stranger.open(pinned.path)
    expect(page.get_by_role("heading", name=TITLE)).to_be_visible()
    now = maps_of(stranger)
    for method in METHODS:
        assert coloured_share(stranger.cell(MODEL, method)) > 0.3
        assert alike(now[method], pinned.shared[method])
    assert "/api/v1/shares/" in description(stranger.cell(MODEL, "nave"))["picture"]["url"]
    expect(page.get_by_text("Read only. Nothing here is recomputed.")).to_be_visible()
    expect(page.get_by_test_id("share-delete")).to_be_hidden()


def test_the_evidence_can_still_be_downloaded(pinned: Pinned, house: House) -> None:
    share = pinned.path.removeprefix("/s/")
    bundle = house.fetch(f"/api/v1/shares/{share}/bundle.zip")
    assert bundle[:2] == b"PK"
    assert house.fetch(f"/api/v1/shares/{share}/preview.png")[:8] == b"\x89PNG\r\n\x1a\n"


def test_on_a_phone_the_share_says_whose_maps_they_are(pinned: Pinned, invite: Invite) -> None:
    stranger = invite(width=390, height=844, has_touch=True, is_mobile=True)
    page = stranger.open(pinned.path)
    maps_of(stranger)
    expect(page.get_by_role("heading", name=MODEL)).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth - window.innerWidth") <= 0


def test_open_in_vitrine_brings_the_maps_back_into_inspect(pinned: Pinned, invite: Invite) -> None:
    stranger = invite()
    page = stranger.open(pinned.path)
    maps_of(stranger)
    page.get_by_test_id("open-in-vitrine").click()
    expect(page.get_by_test_id("run").first).to_be_attached()
    now = maps_of(stranger)
    for method in METHODS:
        assert alike(now[method], pinned.inspected[method])
    expect(page.locator(".v-model")).to_contain_text(f"There is no model '{MODEL}' here")


def test_only_the_owner_can_delete_the_share_and_then_the_link_says_that_it_is_gone(
    pinned: Pinned, invite: Invite
) -> None:
    page = pinned.owner.open(pinned.path)
    button = page.get_by_test_id("share-delete")
    button.click()
    expect(button).to_have_text("Delete for everybody")
    button.click()
    expect(page.locator("#inspect")).to_be_visible()
    stranger = invite()
    stranger.forgiven.append("410 (Gone)")
    gone = stranger.open(pinned.path)
    expect(gone.locator("#content")).to_contain_text("its share was removed")
    expect(gone.get_by_test_id("cell")).to_have_count(0)
