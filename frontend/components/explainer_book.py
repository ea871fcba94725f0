"""The words of an explainer that keeps some: what the record holds of each, whatever the method is called."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frontend.components.explainer_tensors import tensors_to_arrays
from frontend.components.words import class_name

TABLE = "book.safetensors"
"""File with one row for each word."""
NEEDED = {"usage", "histogram", "entropy", "prevalence", "source_label", "neighbours", "neighbour_label"}
USED_FROM = 0.25
"""Share of a class's pictures that must have a word for the class to use it."""
NEIGHBOURS_FROM = 2
CROPS = 6


@dataclass(frozen=True)
class Neighbour:
    """A patch that resembles a word."""

    label: str
    distance: float
    crop: str


@dataclass(frozen=True)
class Word:
    """One word of the book.

    Attributes:
        number: Its place in the book, from 0 on.
        source: Class of the picture that it was taken from.
        crop: File with that picture, empty when there is none.
        prevalence: Share of the training pictures that have it, 0-1.
        entropy: Of the classes of its nearest patches, bits.
        used_by: Classes in which a quarter of the pictures have it, by index.
        near_in: Classes with two or more of the nearest patches.
        speaks_for: Classes with a positive weight.
        part: Most frequent part among its nearest patches; empty where pictures do not know their parts.
        purity: Share of that part, 0-1.
        twin: Lower word with the same patch.
    """

    number: int
    source: str
    crop: str
    prevalence: float
    entropy: float
    used_by: tuple[int, ...]
    near_in: tuple[int, ...]
    speaks_for: tuple[int, ...]
    part: str
    purity: float | None
    twin: int | None

    @property
    def flags(self) -> tuple[str, ...]:
        """What is odd about it, in words."""
        never = ("never among the strongest words of a picture",) if self.prevalence == 0 else ()
        return never if self.twin is None else (*never, f"same patch as word {self.twin}")


@dataclass(frozen=True, eq=False)
class Book:
    """Every word, and which class uses which.

    Attributes:
        words: In the order of the book.
        classes: Names, as people read them.
        usage: ``[C, P]`` share of a class's training pictures that have the word, 0-1.
        histogram: ``[P, C]`` classes of the nearest patches, counts.
    """

    words: tuple[Word, ...]
    classes: tuple[str, ...]
    usage: NDArray[Any]
    histogram: NDArray[Any]
    _neighbours: tuple[tuple[Neighbour, ...], ...]

    @property
    def distinct(self) -> int:
        """Number of different patches."""
        return sum(word.twin is None for word in self.words)

    def neighbours(self, word: int) -> tuple[Neighbour, ...]:
        """Returns the nearest patches of other pictures, nearest first."""
        return self._neighbours[word]


def has_words(files: dict[str, int]) -> bool:
    """Whether an explainer keeps words."""
    return TABLE in files


def read_book(manifest: dict[str, Any], files: dict[str, int], table: bytes) -> Book | None:
    """Returns the words of an explainer, or ``None`` when its table holds something else.

    Args:
        manifest: As the explainer wrote it.
        files: Names of its files.
        table: Bytes of the table of words.
    """
    try:
        arrays = tensors_to_arrays(table)
    except ValueError:
        return None
    if not arrays.keys() >= NEEDED:
        return None
    classes = tuple(class_name(str(name)) for name in manifest.get("classes", ()))
    count = len(arrays["prevalence"])
    known = manifest.get("parts") or {}
    words = tuple(_word(index, arrays, classes, files, known) for index in range(count))
    near = tuple(_neighbours_of(index, arrays, classes, files) for index in range(count))
    return Book(words, classes, arrays["usage"], arrays["histogram"], near)


def _word(
    index: int,
    arrays: dict[str, NDArray[Any]],
    classes: tuple[str, ...],
    files: dict[str, int],
    known: dict[str, dict[str, Any]],
) -> Word:
    purity = (known.get("share") or {}).get(str(index))
    twin = int(arrays["duplicate_of"][index]) if "duplicate_of" in arrays else index
    weights = arrays["weights"][:, index] if "weights" in arrays else np.zeros(len(classes))
    return Word(
        number=index,
        source=_named(classes, int(arrays["source_label"][index])),
        crop=_crop(files, index, 0),
        prevalence=float(arrays["prevalence"][index]),
        entropy=float(arrays["entropy"][index]),
        used_by=_where(arrays["usage"][:, index] >= USED_FROM),
        near_in=_where(arrays["histogram"][index] >= NEIGHBOURS_FROM),
        speaks_for=_where(weights > 0),
        part=str((known.get("part") or {}).get(str(index), "")),
        purity=None if purity is None else float(purity),
        twin=None if twin == index else twin,
    )


def _neighbours_of(
    index: int, arrays: dict[str, NDArray[Any]], classes: tuple[str, ...], files: dict[str, int]
) -> tuple[Neighbour, ...]:
    """Returns what the crops beside the source show: patches of other pictures only."""
    source = int(arrays["source_index"][index]) if "source_index" in arrays else -1
    others = [place for place, picture in enumerate(arrays["neighbours"][index]) if int(picture) != source]
    distances = arrays.get("neighbour_distance")
    return tuple(
        Neighbour(
            label=_named(classes, int(arrays["neighbour_label"][index, place])),
            distance=float(distances[index, place]) if distances is not None else float("nan"),
            crop=_crop(files, index, number),
        )
        for number, place in enumerate(others[:CROPS], start=1)
    )


def _crop(files: dict[str, int], word: int, number: int) -> str:
    name = f"words/{word:04d}-{number}.webp"
    return name if name in files else ""


def _named(classes: tuple[str, ...], index: int) -> str:
    return classes[index] if 0 <= index < len(classes) else "unknown"


def _where(found: NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(index) for index in np.flatnonzero(found))
