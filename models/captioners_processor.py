"""From a transformers image processor to our own preprocessing, which knows the exact way back to the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.preprocessing import INTERPOLATIONS, Preprocessing

REFUSED_STEPS = (
    "do_pad",
    "do_thumbnail",
    "do_align_long_axis",
    "do_image_splitting",
    "do_pan_and_scan",
    "do_reduce_labels",
)
"""Steps of other processors that have no place in a resize followed by a crop."""
LARGEST_DIFFERENCE = 12 / 255
LARGEST_MEAN_DIFFERENCE = 2 / 255
"""By which the two ways may differ, on the scale 0-1: their resize filters round differently."""


def load_image_processor(folder: Path) -> Any:
    """Returns the image processor of a directory; no network, no foreign code."""
    from transformers import AutoImageProcessor

    return AutoImageProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)


def read_preprocessing(processor: Any) -> Preprocessing:
    """Returns what an image processor does, as our own preprocessing.

    The two are then compared on two pictures; what cannot be repeated is refused rather than approximated.

    Raises:
        ValueError: In words, when it does something that our preprocessing cannot.
    """
    for step in REFUSED_STEPS:
        if getattr(processor, step, None):
            raise ValueError(f"its image processor uses {step}, which Vitrine cannot follow back to the picture")
    scale = 255 * float(processor.rescale_factor) if getattr(processor, "do_rescale", True) else 255.0
    is_normalised = getattr(processor, "do_normalize", True)
    mean = tuple(float(value) / scale for value in processor.image_mean) if is_normalised else (0.0, 0.0, 0.0)
    std = tuple(float(value) / scale for value in processor.image_std) if is_normalised else (1 / scale,) * 3
    size, crop_pct, crop_mode = _geometry(processor)
    preprocessing = Preprocessing(
        input_size=size,
        mean=mean,
        std=std,
        interpolation=_interpolation(processor),
        crop_pct=crop_pct,
        crop_mode=crop_mode,
    )
    _compare(processor, preprocessing)
    return preprocessing


def processed(processor: Any, picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Returns what the image processor itself makes of a picture ``[H, W, 3]``; a single picture's array."""
    values = processor(images=Image.fromarray(picture), return_tensors="np")["pixel_values"]
    picture_chw: NDArray[np.float32] = np.asarray(values, np.float32)[0]
    return picture_chw


def _geometry(processor: Any) -> tuple[tuple[int, int], float, str]:
    """Returns input size, share that the crop keeps, and crop mode."""
    if not getattr(processor, "do_resize", True):
        raise ValueError("its image processor does not resize, so its input has no fixed size")
    size = _sides(processor.size)
    crop = _sides(processor.crop_size) if getattr(processor, "do_center_crop", None) else {}
    if {"height", "width"} <= set(size):
        height, width = size["height"], size["width"]
        if not crop or crop == size:
            return (height, width), 1.0, "squash"
        if crop["height"] * width != crop["width"] * height:
            raise ValueError("its image processor crops to another shape than it resizes to")
        return (crop["height"], crop["width"]), _share(crop["height"], height), "squash"
    if set(size) == {"shortest_edge"} and crop and crop["height"] == crop["width"]:
        return (crop["height"], crop["width"]), _share(crop["height"], size["shortest_edge"]), "center"
    raise ValueError("its input has no fixed size")


def _sides(size: Any) -> dict[str, int]:
    """Returns the sides that are given; sizes are plain numbers, mappings or objects with empty fields."""
    if isinstance(size, int):
        return {"height": size, "width": size}
    items = size.items() if isinstance(size, Mapping) else vars(size).items()
    return {str(key): int(value) for key, value in items if value is not None}


def _share(crop: int, resized: int) -> float:
    """Returns the share whose floor division gives back the size resized to, whatever the rounding."""
    share = crop / resized
    while math.floor(crop / share) < resized:
        share = math.nextafter(share, 0.0)
    return share


def _interpolation(processor: Any) -> str:
    resample = getattr(processor, "resample", None)
    value = getattr(resample, "value", resample)
    if isinstance(value, str):
        name = value
    else:
        names = {int(mode): name for name, mode in INTERPOLATIONS.items()}
        name = names.get(int(value), "") if value is not None else "bilinear"
    if name not in INTERPOLATIONS:
        raise ValueError(f"its image processor resizes with {resample}, which Vitrine does not know")
    return name


def _compare(processor: Any, preprocessing: Preprocessing) -> None:
    """Raises ValueError when the image processor does something else than our preprocessing."""
    for height, width in ((97, 150), (150, 97)):
        picture = _test_picture(height, width)
        theirs = processed(processor, picture)
        ours = preprocessing.normalise(preprocessing.prepare(picture).pixels).numpy()
        if theirs.shape != ours.shape:
            raise ValueError(f"its input has the shape {list(theirs.shape)}, not {list(ours.shape)}")
        difference = np.abs(theirs - ours) * np.array(preprocessing.std, np.float32)[:, None, None]
        if difference.max() > LARGEST_DIFFERENCE or difference.mean() > LARGEST_MEAN_DIFFERENCE:
            raise ValueError("its image processor does something that Vitrine cannot repeat")


def _test_picture(height: int, width: int) -> NDArray[np.uint8]:
    """Returns a picture without symmetry, smooth enough that rounding in a resize stays rounding."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    channels = [np.sin(x / 9 + y / 23), np.cos(x / 31 - y / 11), np.sin(x / 17) * np.cos(y / 13)]
    return np.stack([np.rint(127.5 + 110 * channel) for channel in channels], axis=-1).astype(np.uint8)
