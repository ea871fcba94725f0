"""Maps of other runs: which layer is meant, and how its values lie on a rectangle of the picture."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Encoding, Layer
from workers.method import Stored

ORDERED = (Encoding.SEQUENTIAL, Encoding.SIGNED)


def choose_layer(stored: Stored, name: str) -> Layer:
    """Returns the named layer if its places have an order, else the first main one that has.

    Raises:
        ProblemError: ``params_invalid`` when there is no such layer.
    """
    ordered = [layer for layer in stored.layers if layer.encoding in ORDERED]
    named = [layer for layer in stored.layers if layer.name == name]
    if named and named[0] in ordered:
        return named[0]
    if name and not named:
        raise ProblemError(ProblemCode.PARAMS_INVALID, f"The result has no map named {name!r}.")
    ordered.sort(key=lambda layer: layer.role != "main")
    if not ordered:
        raise ProblemError(
            ProblemCode.PARAMS_INVALID, "This result has groups but no order of places, so nothing comes first."
        )
    return ordered[0]


def values_of(stored: Stored, layer: Layer) -> tuple[Tensor, Box | None]:
    """Returns the numbers of a layer ``[h, w]`` float32 and the rectangle of the picture that they cover.

    Raises:
        ProblemError: ``params_invalid`` when a place has no value.
    """
    array = stored.arrays[layer.array]
    data = array.data if layer.index is None else array.data[layer.index]
    values = torch.from_numpy(np.ascontiguousarray(data, dtype=np.float32))
    if not bool(torch.isfinite(values).all()):
        raise ProblemError(ProblemCode.PARAMS_INVALID, "The map has places without a value and cannot be ranked.")
    return values, array.frame


def resampled(values: Tensor, frame: Box, wanted: Box, size: tuple[int, int]) -> Tensor:
    """Returns a map on another rectangle of the picture, between cell centres; what it does not cover comes last.

    Args:
        values: ``[h, w]``, covers ``frame``.
        frame: In picture pixels.
        wanted: Rectangle of the result, in picture pixels.
        size: Height and width of the result in cells.
    """
    height, width = size

    def axis(count: int, low: float, high: float, first: float, last: float) -> Tensor:
        places = low + (torch.arange(count, dtype=torch.float32) + 0.5) / count * (high - low)
        return 2 * (places - first) / (last - first) - 1

    x = axis(width, wanted.left, wanted.right, frame.left, frame.right)
    y = axis(height, wanted.top, wanted.bottom, frame.top, frame.bottom)
    grid = torch.stack((x[None].expand(height, -1), y[:, None].expand(-1, width)), -1)[None]
    drawn = functional.grid_sample(values[None, None], grid, align_corners=False, padding_mode="border")[0, 0]
    is_covered = (x.abs() <= 1)[None] & (y.abs() <= 1)[:, None]
    return torch.where(is_covered, drawn, values.min() - 1)
