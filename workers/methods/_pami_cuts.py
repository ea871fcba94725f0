"""How PAMI cuts a picture into parts: views, segmenters and label maps. Numpy and scikit-image only.

This module is imported by the processes that cut, so it must never import torch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SMALLEST_SIDE = 16
WORKING_AREA = 256 * 256
"""Larger pictures are averaged down to this many pixels for segmentation, so that the settings keep their meaning."""
REFERENCE_SIDE = 224
SHIFTS_AT_224 = (30, 36, 24)
DRAWN_SHIFT = 0.16
VIEWS = {"fast": 1, "standard": 5, "thorough": 13}
MOST_REGIONS = 4096
WATERSHED_COMPACTNESS = 1e-4
SLIC_COMPACTNESS = 20.0
FELZENSZWALB_SIGMA = 0.8
FELZENSZWALB_SHARE = 64
"""A Felzenszwalb part holds at least the picture's area divided by this."""

Labels = NDArray[np.int32]
Shift = tuple[int, int]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Source:
    """Where a partition comes from: a segmenter and its one varying setting."""

    name: str
    setting: int

    @property
    def title(self) -> str:
        """Words for people."""
        words = {"grid": f"grid {self.setting} x {self.setting}", "own": "your regions", "disc": "disc"}
        return words.get(self.name, f"{self.name} {self.setting}")


SOURCES: tuple[Source, ...] = (
    *(Source("grid", n) for n in (2, 3, 4)),
    *(Source("watershed", n) for n in (10, 20, 30)),
    *(Source("SLIC", n) for n in range(10, 90, 10)),
    *(Source("Felzenszwalb", n) for n in (250, 200, 150, 100, 70, 50)),
)
"""The twenty partitions of one view, in their fixed order."""
TYPICAL_REGIONS = (4, 9, 16, 9, 16, 25, 7, 15, 19, 28, 39, 55, 56, 67, 9, 12, 13, 15, 17, 17)
"""What a photograph gives at 224 x 224, for the estimate of cost."""
GRIDS = 3
OWN = len(SOURCES)
"""Index of the user's own partition within a view."""


def list_views(size: tuple[int, int], preset: str, *, seed: int | None = None) -> list[Shift]:
    """Returns the circular shifts (rows, columns) of a preset, the unshifted view first.

    Args:
        size: Height and width in pixels.
        preset: ``fast``, ``standard`` or ``thorough``; each list is a prefix of the next.
        seed: Draws the shifts instead, uniformly within 0.16 of each side.

    Raises:
        ValueError: For any other preset.
    """
    if preset not in VIEWS:
        raise ValueError(f"the preset {preset!r} has no partitions; choose one of {', '.join(VIEWS)}")
    if seed is not None:
        shares = np.random.default_rng(seed).uniform(-DRAWN_SHIFT, DRAWN_SHIFT, (VIEWS["thorough"] - 1, 2))
        shifts = [(round(down * size[0]), round(across * size[1])) for down, across in shares.tolist()]
    else:
        shifts = []
        for pixels in SHIFTS_AT_224:
            down, across = (max(1, round(pixels * side / REFERENCE_SIDE)) for side in size)
            shifts += [(down, 0), (0, across), (-down, 0), (0, -across)]
    return [(0, 0), *shifts][: VIEWS[preset]]


def as_colour(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns ``[H, W, 3]`` uint8; a one-channel picture ``[H, W]`` is repeated.

    Raises:
        TypeError: If the picture is not uint8.
        ValueError: If it has another shape or a side below 16 pixels.
    """
    if picture.dtype != np.uint8:
        raise TypeError(f"the picture is uint8, not {picture.dtype}")
    if picture.ndim == 2:
        picture = np.repeat(picture[:, :, None], 3, axis=2)
    if picture.ndim != 3 or picture.shape[2] != 3:
        raise ValueError(f"the picture has the shape [H, W, 3] or [H, W], not {list(picture.shape)}")
    if min(picture.shape[:2]) < SMALLEST_SIDE:
        raise ValueError(f"the shorter side is {min(picture.shape[:2])} pixels; at least {SMALLEST_SIDE} are needed")
    return np.ascontiguousarray(picture)


def compact(labels: NDArray[np.integer]) -> Labels:
    """Returns the same partition with labels ``0 .. R - 1``, in the order of the old labels, int32."""
    _, inverse = np.unique(labels, return_inverse=True)
    return np.ascontiguousarray(inverse.reshape(labels.shape), dtype=np.int32)


def own_partition(regions: NDArray[np.integer], size: tuple[int, int]) -> Labels:
    """Returns the user's regions as a partition; everything negative becomes one last region, "rest".

    Args:
        regions: ``[H, W]`` integers; negative: belongs to no region.
        size: Height and width of the picture.

    Raises:
        TypeError: If the regions are not whole numbers.
        ValueError: If the shape differs from the picture's or there are more than 4096 regions.
    """
    if not np.issubdtype(regions.dtype, np.integer):
        raise TypeError(f"regions are whole numbers, not {regions.dtype}")
    if regions.shape != size:
        raise ValueError(f"regions have the shape {list(regions.shape)}, but the picture is {list(size)}")
    wide = regions.astype(np.int64)
    labels = compact(np.where(wide < 0, wide.max() + 1, wide))
    if labels.max() >= MOST_REGIONS:
        raise ValueError(f"{labels.max() + 1} regions are too many; at most {MOST_REGIONS} are allowed")
    return labels


def cut(picture: NDArray[np.uint8], index: int) -> Labels:
    """Returns one partition of a view.

    Args:
        picture: ``[H, W, 3]`` uint8, the view as the network sees it (already shifted).
        index: Position in :data:`SOURCES`.

    Returns:
        ``[H, W]`` int32, labels ``0 .. R - 1``, every pixel in exactly one region.
    """
    source = SOURCES[index]
    height, width = picture.shape[:2]
    if source.name == "grid":
        return compact(_grid((height, width), source.setting))
    small = _working_picture(picture)
    labels = _segment_working(small, source)
    if small.shape != picture.shape:
        rows = _nearest(height, small.shape[0])
        columns = _nearest(width, small.shape[1])
        labels = labels[rows[:, None], columns[None]]
    return compact(labels)


def timed_cut(picture: NDArray[np.uint8], index: int) -> tuple[NDArray[np.int16], float]:
    """Returns a partition as int16 (half the bytes between processes) and the seconds it took."""
    started = time.perf_counter()
    labels = cut(picture, index).astype(np.int16)
    return labels, time.perf_counter() - started


def roll(array: NDArray[Number], shift: Shift) -> NDArray[Number]:
    """Returns the array shifted circularly along its first two axes."""
    return np.ascontiguousarray(np.roll(array, shift, axis=(0, 1)))


def cut_all(
    picture: NDArray[np.uint8],
    preset: str,
    *,
    seed: int | None = None,
    regions: NDArray[np.integer] | None = None,
    regions_mode: str = "add",
) -> Labels:
    """Returns all label maps of a preset in picture coordinates, view by view; see ``pami.partitions``."""
    colour = as_colour(picture)
    size = (colour.shape[0], colour.shape[1])
    shifts = list_views(size, preset, seed=seed)
    own = None if regions is None else own_partition(regions, size)
    maps: list[Labels] = []
    for shift in shifts:
        view = roll(colour, shift)
        for index in partition_indices(own is not None, regions_mode):
            labels = own if index == OWN and own is not None else roll(cut(view, index), (-shift[0], -shift[1]))
            maps.append(labels)
    return np.stack(maps)


def partition_indices(has_own: bool, regions_mode: str) -> Sequence[int]:
    """Returns the partitions of one view, by index, in order.

    Raises:
        ValueError: If the mode is neither ``add`` nor ``only``.
    """
    if regions_mode not in ("add", "only"):
        raise ValueError(f"regions_mode is add or only, not {regions_mode!r}")
    if has_own and regions_mode == "only":
        return (OWN,)
    return range(len(SOURCES) + int(has_own))


def _grid(size: tuple[int, int], cells: int) -> NDArray[np.int64]:
    rows = np.arange(size[0]) * cells // size[0]
    columns = np.arange(size[1]) * cells // size[1]
    return rows[:, None] * cells + columns[None]


def _working_picture(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Returns the picture averaged over areas down to the working size, with the same aspect."""
    height, width = picture.shape[:2]
    if height * width <= WORKING_AREA:
        return picture
    scale = math.sqrt(WORKING_AREA / (height * width))
    size = (max(1, math.floor(width * scale)), max(1, math.floor(height * scale)))
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX))


def _nearest(length: int, small: int) -> NDArray[np.int64]:
    return (2 * np.arange(length) + 1) * small // (2 * length)


def _segment_working(picture: NDArray[np.uint8], source: Source) -> NDArray[np.integer]:
    from skimage import color, filters, segmentation

    if source.name == "watershed":
        edges = filters.sobel(color.rgb2gray(picture))
        labels = segmentation.watershed(edges, markers=source.setting, compactness=WATERSHED_COMPACTNESS)
    elif source.name == "SLIC":
        labels = segmentation.slic(
            picture, n_segments=source.setting, compactness=SLIC_COMPACTNESS, start_label=0, channel_axis=-1
        )
    else:
        smallest = max(1, round(picture.shape[0] * picture.shape[1] / FELZENSZWALB_SHARE))
        labels = segmentation.felzenszwalb(
            picture, scale=source.setting, sigma=FELZENSZWALB_SIGMA, min_size=smallest, channel_axis=-1
        )
    return np.asarray(labels)
