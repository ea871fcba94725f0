"""Several pictures looked at together: from the rail to a shared result, and back again."""

from __future__ import annotations

import io
import json
import re
import zipfile

import pytest
from PIL import Image
from playwright.sync_api import FilePayload, Locator, Page, expect

from tests.journey.conftest import Invite
from tests.journey.house import House, wait_for
from tests.journey.questions import make_noise
from tests.journey.visitor import FAST_PAMI, Visitor, alike, description, pixels, run_of

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

MODEL = "birds-resnet"
WIDE = (300, 150)
CASES = ("nave", "pami")


def samples_of(house: House) -> list[str]:
    """Returns two drawn samples, the first as the main picture."""
    found = [sample["id"] for sample in house.get("/api/v1/samples") if sample["group"] == "drawn"]
    assert len(found) > 1
    return found[:2]


@pytest.fixture
def person(house: House, invite: Invite) -> Visitor:
    """Somebody with two further pictures beside the first: a sample and an upload of another shape."""
    guest = invite(width=1440, height=1100)
    guest.remember(models=[MODEL], methods=list(CASES), params={"pami": FAST_PAMI}).open()
    first, second = samples_of(house)
    guest.choose_sample(first)
    guest.finished(MODEL, "nave")
    page = guest.page
    page.get_by_test_id("add-pictures").click()
    page.get_by_test_id(f"add-{second}").click()
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Choose pictures").click()
    chooser.value.set_files(FilePayload(name="wide.png", mimeType="image/png", buffer=make_noise(5, *WIDE)))
    expect(page.locator(".v-further-item")).to_have_count(2)
    return guest


def run_together(person: Visitor) -> Locator:
    """Asks for the joint map and returns its cell."""
    cell = person.cell(MODEL, "nave")
    expect(cell).to_have_attribute("data-state", "idle")
    person.page.get_by_test_id("run").first.click()
    return person.finished(MODEL, "nave")


def show(cell: Locator, place: int) -> None:
    """Switches to one of the pictures of a cell."""
    button = cell.get_by_role("button", name=f"Picture {place + 1}", exact=True)
    button.click()
    expect(button).to_have_attribute("aria-pressed", "true")
    expect(cell.locator(".v-viewer")).to_have_attribute("data-viewer-state", "ready")


def swatches(cell: Locator) -> list[str]:
    return cell.locator(".v-viewer-swatch").evaluate_all("all => all.map(one => one.style.backgroundColor)")


def settings_switch(page: Page) -> Locator:
    return page.get_by_role("switch", name=re.compile("Shared groups"), include_hidden=True)


def test_several_pictures_get_shared_groups_and_the_cell_switches_between_them(house: House, person: Visitor) -> None:
    page = person.page
    others = page.locator(".v-method", has=page.get_by_test_id("method-pami"))
    expect(others).to_contain_text("Looks at the first picture only.")
    expect(page.locator(".v-method", has=page.get_by_test_id("method-nave"))).not_to_contain_text("first picture only")
    expect(person.cell(MODEL, "pami")).to_have_attribute("data-state", "done")
    cell = run_together(person)
    manifest = house.get(f"/api/v1/runs/{run_of(cell)}/result")
    assert len(manifest["image_ids"]) == 3
    assert manifest["params"]["joint"] is True
    assert manifest["picture_sizes"][2] == list(WIDE)

    expect(cell.locator(".v-picture")).to_have_count(3)
    expect(cell.locator(".v-proportions tbody tr")).to_have_count(3)
    shown = [pixels(cell)]
    asked = len(person.requests)
    for place in (1, 2):
        show(cell, place)
        shown.append(pixels(cell))
        told = description(cell)
        assert told["picture"]["url"].endswith(f"{manifest['image_ids'][place]}/picture")
        assert [told["picture"]["width"], told["picture"]["height"]] == manifest["picture_sizes"][place]
        layer = next(layer for layer in told["layers"] if layer["name"] == told["active"])
        frame = manifest["arrays"][f"labels_{place:03d}"]["frame"]
        assert layer["frame"] == frame
        width, height = manifest["picture_sizes"][place]
        clipped = [max(0, frame[0]), max(0, frame[1]), min(width, frame[2]), min(height, frame[3])]
        assert told["seen"] == pytest.approx(clipped)
        assert {tuple(pair) for pair in layer["colours"]} == {(r["id"], r["colour"]) for r in manifest["regions"]}
    assert {path for method, path in person.requests[asked:] if method != "GET"} == set()
    assert [path for _method, path in person.requests[asked:] if "/runs" in path or "dash" in path] == []
    assert shown[2].shape[1] / shown[2].shape[0] == pytest.approx(WIDE[0] / WIDE[1], rel=0.02)
    show(cell, 0)
    wait_for(lambda: alike(pixels(cell), shown[0]), "the first picture as it was")


def test_a_group_that_is_marked_stays_marked_in_the_next_picture(person: Visitor) -> None:
    cell = run_together(person)
    show(cell, 1)
    plain = pixels(cell)
    show(cell, 0)
    cell.locator(".v-viewer-canvas").focus()
    person.page.keyboard.press("R")
    show(cell, 1)
    wait_for(lambda: not alike(pixels(cell), plain), "the group is marked here too")


def test_the_slider_of_groups_works_on_every_picture(person: Visitor) -> None:
    cell = run_together(person)
    show(cell, 1)
    before = pixels(cell)
    slider = cell.get_by_role("slider", name="Number of groups")
    slider.focus()
    for _ in range(3):
        person.page.keyboard.press("ArrowRight")
    expect(cell.locator(".v-groups-count")).to_have_text("8")
    wait_for(lambda: not alike(pixels(cell), before), "eight groups are drawn")
    show(cell, 2)
    expect(cell.locator(".v-viewer-legend")).to_be_visible()
    assert len(swatches(cell)) > 1


def test_without_further_pictures_the_map_of_one_is_back_at_once(person: Visitor) -> None:
    page = person.page
    expect(settings_switch(page)).to_be_checked()
    cell = run_together(person)
    together = run_of(cell)
    for _ in range(2):
        page.locator('[data-action="remove-further"]').first.click()
    expect(page.locator(".v-further-item")).to_have_count(0)
    cell = person.finished(MODEL, "nave")
    expect(cell.locator(".v-picture")).to_have_count(0)
    assert run_of(cell) != together
    expect(settings_switch(page)).not_to_be_checked()


def test_the_code_names_all_pictures(person: Visitor) -> None:
    person.page.get_by_role("button", name="Code").click()
    blocks = person.page.locator(".v-code-block pre")
    expect(blocks.first).to_contain_text("nave.joint=true")
    command = blocks.first.inner_text().split("\n\n")
    assert "--method pami" in command[0]
    assert "wide.png" not in command[0]
    assert "--method nave" in command[1]
    assert "wide.png" in command[1].splitlines()[0]
    assert '"more_image_ids": images[1:]' in blocks.nth(1).inner_text()


def test_the_library_opens_all_pictures_again(person: Visitor) -> None:
    key = run_of(run_together(person))
    page = person.open("/library")
    card = page.locator(".v-library-card").first
    expect(card).to_contain_text("with 2 more pictures")
    person.context.pages[0].evaluate("() => sessionStorage.clear()")
    person.open("/library").locator(".v-library-card").first.click()
    cell = person.finished(MODEL, "nave")
    assert run_of(cell) == key
    expect(page.locator(".v-further-item")).to_have_count(2)


def test_a_share_switches_too_and_opens_with_all_pictures(house: House, person: Visitor, invite: Invite) -> None:
    cell = run_together(person)
    key = run_of(cell)
    show(cell, 2)
    page = person.page
    page.get_by_test_id("share-button").click()
    page.get_by_test_id("share-create").click()
    path = page.get_by_test_id("share-link").input_value().removeprefix(person.url)
    share = house.get(f"/api/v1/shares/{path.removeprefix('/s/')}")
    assert len(share["pictures"]) == 3
    assert share["looks"]["runs"][key]["picture"] == 2
    with zipfile.ZipFile(io.BytesIO(house.fetch(f"/api/v1{path.replace('/s/', '/shares/')}/bundle.zip"))) as bundle:
        maps = [name for name in bundle.namelist() if re.search(r"/labels_\d+\.png$", name)]
        sizes = [list(Image.open(io.BytesIO(bundle.read(name))).size) for name in sorted(maps)]
    assert sizes == [[record["width"], record["height"]] for record in share["pictures"]]

    stranger = invite()
    page = stranger.open(path)
    pinned = stranger.finished(MODEL, "nave")
    told = description(pinned)
    assert "/api/v1/shares/" in told["picture"]["url"]
    assert told["picture"]["width"] == WIDE[0]
    third = pixels(pinned)
    show(pinned, 0)
    assert third.shape != pixels(pinned).shape
    assert "/api/v1/shares/" in json.dumps(description(pinned)["pictures"])

    page.get_by_test_id("open-in-vitrine").click()
    again = stranger.finished(MODEL, "nave")
    assert run_of(again) == key
    expect(page.locator(".v-further-item")).to_have_count(2)
    expect(again.locator(".v-picture")).to_have_count(3)
    assert [path for method, path in stranger.requests if method == "POST" and path == "/api/v1/runs/batch"] == []
