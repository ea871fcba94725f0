"""Pictures as the base model sees them, kept as bytes, and caches that move into files when they grow too large."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.preprocessing import Preprocessing


class Store:
    """Gives room for caches: in memory up to a number of bytes, beyond that in files that leave with the folder.

    Args:
        folder: Where files go; made when it is needed.
        budget_bytes: Of all caches in memory together.
    """

    def __init__(self, folder: Path, budget_bytes: int) -> None:
        self._folder = folder
        self._left = budget_bytes
        self._count = 0

    def room(self, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> Tensor:
        """Returns an empty tensor of that shape."""
        size = int(np.prod(shape)) * torch.empty(0, dtype=dtype).element_size()
        if size <= self._left:
            self._left -= size
            return torch.empty(tuple(shape), dtype=dtype)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._count += 1
        path = self._folder / f"cache-{self._count}.bin"
        numbers = torch.from_file(str(path), shared=True, size=int(np.prod(shape)), dtype=dtype)
        return numbers.reshape(tuple(shape))


@dataclass(frozen=True, eq=False)
class Part:
    """One part of the data (training, validation or test), in a fixed order.

    Attributes:
        pixels: ``[N, 3, S, S]`` uint8, after the base model's resize and crop, before mean and standard deviation.
        labels: ``[N]`` int64.
        index: ``[N]`` running number of each picture in its picture set.
        preprocessing: Of the base model.
    """

    pixels: Tensor
    labels: Tensor
    index: tuple[int, ...]
    preprocessing: Preprocessing

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def size(self) -> int:
        """S: the shorter side of the input in pixels."""
        return min(int(self.pixels.shape[2]), int(self.pixels.shape[3]))

    def pictures(self, chosen: slice | Tensor, mirrored: Tensor | bool = False) -> Tensor:
        """Returns normalised pictures ``[B, 3, S, S]`` float32, mirrored where asked.

        Args:
            chosen: Which ones.
            mirrored: One answer for all, or one per picture ``[B]`` bool.
        """
        pictures = self.preprocessing.normalise(self.pixels[chosen].float().div_(255))
        return mirror(pictures, mirrored)

    def batches(self, size: int, *, mirrored: bool = False) -> Batches:
        """Returns the part as batches of pictures and labels, in order."""
        return Batches(self, size, mirrored)


@dataclass(frozen=True, eq=False)
class Batches:
    """A part cut into batches ``(pictures, labels)``; may be walked through more than once, or entered anywhere."""

    part: Part
    size: int
    mirrored: bool = False

    def __len__(self) -> int:
        return -(-len(self.part) // self.size)

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        if not 0 <= number < len(self):
            raise IndexError(number)
        chosen = slice(number * self.size, (number + 1) * self.size)
        return self.part.pictures(chosen, self.mirrored), self.part.labels[chosen]

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for number in range(len(self)):
            yield self[number]


def mirror(maps: Tensor, mirrored: Tensor | bool) -> Tensor:
    """Returns ``[B, ..., w]`` with the last axis turned round where asked."""
    if isinstance(mirrored, bool):
        return maps.flip(-1) if mirrored else maps
    where = mirrored.reshape(-1, *[1] * (maps.ndim - 1)).to(maps.device)
    return torch.where(where, maps.flip(-1), maps)


def read_part(
    load: Callable[[int], NDArray[np.uint8]],
    index: Sequence[int],
    labels: Sequence[int],
    *,
    preprocessing: Preprocessing,
    store: Store,
    check_stopped: Callable[[], None],
) -> Part:
    """Returns a part, each picture read once and brought to the model's input size.

    Args:
        load: Returns a picture ``[H, W, 3]`` uint8 by its running number.
        index: Running numbers of the part's pictures.
        labels: Their classes.
        preprocessing: Of the base model.
        store: Gives the room.
        check_stopped: Raises when the job is no longer wanted.
    """
    pixels = store.room((len(index), 3, *preprocessing.input_size), torch.uint8)
    for place, number in enumerate(index):
        if place % 32 == 0:
            check_stopped()
        pixels[place] = (preprocessing.prepare(load(number)).pixels * 255).round().to(torch.uint8)
    return Part(pixels, torch.as_tensor(list(labels), dtype=torch.int64), tuple(index), preprocessing)


def shuffled(count: int, *seeds: int) -> tuple[Tensor, Tensor]:
    """Returns an order ``[N]`` of the pictures and which of them are mirrored ``[N]``, the same for the same seeds."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seeds).generate_state(1, np.uint64)[0] >> 1))
    order = torch.randperm(count, generator=generator)
    return order, torch.rand(count, generator=generator) < 0.5
