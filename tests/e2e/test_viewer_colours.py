"""What a number looks like: palettes, ranges, thresholds, groups, and what each look costs."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser

from tests.e2e.viewer_harness import QUIET_LOOKS, Harness, cell, layer, open_viewers

pytestmark = pytest.mark.browser

FRAME = [0, 0, 80, 40]
BLACK = np.zeros((40, 80, 3), dtype=np.uint8)
WHITE = np.full((40, 80, 3), 255, dtype=np.uint8)
SEQUENTIAL = {
    "magma": ["#1D1147", "#51127C", "#832681", "#B73779", "#E75263", "#FC8961", "#FEC488", "#FCFDBF"],
    "cividis": ["#00224E", "#434E6C", "#7D7C78", "#BCAE6C", "#FEE838"],
}
DIVERGING = ["#2166AC", "#4393C3", "#92C5DE", "#D1E5F0", "#F1F1EF", "#FDDBC7", "#F4A582", "#D6604D", "#B2182B"]
CATEGORICAL = ["#0072B2", "#E69F00", "#009E73", "#CC79A7", "#8CCBEE", "#D55E00", "#5B4B8A", "#F0E442"]
COMPOSITE = ["#ED4538", "#40C76B", "#4D80F5"]
LEAST = 0.38 / 0.86


def _rgb(text: str) -> NDArray[np.float64]:
    return np.array([int(text[at : at + 2], 16) for at in (1, 3, 5)], dtype=np.float64)


def _cells(pixels: NDArray[np.uint8], rows: int, columns: int) -> NDArray[np.int64]:
    """Returns the colour at the middle of each cell of an even grid: [rows, columns, 3]."""
    y = ((np.arange(rows) + 0.5) * pixels.shape[0] / rows).astype(int)
    x = ((np.arange(columns) + 0.5) * pixels.shape[1] / columns).astype(int)
    return pixels[np.ix_(y, x)].astype(np.int64)


@pytest.mark.parametrize("name", SEQUENTIAL)
def test_a_sequential_map_runs_through_the_colours_of_its_palette(
    chromium: Browser, viewer_site: Harness, name: str
) -> None:
    stops = SEQUENTIAL[name]
    picture = viewer_site.add_picture("black", BLACK)
    values = np.linspace(-3, 5, len(stops), dtype=np.float32)[None]
    page = viewer_site.add_page(
        "palette", [cell("run", picture, [layer("map", viewer_site.add_array("ramp", values), FRAME)])], width=320
    )
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS, palette=name)
        seen = _cells(viewers.pixels(), 1, len(stops))[0]
        names = viewers.page.evaluate("window.vitrine.palettes.names")
    share = np.linspace(0, 1, len(stops))
    expected = np.stack([_rgb(stop) for stop in stops]) * (LEAST + (1 - LEAST) * share)[:, None]
    assert np.abs(seen - expected).max() <= 1.5
    assert not {"jet", "rainbow", "turbo", "hsv"} & set(names)


def test_opacity_grows_from_38_to_86_percent_with_the_value(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("white", WHITE)
    url = viewer_site.add_array("two", np.array([[0, 1]], dtype=np.float32))
    page = viewer_site.add_page("opacity", [cell("run", picture, [layer("map", url, FRAME)])], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(contour=False, smooth=False)
        low, high = _cells(viewers.pixels(), 1, 2)[0]
        assert viewers.page.evaluate("window.vitrine.viewer.getLooks().opacity") == 0.86
    assert np.abs(low - (0.62 * 255 + 0.38 * _rgb("#1D1147"))).max() <= 1.5
    assert np.abs(high - (0.14 * 255 + 0.86 * _rgb("#FCFDBF"))).max() <= 1.5


def test_zero_is_neutral_in_a_signed_map_and_both_sides_share_one_range(
    chromium: Browser, viewer_site: Harness
) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    values = np.array([[-4, -2, 0, 1, 2]], dtype=np.float32)
    signed = layer("map", viewer_site.add_array("signed", values), FRAME, encoding="signed")
    page = viewer_site.add_page("signed", [cell("run", picture, [signed])], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        viewers.listen("vitrine:range")
        symmetric = _cells(viewers.pixels(), 1, 5)[0]
        viewers.looks(range="positive")
        positive = _cells(viewers.pixels(), 1, 5)[0]
        viewers.looks(range="negative")
        negative = _cells(viewers.pixels(), 1, 5)[0]
        viewers.looks(range="custom", custom=[-2, 2])
        heard = viewers.heard("vitrine:range")
        legend = viewers.page.locator(".v-viewer-number").all_inner_texts()
    size = np.array([1, 0.5, 0, 0.25, 0.5])
    colours = np.stack([_rgb(DIVERGING[index]) for index in (0, 2, 4, 5, 6)])
    assert np.abs(symmetric - colours * (0.16 + 0.84 * size)[:, None]).max() <= 1.5
    assert (positive[:3] == 0).all()
    assert np.abs(positive[4] - _rgb(DIVERGING[8])).max() <= 1
    assert (negative[2:] == 0).all()
    assert np.abs(negative[0] - _rgb(DIVERGING[0])).max() <= 1
    assert [(one["lo"], one["hi"]) for one in heard] == [(0, 2), (-4, 0), (-2, 2)]
    assert legend == ["−2.00", "+2.00"]


def test_cells_of_one_kind_share_a_range_and_other_kinds_do_not(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    low = layer("map", viewer_site.add_array("low", np.array([[0, 0.5]], dtype=np.float32)), FRAME)
    high = layer("map", viewer_site.add_array("high", np.array([[-1, 1]], dtype=np.float32)), FRAME)
    cells = [cell("a", picture, [low]), cell("b", picture, [high]), cell("c", picture, [low], group="other")]
    page = viewer_site.add_page("common", cells, width=320, columns=3)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        ends = [viewers.page.locator(f"#cell-{index} .v-viewer-number").all_inner_texts() for index in range(3)]
        shared = _cells(viewers.pixels(0), 1, 2)[0]
        viewers.looks(range="own")
        own = _cells(viewers.pixels(0), 1, 2)[0]
    assert ends == [["−1.00", "1.00"], ["−1.00", "1.00"], ["0.00", "0.50"]]
    assert np.abs(own[1] - _rgb("#FCFDBF")).max() <= 1
    assert np.abs(shared[1] - own[1]).max() > 20


@pytest.mark.parametrize("percent", [0, 5, 25, 100])
def test_the_top_share_shows_exactly_that_many_cells(chromium: Browser, viewer_site: Harness, percent: float) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    values = np.random.default_rng(0).permutation(200).reshape(10, 20).astype(np.float32)
    page = viewer_site.add_page(
        "top", [cell("run", picture, [layer("map", viewer_site.add_array("ranks", values), FRAME)])], width=320
    )
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS, threshold={"kind": "top", "value": percent})
        shown = _cells(viewers.pixels(), 10, 20).any(-1)
    np.testing.assert_array_equal(shown, values >= 200 - round(2 * percent))


def test_a_threshold_by_value_hides_what_is_smaller(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    values = np.array([[-3, -1, 0, 2, 4]], dtype=np.float32)
    url = viewer_site.add_array("five", values)
    cells = [
        cell("plain", picture, [layer("map", url, FRAME)], group="a"),
        cell("signed", picture, [layer("map", url, FRAME, encoding="signed")], group="b"),
    ]
    page = viewer_site.add_page("value", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS, threshold={"kind": "value", "value": 2})
        plain, signed = (_cells(viewers.pixels(index), 1, 5)[0].any(-1) for index in (0, 1))
    assert plain.tolist() == [False, False, False, True, True]
    assert signed.tolist() == [True, False, False, True, True]


def test_groups_have_the_categorical_colours_and_excluded_places_none(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    labels = np.array([[0, 1, 2, 3, 4, -1]], dtype=np.int16)
    grouped = layer("labels", viewer_site.add_array("labels", labels), FRAME, encoding="labels")
    swapped = [
        {"id": 0, "label": "head", "layer": "labels", "colour": 3, "box": FRAME, "score": None, "area": 0.2},
        {"id": 3, "label": "wing", "layer": "labels", "colour": 0, "box": FRAME, "score": None, "area": 0.2},
    ]
    cells = [cell("plain", picture, [grouped]), cell("named", picture, [grouped], regions=swapped)]
    page = viewer_site.add_page("labels", cells, width=384, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS, match=False)
        plain, named = (_cells(viewers.pixels(index), 1, 6)[0] for index in (0, 1))
        swatches = viewers.page.eval_on_selector_all(
            "#cell-0 .v-viewer-swatch", "all => all.map(one => getComputedStyle(one).backgroundColor)"
        )
    colours = np.stack([_rgb(colour) for colour in CATEGORICAL])
    assert np.abs(plain[:5] - 0.84 * colours[:5]).max() <= 1.5
    assert (plain[5] == 0).all()
    np.testing.assert_array_equal(named, plain[[3, 1, 2, 0, 4, 5]])
    assert swatches == [f"rgb({r:.0f}, {g:.0f}, {b:.0f})" for r, g, b in colours[:5]]


def test_from_six_groups_on_borders_and_numbers_are_drawn_unasked(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    urls = [viewer_site.add_array(f"n{count}", np.arange(count)[None].astype(np.int16)) for count in (5, 6)]
    cells = [cell(url, picture, [layer("labels", url, FRAME, encoding="labels")]) for url in urls]
    page = viewer_site.add_page("many", cells, width=360, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        few, many = (viewers.pixels(index) for index in (0, 1))
        numbers = viewers.page.locator("#cell-1 .v-viewer-swatch").all_inner_texts()
    assert all(len(np.unique(few[:, k * 72 + 8 : k * 72 + 64].reshape(-1, 3), axis=0)) == 1 for k in range(5))
    for k in range(6):
        middle = many[70:110, k * 60 + 8 : k * 60 + 52].reshape(-1, 3)
        assert len(np.unique(middle, axis=0)) > 5
    assert (many[20, [60, 120, 180, 240, 300]] > 100).all()
    assert numbers == ["1", "2", "3", "4", "5", "6"]


def test_ranked_maps_add_up_in_the_colours_of_their_parts(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    ranked = np.zeros((1, 4, 3), dtype=np.uint8)
    for part in range(3):
        ranked[0, part, part] = 255
    ranked[0, 3] = [255, 255, 0]
    rgb = layer("composite", viewer_site.add_array("ranked", ranked), FRAME, encoding="rgb")
    page = viewer_site.add_page("ranked", [cell("run", picture, [rgb])], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        seen = _cells(viewers.pixels(), 1, 4)[0]
        words = viewers.page.locator(".v-viewer-words").inner_text()
    colours = [_rgb(colour) for colour in COMPOSITE]
    both = colours[0] + colours[1]
    expected = 0.8 * np.stack([*colours, both * (255 / both.max())])
    assert np.abs(seen - expected).max() <= 3
    assert words == "1st, 2nd and 3rd part"


def test_two_layers_are_subtracted_in_the_browser(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    a = layer("a", viewer_site.add_array("a", np.array([[3, 1]], dtype=np.float32)), FRAME, title="robin")
    b = layer("b", viewer_site.add_array("b", np.array([[1, 3]], dtype=np.float32)), FRAME, title="jay")
    contrast = {"name": "contrast", "title": "robin against jay", "a": "a", "b": "b", "encoding": "signed"}
    page = viewer_site.add_page("contrast", [cell("run", picture, [a, b, contrast], active="contrast")], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        seen = _cells(viewers.pixels(), 1, 2)[0]
        legend = viewers.page.locator(".v-viewer-key").inner_text().split("\n")
    assert np.abs(seen - np.stack([_rgb(DIVERGING[8]), _rgb(DIVERGING[0])])).max() <= 1
    assert legend == ["jay higher", "−2.00", "+2.00", "robin higher"]


def test_no_look_asks_the_server_for_anything(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    rng = np.random.default_rng(1)
    base = np.arange(6).reshape(2, 3).astype(np.int16)
    lut = np.array([[0] * 6, [0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 2, 2], [0, 0, 1, 1, 2, 3], [0, 0, 1, 2, 3, 4], range(6)])
    nested = {
        "base": "labels",
        "lut_url": viewer_site.add_array("lut", lut.astype(np.uint8)),
        "colour_url": viewer_site.add_array("colour", lut.astype(np.uint8)),
        "k": 6,
    }
    heat = layer("map", viewer_site.add_array("heat", rng.random((7, 7)).astype(np.float32)), FRAME)
    groups = layer("labels", viewer_site.add_array("base", base), FRAME, encoding="labels")
    cells = [cell("heat", picture, [heat]), cell("groups", picture, [groups], nested=nested)]
    page = viewer_site.add_page("silent", cells, width=320, columns=2)
    changes = {
        "mode": ["side", "swipe", "picture", "overlay"],
        "opacity": [0.2, 1],
        "palette": ["viridis", "cividis", "grey", "diverging", "magma"],
        "range": ["own", "symmetric", "positive", "negative", "common"],
        "threshold": [{"kind": "top", "value": 10}, {"kind": "value", "value": 0.5}, {"kind": "all", "value": 0}],
        "smooth": [False, True],
        "contour": [False, True],
        "linked": [False, True],
    }
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        before = len(viewers.requests)
        for name, values in changes.items():
            for value in values:
                viewers.page.evaluate("change => window.vitrine.viewer.setLooks(change)", {name: value})
        viewers.looks(**QUIET_LOOKS)
        shown = {}
        for k in range(1, 7):
            viewers.call("setK", "groups", k)
            shown[k] = _cells(viewers.pixels(1), 2, 3).reshape(6, 3)
        viewers.call("zoom", "heat", 2)
        assert len(viewers.requests) == before
    for k, (one, other) in itertools.product(range(1, 6), itertools.combinations(range(6), 2)):
        same_group = lut[k - 1, one] == lut[k - 1, other]
        assert (shown[k][one] == shown[k][other]).all() == same_group


def test_looks_that_do_not_exist_change_nothing(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK)
    url = viewer_site.add_array("two", np.array([[0, 1]], dtype=np.float32))
    page = viewer_site.add_page("unknown", [cell("run", picture, [layer("map", url, FRAME)])], width=320)
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        before = viewers.page.evaluate("window.vitrine.viewer.getLooks()")
        viewers.looks(mode="upside-down", palette="jet", range="percentile", colour="pink")
        assert viewers.page.evaluate("window.vitrine.viewer.getLooks()") == before
        viewers.looks(opacity=7)
        assert viewers.page.evaluate("window.vitrine.viewer.getLooks().opacity") == 1
