"""Pictures out of arrays: grey and label PNG for readers that know no ``.npy``, and smaller copies of pictures."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.contract.problems import ProblemCode, ProblemError


@dataclass(frozen=True)
class GreyPicture:
    """A PNG and the values that its black and its white stand for (``None`` for labels and colours)."""

    png: bytes
    low: float | None = None
    high: float | None = None


def take_slice(array: NDArray[np.generic], index: int | None) -> NDArray[np.generic]:
    """Returns one map ``[H, W]`` (or colour map ``[H, W, 3]``) of an array or a stack ``[N, H, W]``.

    Raises:
        ProblemError: ``request_invalid`` if there is no such map.
    """
    if index is not None and array.ndim >= 3:
        if index >= array.shape[0]:
            raise ProblemError(
                ProblemCode.REQUEST_INVALID, f"This stack has {array.shape[0]} maps, numbered from 0; not {index}."
            )
        array = array[index]
    elif index not in (None, 0):
        raise ProblemError(ProblemCode.REQUEST_INVALID, "This array holds one map; only number 0 exists.")
    return array


def array_to_png(
    array: NDArray[np.generic], *, bits: int = 8, low: float | None = None, high: float | None = None
) -> GreyPicture:
    """Returns a map as PNG at its native resolution.

    Whole numbers are labels and keep their values; other numbers are spread over black to white.

    Args:
        array: ``[H, W]`` numbers or labels, or ``[H, W, 3]`` colours (uint8, or numbers 0-1).
        bits: 8 or 16; colours are always 8.
        low: Value that becomes black; by default the least finite one.
        high: Value that becomes white; by default the greatest finite one.

    Raises:
        ProblemError: ``request_invalid`` if the array is not a map or its labels do not fit.
    """
    if array.ndim == 3 and array.shape[2] == 3:
        return GreyPicture(_encode(_to_colours(array)))
    if array.ndim != 2 or 0 in array.shape:
        raise ProblemError(
            ProblemCode.REQUEST_INVALID,
            f"An array of the shape {list(array.shape)} is not one map. Name one of its maps with index.",
        )
    depth = np.uint16 if bits == 16 else np.uint8
    if array.dtype.kind in "iub":
        return GreyPicture(_encode(_to_labels(array, depth)))
    values = array.astype(np.float64)
    finite = values[np.isfinite(values)]
    bottom = low if low is not None else float(finite.min(initial=np.inf)) if finite.size else 0.0
    top = high if high is not None else float(finite.max(initial=-np.inf)) if finite.size else 1.0
    most = np.iinfo(depth).max
    span = top - bottom
    scaled = (np.nan_to_num(values, nan=bottom, posinf=top, neginf=bottom) - bottom) / (span if span > 0 else 1.0)
    return GreyPicture(_encode(np.rint(np.clip(scaled, 0, 1) * most).astype(depth)), bottom, top)


def resize_picture(png: bytes, max_side: int, *, quality: int = 90) -> bytes | None:
    """Returns a smaller JPEG copy whose longer side is ``max_side`` pixels, or ``None`` if it is not larger."""
    with Image.open(io.BytesIO(png)) as image:
        if max(image.size) <= max_side:
            return None
        scale = max_side / max(image.size)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        # Reducing by a whole factor first is several times faster on large pictures and not visible.
        small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=quality, optimize=True, progressive=True)
    return buffer.getvalue()


def _to_colours(array: NDArray[np.generic]) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array.astype(np.uint8, copy=False)
    values = np.nan_to_num(array.astype(np.float64))
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _to_labels(array: NDArray[np.generic], depth: type[np.uint8] | type[np.uint16]) -> NDArray[np.generic]:
    labels = array.astype(np.int64)
    most = int(np.iinfo(depth).max)
    if labels.min() < 0 or labels.max() > most:
        raise ProblemError(
            ProblemCode.REQUEST_INVALID,
            f"Its labels go from {labels.min()} to {labels.max()}; a picture of this depth holds 0 to {most}.",
        )
    return labels.astype(depth)


def _encode(pixels: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, format="PNG", compress_level=6)
    return buffer.getvalue()
