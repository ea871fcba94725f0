from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import timm
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.data import create_transform

from backend.contract.problems import ProblemCode, ProblemError
from models.preprocessing import CROP_MODES, INTERPOLATIONS, Preprocessing

PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
SIZES = ((97, 61), (61, 97), (64, 64), (224, 150), (9, 7), (5, 40), (300, 33))


def noise(width: int, height: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def timms_own(preprocessing: Preprocessing, pixels: np.ndarray) -> torch.Tensor:
    transform = create_transform(
        input_size=(3, *preprocessing.input_size),
        interpolation=preprocessing.interpolation,
        mean=preprocessing.mean,
        std=preprocessing.std,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        normalize=False,
    )
    return transform(Image.fromarray(pixels)).float() / 255


@pytest.mark.parametrize("crop_mode", CROP_MODES)
@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_prepared_pixels_equal_timms_evaluation_transform_bit_for_bit(crop_mode: str, interpolation: str) -> None:
    inputs = ((32, 32), (48, 32), (33, 47))
    for input_size, crop_pct, size in product(inputs, (1.0, 0.875, 0.9, 1.15), SIZES):
        mean = (0.48145466, 0.4578275, 0.40821073)
        preprocessing = Preprocessing(
            input_size=input_size, interpolation=interpolation, crop_pct=crop_pct, crop_mode=crop_mode, mean=mean
        )
        pixels = noise(*size)
        prepared = preprocessing.prepare(pixels).pixels
        assert torch.equal(prepared, timms_own(preprocessing, pixels)), (input_size, crop_pct, size)


def test_normalised_pixels_equal_timms_transform_of_a_real_model_configuration() -> None:
    with torch.device("meta"):
        network = timm.create_model("test_vit")
    config = timm.data.resolve_model_data_config(network)
    pixels = noise(200, 130)
    preprocessing = Preprocessing.from_config(config)
    ours = preprocessing.normalise(preprocessing.prepare(pixels).pixels)
    assert torch.equal(ours, create_transform(**config)(Image.fromarray(pixels)))


preprocessings = st.builds(
    lambda height, width, crop_pct, crop_mode, interpolation: Preprocessing(
        input_size=(height, width), crop_pct=crop_pct, crop_mode=crop_mode, interpolation=interpolation, **PLAIN
    ),
    height=st.integers(24, 80),
    width=st.integers(24, 80),
    crop_pct=st.sampled_from((1.0, 0.875, 0.7, 1.2)),
    crop_mode=st.sampled_from(CROP_MODES),
    interpolation=st.sampled_from(("bilinear", "bicubic", "box", "hamming", "lanczos")),
)


@settings(max_examples=150, deadline=None)
@given(preprocessings, st.integers(20, 260), st.integers(20, 260), st.data())
def test_a_planted_block_is_found_where_the_frame_says(
    preprocessing: Preprocessing, width: int, height: int, data: st.DataObject
) -> None:
    frame, seen = preprocessing.frame(width, height), preprocessing.seen(width, height)
    across = preprocessing.input_size[1] / (frame.right - frame.left)
    down = preprocessing.input_size[0] / (frame.bottom - frame.top)
    # The block is at least six input pixels wide and keeps four input pixels of distance to what is not seen.
    side_x, side_y = int(np.ceil(6 / across)) + 1, int(np.ceil(6 / down)) + 1
    first_x, last_x = int(np.ceil(seen.left + 4 / across)), int(seen.right - 4 / across) - side_x
    first_y, last_y = int(np.ceil(seen.top + 4 / down)), int(seen.bottom - 4 / down) - side_y
    assume(first_x <= last_x and first_y <= last_y)
    left, top = data.draw(st.integers(first_x, last_x)), data.draw(st.integers(first_y, last_y))
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[top : top + side_y, left : left + side_x] = 255

    light = preprocessing.prepare(pixels).pixels[0].double()

    # Enlarged by the box filter, a picture pixel may lie up to half its size beside its place.
    slack = 0.5 if preprocessing.interpolation == "box" else 0.0
    total = light.sum()
    found_x = (light.sum(0) * (torch.arange(light.shape[1]) + 0.5)).sum() / total
    found_y = (light.sum(1) * (torch.arange(light.shape[0]) + 0.5)).sum() / total
    assert found_x == pytest.approx((left + side_x / 2 - frame.left) * across, abs=0.3 + slack * across)
    assert found_y == pytest.approx((top + side_y / 2 - frame.top) * down, abs=0.3 + slack * down)
    assert total == pytest.approx(side_x * across * side_y * down, rel=0.25)


@settings(max_examples=150, deadline=None)
@given(preprocessings, st.integers(1, 120), st.integers(1, 120))
def test_the_frame_maps_input_pixels_by_one_scale_per_axis_and_seen_is_its_part_inside(
    preprocessing: Preprocessing, width: int, height: int
) -> None:
    frame, seen = preprocessing.frame(width, height), preprocessing.seen(width, height)
    assert seen == (max(frame.left, 0), max(frame.top, 0), min(frame.right, width), min(frame.bottom, height))
    assert seen.left < seen.right
    assert seen.top < seen.bottom
    if preprocessing.crop_mode != "squash" and min(width, height) >= 20:
        across = (frame.right - frame.left) / preprocessing.input_size[1]
        down = (frame.bottom - frame.top) / preprocessing.input_size[0]
        assert across / down == pytest.approx(1, abs=0.06), "the aspect is kept, up to whole pixels"


@settings(max_examples=150, deadline=None)
@given(preprocessings, st.integers(1, 90), st.integers(1, 90))
def test_labels_go_where_nearest_neighbour_preparation_puts_colours(
    preprocessing: Preprocessing, width: int, height: int
) -> None:
    nearest = Preprocessing(
        input_size=preprocessing.input_size,
        crop_pct=preprocessing.crop_pct,
        crop_mode=preprocessing.crop_mode,
        interpolation="nearest",
        **PLAIN,
    )
    labels = np.arange(width * height, dtype=np.int32).reshape(height, width)
    colours = np.stack((labels % 256, labels // 256, np.full_like(labels, 255)), axis=2).astype(np.uint8)

    prepared = (nearest.prepare(colours).pixels * 255).round().int().numpy()
    moved = nearest.labels_to_input(labels)

    expected = np.where(prepared[2] == 255, prepared[0] + 256 * prepared[1], -1)
    # Where a centre falls exactly between two pixels, rounding inside the resampling may choose either.
    assert (moved == expected).mean() > 0.999 or _differs_at_ties_only(nearest, width, height, moved != expected)
    assert moved.dtype == labels.dtype


def _differs_at_ties_only(preprocessing: Preprocessing, width: int, height: int, wrong: np.ndarray) -> bool:
    frame = preprocessing.frame(width, height)
    rows, columns = preprocessing.input_size
    y = frame.top + (np.arange(rows) + 0.5) * (frame.bottom - frame.top) / rows
    x = frame.left + (np.arange(columns) + 0.5) * (frame.right - frame.left) / columns
    tie = (abs(y - y.round()) < 1e-6)[:, None] | (abs(x - x.round()) < 1e-6)[None, :]
    return bool(tie[wrong].all())


def test_a_border_is_filled_with_the_models_mean_and_reaches_beyond_the_picture() -> None:
    preprocessing = Preprocessing(input_size=(40, 40), mean=(0.2, 0.4, 0.6), crop_pct=1.0, crop_mode="border")
    prepared = preprocessing.prepare(np.full((20, 80, 3), 255, np.uint8))
    assert prepared.frame == (0, -30, 80, 50)
    assert prepared.seen == (0, 0, 80, 20)
    assert torch.equal(prepared.pixels[:, 0, 0], torch.tensor([51, 102, 153]) / 255)
    assert torch.equal(prepared.pixels[:, 20, 20], torch.ones(3))


def test_normalising_works_on_any_number_of_leading_axes_and_keeps_the_type() -> None:
    preprocessing = Preprocessing(mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 2.0))
    pictures = torch.rand(2, 5, 3, 4, 6, dtype=torch.float64)
    normalised = preprocessing.normalise(pictures)
    assert normalised.dtype == torch.float64
    assert torch.allclose(normalised[1, 2, 1], (pictures[1, 2, 1] - 0.25) / 0.25)
    assert torch.allclose(normalised[0, 0, 2], pictures[0, 0, 2] / 2)


def test_the_description_tells_apart_everything_that_changes_the_input() -> None:
    base = Preprocessing()
    changed = [
        Preprocessing(input_size=(224, 225)),
        Preprocessing(mean=(0.485, 0.456, 0.4061)),
        Preprocessing(std=(0.229, 0.224, 0.2251)),
        Preprocessing(interpolation="bilinear"),
        Preprocessing(crop_pct=0.8750001),
        Preprocessing(crop_mode="squash"),
    ]
    assert len({other.describe() for other in (base, *changed)}) == 1 + len(changed)
    assert Preprocessing().describe() == base.describe()


@pytest.mark.parametrize(
    "wrong",
    [
        {"input_size": (0, 10)},
        {"input_size": (10, 10, 3)},
        {"mean": (0.5, 0.5)},
        {"std": (1.0, 0.0, 1.0)},
        {"mean": (float("nan"), 0.0, 0.0)},
        {"interpolation": "random"},
        {"crop_mode": "middle"},
        {"crop_pct": 0.0},
    ],
)
def test_impossible_values_are_refused_by_name(wrong: dict) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Preprocessing(**wrong)


def test_only_8_bit_colour_pictures_and_signed_labels_are_taken() -> None:
    preprocessing = Preprocessing()
    for wrong in (np.zeros((4, 4, 3)), np.zeros((4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(ValueError, match="a picture is"):
            preprocessing.prepare(wrong)
    with pytest.raises(ValueError, match="signed integers"):
        preprocessing.labels_to_input(np.zeros((4, 4), np.uint8))


def test_a_picture_so_narrow_that_resizing_would_fill_the_memory_is_a_problem() -> None:
    with pytest.raises(ProblemError) as caught:
        Preprocessing().prepare(np.zeros((1, 20_000, 3), np.uint8))
    assert caught.value.code == ProblemCode.PICTURE_TOO_SMALL
