"""Pictures with captions for the demo captioner, whole or with things hidden, and the rule of what a caption may say.

The captions of the world name parts; a caption of a picture with hidden parts names only what is left. Without this,
the captioner would guess a beak from a wing, and every explanation of it would be noise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from models.demo.dataset import CHUNK, SIDE, as_model_input
from models.demo.grammar import SPECIES, Beak, Crest, Part, Perch, Plumage, Species, Tail, Wing, vocabulary
from models.demo.painter import CODES
from models.demo.picture import WORLD_VERSION, DrawnPicture, draw_picture

NOTHING = "nothing to see"
"""The caption of a picture in which neither bird nor perch is visible."""
KINDS: tuple[tuple[str, ...], ...] = (tuple(Plumage), tuple(Beak), tuple(Crest), tuple(Perch))
"""What a caption names, each with its variants, in the order of :attr:`CaptionedSet.kinds`."""
BACKGROUND = 0
"""Code of everything that is neither bird nor perch in :attr:`CaptionedSet.labels`."""

_SHAPES: tuple[tuple[int, int], ...] = ((128, 128), (128, 128), (128, 128), (128, 170), (170, 128))
_MIXED = 5
"""Which stream of the seed's random numbers chooses a mixed bird."""


@dataclass(frozen=True, eq=False)
class CaptionedSet:
    """Drawn pictures with what their captions are made of.

    Attributes:
        pixels: uint8 [N, 128, 128, 3].
        labels: uint8 [N, 128, 128], 0 = background, else the painter's code of the part.
        kinds: int64 [N, 4], variant of plumage, beak, crest and perch.
    """

    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]
    kinds: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.kinds)


def words() -> tuple[str, ...]:
    """All words of all captions, whole and partial, sorted."""
    return tuple(sorted({*vocabulary(), *NOTHING.split()}))


def partial_caption(kinds: npt.NDArray[np.int64], visible: frozenset[Part]) -> str:
    """The caption that names only what is left; with everything visible, the caption of the grammar.

    Args:
        kinds: int64 [4], variant of plumage, beak, crest and perch.
        visible: Parts that can be seen. The colour is seen on the body or the head.
    """
    plumage, beak, crest, perch = (names[int(variant)] for names, variant in zip(KINDS, kinds, strict=True))
    has_bird = bool(visible - {Part.PERCH})
    has_perch = Part.PERCH in visible
    if not has_bird:
        return f"a {perch}" if has_perch else NOTHING
    text = f"a {plumage} bird" if visible & {Part.BODY, Part.HEAD} else "a bird"
    named = [f"a {beak} beak"] if Part.BEAK in visible else []
    named += [f"a {crest} crest"] if Part.CREST in visible and crest != Crest.NONE else []
    text += f" with {' and '.join(named)}" if named else ""
    return f"{text} on a {perch}" if has_perch else text


def captioned_set(
    first_seed: int,
    count: int,
    *,
    mixed: bool,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> CaptionedSet:
    """The pictures of ``count`` seeds from ``first_seed`` on; chunks are kept in ``cache`` and reused.

    Args:
        first_seed: First seed.
        count: Number of pictures.
        mixed: Whether every other bird is put together at random instead of being one of the species, so that no
            colour gives a beak away. Without, species take turns.
        cache: Folder for finished chunks; a folder of the system's temporary directory if None.
        on_progress: Called with (pictures done, pictures wanted).
    """
    folder = (cache or default_cache()) / f"captions-{WORLD_VERSION}"
    folder.mkdir(parents=True, exist_ok=True)
    chunks: list[CaptionedSet] = []
    for first in range(first_seed, first_seed + count, CHUNK):
        chunks.append(_load_or_draw(folder, first, min(CHUNK, first_seed + count - first), mixed=mixed))
        if on_progress is not None:
            on_progress(sum(map(len, chunks)), count)
    return CaptionedSet(
        np.concatenate([chunk.pixels for chunk in chunks]),
        np.concatenate([chunk.labels for chunk in chunks]),
        np.concatenate([chunk.kinds for chunk in chunks]),
    )


def default_cache() -> Path:
    """Where finished chunks lie if no folder is named."""
    return Path(tempfile.gettempdir()) / "vitrine-demo-world"


def bird_of(seed: int, *, mixed: bool) -> Species:
    """The bird of a seed: the species in turn or, for every other seed of a mixed set, any combination of parts."""
    if not mixed or seed % 2 == 0:
        return SPECIES[seed // 2 % len(SPECIES)] if mixed else SPECIES[seed % len(SPECIES)]
    combinations = list(product(Plumage, Beak, Crest, Wing, Tail))
    chosen = np.random.default_rng([WORLD_VERSION, seed, _MIXED]).integers(len(combinations))
    return Species("mixed", "Mixed", *combinations[int(chosen)])


def part_labels(picture: DrawnPicture) -> npt.NDArray[np.uint8]:
    """The part of every pixel, squashed like the picture itself: uint8 [128, 128]."""
    labels = np.zeros(picture.pixels.shape[:2], np.uint8)
    for part, code in CODES.items():
        labels[picture.masks[part.value]] = code
    image = Image.fromarray(labels)
    if image.size != (SIDE, SIDE):
        image = image.resize((SIDE, SIDE), Image.Resampling.NEAREST)
    return np.asarray(image, dtype=np.uint8)


def kinds_of(bird: Species, perch: Perch) -> npt.NDArray[np.int64]:
    """Variants of plumage, beak, crest and perch: int64 [4]."""
    chosen = (bird.plumage, bird.beak, bird.crest, perch)
    return np.array([names.index(name) for names, name in zip(KINDS, chosen, strict=True)], dtype=np.int64)


def _load_or_draw(folder: Path, first: int, count: int, *, mixed: bool) -> CaptionedSet:
    path = folder / f"{'mixed' if mixed else 'species'}-{first}-{count}.npz"
    if path.exists():
        with np.load(path) as stored:
            return CaptionedSet(stored["pixels"], stored["labels"], stored["kinds"])
    chunk = _draw(first, count, mixed=mixed)
    partial = path.with_name(path.name + ".partial.npz")
    np.savez(partial, pixels=chunk.pixels, labels=chunk.labels, kinds=chunk.kinds)
    partial.replace(path)
    return chunk


def _draw(first: int, count: int, *, mixed: bool) -> CaptionedSet:
    pixels = np.empty((count, SIDE, SIDE, 3), np.uint8)
    labels = np.empty((count, SIDE, SIDE), np.uint8)
    kinds = np.empty((count, len(KINDS)), np.int64)
    for index in range(count):
        seed = first + index
        bird = bird_of(seed, mixed=mixed)
        picture = draw_picture(seed, size=_SHAPES[seed // len(SPECIES) % len(_SHAPES)], species=bird)
        pixels[index] = as_model_input(picture)
        labels[index] = part_labels(picture)
        kinds[index] = kinds_of(bird, picture.perch)
    return CaptionedSet(pixels, labels, kinds)
