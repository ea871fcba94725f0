"""Two label maps of one picture: the same colour lies on the same places, as far as any pairing of groups allows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page
from scipy.optimize import linear_sum_assignment

from tests.e2e.viewer_harness import QUIET_LOOKS, Harness, Viewers, cell, layer, open_viewers

pytestmark = pytest.mark.browser

FRAME = [0, 0, 80, 40]
BLACK = np.zeros((40, 80, 3), dtype=np.uint8)
COLUMNS = np.array([[0, 1, 2, 3], [0, 1, 2, 3]], dtype=np.int16)
TURNED = np.array([[2, 0, 3, 1], [2, 0, 3, 1]], dtype=np.int16)
MATCHED = "same colour in both maps: they overlap most"

MATCH = """([one, two]) => {
    const part = ({ data, height, width, frame, seen }) => {
        const array = { shape: [height, width], data: Float32Array.from(data), kind: 'f4' };
        const field = vitrine.field.makeField(array, frame, { width: 80, height: 40 });
        return { url: '/same', field, seen };
    };
    return [...vitrine.matching.match([part(one)], [part(two)])];
}"""


def _part(labels: NDArray[Any], frame: list[float] = FRAME, seen: list[float] | None = None) -> dict[str, Any]:
    height, width = labels.shape
    return {"data": labels.ravel().tolist(), "height": height, "width": width, "frame": frame, "seen": seen}


def _ious(one: NDArray[Any], two: NDArray[Any]) -> NDArray[np.float64]:
    """Returns intersection over union of every pair of labels, counted where neither map leaves a place out."""
    known = (one >= 0) & (two >= 0)
    shape = int(one.max()) + 1, int(two.max()) + 1
    counts = np.zeros(shape)
    np.add.at(counts, (one[known], two[known]), 1)
    union = counts.sum(1)[:, None] + counts.sum(0) - counts
    return np.divide(counts, union, out=np.zeros(shape), where=union > 0)


def _assert_best(pairs: list[list[int]], ious: NDArray[np.float64]) -> None:
    """Asserts that pairs (label of two, label of one) are one to one, overlap, and are worth as much as scipy's."""
    assert len({two for two, _ in pairs}) == len({one for _, one in pairs}) == len(pairs)
    worth = [ious[one, two] for two, one in pairs]
    rows, columns = linear_sum_assignment(ious, maximize=True)
    assert all(value > 0 for value in worth)
    assert sum(worth) == pytest.approx(ious[rows, columns].sum(), rel=1e-6)


@pytest.fixture(scope="module")
def page(chromium: Browser, viewer_site: Harness) -> Page:
    """An empty page with the viewer's scripts."""
    opened = chromium.new_page()
    opened.goto(viewer_site.add_page("arithmetic", [], width=320))
    return opened


def test_the_assignment_is_worth_as_much_as_scipys_for_any_shape(page: Page) -> None:
    random = np.random.default_rng(0)
    for shape in [(1, 1), (1, 5), (5, 1), (4, 4), (7, 5), (5, 7), (20, 20), (20, 13), (13, 20)] * 3:
        weights = random.random(shape) * (random.random(shape) > 0.3)
        chosen = page.evaluate("weights => vitrine.matching.assign(weights)", weights.tolist())
        given = [(row, column) for row, column in enumerate(chosen) if column >= 0]
        assert len(given) == min(shape) == len({column for _, column in given})
        rows, columns = linear_sum_assignment(weights, maximize=True)
        worth = sum(weights[row, column] for row, column in given)
        assert worth == pytest.approx(weights[rows, columns].sum(), abs=1e-9)


def test_nothing_to_assign_is_no_error(page: Page) -> None:
    assert page.evaluate("() => vitrine.matching.assign([])") == []


def test_a_pair_that_overlaps_most_is_given_up_when_the_whole_gains(page: Page) -> None:
    weights = [[0.6, 0.5], [0.55, 0.0]]
    assert page.evaluate("weights => vitrine.matching.assign(weights)", weights) == [1, 0]


@pytest.mark.parametrize("seed", range(6))
def test_groups_of_random_maps_are_paired_as_well_as_scipy_does(page: Page, seed: int) -> None:
    random = np.random.default_rng(seed)
    size = tuple(random.integers(4, 29, 2))
    one = random.integers(-1, random.integers(1, 20), size)
    two = np.where(random.random(size) < 0.6, (one + 3) % 11, random.integers(-1, 20, size))
    _assert_best(page.evaluate(MATCH, [_part(one), _part(two)]), _ious(one, two))


def test_maps_on_other_grids_are_compared_by_area_where_both_models_saw_the_picture(page: Page) -> None:
    random = np.random.default_rng(7)
    one = np.kron(random.integers(0, 5, (4, 8)), np.ones((2, 2), dtype=int))
    two = random.integers(0, 6, (5, 6))
    # 80 x 40 pixels: the first map lies on all of it in cells of 5 x 5, the second on its middle in cells of 8 x 8.
    pairs = page.evaluate(MATCH, [_part(one), _part(two, [16, 0, 64, 40], [16, 8, 64, 40])])
    full = np.kron(one, np.ones((5, 5), dtype=int))[8:40, 16:64]
    inner = np.kron(two, np.ones((8, 8), dtype=int))[8:40]
    _assert_best(pairs, _ious(full, inner))


def test_maps_of_places_that_do_not_meet_have_no_partners(page: Page) -> None:
    left, right = _part(COLUMNS, [0, 0, 40, 40]), _part(COLUMNS, [40, 0, 80, 40])
    assert page.evaluate(MATCH, [left, right]) == []


def _labels(site: Harness, name: str, array: NDArray[Any], run: str, **more: Any) -> dict[str, Any]:
    one = layer("labels", site.add_array(name, array), FRAME, encoding="labels", ends=["alike", ""])
    return cell(run, site.add_picture("matched", BLACK), [one], **more)


def _colours(viewers: Viewers, index: int, columns: int = 4) -> list[tuple[int, ...]]:
    """Returns the colours in the middles of the columns of a map of 80 x 40 pixels."""
    shown = viewers.pixels(index)
    places = [round((column + 0.5) * shown.shape[1] / columns) for column in range(columns)]
    return [tuple(int(value) for value in shown[shown.shape[0] // 2, place]) for place in places]


def _words(viewers: Viewers, index: int) -> str:
    return viewers.page.locator(".v-viewer-legend .v-viewer-words").nth(index).inner_text()


def test_renumbered_maps_get_the_colours_of_the_first_without_a_request(
    chromium: Browser, viewer_site: Harness
) -> None:
    regions = [
        {"id": k, "label": f"g{k}", "layer": "labels", "colour": 4 - k, "box": FRAME, "score": 1.0, "area": 0.25}
        for k in range(4)
    ]
    cells = [
        _labels(viewer_site, "straight", COLUMNS, "one", regions=regions),
        _labels(viewer_site, "turned", TURNED, "two"),
    ]
    address = viewer_site.add_page("renumbered", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(address).looks(**QUIET_LOOKS)
        assert _colours(viewers, 0) == _colours(viewers, 1)
        assert [_words(viewers, index) for index in (0, 1)] == ["alike", MATCHED]
        asked = len(viewers.requests)
        viewers.looks(match=False)
        assert _colours(viewers, 0) != _colours(viewers, 1)
        assert _words(viewers, 1) == "alike"
        viewers.looks(match=True)
        assert _colours(viewers, 0) == _colours(viewers, 1)
        assert len(viewers.requests) == asked


def test_groups_without_a_partner_take_the_next_free_colours_the_largest_first(
    chromium: Browser, viewer_site: Harness
) -> None:
    halves = np.array([[0, 0, 0, 0, 1, 1, 1, 1]], dtype=np.int16)
    finer = np.array([[3, 3, 3, 2, 1, 1, 0, 0]], dtype=np.int16)
    cells = [_labels(viewer_site, "halves8", halves, "one"), _labels(viewer_site, "finer8", finer, "two")]
    address = viewer_site.add_page("unmatched", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(address).looks(**QUIET_LOOKS)
        first, second = _colours(viewers, 0, 8), _colours(viewers, 1, 8)
        assert second[:3] == [first[0]] * 3
        assert (second[4] == first[7]) != (second[6] == first[7])
        known = viewers.page.evaluate("() => [0, 1, 2, 3].map(index => vitrine.palettes.category(index))")
        alone = second[6] if second[4] == first[7] else second[4]
        for shown, colour in ((alone, known[2]), (second[3], known[3])):
            hue = np.array(shown) / max(shown)
            assert np.allclose(hue, np.array(colour) / max(colour), atol=0.02)


def test_the_slider_of_nested_groups_keeps_the_maps_comparable(chromium: Browser, viewer_site: Harness) -> None:
    lut = np.array([[0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 2, 2], [0, 1, 2, 3]], dtype=np.uint8)
    colour = np.array([[5, 5, 5, 5], [5, 5, 6, 6], [5, 7, 6, 6], [5, 7, 6, 4]], dtype=np.uint8)
    nested = {
        "base": "labels",
        "lut_url": viewer_site.add_array("lut", lut),
        "colour_url": viewer_site.add_array("lut_colour", colour),
        "k": 4,
    }
    cells = [
        _labels(viewer_site, "base", COLUMNS, "one", nested=nested),
        _labels(viewer_site, "turned", TURNED, "two"),
    ]
    address = viewer_site.add_page("nested", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(address).looks(**QUIET_LOOKS)
        assert _colours(viewers, 0) == _colours(viewers, 1)
        asked = len(viewers.requests)
        viewers.call("setK", "one", 2)
        first, second = _colours(viewers, 0), _colours(viewers, 1)
        assert first[0] == first[1] != first[2] == first[3]
        assert first[0] in second[:2]
        assert first[2] in second[2:]
        assert len(set(second)) == 4
        viewers.call("setK", "one", 4)
        assert _colours(viewers, 0) == _colours(viewers, 1)
        assert len(viewers.requests) == asked


def test_a_map_that_arrives_later_is_matched_and_one_that_leaves_frees_the_colours(
    chromium: Browser, viewer_site: Harness
) -> None:
    cells = [_labels(viewer_site, "straight", COLUMNS, "one"), _labels(viewer_site, "straight", COLUMNS, "two")]
    news = _labels(viewer_site, "turned", TURNED, "three")
    address = viewer_site.add_page("live", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(address).looks(**QUIET_LOOKS)
        viewers.page.evaluate(
            "text => document.querySelector('#cell-1').setAttribute('data-viewer', text)", json.dumps(news)
        )
        viewers.settle()
        assert _colours(viewers, 0) == _colours(viewers, 1)
        viewers.page.evaluate("() => document.querySelector('#cell-0').remove()")
        viewers.frames()
        first = viewers.page.evaluate("() => vitrine.palettes.category(2)")
        shown = np.array(_colours(viewers, 0)[0])
        assert np.allclose(shown / shown.max(), np.array(first) / max(first), atol=0.02)
        assert _words(viewers, 0) == "alike"


def test_a_picked_region_is_marked_in_both_maps_whatever_their_numbers(chromium: Browser, viewer_site: Harness) -> None:
    cells = [_labels(viewer_site, "straight", COLUMNS, "one"), _labels(viewer_site, "turned", TURNED, "two")]
    address = viewer_site.add_page("picked", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(address).looks(**QUIET_LOOKS)
        viewers.page.mouse.click(*viewers.point(0, 30, 20, cells[0]["picture"]))
        viewers.frames()
        first, second = _colours(viewers, 0), _colours(viewers, 1)
        assert first == second
        assert first[1] == max(first, key=sum)
        assert viewers.page.evaluate("() => vitrine.viewer.getLooks().match") is True


def test_groups_shared_by_several_pictures_keep_one_colour_in_all_of_them(
    chromium: Browser, viewer_site: Harness
) -> None:
    pictures = [viewer_site.add_picture(f"shared{place}", BLACK) for place in range(2)]
    maps = {
        "one": [np.array([[0, 0, 1, 1]], dtype=np.int16), np.array([[2, 2, 1, 1]], dtype=np.int16)],
        "two": [np.array([[2, 2, 0, 0]], dtype=np.int16), np.array([[1, 1, 0, 0]], dtype=np.int16)],
    }
    cells = []
    for run, arrays in maps.items():
        parts = [
            {
                "picture": picture,
                "seen": None,
                "layers": [
                    layer("labels", viewer_site.add_array(f"{run}{place}", array), FRAME, encoding="labels"),
                ],
                "regions": [],
                "nested": None,
            }
            for place, (picture, array) in enumerate(zip(pictures, arrays, strict=True))
        ]
        cells.append(cell(run, pictures[0], parts[0]["layers"], pictures=parts, shared=True))
    address = viewer_site.add_page("shared", cells, width=320, columns=2)
    with open_viewers(chromium) as viewers:
        viewers.open(address).looks(**QUIET_LOOKS)
        before = [_colours(viewers, index) for index in (0, 1)]
        assert before[0] == before[1]
        for index, told in enumerate(cells):
            text = json.dumps({**told, **told["pictures"][1]})
            viewers.page.evaluate(
                "([index, text]) => document.querySelector(`#cell-${index}`).setAttribute('data-viewer', text)",
                [index, text],
            )
        viewers.settle()
        after = [_colours(viewers, index) for index in (0, 1)]
        assert after[0] == after[1]
        assert after[0][2:] == before[0][2:]
        assert after[0][0] not in before[0]
