"""From pictures to block activations, through the engine and the cache, with the geometry of each grid."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn import functional

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box
from backend.contract.schemas import BlockCard
from models.loader import LoadedModel
from workers.engine import Engine
from workers.method import Picture
from workers.methods._nave_blocks import BlockCache, Kept, NormChoice, apply_norm, compressed, usable_blocks

NATIVE_MULTIPLE = 16
NATIVE_FALLBACK = "This model takes only its own input size, so the picture was resized and cropped as it demands."


@dataclass(frozen=True, eq=False)
class View:
    """A picture as it enters the network.

    Args:
        pixels: ``[3, h, w]`` float32, 0-1; zero in the padding.
        input: ``[3, h, w]`` normalised, zero in the padding.
        frame: Rectangle of the picture that the input covers; may exceed the picture.
        picture_size: Width and height of the picture.
        transform: Everything that decided the input, for the cache.
    """

    pixels: Tensor
    input: Tensor
    frame: Box
    picture_size: tuple[int, int]
    transform: str

    def inside(self, grid: tuple[int, int]) -> NDArray[np.bool_]:
        """Returns which cells ``[H, W]`` of a grid hold any of the picture."""
        width, height = self.picture_size
        rows = _touches(self.frame.top, self.frame.bottom, grid[0], height)
        columns = _touches(self.frame.left, self.frame.right, grid[1], width)
        return rows[:, None] & columns[None, :]


def _touches(start: float, end: float, count: int, length: int) -> NDArray[np.bool_]:
    edges = start + np.arange(count + 1) * ((end - start) / count)
    slack = 1e-6 * (end - start) / count
    inside: NDArray[np.bool_] = (edges[:-1] < length - slack) & (edges[1:] > slack)
    return inside


def model_view(model: LoadedModel, picture: Picture) -> View:
    """Returns the picture after the model's own resize and crop."""
    preprocessing = model.preprocessing
    prepared = preprocessing.prepare(picture.pixels)
    return View(
        pixels=prepared.pixels,
        input=preprocessing.normalise(prepared.pixels),
        frame=prepared.frame,
        picture_size=_size(picture),
        transform=preprocessing.describe(),
    )


def native_view(model: LoadedModel, picture: Picture, *, max_side: int) -> View:
    """Returns the picture as it is (reduced to ``max_side``), padded right and below after the normalisation.

    The sides become multiples of 16, of the patch size, or of the deepest block's cell, so that cells of all blocks
    lie on whole pixels.
    """
    width, height = _size(picture)
    ratio = min(1.0, max_side / max(width, height))
    small = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    image = Image.fromarray(np.ascontiguousarray(picture.pixels))
    if small != (width, height):
        image = image.resize(small, Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy()).float() / 255
    step = _native_multiple(model)
    across, down = -small[0] % step, -small[1] % step
    padding = (0, across, 0, down)
    return View(
        pixels=functional.pad(pixels, padding),
        input=functional.pad(model.preprocessing.normalise(pixels), padding),
        frame=Box(0, 0, (small[0] + across) * width / small[0], (small[1] + down) * height / small[1]),
        picture_size=(width, height),
        transform=f"native {max_side} {step} {model.preprocessing.describe()}",
    )


def _native_multiple(model: LoadedModel) -> int:
    """The smallest side step that suits patches or strides."""
    sides = model.preprocessing.input_size
    steps = [round(sides[axis] / block.grid[axis]) for block in usable_blocks(model.card) for axis in (0, 1)]
    if any(block.layout == "tokens" for block in model.card.blocks):
        return max(steps, default=NATIVE_MULTIPLE)
    return math.lcm(NATIVE_MULTIPLE, max(steps, default=NATIVE_MULTIPLE))


def takes_any_size(model: LoadedModel) -> bool:
    """Returns whether inputs of other sizes may be tried: convolutional maps, or tokens with a dynamic grid."""
    if all(block.layout == "nchw" for block in model.card.blocks):
        return True
    return bool(getattr(model.network, "dynamic_img_size", False))


def _size(picture: Picture) -> tuple[int, int]:
    return int(picture.pixels.shape[1]), int(picture.pixels.shape[0])


class Taker:
    """Gets the activations of one model.

    Args:
        model: The model.
        engine: Its engine.
        cache: Where activations are kept between runs.
        norm: Applied to token blocks.
        on_batch: Told after each forward batch.
    """

    def __init__(
        self,
        model: LoadedModel,
        engine: Engine,
        cache: BlockCache,
        norm: NormChoice,
        on_batch: Callable[[], None] = lambda: None,
    ) -> None:
        self._model = model
        self._engine = engine
        self._cache = cache
        self._norm = norm
        self._on_batch = on_batch

    def take(self, pictures: Sequence[Picture], views: Sequence[View], blocks: Sequence[BlockCard]) -> list[list[Kept]]:
        """Returns, per picture, its blocks in the order asked for.

        A single picture's blocks are compressed; the blocks of several are not, because each picture alone would
        be turned into a space of its own.
        """
        is_full = len(pictures) > 1
        wanted = list(blocks) if is_full else usable_blocks(self._model.card)
        held = self._held(pictures, views, blocks, is_full=is_full)  # before others push them out of the cache
        for places in self._batches(pictures, views, blocks, held):
            held.update(self._forward([pictures[p] for p in places], [views[p] for p in places], wanted))
        taken: list[list[Kept]] = []
        for picture, view in zip(pictures, views, strict=True):
            keys = [self._key(picture, view, block.name) for block in blocks]
            taken.append([held[key] if is_full else compressed(self._cache, key, held[key]) for key in keys])
        return taken

    def n_batches(self, pictures: Sequence[Picture], views: Sequence[View], blocks: Sequence[BlockCard]) -> int:
        """Returns how many forward batches :meth:`take` will need."""
        held = self._held(pictures, views, blocks, is_full=len(pictures) > 1)
        return len(self._batches(pictures, views, blocks, held))

    def _held(
        self, pictures: Sequence[Picture], views: Sequence[View], blocks: Sequence[BlockCard], *, is_full: bool
    ) -> dict[Hashable, Kept]:
        """What the cache has of the wanted blocks."""
        keys = [
            self._key(picture, view, block.name)
            for picture, view in zip(pictures, views, strict=True)
            for block in blocks
        ]
        found = {key: self._cache.get(key, is_full=is_full) for key in keys}
        return {key: kept for key, kept in found.items() if kept is not None}

    def _batches(
        self,
        pictures: Sequence[Picture],
        views: Sequence[View],
        blocks: Sequence[BlockCard],
        held: dict[Hashable, Kept],
    ) -> list[list[int]]:
        """Places of the pictures to run, grouped into batches of equal size."""
        groups: list[list[int]] = []
        seen: set[Hashable] = set()
        for place, (picture, view) in enumerate(zip(pictures, views, strict=True)):
            keys = [self._key(picture, view, block.name) for block in blocks]
            if keys[0] in seen or all(key in held for key in keys):
                continue
            seen.add(keys[0])
            last = groups[-1] if groups else []
            fits = bool(last) and len(last) < self._engine.batch_size
            if fits and views[last[-1]].input.shape == view.input.shape:
                last.append(place)
            else:
                groups.append([place])
        return groups

    def _forward(
        self, pictures: Sequence[Picture], views: Sequence[View], blocks: Sequence[BlockCard]
    ) -> dict[Hashable, Kept]:
        """One batch; nothing is cached before all of it is there."""
        _, grids = self._engine.capture(torch.stack([view.input for view in views]), [block.name for block in blocks])
        found: dict[Hashable, Kept] = {}
        for block in blocks:
            maps = apply_norm(self._model.network, self._norm.path, grids[block.name])
            if not bool(torch.isfinite(maps).all()):
                raise ProblemError(
                    ProblemCode.NOT_FINITE, f"The block {block.name!r} holds values that are not finite numbers."
                )
            for picture, view, single in zip(pictures, views, maps, strict=True):
                found[self._key(picture, view, block.name)] = Kept(single.clone(), int(single.shape[0]))
        for key, kept in found.items():
            self._cache.put(key, kept)
        self._on_batch()
        return found

    def _key(self, picture: Picture, view: View, block: str) -> Hashable:
        model = self._model
        identity = (model.weights_digest, str(model.dtype), str(model.device))
        return (*identity, picture.record.id, view.transform, block, self._norm.path)


def _take_blocks(
    model: LoadedModel,
    engine: Engine,
    pictures: Sequence[Picture],
    blocks: Sequence[BlockCard],
    *,
    norm: NormChoice | None = None,
    cache: BlockCache | None = None,
) -> list[list[Tensor]]:
    """Activations ``[C, h, w]`` of the blocks per picture, through the model's own resize and crop."""
    taker = Taker(model, engine, cache or BlockCache(), norm or NormChoice(None))
    views = [model_view(model, picture) for picture in pictures]
    return [[kept.maps for kept in row] for row in taker.take(pictures, views, blocks)]
