"""The rows that are grouped: of one picture or of many, in memory or streamed in parts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from workers.methods._nave_blocks import Kept
from workers.methods._nave_features import (
    SMALLEST_NORM,
    Weighting,
    _composite,
    _count_zero_vectors,
    _shrink_rows,
    _triangle,
    _weights,
)
from workers.methods._nave_take import View

Flags = NDArray[np.bool_]
PART_VALUES = 1 << 24
"""Values of one streamed part; a part is never larger than this unless one row is."""


@dataclass(frozen=True, eq=False)
class Sheet:
    """One picture's blocks on one grid.

    Args:
        view: The picture as it entered the network.
        blocks: ``[C, h, w]`` each, finest first, perhaps compressed.
        channels: Of each block before compression.
        grid: Height and width of the working grid.
        inside: ``[H, W]``; cells that are grouped.
    """

    view: View
    blocks: Sequence[Tensor]
    channels: Sequence[int]
    grid: tuple[int, int]
    inside: Flags

    @property
    def n_rows(self) -> int:
        """Number of grouped cells."""
        return int(self.inside.sum())

    def paint(self, values: NDArray[np.generic], outside: float) -> NDArray[np.generic]:
        """Returns ``[H, W]`` with one value per grouped cell."""
        painted = np.full(self.grid, outside, dtype=values.dtype)
        painted[self.inside] = values
        return painted


def make_sheets(taken: Sequence[Sequence[Kept]], views: Sequence[View], *, upsample: int = 1) -> list[Sheet]:
    """Returns one sheet per picture; the blocks of several pictures are compressed together."""
    sheets = []
    for row, view in zip(_compress_together(taken), views, strict=True):
        height, width = row[0].maps.shape[1:]
        grid = (int(height) * upsample, int(width) * upsample)
        blocks, channels = [kept.maps for kept in row], [kept.channels for kept in row]
        sheets.append(Sheet(view, blocks, channels, grid, view.inside(grid)))
    return sheets


def _compress_together(taken: Sequence[Sequence[Kept]]) -> list[list[Kept]]:
    """Compresses each block over the stacked positions of all pictures, so that all stay in one space."""
    rows = [list(row) for row in taken]
    if len(rows) < 2:
        return rows
    for place in range(len(rows[0])):
        maps = [row[place].maps for row in rows]
        if sum(single[0].numel() for single in maps) >= maps[0].shape[0]:
            continue
        stacked = _triangle(torch.cat([single.flatten(1) for single in maps], dim=1))
        parts = torch.split(stacked, [single[0].numel() for single in maps], dim=1)
        for row, single, part in zip(rows, maps, parts, strict=True):
            row[place] = Kept(part.reshape(-1, *single.shape[1:]), row[place].channels)
    return rows


class Source:
    """All rows of all sheets, picture by picture, in raster order.

    Args:
        sheets: One per picture, of one model.
        weighting: Of the blocks.
        ceiling_bytes: Largest feature matrix to hold.
    """

    def __init__(self, sheets: Sequence[Sheet], weighting: Weighting, *, ceiling_bytes: int) -> None:
        self.sheets = list(sheets)
        self._weighting = weighting
        self.n_rows = sum(sheet.n_rows for sheet in sheets)
        self.widths = [int(block.shape[0]) for block in sheets[0].blocks]
        self.n_columns = sum(self.widths)
        self.n_original_columns = sum(sheets[0].channels)
        self.fits = self.n_rows * self.n_columns * 4 <= ceiling_bytes
        self._part_values = min(PART_VALUES, max(1, ceiling_bytes // 32))
        self.n_zero_vectors = 0
        self._matrix = self._build() if self.fits else None
        if self._matrix is None:
            self.n_zero_vectors = sum(_count_zero_vectors(part, self.widths) for part in self.parts())

    @property
    def device(self) -> torch.device:
        """Where the rows are."""
        return self.sheets[0].blocks[0].device

    @property
    def matrix(self) -> Tensor:
        """All rows ``[N, min(N, D)]``; only when they fit."""
        if self._matrix is None:
            raise RuntimeError("the feature matrix is larger than its ceiling; read it in parts")
        return self._matrix

    def parts(self) -> Iterator[Tensor]:
        """Yields all rows in order, in parts ``[n, D]``."""
        if self._matrix is not None:
            yield from torch.split(self._matrix, max(1, self._part_values // self._matrix.shape[1]))
            return
        for sheet in self.sheets:
            yield from self.sheet_parts(sheet)

    def sheet_parts(self, sheet: Sheet) -> Iterator[Tensor]:
        """Yields the rows of one picture in parts, made anew each time."""
        height, width = sheet.grid
        step = max(1, self._part_values // (width * self.n_columns))
        for start in range(0, height, step):
            stop = min(height, start + step)
            inside = torch.from_numpy(sheet.inside[start:stop].reshape(-1)).to(self.device)
            if bool(inside.any()):
                yield _band(sheet, self._weighting, start, stop)[inside]

    def split(self, values: NDArray[np.generic]) -> list[NDArray[np.generic]]:
        """Returns values per row as one array per picture."""
        return np.split(values, np.cumsum([sheet.n_rows for sheet in self.sheets])[:-1])

    def _build(self) -> Tensor:
        rows = []
        for sheet in self.sheets:
            features = _composite(sheet.blocks, sheet.channels, self._weighting, sheet.grid)
            if not sheet.inside.all():
                features = features[torch.from_numpy(sheet.inside.reshape(-1)).to(features.device)]
            self.n_zero_vectors += _count_zero_vectors(features, self.widths)
            rows.append(features)
        return _shrink_rows(torch.cat(rows) if len(rows) > 1 else rows[0])


def _band(sheet: Sheet, weighting: Weighting, start: int, stop: int) -> Tensor:
    """Rows ``start`` to ``stop`` of the grid as composite features ``[(stop - start) * W, D]``."""
    columns = []
    for block, weight in zip(sheet.blocks, _weights(sheet.channels, weighting), strict=True):
        down = _bicubic(int(block.shape[1]), sheet.grid[0], block)[start:stop]
        across = _bicubic(int(block.shape[2]), sheet.grid[1], block)
        rows = (down @ (block @ across.T)).flatten(1).T
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
        columns.append(rows * (weight / norms))
    return torch.cat(columns, dim=1)


def _bicubic(length: int, size: int, like: Tensor) -> Tensor:
    """Matrix ``[size, length]`` of the bicubic resize of one axis."""
    identity = torch.eye(length, dtype=like.dtype, device=like.device)
    if length == size:
        return identity
    # The other axis has one cell, which its own clamped border repeats: it passes through unchanged.
    resized = functional.interpolate(identity[None, :, :, None], size=(size, 1), mode="bicubic", align_corners=False)
    return resized[0, :, :, 0].T.contiguous()
