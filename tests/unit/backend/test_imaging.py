"""Maps as PNG and smaller copies of pictures."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from backend.contract.problems import ProblemCode, ProblemError
from backend.imaging import array_to_png, resize_picture, take_slice
from tests.backend_fakes import encode, make_pixels


def _pixels(png: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(png)))


@pytest.mark.parametrize(("bits", "most"), [(8, 255), (16, 65535)])
def test_a_map_spreads_from_black_to_white_and_tells_what_they_mean(bits: int, most: int) -> None:
    array = np.array([[-2.0, 0.0], [1.0, 2.0]], np.float32)
    picture = array_to_png(array, bits=bits)
    assert (picture.low, picture.high) == (-2.0, 2.0)
    assert _pixels(picture.png).tolist() == [[0, round(most / 2)], [round(most * 0.75), most]]


def test_a_given_range_cuts_what_lies_outside() -> None:
    picture = array_to_png(np.array([[-9.0, 0.5, 9.0]]), low=0, high=1)
    assert _pixels(picture.png).tolist() == [[0, 128, 255]]


def test_labels_keep_their_values() -> None:
    labels = np.array([[0, 3], [7, 255]], np.int32)
    picture = array_to_png(labels)
    assert np.array_equal(_pixels(picture.png), labels)
    assert picture.low is None


def test_labels_that_do_not_fit_are_refused_with_their_range() -> None:
    with pytest.raises(ProblemError, match="0 to 300"):
        array_to_png(np.array([[0, 300]], np.int32))
    assert _pixels(array_to_png(np.array([[0, 300]], np.int32), bits=16).png).tolist() == [[0, 300]]
    with pytest.raises(ProblemError, match="-1 to 0"):
        array_to_png(np.array([[0, -1]], np.int32))


def test_a_constant_map_and_a_map_of_nan_are_black() -> None:
    assert _pixels(array_to_png(np.full((2, 2), 5.0)).png).max() == 0
    assert _pixels(array_to_png(np.full((2, 2), np.nan)).png).max() == 0


def test_colours_stay_colours() -> None:
    colours = make_pixels(6, 4)
    assert np.array_equal(_pixels(array_to_png(colours).png), colours)
    assert np.array_equal(_pixels(array_to_png(colours.astype(np.float32) / 255).png), colours)


def test_a_stack_needs_an_index_and_the_index_must_exist() -> None:
    stack = np.zeros((4, 5, 6), np.float16)
    with pytest.raises(ProblemError) as caught:
        array_to_png(stack)
    assert caught.value.code is ProblemCode.REQUEST_INVALID
    assert take_slice(stack, 3).shape == (5, 6)
    with pytest.raises(ProblemError, match="4 maps"):
        take_slice(stack, 4)
    with pytest.raises(ProblemError, match="only number 0"):
        take_slice(stack[0], 1)
    assert take_slice(stack[0], 0).shape == (5, 6)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 9), st.integers(1, 9)),
        elements=st.floats(-1000, 1000, width=32, allow_subnormal=False),
    )
)
def test_sixteen_bits_give_the_values_back(array: np.ndarray) -> None:
    picture = array_to_png(array, bits=16)
    assert picture.low is not None
    assert picture.high is not None
    span = picture.high - picture.low
    back = picture.low + _pixels(picture.png).astype(np.float64) / 65535 * span
    assert np.abs(back - array).max() <= span / 65535 * 0.5 + 1e-6 * max(1.0, np.abs(array).max())


def test_a_smaller_copy_keeps_the_shape_and_a_small_picture_needs_none() -> None:
    png = encode(make_pixels(400, 200))
    small = resize_picture(png, 100)
    assert small is not None
    image = Image.open(io.BytesIO(small))
    assert (image.size, image.format) == ((100, 50), "JPEG")
    assert resize_picture(png, 400) is None
    thin = resize_picture(encode(make_pixels(1000, 1)), 16)
    assert thin is not None
    assert Image.open(io.BytesIO(thin)).size == (16, 1)
