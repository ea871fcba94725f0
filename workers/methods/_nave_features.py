"""Turns the activations of a few blocks into one row of numbers per picture position.

All arithmetic is float32, or float64 when an input is float64, whatever the precision of the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional

Weighting = Literal["paper", "equal"]

SMALLEST_NORM = 1e-12
LARGEST_SQUARABLE = 1e15
"""Blocks with larger values are scaled down first, so that float32 squares cannot overflow; only directions count."""


def composite_features(blocks: Sequence[Tensor], weighting: Weighting = "paper") -> Tensor:
    """Returns one row per position of the finest block: directions of all blocks, weighted and joined.

    Each block is resized to the grid of the first (bicubic), every position's vector is brought to length one, and
    block l is multiplied by ``(1 + C_0) / (1 + C_l)`` (``paper``) or 1 (``equal``). A zero vector stays zero.

    Args:
        blocks: Activations ``[C_l, H_l, W_l]``, ordered from the finest grid; any float type.
        weighting: ``paper`` or ``equal``.

    Returns:
        ``[H_0 * W_0, sum C_l]`` in raster order, float32 (float64 if an input is). Rows compare between positions
        of one model only. ``|row|^2`` is the sum of squared weights when no vector is zero.

    Raises:
        ValueError: If there is no block, a block is not a finite ``[C, H, W]`` of real numbers, the grids do not
            descend in size, or the weighting is unknown.
    """
    _validate_blocks(blocks)
    return _composite(blocks, [int(block.shape[0]) for block in blocks], weighting)


def isometric_compression(block: Tensor) -> Tensor:
    """Returns a block with at most as many channels as positions and the same inner products between positions.

    Exact: ``R`` of the Householder QR of ``A^T`` (``A`` holds one row per position) has ``R^T R = A A^T``. It is
    accurate per position, also where norms span several orders of magnitude, and keeps zero positions zero.

    Args:
        block: ``[C, H, W]``, any float type.

    Returns:
        ``[min(C, H * W), H, W]``; the block itself when it has no more channels than positions. The new channels
        have no meaning of their own.

    Raises:
        ValueError: If the block is not a finite ``[C, H, W]`` of real numbers.
    """
    _validate_block(block, "the block")
    channels, height, width = block.shape
    if height * width >= channels:
        return block
    columns = _to_working_type(block).reshape(channels, height * width)
    return _triangle(columns).reshape(height * width, height, width)


def _composite(
    blocks: Sequence[Tensor],
    channels: Sequence[int],
    weighting: Weighting,
    size: tuple[int, int] | None = None,
) -> Tensor:
    """Composite of blocks that may be compressed: weights come from the original ``channels``.

    ``size`` is the grid to work on; ``None``: that of the first block.
    """
    height, width = size or (int(blocks[0].shape[1]), int(blocks[0].shape[2]))
    wide = torch.float64 if any(block.dtype == torch.float64 for block in blocks) else torch.float32
    columns = []
    for block, weight in zip(blocks, _weights(channels, weighting), strict=True):
        rows = _resize(_tame(block.to(wide)), (height, width)).flatten(1).T
        norms = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min(SMALLEST_NORM)
        columns.append(rows * (weight / norms))
    return torch.cat(columns, dim=1)


def _weights(channels: Sequence[int], weighting: Weighting) -> list[float]:
    """Weight of each block, the first one's is 1."""
    if weighting not in get_args(Weighting):
        raise ValueError(f"weighting is 'paper' or 'equal', not {weighting!r}")
    if weighting == "equal":
        return [1.0] * len(channels)
    return [(1 + channels[0]) / (1 + count) for count in channels]


def _shares(weights: Sequence[float]) -> list[float]:
    """Part of the largest squared distance that each block can hold; they add up to 1."""
    total = sum(weight * weight for weight in weights)
    return [weight * weight / total for weight in weights]


def _shrink_rows(features: Tensor) -> Tensor:
    """``[N, D]`` to ``[N, min(N, D)]`` with the same inner products between rows."""
    rows, columns = features.shape
    return features if rows >= columns else _triangle(features.T).T.contiguous()


def _count_zero_vectors(features: Tensor, widths: Sequence[int]) -> int:
    """Number of all-zero vectors, over positions and blocks; ``widths`` are the columns of each block."""
    return sum(int((part == 0).all(dim=1).sum().item()) for part in torch.split(features, list(widths), dim=1))


def _triangle(columns: Tensor) -> Tensor:
    """``R`` ``[n, n]`` of the QR of ``[C, n]``, C >= n."""
    try:
        upper: Tensor = torch.linalg.qr(columns, mode="r")[1]
    except (NotImplementedError, RuntimeError) as error:
        if columns.device.type == "cpu" or isinstance(error, torch.OutOfMemoryError):
            raise
        upper = torch.linalg.qr(columns.cpu(), mode="r")[1]  # some devices lack the factorisation
    return upper.to(columns.device)


def _resize(block: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(block.shape[1:]) == size:
        return block
    return functional.interpolate(block[None], size=size, mode="bicubic", align_corners=False)[0]


def _tame(block: Tensor) -> Tensor:
    peak = block.abs().amax()
    return torch.where(peak > LARGEST_SQUARABLE, block / peak.clamp_min(1), block)


def _to_working_type(block: Tensor) -> Tensor:
    return block if block.dtype == torch.float64 else block.to(torch.float32)


def _validate_blocks(blocks: Sequence[Tensor]) -> None:
    if not len(blocks):
        raise ValueError("at least one block is needed")
    for index, block in enumerate(blocks):
        _validate_block(block, f"block {index}")
    height, width = blocks[0].shape[1:]
    for index in range(1, len(blocks)):
        grid, previous = blocks[index].shape[1:], blocks[index - 1].shape[1:]
        if grid[0] > height or grid[1] > width or grid.numel() > previous.numel():
            raise ValueError(
                f"blocks are ordered from the finest grid, but block {index} is {grid[0]} x {grid[1]} "
                f"after {previous[0]} x {previous[1]}"
            )


def _validate_block(block: Tensor, name: str) -> None:
    if block.ndim != 3 or not block.numel():
        raise ValueError(f"{name} is [C, H, W] with at least one value, not {list(block.shape)}")
    if not block.dtype.is_floating_point:
        raise ValueError(f"{name} holds real numbers, not {block.dtype}")
    if not bool(torch.isfinite(block).all()):
        raise ValueError(f"{name} holds values that are not finite")
