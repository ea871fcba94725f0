"""Sets of drawn pictures for training and for measuring, made once and kept in a cache outside the project."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.demo.grammar import SPECIES, Beak, Crest, Part, Plumage, Tail, Wing
from models.demo.painter import CODES
from models.demo.picture import WORLD_VERSION, DrawnPicture, draw_picture

SIDE = 128
"""Side of a stored picture in pixels: the input of the demo models."""
HINT_SIDE = 8
CHUNK = 250
TRAIN_FROM, CHECK_FROM, FRESH_FROM = 1_000_000, 2_000_000, 3_000_000
"""First seeds of the three kinds of sets, so that no set shares a picture with another."""

_SHAPES: tuple[tuple[int, int], ...] = ((128, 128), (128, 128), (128, 128), (128, 170), (170, 128))
"""Shapes (height, width) in turn; every picture is then squashed to the square the models see."""


@dataclass(frozen=True, eq=False)
class DrawnSet:
    """Drawn pictures as arrays.

    Attributes:
        pixels: uint8 [N, 128, 128, 3].
        species: int64 [N], index into ``SPECIES``.
        parts: float32 [N, 8, 8, 8], the share of every cell that belongs to each part (last axis, order of ``Part``).
    """

    pixels: npt.NDArray[np.uint8]
    species: npt.NDArray[np.int64]
    parts: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.species)


def slots(species: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """For species indices [N] the variants int64 [N, 5] of plumage, beak, crest, wing and tail."""
    orders = (tuple(Plumage), tuple(Beak), tuple(Crest), tuple(Wing), tuple(Tail))
    table = [
        [order.index(value) for order, value in zip(orders, (s.plumage, s.beak, s.crest, s.wing, s.tail), strict=True)]
        for s in SPECIES
    ]
    return np.array(table, dtype=np.int64)[species]


def drawn_set(
    first_seed: int,
    count: int,
    *,
    cache: Path | None = None,
    processes: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> DrawnSet:
    """The pictures of ``count`` seeds from ``first_seed`` on; whole chunks are kept in ``cache`` and reused.

    Args:
        first_seed: First seed.
        count: Number of pictures; species take turns, so that all are equally frequent.
        cache: Folder for finished chunks; a folder of the system's temporary directory if None.
        processes: Drawing processes.
        on_progress: Called with (pictures done, pictures wanted).
    """
    folder = (cache or default_cache()) / f"world-{WORLD_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    starts = [
        (folder, seed, min(CHUNK, first_seed + count - seed)) for seed in range(first_seed, first_seed + count, CHUNK)
    ]
    done, chunks = 0, []
    for chunk in _mapped(_load_or_draw, starts, processes):
        chunks.append(chunk)
        done += len(chunk.species)
        if on_progress is not None:
            on_progress(done, count)
    return DrawnSet(
        np.concatenate([chunk.pixels for chunk in chunks]),
        np.concatenate([chunk.species for chunk in chunks]),
        np.concatenate([chunk.parts for chunk in chunks]),
    )


def default_cache() -> Path:
    """Where finished chunks lie if no folder is named."""
    return Path(tempfile.gettempdir()) / "vitrine-demo-world"


def as_model_input(picture: DrawnPicture) -> npt.NDArray[np.uint8]:
    """The picture squashed to uint8 [128, 128, 3], with the filter that the models' preprocessing uses."""
    image = Image.fromarray(picture.pixels)
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.uint8)


def _mapped(
    work: Callable[[tuple[Path, int, int]], DrawnSet], items: list[tuple[Path, int, int]], processes: int
) -> Iterator[DrawnSet]:
    if processes <= 1:
        yield from map(work, items)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, items)


def _load_or_draw(item: tuple[Path, int, int]) -> DrawnSet:
    folder, first, count = item
    path = folder / f"{first}-{count}.npz"
    if path.exists():
        with np.load(path) as stored:
            return DrawnSet(stored["pixels"], stored["species"], stored["parts"])
    chunk = _draw_chunk(first, count)
    partial = path.with_name(path.name + ".partial.npz")
    np.savez(partial, pixels=chunk.pixels, species=chunk.species, parts=chunk.parts)
    partial.replace(path)
    return chunk


def _draw_chunk(first: int, count: int) -> DrawnSet:
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    parts = np.empty((count, HINT_SIDE, HINT_SIDE, len(Part)), np.float32)
    species = (np.arange(first, first + count) % len(SPECIES)).astype(np.int64)
    for index in range(count):
        seed = first + index
        picture = draw_picture(seed, size=_SHAPES[seed // len(SPECIES) % len(_SHAPES)], species=SPECIES[species[index]])
        pixels[index] = as_model_input(picture)
        parts[index] = _cell_shares(picture)
    return DrawnSet(pixels, species, parts)


def _cell_shares(picture: DrawnPicture) -> npt.NDArray[np.float32]:
    """The share of each of the 8 x 8 cells that each part covers, float32 [8, 8, 8]."""
    shares = []
    for part in CODES:
        mask = Image.fromarray(picture.masks[part.value].astype(np.float32))
        shares.append(np.asarray(mask.resize((HINT_SIDE, HINT_SIDE), Image.Resampling.BOX), np.float32))
    return np.stack(shares, axis=-1)
