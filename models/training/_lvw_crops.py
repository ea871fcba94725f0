"""Small pictures that illustrate words: the source with its box, and the nearest patches of other pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from backend.contract.results import Box
from models.preprocessing import Preprocessing

LARGEST_SIDE = 256
QUALITY = 62
SHOWN_NEIGHBOURS = 6
WINDOW = 2.0
"""Side of a neighbour's window over the longer side of its box."""


def crop_name(word: int, number: int) -> str:
    """Returns the file of a word's crop: 0 is its source, 1 to 6 are its neighbours."""
    return f"words/{word:04d}-{number}.webp"


def source_crop(pixels: NDArray[np.uint8], box: tuple[int, int, int, int], preprocessing: Preprocessing) -> Image.Image:
    """Returns what the model saw of a picture, with the word's box drawn on it.

    Args:
        pixels: ``[H, W, 3]`` uint8, the training picture.
        box: In input pixels, half-open.
        preprocessing: Of the base model.
    """
    height, width = pixels.shape[:2]
    seen = preprocessing.seen(width, height)
    image = _cut(pixels, seen)
    drawn = to_picture(box, preprocessing, width, height)
    across, down = image.width / (seen.right - seen.left), image.height / (seen.bottom - seen.top)
    corners = (
        (drawn.left - seen.left) * across,
        (drawn.top - seen.top) * down,
        (drawn.right - seen.left) * across - 1,
        (drawn.bottom - seen.top) * down - 1,
    )
    brush = ImageDraw.Draw(image)
    thick = max(1, round(max(image.size) / 90))
    brush.rectangle(
        [c + d for c, d in zip(corners, (-thick, -thick, thick, thick), strict=True)], outline="black", width=thick
    )
    brush.rectangle(corners, outline="white", width=thick)
    return image


def neighbour_crop(
    pixels: NDArray[np.uint8], box: tuple[int, int, int, int], preprocessing: Preprocessing
) -> Image.Image:
    """Returns the surroundings of a box, square in input pixels and moved inside what the model saw."""
    size = min(preprocessing.input_size)
    side = min(float(size), WINDOW * max(box[2] - box[0], box[3] - box[1]))
    left = min(max((box[0] + box[2] - side) / 2, 0), size - side)
    top = min(max((box[1] + box[3] - side) / 2, 0), size - side)
    height, width = pixels.shape[:2]
    return _cut(pixels, to_picture((left, top, left + side, top + side), preprocessing, width, height))


def write_crops(
    folder: Path,
    word: int,
    load: Callable[[int], NDArray[np.uint8]],
    places: list[tuple[int, tuple[int, int, int, int]]],
    preprocessing: Preprocessing,
) -> None:
    """Writes a word's crops as WebP.

    Args:
        folder: Of the explainer.
        word: Number of the word.
        load: Returns a picture by its running number.
        places: Running number and box of the source, then of the neighbours.
        preprocessing: Of the base model.
    """
    for number, (index, box) in enumerate(places):
        draw = source_crop if number == 0 else neighbour_crop
        path = folder / crop_name(word, number)
        path.parent.mkdir(parents=True, exist_ok=True)
        draw(load(index), box, preprocessing).save(path, format="WEBP", quality=QUALITY, method=4)


def nearest_others(neighbours: Tensor, source: int) -> list[int]:
    """Returns places in a word's list of neighbours whose picture is not its source, at most six."""
    return [place for place, index in enumerate(neighbours.tolist()) if index != source][:SHOWN_NEIGHBOURS]


def to_picture(box: tuple[float, float, float, float], preprocessing: Preprocessing, width: int, height: int) -> Box:
    """Returns a box of the model's input in pixels of the picture, clipped to what the model saw.

    Args:
        box: Left, top, right, bottom in input pixels.
        preprocessing: Of the model.
        width: Of the picture.
        height: Of the picture.
    """
    frame, seen = preprocessing.frame(width, height), preprocessing.seen(width, height)
    input_height, input_width = preprocessing.input_size
    across, down = (frame.right - frame.left) / input_width, (frame.bottom - frame.top) / input_height
    return Box(
        left=min(max(frame.left + box[0] * across, seen.left), seen.right),
        top=min(max(frame.top + box[1] * down, seen.top), seen.bottom),
        right=min(max(frame.left + box[2] * across, seen.left), seen.right),
        bottom=min(max(frame.top + box[3] * down, seen.top), seen.bottom),
    )


def _cut(pixels: NDArray[np.uint8], box: Box) -> Image.Image:
    """Returns a rectangle of a picture, made smaller where its long side exceeds 256 pixels."""
    left, top = int(np.floor(box.left)), int(np.floor(box.top))
    right, bottom = max(left + 1, int(np.ceil(box.right))), max(top + 1, int(np.ceil(box.bottom)))
    image = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    longest = max(image.size)
    if longest <= LARGEST_SIDE:
        return image
    size = tuple(max(1, round(side * LARGEST_SIDE / longest)) for side in image.size)
    return image.resize((size[0], size[1]), Image.Resampling.LANCZOS)
