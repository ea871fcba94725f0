"""Hiding things in training pictures, and what can then still be named.

What is hidden takes the shapes that explanations hide: cells of a grid, irregular regions, rectangles, whole parts,
everything. The fillings are theirs too: black, the mean colour, a blurred copy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from models.demo.captioner_data import BACKGROUND
from models.demo.grammar import Part
from models.demo.painter import CODES
from models.demo.texture import Rng

Pixels = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

FILLINGS = ("black", "mean", "blur")
NAMED = (Part.BODY, Part.HEAD, Part.BEAK, Part.CREST, Part.PERCH)
"""Parts whose visibility decides the caption."""
SEEN_FROM = 0.5
"""Share of a part that has to be left for it to count as visible."""
UNCLEAR = (0.25, 0.75)
"""Shares between which a part is neither clearly there nor clearly gone; such pictures are drawn again."""
_TRIES = 6


def visible_parts_of(labels: Labels, hidden: Mask) -> frozenset[Part]:
    """The parts of which at least half is left.

    Args:
        labels: uint8 [H, W], codes of the parts.
        hidden: bool [H, W].
    """
    return frozenset(part for part, share in _shares(labels, hidden).items() if share >= SEEN_FROM)


def draw_hidden(rng: Rng, labels: Labels) -> Mask:
    """A random place to hide, bool [H, W], such that each named part is mostly there or mostly gone."""
    hidden = _draw(rng, labels)
    for _ in range(_TRIES):
        shares = _shares(labels, hidden)
        if not any(UNCLEAR[0] < shares[part] < UNCLEAR[1] for part in NAMED if part in shares):
            break
        hidden = _draw(rng, labels)
    return hidden


def filled(pixels: Pixels, hidden: Mask, filling: str) -> Pixels:
    """The picture with its hidden pixels replaced.

    Args:
        pixels: uint8 [H, W, 3].
        hidden: bool [H, W].
        filling: One of :data:`FILLINGS`.

    Raises:
        ValueError: If there is no such filling.
    """
    if filling == "black":
        cover: npt.NDArray[np.float32] = np.zeros(pixels.shape, np.float32)
    elif filling == "mean":
        cover = np.broadcast_to(pixels.reshape(-1, 3).mean(0), pixels.shape).astype(np.float32)
    elif filling == "blur":
        sigma = min(hidden.shape) / 12
        cover = ndimage.gaussian_filter(pixels.astype(np.float32), (sigma, sigma, 0), mode="mirror", truncate=3.0)
    else:
        raise ValueError(f"filling is one of {', '.join(FILLINGS)}, not {filling!r}")
    return np.where(hidden[..., None], np.rint(cover), pixels).astype(np.uint8)


def _shares(labels: Labels, hidden: Mask) -> dict[Part, float]:
    """The share of each part that is left, 0-1; parts that the picture does not have are missing."""
    total = np.bincount(labels.ravel(), minlength=len(CODES) + 1)
    left = np.bincount(labels[~hidden], minlength=len(CODES) + 1)
    return {part: float(left[code] / total[code]) for part, code in CODES.items() if total[code]}


def _draw(rng: Rng, labels: Labels) -> Mask:
    way = rng.random()
    if way < 0.25:
        return _by_regions(rng, _grid(rng, labels.shape))
    if way < 0.5:
        return _by_regions(rng, _cells(rng, labels.shape))
    if way < 0.85:
        return _by_parts(rng, labels)
    if way < 0.95:
        return _rectangles(rng, labels.shape)
    return np.ones(labels.shape, np.bool_)


def _by_regions(rng: Rng, regions: npt.NDArray[np.int64]) -> Mask:
    chosen = rng.random(int(regions.max()) + 1) < rng.uniform(0.2, 0.8)
    return np.asarray(chosen[regions], np.bool_)


def _grid(rng: Rng, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    rows, columns = (int(count) for count in rng.integers(2, 6, 2))
    down = np.arange(shape[0]) * rows // shape[0]
    across = np.arange(shape[1]) * columns // shape[1]
    return np.asarray(down[:, None] * columns + across[None, :], np.int64)


def _cells(rng: Rng, shape: tuple[int, ...]) -> npt.NDArray[np.int64]:
    """Irregular regions: every pixel belongs to the nearest of some random points."""
    points = rng.random((int(rng.integers(4, 13)), 2)) * shape
    rows, columns = np.arange(shape[0])[:, None, None], np.arange(shape[1])[None, :, None]
    distances = (rows - points[:, 0]) ** 2 + (columns - points[:, 1]) ** 2
    return np.asarray(distances.argmin(-1), np.int64)


def _by_parts(rng: Rng, labels: Labels) -> Mask:
    """Whole parts, a little wider than they are, so that the outline does not give them away."""
    bird = [code for part, code in CODES.items() if part is not Part.PERCH]
    if rng.random() < 0.4:
        groups = [bird, [CODES[Part.PERCH]], [BACKGROUND]]
    else:
        together = [CODES[Part.BODY], CODES[Part.WING], CODES[Part.HEAD]]
        groups = [[code] for code in (*bird, CODES[Part.PERCH]) if code not in together]
        groups += [together, [BACKGROUND]]
    share = rng.uniform(0.25, 0.7)
    codes = [code for group in groups if rng.random() < share for code in group]
    hidden = np.isin(labels, codes)
    width = int(rng.integers(0, 5))
    return np.asarray(ndimage.maximum_filter(hidden, 2 * width + 1) if width else hidden, np.bool_)


def _rectangles(rng: Rng, shape: tuple[int, ...]) -> Mask:
    hidden = np.zeros(shape, np.bool_)
    for _ in range(int(rng.integers(1, 4))):
        height, width = (int(side * rng.uniform(0.15, 0.7)) for side in shape)
        top, left = int(rng.integers(0, shape[0] - height)), int(rng.integers(0, shape[1] - width))
        hidden[top : top + height, left : left + width] = True
    return hidden
