"""Brings what a person supplies (own regions, an own background) onto the model's input."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Encoding
from models.preprocessing import Prepared
from workers.method import Context, MapArray, Stored
from workers.methods._pami_cuts import Labels, own_partition

LISTED = 8
"""Lost regions named one by one; more are only counted."""


def fetch_own_regions(context: Context, prepared: Prepared, key: str) -> tuple[Labels, list[str]]:
    """Returns the regions of an earlier result as a partition of the model's input, and what was lost.

    Args:
        context: Of this run.
        prepared: The picture as the model sees it.
        key: Run key of a result that holds a label map.

    Raises:
        ProblemError: ``result_gone``, or ``params_invalid`` when the result has no label map that fits.
    """
    array = _label_map(context.fetch(key))
    if array is None:
        raise _invalid("The result given for 'regions' holds no label map.")
    record = context.picture.record
    frame = array.frame
    if frame is None and array.data.shape == (record.height, record.width):
        frame = Box(0.0, 0.0, float(record.width), float(record.height))
    if frame is None:
        shape = " x ".join(map(str, array.data.shape))
        raise _invalid(f"Regions of {shape} do not fit the picture of {record.height} x {record.width} pixels.")
    labels = sample_labels(array.data.astype(np.int64), frame, prepared)
    try:
        partition = own_partition(labels, (labels.shape[0], labels.shape[1]))
    except (TypeError, ValueError) as error:
        raise _invalid(f"The regions cannot be used: {error}.") from error
    return partition, _lost(array.data, labels)


def sample_labels(labels: NDArray[np.int64], frame: Box, prepared: Prepared) -> NDArray[np.int64]:
    """Returns the label below the centre of each pixel of the model's input; -1 where there is none.

    Args:
        labels: ``[h, w]``, covering ``frame``.
        frame: Rectangle of the picture that the labels cover.
        prepared: The picture as the model sees it; its frame says where its pixels lie.
    """
    height, width = prepared.pixels.shape[1:]
    rows = _cells(prepared.frame.top, prepared.frame.bottom, int(height), frame.top, frame.bottom, labels.shape[0])
    columns = _cells(prepared.frame.left, prepared.frame.right, int(width), frame.left, frame.right, labels.shape[1])
    is_inside = (rows >= 0)[:, None] & (columns >= 0)[None]
    return np.where(is_inside, labels[rows[:, None], columns[None]], -1)


def fetch_background(context: Context, key: str) -> Tensor:
    """Returns the picture used as a background, through the model's own resize and crop, ``[3, H, W]`` 0-1.

    Args:
        context: Of this run; the picture is one of its pictures, or a colour map of an earlier result.
        key: Identity of the picture, or run key of the result.

    Raises:
        ProblemError: If there is no such picture.
    """
    for picture in context.pictures:
        if picture.record.id == key:
            return context.model.preprocessing.prepare(picture.pixels).pixels
    stored = context.fetch(key)
    for layer in stored.layers:
        if layer.encoding == Encoding.RGB:
            pixels = stored.arrays[layer.array].data
            return context.model.preprocessing.prepare(_as_bytes(pixels)).pixels
    raise _invalid("The background given is neither a picture of this run nor a result with a colour map.")


def _label_map(stored: Stored) -> MapArray | None:
    for layer in stored.layers:
        if layer.encoding == Encoding.LABELS and layer.array in stored.arrays:
            array = stored.arrays[layer.array]
            return array if layer.index is None else MapArray(array.data[layer.index], array.frame)
    flat = [item for item in stored.arrays.values() if item.data.ndim == 2 and item.data.dtype.kind in "iu"]
    return flat[0] if flat else None


def _cells(start: float, end: float, count: int, low: float, high: float, cells: int) -> NDArray[np.int64]:
    """Returns, for the centres of ``count`` pixels, the cell they fall into, or -1."""
    centres = start + (np.arange(count) + 0.5) * (end - start) / count
    found = np.floor((centres - low) / (high - low) * cells).astype(np.int64)
    return np.where((found >= 0) & (found < cells), found, -1)


def _lost(given: NDArray[np.generic], seen: NDArray[np.int64]) -> list[str]:
    everything = np.unique(given)
    lost = sorted(set(everything[everything >= 0].tolist()) - set(np.unique(seen).tolist()))
    if not lost:
        return []
    names = ", ".join(map(str, lost[:LISTED])) + (", ..." if len(lost) > LISTED else "")
    count = f"{len(lost)} of your regions lie" if len(lost) > 1 else "One of your regions lies"
    return [f"{count} outside what the model sees and was left out: {names}."]


def _as_bytes(pixels: NDArray[np.generic]) -> NDArray[np.uint8]:
    if pixels.dtype == np.uint8:
        return pixels.astype(np.uint8)
    return (np.clip(pixels.astype(np.float64), 0, 1) * 255).round().astype(np.uint8)


def _invalid(message: str) -> ProblemError:
    return ProblemError(ProblemCode.PARAMS_INVALID, message)
