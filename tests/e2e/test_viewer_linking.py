"""Hands on the viewers: what is linked, what is picked, what the keyboard and the saved file do."""

from __future__ import annotations

import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Browser, expect

from tests.e2e.viewer_harness import QUIET_LOOKS, Harness, Viewers, cell, layer, open_viewers

pytestmark = pytest.mark.browser

FRAME = [0, 0, 80, 40]
BLACK = np.zeros((40, 80, 3), dtype=np.uint8)
LEFT_RIGHT = np.array([[0, 0, 1, 1], [0, 0, 1, 1]], dtype=np.int16)
QUARTERS = np.array([[3, 2], [1, 0]], dtype=np.int16)


COLOURS_ON_THE_WAY = """async text => {
    document.querySelector('.v-viewer').setAttribute('data-viewer', text);
    const canvas = document.querySelector('.v-viewer-canvas');
    const copy = document.createElement('canvas');
    [copy.width, copy.height] = [canvas.width, canvas.height];
    const context = copy.getContext('2d', { willReadFrequently: true });
    const seen = new Set();
    const start = performance.now();
    while (performance.now() - start < 800) {
        await new Promise(requestAnimationFrame);
        context.drawImage(canvas, 0, 0);
        seen.add(context.getImageData(20, 80, 1, 1).data.join());
    }
    return [...seen].map(text => text.split(',').slice(0, 3).map(Number));
}"""
"""Gives a viewer a new description and returns every colour that one of its pixels then had."""


def _two_cells(site: Harness, **more: Any) -> list[dict[str, Any]]:
    picture = site.add_picture("dark", BLACK)
    one = layer("map", site.add_array("one", np.array([[0, 1, 2, 3]], dtype=np.float32)), FRAME, unit="logits")
    two = layer("map", site.add_array("two", np.array([[0.5], [0.25]], dtype=np.float32)), FRAME)
    return [cell("one", picture, [one], **more), cell("two", picture, [two], **more)]


def _label_cells(site: Harness) -> list[dict[str, Any]]:
    picture = site.add_picture("dark", BLACK)
    halves = layer("labels", site.add_array("halves", LEFT_RIGHT), FRAME, encoding="labels")
    quarters = layer("labels", site.add_array("quarters", QUARTERS), FRAME, encoding="labels")
    heat = layer("map", site.add_array("heat", np.array([[0, 1]], dtype=np.float32)), FRAME)
    regions = [
        {"id": k, "label": words, "layer": "labels", "colour": k, "box": FRAME, "score": 0.5, "area": 0.5}
        for k, words in enumerate(("sky", "branch"))
    ]
    return [
        cell("halves", picture, [halves], regions=regions),
        cell("quarters", picture, [quarters]),
        cell("heat", picture, [heat]),
    ]


def _view(viewers: Viewers, index: int) -> np.ndarray[Any, Any]:
    return viewers.pixels(index).astype(int)


def test_the_crosshair_stands_at_the_same_place_in_all_cells_with_each_ones_value(
    chromium: Browser, viewer_site: Harness
) -> None:
    cells = _two_cells(viewer_site)
    page = viewer_site.add_page("hover", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        viewers.listen("vitrine:hover")
        viewers.page.mouse.move(*viewers.point(0, 70, 30, cells[0]["picture"]))
        viewers.frames()
        assert [viewers.badge(index) for index in (0, 1)] == ["3.00 logits", "0.25"]
        crosses = viewers.page.eval_on_selector_all(
            ".v-viewer-cross",
            """all => all.map(one => {
                const [a, b] = [one, one.parentElement].map(node => node.getBoundingClientRect());
                return [a.left + a.width / 2 - b.left, a.top + a.height / 2 - b.top, getComputedStyle(one).opacity];
            })""",
        )
        np.testing.assert_allclose(np.array(crosses, dtype=float), [[280, 120, 1], [280, 120, 1]], atol=0.6)
        detail = viewers.heard("vitrine:hover")[-1]
        assert detail["run"] == "one"
        assert detail["values"] == {"one": 3, "two": 0.25}
        np.testing.assert_allclose([detail["x"], detail["y"]], [70, 30], atol=0.3)
        viewers.page.mouse.move(1, 1)
        viewers.frames()
        assert [viewers.badge(index) for index in (0, 1)] == ["", ""]
        viewers.looks(linked=False)
        viewers.page.mouse.move(*viewers.point(1, 70, 10, cells[0]["picture"]))
        viewers.frames()
        assert [viewers.badge(index) for index in (0, 1)] == ["", "0.50"]


def test_wheel_and_drag_move_all_cells_of_the_picture_together(chromium: Browser, viewer_site: Harness) -> None:
    cells = _two_cells(viewer_site)
    elsewhere = viewer_site.add_picture("elsewhere", BLACK)
    other = cell("other", elsewhere, [layer("map", cells[0]["layers"][0]["url"], FRAME)])
    page = viewer_site.add_page("wheel", [cells[0], cells[0] | {"run": "twin"}, other], width=320, columns=3)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS, range="own")
        before = _view(viewers, 0)
        canvas = viewers.page.locator(".v-viewer-canvas").first
        spot = viewers.point(0, 60, 20, cells[0]["picture"])
        viewers.page.mouse.move(*spot)
        viewers.page.mouse.wheel(0, -400)
        viewers.frames()
        np.testing.assert_array_equal(_view(viewers, 0), before)
        canvas.focus()
        viewers.page.mouse.wheel(0, -400)
        viewers.frames()
        zoomed = _view(viewers, 0)
        assert (zoomed != before).any()
        assert (zoomed[80, 240] == before[80, 240]).all()
        np.testing.assert_array_equal(_view(viewers, 1), zoomed)
        np.testing.assert_array_equal(_view(viewers, 2), before)
        viewers.page.mouse.down()
        viewers.page.mouse.move(spot[0] + 40, spot[1], steps=4)
        viewers.page.mouse.up()
        viewers.frames()
        dragged = _view(viewers, 0)
        np.testing.assert_array_equal(dragged[:, 40:], zoomed[:, :-40])
        np.testing.assert_array_equal(_view(viewers, 1), dragged)


def test_the_keyboard_zooms_pans_resets_and_leaves(chromium: Browser, viewer_site: Harness) -> None:
    page = viewer_site.add_page("keys", _two_cells(viewer_site), width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        start = _view(viewers, 0)
        viewers.page.keyboard.press("Tab")
        canvas = viewers.page.locator(".v-viewer-canvas").first
        expect(canvas).to_be_focused()
        moved = {}
        for step in ("ArrowRight at rest", "+", "ArrowLeft", "ArrowDown", "-", "0"):
            before = _view(viewers, 0)
            viewers.page.keyboard.press(step.split()[0])
            viewers.frames()
            moved[step] = bool((_view(viewers, 0) != before).any())
        # The map has one row, so moving down changes nothing; "-" has already gone back to the whole picture.
        assert [step for step, changed in moved.items() if changed] == ["+", "ArrowLeft", "-"]
        viewers.page.keyboard.press("+")
        viewers.page.keyboard.press("ArrowLeft")
        viewers.page.keyboard.press("0")
        viewers.frames()
        np.testing.assert_array_equal(_view(viewers, 0), start)
        name = canvas.get_attribute("aria-label")
        assert name is not None
        assert "low 0.00 to high 3.00 logits" in name.replace("from ", "")
        assert canvas.get_attribute("role") == "img"


def test_a_picked_region_lights_up_wherever_the_place_has_one(chromium: Browser, viewer_site: Harness) -> None:
    cells = _label_cells(viewer_site)
    page = viewer_site.add_page("pick", cells, width=320, columns=3)
    picture = cells[0]["picture"]
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        viewers.listen("vitrine:region")
        before = [_view(viewers, index) for index in range(3)]
        viewers.page.mouse.click(*viewers.point(0, 70, 10, picture))
        viewers.page.mouse.move(1, 1)
        viewers.frames()
        after = [_view(viewers, index) for index in range(3)]
        assert viewers.heard("vitrine:region") == [{"run": "halves", "id": 1, "label": "branch"}]
        assert [viewers.badge(index) for index in range(3)] == ["branch", "group 3", ""]
        inner = np.s_[20:60, 200:300]
        for index in (0, 1):
            assert (after[index][inner] >= before[index][inner]).all()
            assert after[index][inner].sum() > before[index][inner].sum()
            assert after[index][20:60, 20:140].sum() < 0.4 * before[index][20:60, 20:140].sum()
        assert after[1][100:140, 200:300].sum() < 0.4 * before[1][100:140, 200:300].sum()
        assert (after[2][80, 158:163].max(axis=0) > 150).all()
        viewers.page.keyboard.press("Tab")
        viewers.page.keyboard.press("Escape")
        viewers.frames()
        for index in range(3):
            np.testing.assert_array_equal(_view(viewers, index), before[index])
        assert viewers.heard("vitrine:region")[-1] == {"run": "halves", "id": None, "label": None}


def test_regions_can_be_chosen_from_a_table_and_by_keyboard(chromium: Browser, viewer_site: Harness) -> None:
    page = viewer_site.add_page("table", _label_cells(viewer_site), width=320, columns=3)
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        viewers.listen("vitrine:region")
        viewers.call("selectRegion", "halves", 0)
        viewers.call("selectRegion", "halves", None)
        viewers.page.locator(".v-viewer-canvas").nth(1).focus()
        for key in ("r", "r", "R", "Enter"):
            viewers.page.keyboard.press(key)
            viewers.frames()
        said = viewers.page.locator(".v-viewer-said").nth(1).inner_text()
        chosen = [(one["run"], one["id"]) for one in viewers.heard("vitrine:region")]
    assert chosen[:5] == [("halves", 0), ("halves", None), ("quarters", 0), ("quarters", 1), ("quarters", 0)]
    assert chosen[-1] == ("quarters", None)
    assert said == "group 1 is marked"


def test_a_swipe_shows_the_picture_left_and_the_map_right_of_the_handle(
    chromium: Browser, viewer_site: Harness
) -> None:
    white = np.full((40, 80, 3), 255, dtype=np.uint8)
    picture = viewer_site.add_picture("white", white)
    heat = layer("map", viewer_site.add_array("ones", np.array([[1, 1, 1, 0]], dtype=np.float32)), FRAME)
    page = viewer_site.add_page("swipe", [cell("a", picture, [heat]), cell("b", picture, [heat])], width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS, mode="swipe")
        handle = viewers.page.get_by_role("slider").first
        assert handle.get_attribute("aria-valuenow") == "50"

        def border() -> list[int]:
            rows = [_view(viewers, index)[80] for index in (0, 1)]
            return [int((row == 255).all(-1).sum()) for row in rows]

        assert border() == [160, 160]
        handle.focus()
        for _ in range(5):
            viewers.page.keyboard.press("ArrowLeft")
        viewers.frames()
        assert border() == [128, 128]
        assert handle.get_attribute("aria-valuetext") == "40 % picture, 60 % map"
        box = handle.bounding_box()
        assert box is not None
        viewers.page.mouse.move(box["x"] + 22, box["y"] + 20)
        viewers.page.mouse.down()
        viewers.page.mouse.move(box["x"] + 22 - 64, box["y"] + 20, steps=3)
        viewers.page.mouse.up()
        viewers.frames()
        assert border() == [64, 64]
        viewers.page.keyboard.press("Home")
        viewers.frames()
        assert border() == [0, 0]


def test_side_by_side_keeps_the_height_and_shows_the_whole_picture_twice(
    chromium: Browser, viewer_site: Harness
) -> None:
    red = np.zeros((40, 80, 3), dtype=np.uint8)
    red[..., 0] = 200
    picture = viewer_site.add_picture("red", red)
    heat = layer("map", viewer_site.add_array("ones", np.array([[1, 1, 1, 0]], dtype=np.float32)), FRAME)
    page = viewer_site.add_page("side", [cell("a", picture, [heat])], width=324)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        height = viewers.page.locator(".v-viewer").bounding_box()
        viewers.looks(mode="side")
        assert viewers.page.locator(".v-viewer").bounding_box() == height
        pixels = _view(viewers, 0)
    assert (pixels[41:120, :160] == [200, 0, 0]).all()
    assert (pixels[42:120, 164:283] == [252, 253, 191]).all()
    assert (pixels[:38] == [0xEC, 0xEC, 0xE9]).all()


def test_the_saved_png_holds_what_is_seen_and_the_legend_below_it(chromium: Browser, viewer_site: Harness) -> None:
    cells = _two_cells(viewer_site, badge="partial map")
    page = viewer_site.add_page("png", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS, threshold={"kind": "value", "value": 2})
        seen = _view(viewers, 0)
        with viewers.page.expect_download() as download:
            viewers.page.evaluate("void window.vitrine.viewer.savePng('one')")
        path = download.value.path()
        name = download.value.suggested_filename
        saved = np.asarray(Image.open(io.BytesIO(path.read_bytes())).convert("RGB")).astype(int)
    assert name == "vitrine-one-map.png"
    np.testing.assert_array_equal(saved[12:172, 12:332], seen)
    below = saved[172:]
    assert (below.reshape(-1, 3).min(0) < 120).all()
    assert (saved[:12] == 255).all()


def test_a_sharpening_map_fades_over_and_keeps_zoom_and_height(chromium: Browser, viewer_site: Harness) -> None:
    [first, _] = _two_cells(viewer_site, state="partial")
    second = json.loads(json.dumps(first))
    second["layers"][0]["url"] = viewer_site.add_array("later", np.array([[3, 2, 1, 0]], dtype=np.float32))
    second["state"] = "done"
    page = viewer_site.add_page("partial", [first], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        viewers.call("zoom", "one", {"x": 60, "y": 20, "zoom": 2})
        before, box = _view(viewers, 0), viewers.page.locator(".v-viewer").bounding_box()
        between = viewers.page.evaluate(COLOURS_ON_THE_WAY, json.dumps(second))
        after = _view(viewers, 0)
        assert viewers.page.locator(".v-viewer").bounding_box() == box
    assert (before[80, 20] != after[80, 20]).any()
    assert len(between) > 2
    assert between[-1] == after[80, 20].tolist()


def test_nothing_fades_for_those_who_want_no_motion(chromium: Browser, viewer_site: Harness) -> None:
    [first, second] = _two_cells(viewer_site)
    page = viewer_site.add_page("still", [first], width=320)
    with open_viewers(chromium, reduced_motion=True) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        between = viewers.page.evaluate(COLOURS_ON_THE_WAY, json.dumps(second))
    assert len(between) <= 2


def test_layers_are_switched_by_name_and_only_then_fetched(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("dark", BLACK)
    urls = [viewer_site.add_array(f"class-{k}", np.array([[k, k + 1]], dtype=np.float32)) for k in range(2)]
    layers = [layer(f"class {k}", url, FRAME) for k, url in enumerate(urls)]
    page = viewer_site.add_page("layers", [cell("run", picture, layers)], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        assert sum(url.endswith(urls[1]) for url in viewers.requests) == 0
        viewers.call("setLayer", "run", "class 1")
        viewers.settle()
        assert sum(url.endswith(urls[1]) for url in viewers.requests) == 1
        assert viewers.page.locator(".v-viewer-number").all_inner_texts() == ["1.00", "2.00"]
        viewers.call("setLayer", "run", "class 0")
        viewers.call("setLayer", "run", "class 1")
        assert sum(".npy" in url for url in viewers.requests) == 2


def test_viewers_come_and_go_with_the_page(chromium: Browser, viewer_site: Harness) -> None:
    cells = _two_cells(viewer_site)
    page = viewer_site.add_page("come", [cells[0]], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        viewers.page.evaluate(
            """text => {
                const late = document.createElement('section');
                const inner = document.createElement('div');
                inner.className = 'v-viewer';
                inner.setAttribute('data-viewer', text);
                late.append(inner);
                document.querySelector('.grid').append(late);
            }""",
            json.dumps(cells[1]),
        )
        viewers.settle()
        assert viewers.page.locator(".v-viewer-number").all_inner_texts() == ["0.00", "3.00 logits", "0.25", "0.50"]
        viewers.page.evaluate("document.querySelector('section').remove()")
        viewers.looks(opacity=0.5)
        viewers.page.evaluate("window.vitrine.viewer.savePng('two').then(blob => window.saved = blob)")
        assert viewers.page.evaluate("window.saved") is None


def test_a_map_that_does_not_arrive_says_so_and_can_be_asked_for_again(chromium: Browser, viewer_site: Harness) -> None:
    [description, _] = _two_cells(viewer_site)
    url = description["layers"][0]["url"]
    page = viewer_site.add_page("missing", [description], width=320)
    with open_viewers(chromium) as viewers:
        viewers.page.route(f"**{url}", lambda route: route.fulfill(status=503))
        viewers.page.goto(page)
        again = viewers.page.get_by_role("button", name="Try again")
        expect(again).to_be_visible()
        expect(viewers.page.get_by_role("alert")).to_contain_text("This map did not arrive")
        viewers.page.unroute(f"**{url}")
        again.click()
        viewers.settle()
        expect(again).to_be_hidden()
        assert all("503" in complaint for complaint in viewers.complaints), viewers.complaints
        viewers.complaints.clear()


def test_a_description_written_just_before_a_call_counts_already(chromium: Browser, viewer_site: Harness) -> None:
    [one, two] = _two_cells(viewer_site)
    more = json.loads(json.dumps(one))
    more["layers"] += [two["layers"][0] | {"name": "other"}]
    more["layers"] += [{"name": "minus", "title": "minus", "a": "other", "b": "other", "encoding": "signed"}]
    page = viewer_site.add_page("written", [one], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        viewers.page.evaluate(
            """text => {
                document.querySelector('.v-viewer').setAttribute('data-viewer', text);
                return window.vitrine.viewer.setLayer('one', 'minus');
            }""",
            json.dumps(more),
        )
        viewers.settle()
        assert viewers.page.locator(".v-viewer-words").all_inner_texts() == ["map higher", "map higher"]


def test_a_choice_ends_when_its_run_leaves_the_page(chromium: Browser, viewer_site: Harness) -> None:
    cells = _label_cells(viewer_site)
    page = viewer_site.add_page("leave", cells[:2], width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS, match=False)
        before = _view(viewers, 1)
        viewers.call("selectRegion", "halves", 1)
        assert (_view(viewers, 1) != before).any()
        viewers.page.evaluate("document.querySelector('#cell-0').remove()")
        viewers.frames()
        np.testing.assert_array_equal(_view(viewers, 0), before)


def test_fingers_tap_for_the_value_and_pinch_to_zoom(chromium: Browser, viewer_site: Harness) -> None:
    cells = _two_cells(viewer_site)
    page = viewer_site.add_page("touch", cells, width=320, columns=2)
    with open_viewers(chromium, touch=True) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        before = [_view(viewers, index) for index in (0, 1)]
        x, y = viewers.point(0, 50, 10, cells[0]["picture"])
        viewers.page.touchscreen.tap(x, y)
        viewers.frames()
        assert [viewers.badge(index) for index in (0, 1)] == ["2.00 logits", "0.50"]
        session = viewers.page.context.new_cdp_session(viewers.page)

        def touch(kind: str, apart: float) -> None:
            points = [{"x": x + side * apart, "y": y, "id": k} for k, side in enumerate((-1, 1))]
            session.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points if apart else []})

        touch("touchStart", 20)
        for apart in (30, 40, 50, 60):
            touch("touchMove", apart)
        touch("touchEnd", 0)
        viewers.frames()
        after = [_view(viewers, index) for index in (0, 1)]
    tapped = before[0][40, 200]
    wide = [int((view[40] == tapped).all(-1).sum()) for view in (before[0], after[0])]
    assert wide[0] == 80
    assert abs(wide[1] - 240) <= 3
    assert (after[1][:140] == before[1][0, 0]).all()
