"""Which part of a drawn bird each word of a book sits on; known only where the pictures know their parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.demo.grammar import Part
from models.preprocessing import Preprocessing
from models.training._lvw_book import WordBook

BACKGROUND = "background"
_NAMES = (BACKGROUND, *(part.value for part in Part))


def word_parts(
    book: WordBook,
    parts_of: Callable[[int], NDArray[np.uint8] | None],
    preprocessing: Preprocessing,
    grid: tuple[int, int],
) -> dict[str, dict[str, Any]] | None:
    """Returns for each word the most frequent part among the cells of its neighbours, and its share.

    A cell belongs to the part that covers most of it. ``None`` where the pictures do not know their parts.

    Args:
        book: Of the words.
        parts_of: Returns the part at each pixel ``[H, W]`` of a training picture (0: none, else the place in ``Part``
            from 1 on), or ``None``.
        preprocessing: Of the base model.
        grid: Rows and columns of the cells.
    """
    seen: dict[int, NDArray[np.integer[Any]]] = {}
    part: dict[str, str] = {}
    share: dict[str, float] = {}
    for word in range(len(book.source_index)):
        found: Counter[str] = Counter()
        for place, picture in enumerate(book.neighbours[word].tolist()):
            if picture not in seen:
                labels = parts_of(picture)
                if labels is None:
                    return None
                seen[picture] = preprocessing.labels_to_input(labels.astype(np.int16))
            found[_NAMES[cell_part(seen[picture], book.neighbour_cell[word, place].tolist(), grid)]] += 1
        name, count = min(found.items(), key=lambda item: (-item[1], item[0]))
        part[str(word)], share[str(word)] = name, count / sum(found.values())
    return {"part": part, "share": share}


def cell_part(labels: NDArray[np.integer[Any]], cell: list[int], grid: tuple[int, int]) -> int:
    """Returns the label that covers most of a cell; labels ``[S, S]`` of input pixels, beyond the picture -1."""
    height, width = labels.shape[0] / grid[0], labels.shape[1] / grid[1]
    rows = slice(round(cell[0] * height), max(round((cell[0] + 1) * height), round(cell[0] * height) + 1))
    columns = slice(round(cell[1] * width), max(round((cell[1] + 1) * width), round(cell[1] * width) + 1))
    block = labels[rows, columns].clip(0, None)
    return int(np.bincount(block.ravel()).argmax())
