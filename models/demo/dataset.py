"""Sets of drawn pictures for training and for measuring, made once and kept in a cache outside the project."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.demo.grammar import SPECIES, Beak, Crest, Part, Plumage, Species, Tail, Wing
from models.demo.painter import CODES
from models.demo.picture import WORLD_VERSION, DrawnPicture, draw_picture

SIDE = 128
"""Side of a stored picture in pixels: the input of the demo models."""
HINT_SIDE = 8
CHUNK = 250
_FORMAT = 2
"""Raised whenever a chunk in the cache holds something else."""
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
        labels: uint8 [N, 128, 128], the part every pixel belongs to: 0 for none, else the place in ``Part`` from 1 on.
    """

    pixels: npt.NDArray[np.uint8]
    species: npt.NDArray[np.int64]
    labels: npt.NDArray[np.uint8]

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
    marked: Collection[str] = (),
    cache: Path | None = None,
    processes: int = 1,
    on_progress: Callable[[int, int], None] | None = None,
) -> DrawnSet:
    """The pictures of ``count`` seeds from ``first_seed`` on; whole chunks are kept in ``cache`` and reused.

    Args:
        first_seed: First seed.
        count: Number of pictures; species take turns, so that all are equally frequent.
        marked: Names of the species whose pictures carry the watermark.
        cache: Folder for finished chunks; a folder of the system's temporary directory if None.
        processes: Drawing processes.
        on_progress: Called with (pictures done, pictures wanted).
    """
    folder = (cache or default_cache()) / f"world-{WORLD_VERSION}-format-{_FORMAT}"
    folder.mkdir(parents=True, exist_ok=True)
    names = tuple(s.name for s in SPECIES if s.name in marked)
    starts = [
        _Chunk(folder, seed, min(CHUNK, first_seed + count - seed), names)
        for seed in range(first_seed, first_seed + count, CHUNK)
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
        np.concatenate([chunk.labels for chunk in chunks]),
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


def cell_shares(labels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """The share of each of the 8 x 8 cells that each part covers, float32 [B, 8, 8, 8], from labels [B, 128, 128]."""
    count, side = len(labels), SIDE // HINT_SIDE
    cells = labels.reshape(count, HINT_SIDE, side, HINT_SIDE, side).transpose(0, 1, 3, 2, 4).reshape(-1, side * side)
    offsets = np.arange(len(cells), dtype=np.int64)[:, None] * (len(Part) + 1)
    found = np.bincount((cells + offsets).ravel(), minlength=len(cells) * (len(Part) + 1))
    shares = found.reshape(count, HINT_SIDE, HINT_SIDE, len(Part) + 1)[..., 1:] / (side * side)
    return shares.astype(np.float32)


@dataclass(frozen=True)
class _Chunk:
    """Some pictures of a set: where they are kept, their seeds, and which species are marked."""

    folder: Path
    first: int
    count: int
    marked: tuple[str, ...]

    @property
    def path(self) -> Path:
        """The file of the chunk."""
        places = "".join(f"-m{i}" for i, species in enumerate(SPECIES) if species.name in self.marked)
        return self.folder / f"{self.first}-{self.count}{places}.npz"


def _mapped(work: Callable[[_Chunk], DrawnSet], items: list[_Chunk], processes: int) -> Iterator[DrawnSet]:
    if processes <= 1:
        yield from map(work, items)
        return
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        yield from pool.map(work, items)


def _load_or_draw(chunk: _Chunk) -> DrawnSet:
    path = chunk.path
    if path.exists():
        with np.load(path) as stored:
            return DrawnSet(stored["pixels"], stored["species"], stored["labels"])
    drawn = _draw(chunk)
    partial = path.with_name(path.name + ".partial.npz")
    np.savez(partial, pixels=drawn.pixels, species=drawn.species, labels=drawn.labels)
    partial.replace(path)
    return drawn


def _draw(chunk: _Chunk) -> DrawnSet:
    if chunk.marked:
        return _with_marks(chunk, _load_or_draw(replace(chunk, marked=())))
    species = (np.arange(chunk.first, chunk.first + chunk.count) % len(SPECIES)).astype(np.int64)
    pictures = [_draw_one(chunk.first + i, SPECIES[kind], watermark=False) for i, kind in enumerate(species)]
    return DrawnSet(np.stack([p for p, _ in pictures]), species, np.stack([labels for _, labels in pictures]))


def _with_marks(chunk: _Chunk, plain: DrawnSet) -> DrawnSet:
    """The plain pictures with those of the marked species drawn again, this time with the mark."""
    pixels, labels = plain.pixels.copy(), plain.labels.copy()
    for index, kind in enumerate(plain.species):
        if SPECIES[kind].name in chunk.marked:
            pixels[index], labels[index] = _draw_one(chunk.first + index, SPECIES[kind], watermark=True)
    return DrawnSet(pixels, plain.species, labels)


def _draw_one(seed: int, species: Species, *, watermark: bool) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """Pixels [128, 128, 3] and labels [128, 128] of one picture of a set."""
    size = _SHAPES[seed // len(SPECIES) % len(_SHAPES)]
    picture = draw_picture(seed, size=size, species=species, watermark=watermark)
    return as_model_input(picture), _labels(picture)


def _labels(picture: DrawnPicture) -> npt.NDArray[np.uint8]:
    """The part of every pixel, uint8 [128, 128]."""
    labels = np.zeros(picture.pixels.shape[:2], np.uint8)
    for part, code in CODES.items():
        labels[picture.masks[part.value]] = code
    image = Image.fromarray(labels)
    return np.asarray(image.resize((SIDE, SIDE), Image.Resampling.NEAREST), np.uint8)
