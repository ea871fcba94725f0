"""Where a value lies on the picture: to the pixel, for every crop, frame and zoom."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser

from tests.e2e.viewer_harness import QUIET_LOOKS, Harness, cell, layer, open_viewers

pytestmark = pytest.mark.browser

HOT = (252, 253, 191)  # last colour of magma
BLACK_60_90 = np.zeros((60, 90, 3), dtype=np.uint8)


def _one_hot(shape: tuple[int, int], row: int, column: int) -> NDArray[np.float32]:
    array = np.zeros(shape, dtype=np.float32)
    array[row, column] = 1
    return array


def _hot_box(pixels: NDArray[np.uint8]) -> tuple[int, int, int, int]:
    """Returns (left, top, right, bottom) of all pixels of the hottest colour, and makes sure that they fill it."""
    hot = (pixels == np.array(HOT, dtype=np.uint8)).all(-1)
    rows, columns = np.nonzero(hot)
    box = int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1
    assert hot[box[1] : box[3], box[0] : box[2]].all()
    return box


FRAMES = {
    "whole picture squashed": ([0, 0, 90, 60], None),
    "centre crop": ([15, 0, 75, 60], [15, 0, 75, 60]),
    "crop off the pixel grid": ([17.5, 2.5, 72.5, 57.5], [17.5, 2.5, 72.5, 57.5]),
    "frame beyond the picture": ([-15, -30, 105, 90], [0, 0, 90, 60]),
}


@pytest.mark.parametrize(("frame", "seen"), FRAMES.values(), ids=FRAMES.keys())
@pytest.mark.parametrize(("row", "column"), [(2, 3), (1, 2), (3, 1)])
def test_a_planted_cell_is_coloured_on_its_rectangle_and_nowhere_else(
    chromium: Browser, viewer_site: Harness, frame: list[float], seen: list[float] | None, row: int, column: int
) -> None:
    shape = (5, 6)
    picture = viewer_site.add_picture("black", BLACK_60_90)
    url = viewer_site.add_array(f"hot-{row}-{column}", _one_hot(shape, row, column))
    page = viewer_site.add_page("geometry", [cell("run", picture, [layer("map", url, frame)], seen=seen)], width=360)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        pixels = viewers.pixels()
    left, top, right, bottom = frame
    step = (right - left) / shape[1], (bottom - top) / shape[0]
    rectangle = [
        left + column * step[0],
        top + row * step[1],
        left + (column + 1) * step[0],
        top + (row + 1) * step[1],
    ]
    assert pixels.shape == (240, 360, 3)
    limits = (90, 60, 90, 60)
    assert _hot_box(pixels) == tuple(
        round(4 * min(max(edge, 0), most)) for edge, most in zip(rectangle, limits, strict=True)
    )


def test_a_sharp_screen_gets_its_own_pixels(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK_60_90)
    url = viewer_site.add_array("hot", _one_hot((6, 9), 4, 7))
    page = viewer_site.add_page("sharp", [cell("run", picture, [layer("map", url, [0, 0, 90, 60])])], width=180)
    with open_viewers(chromium, scale=3) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        pixels = viewers.pixels()
    assert pixels.shape == (360, 540, 3)
    assert _hot_box(pixels) == (420, 240, 480, 300)


def test_zoom_magnifies_around_a_point_and_zero_goes_back(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK_60_90)
    url = viewer_site.add_array("hot", _one_hot((6, 9), 2, 4))
    page = viewer_site.add_page("zoom", [cell("run", picture, [layer("map", url, [0, 0, 90, 60])])], width=360)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(**QUIET_LOOKS)
        before = viewers.pixels()
        viewers.call("zoom", "run", {"x": 45, "y": 25, "zoom": 3})
        zoomed = viewers.pixels()
        viewers.page.locator(".v-viewer-canvas").focus()
        viewers.page.keyboard.press("0")
        viewers.frames()
        after = viewers.pixels()
    assert _hot_box(before) == (160, 80, 200, 120)
    assert _hot_box(zoomed) == (120, 60, 240, 180)
    np.testing.assert_array_equal(after, before)


def test_smooth_values_are_interpolated_between_cell_centres(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK_60_90)
    url = viewer_site.add_array("step", np.array([[0, 1]], dtype=np.float32))
    page = viewer_site.add_page("smooth", [cell("run", picture, [layer("map", url, [0, 0, 90, 60])])], width=360)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(opacity=1, contour=False, smooth=True, palette="grey")
        row = viewers.pixels()[100].astype(int)
        sides = viewers.page.evaluate("['#101110', '#F6F6F4'].map(window.vitrine.palettes.toRgb)")
    share = np.clip((np.arange(360) + 0.5) / 180 - 0.5, 0, 1)
    alpha = 0.38 / 0.86 + (1 - 0.38 / 0.86) * share
    for channel in range(3):
        colour = sides[0][channel] + (sides[1][channel] - sides[0][channel]) * share
        assert np.abs(row[:, channel] - colour * alpha).max() <= 2


def test_values_that_are_not_there_yet_show_the_picture(chromium: Browser, viewer_site: Harness) -> None:
    grey = np.full((60, 90, 3), 128, dtype=np.uint8)
    picture = viewer_site.add_picture("even", grey)
    array = np.full((6, 9), 1, dtype=np.float32)
    array[:, 0] = 0
    array[2:4, 3:6] = np.nan
    url = viewer_site.add_array("holes", array)
    page = viewer_site.add_page(
        "holes", [cell("run", picture, [layer("map", url, [0, 0, 90, 60])], state="partial")], width=360
    )
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        for smooth in (False, True):
            viewers.looks(opacity=1, contour=False, smooth=smooth)
            pixels = viewers.pixels()
            assert (pixels[80:160, 120:240] == 128).all()
            assert (pixels[80:160, 240:] == HOT).all()
        viewers.page.mouse.move(*viewers.point(0, 45, 30, picture))
        viewers.frames()
        assert viewers.badge() == "not yet"


def test_what_the_model_never_saw_is_grey_and_veiled(chromium: Browser, viewer_site: Harness) -> None:
    red = np.zeros((60, 90, 3), dtype=np.uint8)
    red[..., 0] = 200
    picture = viewer_site.add_picture("red", red)
    url = viewer_site.add_array("flat", np.array([[0.0, 1.0]]))
    seen = [15, 0, 75, 60]
    page = viewer_site.add_page("seen", [cell("run", picture, [layer("map", url, seen)], seen=seen)], width=360)
    veil = np.array([0xEC, 0xEC, 0xE9])
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        margins = []
        for mode in ("overlay", "picture"):
            viewers.looks(mode=mode, opacity=0, contour=False)
            margins.append(viewers.pixels().copy())
    grey = 0.299 * 200
    for pixels in margins:
        assert np.abs(pixels[10:230, :59] - (0.28 * grey + 0.72 * veil)).max() < 1.5
        assert np.abs(pixels[10:230, 301:] - (0.28 * grey + 0.72 * veil)).max() < 1.5
    assert np.abs(margins[0][:, 60:300] - np.full(3, grey)).max() <= 1
    assert (margins[1][:, 60:300] == [200, 0, 0]).all()
    edge = margins[0][100, 59].astype(int)
    assert (edge > margins[0][100, 40]).all()


DTYPES = ["<f2", "<f4", "<f8", "|i1", "|u1", "<i2", "<u2", "<i4", "<i8", ">f4", ">i2", "|b1"]


@pytest.mark.parametrize("order", ["C", "F"])
def test_every_kind_of_number_is_read_as_numpy_wrote_it(chromium: Browser, viewer_site: Harness, order: Any) -> None:
    arrays = {}
    for kind in DTYPES:
        plain = np.arange(12).reshape(3, 4) % 2 if kind == "|b1" else np.arange(12).reshape(3, 4) * 7 - 20
        plain = plain.clip(0, None) if "u" in kind else plain
        arrays[kind] = np.asarray(plain.astype(kind), order=order)
    halves = np.array([[0.1, -65504, 6e-8, np.inf], [-0.0, np.nan, 1 / 3, -np.inf]], dtype=np.float16)
    arrays["halves"] = np.asarray(halves, order=order)
    urls = {
        name: viewer_site.add_array(f"kind-{index}-{order}", array)
        for index, (name, array) in enumerate(arrays.items())
    }
    picture = viewer_site.add_picture("black", BLACK_60_90)
    page = viewer_site.add_page("kinds", [cell("run", picture, [layer("map", urls["<f4"], [0, 0, 90, 60])])], width=360)
    with open_viewers(chromium) as viewers:
        viewers.open(page)
        for name, array in arrays.items():
            read = viewers.page.evaluate(
                "url => window.vitrine.npy.load(url).then(a => [a.shape, [...a.data].map(String)])", urls[name]
            )
            assert read[0] == list(array.shape)
            np.testing.assert_array_equal([float(text) for text in read[1]], array.astype(np.float64).ravel())


def test_a_heat_map_larger_than_the_screen_is_averaged_not_skipped(chromium: Browser, viewer_site: Harness) -> None:
    picture = viewer_site.add_picture("black", BLACK_60_90)
    stripes = np.tile(np.array([0, 1], dtype=np.float32), (480, 360))
    url = viewer_site.add_array("stripes", stripes)
    page = viewer_site.add_page("stripes", [cell("run", picture, [layer("map", url, [0, 0, 90, 60])])], width=120)
    with open_viewers(chromium) as viewers:
        viewers.open(page).looks(opacity=1, contour=False, palette="grey")
        middle = viewers.pixels()[40]
    assert (middle == middle[0]).all()
