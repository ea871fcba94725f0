"""A photograph that was taken with the camera on its side: do the maps lie where they should?

The models see nothing but red, and the picture is grey except for one red block.
"""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import expect

from tests.journey.house import House
from tests.journey.questions import answer, main_map, make_turned_jpeg, place_of
from tests.journey.visitor import Visitor, description

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

WIDTH, HEIGHT = 360, 240
BLOCK = (225, 30, 285, 90)
"""Left, top, right and bottom of the block on the turned picture; inside what a centred crop keeps."""
CROPS = ("center", "squash", "border")


def make_picture() -> NDArray[np.uint8]:
    """Returns the picture as it is meant to be seen, ``[240, 360, 3]``."""
    grey = np.random.default_rng(5).integers(90, 150, (HEIGHT, WIDTH, 1), dtype=np.uint8)
    picture = np.repeat(grey, 3, axis=2)
    left, top, right, bottom = BLOCK
    picture[top:bottom, left:right] = (235, 20, 20)
    return picture


def is_on_block(x: float, y: float) -> bool:
    left, top, right, bottom = BLOCK
    return left <= x < right and top <= y < bottom


@pytest.fixture(scope="module")
def turned(house: House) -> str:
    """The uploaded photograph."""
    record = house.upload(make_turned_jpeg(make_picture()), "sideways.jpg")
    assert (record["width"], record["height"]) == (WIDTH, HEIGHT)
    picture_id: str = record["id"]
    return picture_id


@pytest.mark.parametrize("crop", CROPS)
def test_the_heat_map_of_a_turned_photograph_is_hottest_on_the_block(house: House, turned: str, crop: str) -> None:
    values, frame = main_map(house, answer(house, turned, f"red-{crop}", "pami", preset="fast", substrate="black"))
    hottest = np.argwhere(values >= values.max() - 1e-6)
    places = [place_of(values.shape, frame, row, column) for row, column in hottest]
    assert all(is_on_block(x, y) for x, y in places), places


@pytest.mark.parametrize("crop", CROPS)
def test_the_block_is_a_group_of_its_own_in_the_cluster_map(house: House, turned: str, crop: str) -> None:
    labels, frame = main_map(house, answer(house, turned, f"red-{crop}", "nave", n_clusters=2))
    left, top, right, bottom = BLOCK
    rows, columns = np.indices(labels.shape)
    x, y = place_of(labels.shape, frame, rows, columns)
    cell = (frame[2] - frame[0]) / labels.shape[1], (frame[3] - frame[1]) / labels.shape[0]
    inside = (
        (x - cell[0] / 2 >= left) & (x + cell[0] / 2 <= right) & (y - cell[1] / 2 >= top) & (y + cell[1] / 2 <= bottom)
    )
    touched = (x + cell[0] > left) & (x - cell[0] < right) & (y + cell[1] > top) & (y - cell[1] < bottom)
    assert inside.any()
    (group,) = np.unique(labels[inside])
    assert not (labels[~touched] == group).any()


@pytest.mark.parametrize("crop", CROPS)
def test_what_the_model_sees_is_told_in_pixels_of_the_turned_photograph(house: House, turned: str, crop: str) -> None:
    seen = answer(house, turned, f"red-{crop}", "nave", n_clusters=2)["seen"]
    whole = [0.0, 0.0, float(WIDTH), float(HEIGHT)]
    middle = [(WIDTH - HEIGHT) / 2, 0.0, (WIDTH + HEIGHT) / 2, float(HEIGHT)]
    assert seen == pytest.approx(middle if crop == "center" else whole, abs=3)


def test_in_the_browser_the_place_of_the_block_has_the_highest_value(
    house: House, turned: str, visitor: Visitor
) -> None:
    settings = {"pami": {"preset": "fast", "substrate": "black"}}
    visitor.remember(models=["red-center"], methods=["pami"], params=settings).open()
    visitor.upload(make_turned_jpeg(make_picture()), "sideways.jpg", mime="image/jpeg")
    cell = visitor.finished("red-center", "pami")
    assert description(cell)["picture"]["width"] == WIDTH
    values, frame = main_map(house, answer(house, turned, "red-center", "pami", **settings["pami"]))
    row, column = np.argwhere(values >= values.max() - 1e-6).mean(axis=0)
    badge = cell.locator(".v-viewer-badge-value")

    visitor.point_at(cell, *place_of(values.shape, frame, row, column))
    expect(badge).to_have_text(f"{values.max():.2f}")
    visitor.point_at(cell, WIDTH / 2 - 60, HEIGHT - 40)
    expect(badge).not_to_have_text(f"{values.max():.2f}")
    visitor.point_at(cell, 10, HEIGHT / 2)
    expect(badge).to_contain_text("not seen")
