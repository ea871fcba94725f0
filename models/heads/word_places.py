"""Where a word was found in a picture: its cell, its box, and what it adds on each cell."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.heads.lvw import enlarged

BOX_SHARE = 0.05


def nearest_cells(distances: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the least distance of each word ``[B, P]`` and the first cell that has it ``[B, P, 2]`` (row, column).

    Args:
        distances: ``[B, P, h, w]``.
    """
    flat = distances.flatten(2)
    least = flat.amin(2, keepdim=True)
    positions = torch.arange(flat.shape[2], device=flat.device)
    first = torch.where(flat == least, positions, flat.shape[2]).amin(2)
    width = distances.shape[3]
    return least[..., 0], torch.stack([first // width, first % width], dim=-1)


def place_on_cells(values: Tensor, cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """Returns ``[h, w]`` with each word's value ``[P]`` added on its cell ``[P, 2]``; sums to the values' sum."""
    places = values.new_zeros(grid[0] * grid[1])
    return places.index_add(0, cells[:, 0] * grid[1] + cells[:, 1], values).reshape(grid)


def word_box(similarity_map: Tensor, size: int) -> tuple[int, int, int, int]:
    """Returns the box of a word's best place: left, top, right, bottom in input pixels, half-open.

    The map is enlarged (bicubic), its ``ceil(5 %)`` highest pixels are taken by stable rank, and of these the
    8-connected part that holds the first maximum.

    Args:
        similarity_map: ``[h, w]``.
        size: Side of the input in pixels.
    """
    return box_and_mask(similarity_map, size)[0]


def box_and_mask(similarity_map: Tensor, size: int) -> tuple[tuple[int, int, int, int], NDArray[np.bool_]]:
    """Returns the box of :func:`word_box` and the part it encloses, ``[size, size]``."""
    from scipy.ndimage import label

    flat = enlarged(similarity_map.detach().float().cpu()[None, None], size).flatten()
    order = torch.argsort(flat, descending=True, stable=True)
    chosen = torch.zeros(size * size, dtype=torch.bool)
    chosen[order[: math.ceil(BOX_SHARE * size * size)]] = True
    parts, _ = label(chosen.reshape(size, size).numpy(), structure=np.ones((3, 3)))
    mask: NDArray[np.bool_] = parts == parts.reshape(-1)[int(order[0])]
    rows, columns = np.nonzero(mask)
    return (int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1), mask
