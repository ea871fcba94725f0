"""Maps drawn over pictures on the server: geometry, colours, what the model never saw."""

from __future__ import annotations

import numpy as np
import pytest

from backend.contract.results import ArrayRef, Box, Encoding, Layer, Manifest, Region, ResultKind
from backend.overlay import VEIL, draw_overlay, fit_picture
from backend.palettes import CASE, CATEGORICAL, DIVERGING, SEQUENTIAL, colour_ramp, label_colours, to_rgb
from tests.backend_fakes import encode, make_pixels


def _manifest(array: np.ndarray, *, frame: Box, seen: Box | None = None, encoding: Encoding) -> Manifest:
    return Manifest(
        run_key="0" * 64,
        image_ids=("a" * 64,),
        picture_size=(60, 40),
        model="m",
        model_title="M",
        weights_digest="",
        preprocessing="",
        method="x",
        method_title="X",
        method_version=1,
        params={},
        kind=ResultKind.SCALAR_MAP,
        seen=seen,
        arrays={"map": ArrayRef(digest="0" * 64, dtype=str(array.dtype), shape=array.shape, frame=frame)},
        layers=(Layer(name="map", title="Map", array="map", encoding=encoding, smooth=False),),
    )


def _draw(array: np.ndarray, **options: object) -> np.ndarray:
    manifest = _manifest(array, **options)  # type: ignore[arg-type]
    black = np.zeros((40, 60, 3), np.uint8)
    return draw_overlay(black, manifest, manifest.layers[0], array)


def test_a_map_lies_inside_its_frame_and_nowhere_else() -> None:
    drawn = _draw(np.ones((2, 2), np.float32), frame=Box(10, 5, 30, 25), encoding=Encoding.SIGNED)
    marked = drawn.sum(axis=2) > 0
    rows, columns = np.nonzero(marked)
    assert (columns.min(), columns.max() + 1, rows.min(), rows.max() + 1) == (10, 30, 5, 25)
    assert marked.sum() == 20 * 20


def test_a_frame_may_reach_beyond_the_picture() -> None:
    array = np.array([[0, 0], [0, 1]], np.float32)
    drawn = _draw(array, frame=Box(-30, -20, 90, 60), encoding=Encoding.SIGNED)
    marked = drawn.sum(axis=2) > 0
    # The last cell of the grid covers x >= 30 and y >= 20.
    assert np.array_equal(marked, (np.arange(40) >= 20)[:, None] & (np.arange(60) >= 30)[None, :])


def test_one_cell_of_a_grid_covers_exactly_its_share() -> None:
    array = np.zeros((4, 6), np.float32)
    array[1, 2] = 1
    drawn = _draw(array, frame=Box(0, 0, 60, 40), encoding=Encoding.SIGNED)
    rows, columns = np.nonzero(drawn.sum(axis=2) > 0)
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (20, 29, 10, 19)


@pytest.mark.parametrize("cell", [1, 2, 3, 19, 39])
def test_a_pixel_between_two_cells_belongs_to_the_second_as_in_the_viewer(cell: int) -> None:
    marked = np.zeros((40, 40), np.float32)
    marked[:, cell] = 1
    drawn = _draw(marked, frame=Box(0, 0, 60, 40), encoding=Encoding.SIGNED)
    columns = np.nonzero(drawn.sum(axis=(0, 2)))[0]
    assert columns.tolist() == [x for x in range(60) if (2 * x + 1) * 40 // (2 * 60) == cell]


def test_margins_that_the_model_never_saw_are_veiled() -> None:
    drawn = _draw(
        np.zeros((2, 2), np.float32), frame=Box(0, 0, 60, 40), seen=Box(10, 0, 50, 40), encoding=Encoding.SIGNED
    )
    assert np.array_equal(drawn[0, 0], np.rint(VEIL * np.array(to_rgb(CASE))))
    assert np.array_equal(drawn[0, 10], (0, 0, 0))


def test_labels_take_the_colours_that_their_regions_name() -> None:
    labels = np.array([[4, 9]], np.int32)
    manifest = _manifest(labels, frame=Box(0, 0, 60, 40), encoding=Encoding.LABELS)
    regions = tuple(
        Region(id=number, label="", area=0.5, box=Box(0, 0, 1, 1), colour=colour, layer="map")
        for number, colour in ((4, 2), (9, 0))
    )
    manifest = manifest.model_copy(update={"regions": regions})
    drawn = draw_overlay(np.zeros((40, 60, 3), np.uint8), manifest, manifest.layers[0], labels)
    for column, colour in ((0, CATEGORICAL[2]), (59, CATEGORICAL[0])):
        expected = np.rint(0.6 * np.array(to_rgb(colour)))
        assert np.abs(drawn[0, column] - expected).max() <= 1


def test_signed_maps_are_neutral_at_zero_and_symmetric() -> None:
    array = np.array([[-0.5, 0.0, 0.25]], np.float32)
    picture = np.full((40, 60, 3), 100, np.uint8)
    manifest = _manifest(array, frame=Box(0, 0, 60, 40), encoding=Encoding.SIGNED)
    drawn = draw_overlay(picture, manifest, manifest.layers[0], array).astype(int)
    assert np.array_equal(drawn[0, 30], (100, 100, 100))
    assert drawn[0, 0, 2] > drawn[0, 0, 0]
    assert drawn[0, 59, 0] > drawn[0, 59, 2]


def test_ranked_maps_lie_in_the_colours_of_their_parts_on_the_darkened_picture() -> None:
    array = np.zeros((1, 2, 3), np.float32)
    array[0, 0, 0] = 1
    manifest = _manifest(array, frame=Box(0, 0, 60, 40), encoding=Encoding.RGB)
    drawn = draw_overlay(np.full((40, 60, 3), 100, np.uint8), manifest, manifest.layers[0], array)
    assert np.array_equal(drawn[0, 0], np.rint(0.8 * np.array((237, 69, 56)) + 20))
    assert np.array_equal(drawn[0, 59], (20, 20, 20))


def test_ranked_maps_that_overlap_on_a_bright_picture_neither_burn_out_nor_lose_their_hue() -> None:
    array = np.array([[[255, 170, 170], [255, 255, 255]]], np.uint8)
    manifest = _manifest(array, frame=Box(0, 0, 60, 40), encoding=Encoding.RGB)
    white = np.full((40, 60, 3), 255, np.uint8)
    drawn = draw_overlay(white, manifest, manifest.layers[0], array).astype(int)
    red, equal = drawn[0, 0], drawn[0, 59]
    assert red[0] - red[1:].max() > 40
    assert equal.max() - equal.min() < 20
    dark = draw_overlay(np.zeros_like(white), manifest, manifest.layers[0], array).astype(int)
    assert np.abs(drawn - dark - 51).max() <= 1, "a picture's light and shade stay visible under every colour"


def test_a_smooth_map_meets_its_cells_at_their_centres() -> None:
    array = np.zeros((1, 2, 3), np.float32)
    array[0, 1, 0] = 1
    manifest = _manifest(array, frame=Box(0, 0, 60, 40), encoding=Encoding.RGB)
    layer = manifest.layers[0].model_copy(update={"smooth": True})
    red = draw_overlay(np.zeros((40, 60, 3), np.uint8), manifest, layer, array)[0, :, 0].astype(int)
    assert red[:15].max() == 0
    assert red[15] == 3  # half a pixel behind the centre of the first cell: 0.8 * 237 / 60
    assert (np.diff(red[14:46]) > 0).all()
    assert red[45:].min() == 190


@pytest.mark.parametrize("stops", [SEQUENTIAL, DIVERGING])
def test_a_ramp_begins_and_ends_with_its_stops(stops: tuple[str, ...]) -> None:
    ramp = colour_ramp(np.array([0.0, 1.0]), stops)
    assert tuple(ramp[0]) == to_rgb(stops[0])
    assert tuple(ramp[1]) == to_rgb(stops[-1])


def test_more_labels_than_colours_begin_again() -> None:
    colours = label_colours(np.array([1, 1 + len(CATEGORICAL)]), {})
    assert np.array_equal(colours[0], colours[1])


def test_a_picture_is_fitted_and_keeps_its_shape() -> None:
    assert fit_picture(encode(make_pixels(60, 40)), 120, 120).shape == (80, 120, 3)
    assert fit_picture(encode(make_pixels(60, 40)), 1000, 1000).shape == (160, 240, 3)
