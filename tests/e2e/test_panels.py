"""Panels that change themselves: words, classes and lists repaint the map, and nothing asks the server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from playwright.sync_api import Browser, Locator, expect

from backend.contract.results import Manifest
from frontend.renderers import render
from tests.e2e.panel_harness import cell_page, store
from tests.e2e.viewer_harness import QUIET_LOOKS, Harness, Viewers, open_viewers
from tests.fakes_panels import class_manifest, region_arrays, region_manifest, word_arrays, word_manifest

pytestmark = pytest.mark.browser

PICTURE = {"width": 96, "height": 64}
BLACK = np.zeros((64, 96, 3), dtype=np.uint8)
WHITE = np.full((64, 96, 3), 255, dtype=np.uint8)
WARMEST, COOLEST = (0xB2, 0x18, 0x2B), (0x21, 0x66, 0xAC)


@contextmanager
def panels(
    browser: Browser,
    site: Harness,
    name: str,
    *results: tuple[Manifest, dict[str, NDArray[Any]]],
    picture: NDArray[np.uint8] = BLACK,
    **more: Any,
) -> Iterator[Viewers]:
    """Opens cells with these results, drawn so that every number is one exact colour."""
    for manifest, arrays in results:
        store(site, manifest, arrays, picture)
    page = cell_page(site, name, [manifest for manifest, _ in results], width=more.pop("width", 344), **more)
    with open_viewers(browser) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        viewers.page.wait_for_load_state("networkidle")
        yield viewers


@contextmanager
def no_request(viewers: Viewers) -> Iterator[None]:
    before = len(viewers.requests)
    yield
    # Small pictures of training patches come when they are first shown.
    assert [one for one in viewers.requests[before:] if "/crop-" not in one] == []


def quarters(pixels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Returns the colour near the outer corner of each quarter, where neither number nor border is written: [4, 3]."""
    height, width = pixels.shape[:2]
    rows, columns = (height // 10, height - height // 10), (width // 12, width - width // 12)
    return np.array([pixels[row, column] for row in rows for column in columns], dtype=np.int64)


def word(viewers: Viewers, text: str) -> Locator:
    """Returns a part of the caption that can be chosen."""
    return viewers.page.get_by_test_id("caption-words").get_by_role("button", name=text, exact=True)


def bars(viewers: Viewers) -> dict[str, str]:
    rows = viewers.page.locator(".v-value-row")
    return {row.locator(".v-value-name").inner_text(): row.locator(".v-value").inner_text() for row in rows.all()}


def test_values_are_painted_about_zero_and_printed_with_their_signs(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "values", (region_manifest(), region_arrays())) as viewers:
        corners = quarters(viewers.pixels())
        assert np.abs(corners[0] - WARMEST).max() <= 2
        assert corners[1][0] > corners[1][2]
        assert corners[2][2] > corners[2][0]
        assert bars(viewers) == {"region 1": "+0.40", "region 2": "+0.25", "region 4": "+0.02", "region 3": "−0.05"}
        legend = viewers.page.locator(".v-viewer-legend").inner_text()
        assert "−0.40" in legend
        assert "+0.40" in legend
        assert "supports the caption" in legend
        expect(viewers.page.get_by_test_id("sum")).to_have_text(
            "Sum of values +0.62 = whole picture 1.00 − everything hidden 0.38."
        )
        # Numbers are written on the map: the middle of a region has more than one colour.
        height, width = viewers.pixels().shape[:2]
        middle = viewers.pixels()[height // 8 : 3 * height // 8, width // 8 : 3 * width // 8].reshape(-1, 3)
        assert len(np.unique(middle, axis=0)) > 5


def test_choosing_a_word_repaints_the_regions_without_a_request(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "words", (region_manifest(), region_arrays())) as viewers:
        page = viewers.page
        whole = viewers.pixels()
        with no_request(viewers):
            word(viewers, "on a branch").click()
            viewers.settle()
            assert bars(viewers) == {
                "region 1": "−0.50",
                "region 2": "0.00",
                "region 4": "+0.50",
                "region 3": "+3.25",
            }
            corners = quarters(viewers.pixels())
            assert np.abs(corners[2] - WARMEST).max() <= 2
            assert "nats" in page.locator(".v-viewer-legend").inner_text()
            page.get_by_role("button", name="words", exact=True).click()
            viewers.settle()
            np.testing.assert_array_equal(viewers.pixels(), whole)
            word(viewers, "red").click()
            word(viewers, "bird").click(modifiers=["Shift"])
            viewers.settle()
            assert bars(viewers)["region 1"] == "+3.00"
            pressed = page.locator('.v-word[aria-pressed="true"]').all_inner_texts()
            assert pressed == ["red", "bird"]
            page.get_by_role("button", name="Whole caption").click()
            viewers.settle()
            np.testing.assert_array_equal(viewers.pixels(), whole)
            assert bars(viewers)["region 1"] == "+0.40"


def test_another_layer_ends_the_choice_of_a_word(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "ends", (region_manifest(), region_arrays())) as viewers:
        word(viewers, "a red bird").click()
        viewers.settle()
        viewers.page.get_by_role("button", name="Regions", exact=True).click()
        viewers.settle()
        expect(viewers.page.locator('.v-word[aria-pressed="true"]')).to_have_count(0)
        assert bars(viewers)["region 1"] == "+0.40"
        numbers = viewers.page.locator(".v-viewer-swatch").all_inner_texts()
        assert numbers == ["1", "2", "3", "4"]


def test_a_region_is_picked_on_the_map_by_its_bar_and_in_the_table(chromium: Browser, viewer_site: Harness) -> None:
    result = (region_manifest(), region_arrays())
    with panels(chromium, viewer_site, "pick-panel", result) as viewers:
        page = viewers.page
        card = page.get_by_test_id("region-card")
        expect(card).to_contain_text("nothing visible")
        page.mouse.click(*viewers.point(0, 90, 4, PICTURE))
        page.mouse.move(1, 1)
        viewers.frames()
        expect(page.locator('.v-value-row[aria-pressed="true"]')).to_contain_text("region 2")
        expect(card).to_contain_text("+0.25 ± 0.03")
        expect(card).to_contain_text("“a bird”")
        expect(card).to_contain_text("“a red bird”")
        page.locator(".v-value-row", has_text="region 3").focus()
        page.keyboard.press("Enter")
        viewers.frames()
        expect(page.locator('.v-value-row[aria-pressed="true"]')).to_contain_text("region 3")
        assert viewers.badge() == "region 3"
        page.locator(".v-viewer-canvas").focus()
        page.keyboard.press("Escape")
        viewers.frames()
        expect(card).to_contain_text("Everything hidden")


def test_pointing_at_the_map_shows_what_the_model_says_of_that_region(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "hover-panel", (region_manifest(), region_arrays())) as viewers:
        page = viewers.page
        height = page.get_by_test_id("region-card").bounding_box()
        page.mouse.move(*viewers.point(0, 5, 60, PICTURE))
        viewers.frames()
        expect(page.get_by_test_id("region-card")).to_contain_text("region 3")
        assert "region 3" in viewers.badge()
        expect(page.locator(".v-value-row.is-pointed")).to_contain_text("region 3")
        assert page.get_by_test_id("region-card").bounding_box() == height


def test_the_small_pictures_show_what_the_model_got(chromium: Browser, viewer_site: Harness) -> None:
    result = (region_manifest(), region_arrays())
    with panels(chromium, viewer_site, "thumbs", result, picture=WHITE) as viewers:
        viewers.page.locator(".v-value-row", has_text="region 1").click()
        viewers.page.mouse.move(1, 1)
        viewers.until("document.querySelectorAll('canvas.v-look-thumb').length === 2")
        read = """() => [...document.querySelectorAll('canvas.v-look-thumb')].map(canvas => {
            const context = canvas.getContext('2d');
            const at = (x, y) => [...context.getImageData(x * canvas.width, y * canvas.height, 1, 1).data].slice(0, 3);
            return [at(0.2, 0.2), at(0.8, 0.2), at(0.2, 0.8), at(0.8, 0.8)];
        })"""
        only, without = viewers.page.evaluate(read)
    filled, shown = [10, 200, 30], [255, 255, 255]
    assert only == [shown, filled, filled, filled]
    assert without == [filled, shown, shown, shown]


def test_the_table_of_words_by_regions_chooses_both(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "heat-panel", (region_manifest(), region_arrays())) as viewers:
        page = viewers.page
        heat = page.get_by_test_id("heat")
        heat.locator("summary").click()
        texts = heat.locator("tbody tr").nth(1).locator("td").all_inner_texts()
        assert texts == ["+2.0", "+0.5", "−0.3", "0.0"]
        with no_request(viewers):
            heat.get_by_role("button", name="branch").click()
            viewers.settle()
            assert bars(viewers)["region 3"] == "+3.00"
            expect(page.locator('.v-word[aria-pressed="true"]')).to_have_text(["branch"])
            heat.get_by_role("button", name="region 4").click()
            viewers.frames()
        assert viewers.badge() == "region 4"


def test_another_class_is_painted_from_the_same_passes(chromium: Browser, viewer_site: Harness) -> None:
    arrays = region_arrays(words=False)
    with panels(chromium, viewer_site, "class-panel", (class_manifest(), arrays)) as viewers:
        with no_request(viewers):
            viewers.page.get_by_label("Class", exact=True).select_option(label="jay 0.20")
            viewers.settle()
            assert bars(viewers)["region 1"] == "−0.30"
            assert np.abs(quarters(viewers.pixels())[0] - COOLEST).max() <= 2
            expect(viewers.page.get_by_test_id("sum")).to_contain_text("whole picture 0.20 − everything hidden 0.20")
            viewers.page.get_by_label("Class", exact=True).select_option(label="crested tam 1.00")
            viewers.settle()
        assert bars(viewers)["region 1"] == "+0.40"


def test_a_choice_that_a_share_kept_is_shown_again(chromium: Browser, viewer_site: Harness) -> None:
    manifest, arrays = region_manifest(), region_arrays()
    store(viewer_site, manifest, arrays, BLACK)
    assert render(manifest, look={"layer": "values phrase 1-1"}).viewer["active"] == "contribution"
    page = cell_page(viewer_site, "kept", [manifest], width=344, look={"layer": "values phrase 1-1"})
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        expect(viewers.page.locator('.v-word[aria-pressed="true"]')).to_have_text(["on a branch"])
        viewers.settle()
        assert "nats" in viewers.page.locator(".v-viewer-legend").inner_text()


def listed(viewers: Viewers) -> list[list[str]]:
    rows = viewers.page.get_by_test_id("word").all()
    return [[row.locator("b").first.inner_text(), row.locator(".v-value").inner_text()] for row in rows]


def test_words_run_up_to_the_logit_of_the_class(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "sum", (word_manifest(), word_arrays())) as viewers:
        assert listed(viewers) == [["word 1", "+4.50"], ["word 3", "−1.00"], ["word 4", "+0.60"]]
        expect(viewers.page.locator(".v-word-rest")).to_contain_text("the other 3 words")
        expect(viewers.page.locator(".v-word-rest .v-value")).to_have_text("+0.50")
        expect(viewers.page.get_by_test_id("total")).to_contain_text("Logit of crested tam")
        expect(viewers.page.get_by_test_id("total").locator(".v-value")).to_have_text("4.60")
        expect(viewers.page.get_by_test_id("word-card")).to_contain_text("score 9.00 × weight +0.50 = +4.50")


def test_class_counterpart_and_list_change_without_a_request(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "switch", (word_manifest(), word_arrays())) as viewers:
        page = viewers.page
        with no_request(viewers):
            page.get_by_role("button", name="In this picture").click()
            assert [name for name, _ in listed(viewers)] == ["word 1", "word 3", "word 6"]
            page.get_by_role("button", name="Decide for crested tam").click()
            page.get_by_label("Class", exact=True).select_option(label="jay 0.10")
            assert listed(viewers) == [["word 3", "+4.00"], ["word 1", "−0.90"], ["word 4", "+0.20"]]
            expect(page.get_by_test_id("total").locator(".v-value")).to_have_text("3.40")
            page.get_by_label("Compare with").select_option(label="crested tam 0.90")
            assert listed(viewers)[0] == ["word 1", "−5.40"]
            expect(page.get_by_test_id("total").locator(".v-value")).to_have_text("−1.20")
            page.get_by_role("button", name="Logit by cell").click()
            viewers.settle()
            pixels = viewers.pixels()
        corners = quarters(pixels)
        # The first cell holds words 1 and 6 (-0.9 - 4.5 - 0.4), the cell below word 3 (4 + 1).
        assert corners[0][2] > corners[0][0]
        assert corners[2][0] > corners[2][2]
        assert "for jay" in page.locator(".v-viewer-legend").inner_text()


def test_pointing_at_a_word_lights_its_map_and_box_and_leaving_brings_the_layer_back(
    chromium: Browser, viewer_site: Harness
) -> None:
    with panels(chromium, viewer_site, "light", (word_manifest(), word_arrays())) as viewers:
        page = viewers.page
        before = viewers.pixels()
        page.locator('button[data-word="2"]').hover()
        viewers.settle()
        lit = viewers.pixels()
        height, width = lit.shape[:2]
        # Word 3 was found in the lower left cell: there its map is bright, elsewhere dark.
        assert int(lit[height * 9 // 10, width // 4].sum()) > int(lit[height // 10, width * 9 // 10].sum()) + 100
        assert viewers.badge() == "word 3, from jay"
        page.mouse.move(1, 1)
        viewers.settle()
        np.testing.assert_array_equal(viewers.pixels(), before)
        page.locator('button[data-word="2"]').click()
        page.mouse.move(1, 1)
        viewers.settle()
        np.testing.assert_array_equal(viewers.pixels(), lit)
        expect(page.get_by_role("button", name="One word")).to_have_attribute("aria-pressed", "true")
        expect(page.get_by_test_id("word-card")).to_contain_text("taken from")


def test_pointing_at_a_cell_lists_its_words(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "cell", (word_manifest(), word_arrays())) as viewers:
        viewers.page.mouse.move(*viewers.point(0, 10, 10, PICTURE))
        viewers.frames()
        expect(viewers.page.get_by_test_id("here")).to_contain_text("word 1 9.00, word 6 4.00")
        expect(viewers.page.locator("button.v-word-row.is-pointed")).to_have_attribute("data-word", "0")
        viewers.page.mouse.move(1, 1)
        viewers.frames()
        expect(viewers.page.get_by_test_id("here")).to_contain_text("Point at the picture")


def test_a_word_outside_the_lists_of_the_run_has_a_map_too(chromium: Browser, viewer_site: Harness) -> None:
    manifest = word_manifest()
    kept = tuple(region for region in manifest.regions if region.id not in {3})
    layers = tuple(layer for layer in manifest.layers if layer.name != "word 3")
    with panels(
        chromium,
        viewer_site,
        "outside",
        (manifest.model_copy(update={"regions": kept, "layers": layers}), word_arrays()),
    ) as viewers:
        with no_request(viewers):
            viewers.page.locator('button[data-word="3"]').click()
            viewers.page.mouse.move(1, 1)
            viewers.settle()
        pixels = viewers.pixels()
        height, width = pixels.shape[:2]
        assert int(pixels[height // 10, width * 9 // 10].sum()) > int(pixels[height * 9 // 10, width // 10].sum()) + 100


def test_tables_are_sorted_by_a_click_and_the_rest_stays_last(chromium: Browser, viewer_site: Harness) -> None:
    with panels(chromium, viewer_site, "sort", (word_manifest(), word_arrays()), folded=True) as viewers:
        table = viewers.page.locator("table", has=viewers.page.locator("caption", has_text="Words")).first
        first = lambda: [row.locator("th").inner_text() for row in table.locator("tbody tr").all()]  # noqa: E731
        table.get_by_role("button", name="Contribution").click()
        assert first()[0] == "word 1, from crested tam"
        assert first()[-1] == "the other 2 words"
        table.get_by_role("button", name="Contribution").click()
        assert first()[0] == "word 3, from jay"
        assert first()[-1] == "the other 2 words"
        expect(table.locator("th[aria-sort]")).to_have_attribute("aria-sort", "ascending")


def test_a_table_wider_than_its_place_says_so(chromium: Browser, viewer_site: Harness) -> None:
    result = (region_manifest(), region_arrays())
    with panels(chromium, viewer_site, "wide", result, folded=True, width=240) as viewers:
        frame = viewers.page.locator(".v-details-body .v-table-frame").first
        expect(frame).to_have_attribute("data-hint", "Scroll sideways: 7 columns")
    with panels(chromium, viewer_site, "roomy", result, folded=True, width=1200) as viewers:
        viewers.frames()
        assert viewers.page.locator(".v-table-frame[data-hint]").count() == 0


@pytest.mark.parametrize("width", [237, 344])
def test_no_word_of_a_legend_is_cut(chromium: Browser, viewer_site: Harness, width: int) -> None:
    with panels(chromium, viewer_site, f"cut-{width}", (region_manifest(), region_arrays()), width=width) as viewers:
        word(viewers, "a red bird").click()
        viewers.settle()
        cut = viewers.page.eval_on_selector_all(
            ".v-viewer-words", "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length"
        )
        assert cut == 0


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing_serious_in_the_panels(chromium: Browser, viewer_site: Harness, theme: str) -> None:
    results = [
        (region_manifest(run_key="4" * 64), region_arrays()),
        (word_manifest(run_key="5" * 64), word_arrays()),
    ]
    for place, (manifest, arrays) in enumerate(results):
        renamed = {
            name: one.model_copy(update={"digest": f"{place + 1}{one.digest[1:]}"})
            for name, one in manifest.arrays.items()
        }
        results[place] = (manifest.model_copy(update={"arrays": renamed}), arrays)
    with panels(chromium, viewer_site, f"axe-{theme}", *results, theme=theme) as viewers:
        viewers.page.get_by_test_id("heat").locator("summary").click()
        found = Axe().run(viewers.page, options={"runOnly": ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]})
        serious = [
            f"{one['id']}: {node['target']}"
            for one in found.response["violations"]
            if one["impact"] in {"serious", "critical"}
            for node in one["nodes"]
        ]
        assert serious == []
