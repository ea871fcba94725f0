"""Pictures for a feature-group classifier: decoded once, then cropped, mirrored and coloured anew in every epoch."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from models.preprocessing import INTERPOLATIONS, Preprocessing
from models.training._br_npa_recipe import BrNpaRecipe
from models.training.data import PictureSet

MEMORY_BYTES = 2 * 2**30
"""Above this the decoded pictures lie in a file that is mapped into memory."""
GREY = (0.299, 0.587, 0.114)
STAGE_NUMBERS = {"teacher": 1, "student": 2, "head": 3}
ORDER = 2**31
"""Stands for the order of an epoch where a random stream otherwise names a picture."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """Pictures in memory.

    Args:
        pixels: uint8 ``[N, 3, R, R]``.
        labels: int64 ``[N]``.
    """

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def explainer_geometry(base: Preprocessing, recipe: BrNpaRecipe) -> Preprocessing:
    """Returns how the trained classifier wants its pictures.

    A network of its own sees the centre crop of the squashed picture, as in its validation; a head on the base
    model's features sees what the base sees.
    """
    side = recipe.input_size
    if recipe.scope == "head":
        return base if side is None else dataclasses.replace(base, input_size=(side, side))
    side = side or max(32, min(base.input_size))
    return dataclasses.replace(base, input_size=(side, side), crop_pct=recipe.crop_ratio, crop_mode="squash")


def decode_whole(
    pictures: PictureSet, geometry: Preprocessing, check: Callable[[], None], *, cache: Path | None = None
) -> Decoded:
    """Returns every picture squashed to the square that crops are taken from.

    Args:
        pictures: To decode.
        geometry: Of the explainer.
        check: Called before each picture; raises to stop.
        cache: File for pictures that would fill the memory.
    """
    side = math.floor(geometry.input_size[0] / geometry.crop_pct)
    filter_ = INTERPOLATIONS[geometry.interpolation]

    def whole(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        image = Image.fromarray(np.ascontiguousarray(pixels))
        return np.asarray(image if image.size == (side, side) else image.resize((side, side), filter_))

    return _decoded(pictures, (side, side), whole, check, cache)


def decode_seen(pictures: PictureSet, geometry: Preprocessing, check: Callable[[], None]) -> Decoded:
    """Returns every picture as a network of this geometry sees it, ``[N, 3, h, w]``."""

    def seen(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        prepared = geometry.prepare(pixels).pixels
        return (prepared * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()

    return _decoded(pictures, geometry.input_size, seen, check, None)


def epoch_order(recipe: BrNpaRecipe, stage: str, epoch: int, count: int) -> NDArray[np.int64]:
    """Returns the order of the pictures in one epoch; it depends on nothing but seed, stage and epoch."""
    stream = np.random.default_rng([recipe.seed, STAGE_NUMBERS[stage], epoch, ORDER])
    return stream.permutation(count).astype(np.int64)


def augmented(
    data: Decoded,
    indices: Sequence[int] | NDArray[np.int64],
    recipe: BrNpaRecipe,
    *,
    side: int,
    stage: str,
    epoch: int,
    device: torch.device,
) -> Tensor:
    """Returns a training batch ``[B, 3, side, side]`` float32, 0-1, on the device.

    Crop, mirror and colours of a picture follow from seed, stage, epoch and its place in the set alone.
    """
    room = data.pixels.shape[2] - side
    cut, light, vivid = [], [], []
    for index in indices:
        stream = np.random.default_rng([recipe.seed, STAGE_NUMBERS[stage], epoch, int(index)])
        top, left = (int(value) for value in stream.integers(0, room + 1, 2))
        is_mirrored = bool(stream.random() < 0.5) and recipe.flip
        light.append(1 + recipe.brightness * float(stream.uniform(-1, 1)))
        vivid.append(1 + recipe.saturation * float(stream.uniform(-1, 1)))
        picture = data.pixels[int(index), :, top : top + side, left : left + side]
        cut.append(picture.flip(2) if is_mirrored else picture)
    batch = _to_device(torch.stack(cut), device).float().div_(255)
    if recipe.brightness:
        batch = (batch * _column(light, device)).clamp_(0, 1)
    if recipe.saturation:
        grey = (batch * torch.tensor(GREY, device=device).view(3, 1, 1)).sum(1, keepdim=True)
        batch = (grey + (batch - grey) * _column(vivid, device)).clamp_(0, 1)
    return batch


def _to_device(pictures: Tensor, device: torch.device) -> Tensor:
    if device.type != "cuda":
        return pictures
    return pictures.pin_memory().to(device, non_blocking=True)


def _column(values: Sequence[float], device: torch.device) -> Tensor:
    return torch.tensor(values, device=device).view(-1, 1, 1, 1)


def _decoded(
    pictures: PictureSet,
    size: tuple[int, int],
    convert: Callable[[NDArray[np.uint8]], NDArray[np.uint8]],
    check: Callable[[], None],
    cache: Path | None,
) -> Decoded:
    shape = (len(pictures), *size, 3)
    if cache is not None and math.prod(shape) > MEMORY_BYTES:
        cache.parent.mkdir(parents=True, exist_ok=True)
        store: NDArray[np.uint8] = np.lib.format.open_memmap(cache, mode="w+", dtype=np.uint8, shape=shape)
    else:
        store = np.empty(shape, np.uint8)
    for index in range(len(pictures)):
        check()
        store[index] = convert(pictures.load(index))
    return Decoded(torch.from_numpy(store).permute(0, 3, 1, 2), torch.from_numpy(pictures.labels.astype(np.int64)))
