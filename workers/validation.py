"""Checks what a method returned before anything is stored: a wrong map must not look like an explanation."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Encoding, Layer
from workers.method import MapArray, Result

TOLERANCE = 1e-4
"""How far values may lie outside a layer's stated range, as a share of its width (float16 rounding)."""


def validate_result(result: Result, *, partial: bool = False) -> None:
    """Raises unless every layer, region and table of a result is consistent.

    Args:
        result: What the method returned.
        partial: Whether it is an intermediate result, in which places may still be unknown (NaN).

    Raises:
        ProblemError: ``not_finite`` when a value that people would see is not a number.
        ValueError: When the result contradicts itself; that is a mistake in the method.
    """
    for layer in result.layers:
        _validate_layer(layer, result.arrays, partial=partial)
    for name, array in result.arrays.items():
        if array.frame is not None:
            _validate_frame(name, array.frame)
        if not partial:
            _validate_finite(name, array.data)
    _validate_regions(result)
    _validate_numbers(result)
    for table in result.tables:
        if any(len(row) != len(table.columns) for row in table.rows):
            raise ValueError(f"table {table.name!r} has a row that does not fit its {len(table.columns)} columns")


def layer_values(layer: Layer, data: NDArray[np.generic]) -> NDArray[np.generic]:
    """Returns the numbers of an array that a layer draws: ``[H, W]``, or ``[H, W, 3]`` for colours."""
    return data if layer.index is None else data[layer.index]


def _validate_layer(layer: Layer, arrays: Mapping[str, MapArray], *, partial: bool) -> None:
    if layer.array not in arrays:
        raise ValueError(f"layer {layer.name!r} names the array {layer.array!r}, which the result does not have")
    array = arrays[layer.array]
    if layer.index is not None and not 0 <= layer.index < len(array.data):
        raise ValueError(f"layer {layer.name!r} has index {layer.index} in a stack of {len(array.data)}")
    values = layer_values(layer, array.data)
    is_rgb = layer.encoding == Encoding.RGB
    if values.ndim != (3 if is_rgb else 2) or (is_rgb and values.shape[2] != 3) or not values.size:
        raise ValueError(f"layer {layer.name!r} cannot be drawn from the shape {list(values.shape)}")
    if array.frame is None:
        raise ValueError(f"layer {layer.name!r} is a map but its array has no frame")
    if layer.encoding == Encoding.LABELS and values.dtype.kind not in "iu":
        raise ValueError(f"layer {layer.name!r} holds labels of type {values.dtype}; labels are whole numbers")
    if layer.range is not None:
        _validate_range(layer, values, partial=partial)


def _validate_range(layer: Layer, values: NDArray[np.generic], *, partial: bool) -> None:
    low, high = layer.range or (0.0, 0.0)
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ValueError(f"layer {layer.name!r} has the range {low:g} to {high:g}")
    numbers = values.astype(np.float64)
    known = numbers[np.isfinite(numbers)] if partial else numbers
    slack = TOLERANCE * (high - low)
    if known.size and (known.min() < low - slack or known.max() > high + slack):
        raise ValueError(
            f"layer {layer.name!r} holds {known.min():g} to {known.max():g}, outside its range {low:g} to {high:g}"
        )


def _validate_frame(name: str, frame: Box) -> None:
    if not all(math.isfinite(edge) for edge in frame) or frame.left >= frame.right or frame.top >= frame.bottom:
        raise ValueError(f"the array {name!r} has the empty frame {tuple(frame)}")


def _validate_finite(name: str, data: NDArray[np.generic]) -> None:
    if data.dtype.kind == "f" and not np.isfinite(data).all():
        raise ProblemError(ProblemCode.NOT_FINITE, f"The array {name!r} holds values that are not finite numbers.")


def _validate_regions(result: Result) -> None:
    labels = {layer.name: layer for layer in result.layers if layer.encoding == Encoding.LABELS}
    for region in result.regions:
        if not 0.0 <= region.area <= 1.0 + TOLERANCE:
            raise ValueError(f"region {region.id} covers {region.area:g} of the picture; a share lies in 0 to 1")
        _validate_frame(f"region {region.id}", region.box)
        if region.layer is None:
            continue
        if region.layer not in labels:
            raise ValueError(f"region {region.id} lies in {region.layer!r}, which is no label layer")
        layer = labels[region.layer]
        if not np.any(layer_values(layer, result.arrays[layer.array].data) == region.id):
            raise ValueError(f"region {region.id} does not occur in the label layer {region.layer!r}")


def _validate_numbers(result: Result) -> None:
    numbers: dict[str, object] = {f"score of {item.label}": item.score for item in result.classes}
    numbers |= {f"score of region {region.id}": region.score for region in result.regions}
    numbers |= dict(result.scalars)
    for name, value in numbers.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ProblemError(ProblemCode.NOT_FINITE, f"The {name} is not a finite number.")
