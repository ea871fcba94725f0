"""Draws a map over its picture as the page does: a grey picture, the map's colours, nothing where it saw nothing."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from backend.contract.pictures import group_colours, seen_of, size_of
from backend.contract.results import Box, Encoding, Layer, Manifest
from backend.palettes import CASE, COMPOSITE, DIVERGING, SEQUENTIAL, colour_ramp, label_colours, to_rgb

LEAST_OPACITY, MOST_OPACITY = 0.38, 0.86
LABEL_OPACITY = 0.6
COLOUR_SHARE = 0.8
"""Of ranked maps against the picture under them; both together never burn out."""
VEIL = 0.72
FIRST_COLOUR = 0.08
"""Magma starts a little above black, so that the lowest values are still seen as colour."""


def fit_picture(png: bytes, width: int, height: int, *, most_scale: float = 4.0) -> NDArray[np.uint8]:
    """Returns the picture at the largest size that fits, ``[h, w, 3]`` uint8, enlarged at most ``most_scale`` times."""
    with Image.open(io.BytesIO(png)) as image:
        scale = min(width / image.width, height / image.height, most_scale)
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        resized = image.convert("RGB").resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(resized, dtype=np.uint8)


def draw_overlay(
    picture: NDArray[np.uint8], manifest: Manifest, layer: Layer, array: NDArray[np.generic]
) -> NDArray[np.uint8]:
    """Returns the picture with one layer over it.

    Args:
        picture: ``[h, w, 3]`` uint8, the picture that the layer lies on, at any size.
        manifest: Of the run.
        layer: One of its layers.
        array: The layer's map, ``[H, W]`` (or ``[H, W, 3]`` for ``rgb``), already taken out of its stack.

    Returns:
        ``[h, w, 3]`` uint8.
    """
    height, width = picture.shape[:2]
    size = size_of(manifest, layer.picture)
    frame = manifest.arrays[layer.array].frame or Box(0, 0, *size)
    x = (np.arange(width) + 0.5) * size[0] / width
    y = (np.arange(height) + 0.5) * size[1] / height
    seen = seen_of(manifest, layer.picture) or Box(0, 0, *size)
    inside = _is_inside(frame, x, y) & _is_inside(seen, x, y)
    smooth = layer.smooth and layer.encoding is not Encoding.LABELS
    values = _sample(
        array,
        _to_cells(x, frame.left, frame.right, array.shape[1]),
        _to_cells(y, frame.top, frame.bottom, array.shape[0]),
        smooth=smooth,
    )
    colours, opacity = _colour(values, manifest, layer, array)
    base = _darkened(picture) if layer.encoding is Encoding.RGB else _grey(picture)
    painted = np.minimum(base + colours, 255) if layer.encoding is Encoding.RGB else base + opacity * (colours - base)
    painted = np.where(inside[..., None], painted, base)
    unseen = ~_is_inside(seen, x, y)[..., None]
    painted = np.where(unseen, painted + VEIL * (np.array(to_rgb(CASE)) - painted), painted)
    drawn: NDArray[np.uint8] = np.rint(np.clip(painted, 0, 255)).astype(np.uint8)
    return drawn


def _is_inside(box: Box, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    return ((y >= box.top) & (y < box.bottom))[:, None] & ((x >= box.left) & (x < box.right))[None, :]


def _to_cells(pixels: NDArray[np.float64], start: float, end: float, cells: int) -> NDArray[np.float64]:
    """Returns positions in cells, where 0 is the centre of the first cell."""
    positions: NDArray[np.float64] = (pixels - start) / (end - start) * cells - 0.5
    return np.clip(positions, 0, cells - 1)


def _sample(
    array: NDArray[np.generic], columns: NDArray[np.float64], rows: NDArray[np.float64], *, smooth: bool
) -> NDArray[np.float64]:
    values = np.nan_to_num(array.astype(np.float64))
    if not smooth:
        nearest: NDArray[np.float64] = values[_to_index(rows)][:, _to_index(columns)]
        return nearest
    return _interpolate(_interpolate(values, rows, axis=0), columns, axis=1)


def _to_index(positions: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the cell of each position; one exactly between two belongs to the second, as in the page's viewer."""
    return np.floor(positions + 0.5 + 1e-9).astype(np.int64)


def _interpolate(values: NDArray[np.float64], places: NDArray[np.float64], *, axis: int) -> NDArray[np.float64]:
    lower = np.floor(places).astype(int)
    upper = np.minimum(lower + 1, values.shape[axis] - 1)
    shape = [1] * values.ndim
    shape[axis] = -1
    weight = (places - lower).reshape(shape)
    mixed: NDArray[np.float64] = values.take(lower, axis) * (1 - weight) + values.take(upper, axis) * weight
    return mixed


def _colour(
    values: NDArray[np.float64], manifest: Manifest, layer: Layer, array: NDArray[np.generic]
) -> tuple[NDArray[np.float64], NDArray[np.float64] | float]:
    if layer.encoding is Encoding.RGB:
        return COLOUR_SHARE * _mixed(values / 255 if array.dtype == np.uint8 else np.clip(values, 0, 1)), 1.0
    if layer.encoding is Encoding.LABELS:
        chosen = group_colours(manifest, layer)
        return label_colours(np.rint(values).astype(np.int64), chosen), LABEL_OPACITY
    finite = np.nan_to_num(array.astype(np.float64))
    low, high = layer.range or (float(finite.min()), float(finite.max()))
    if layer.encoding is Encoding.SIGNED:
        most = max(abs(low), abs(high)) or 1.0
        signed = np.clip(values / most, -1, 1)
        return colour_ramp((signed + 1) / 2, DIVERGING), (MOST_OPACITY * np.abs(signed) ** 0.5)[..., None]
    share = np.clip((values - low) / ((high - low) or 1.0), 0, 1)
    colours = colour_ramp(FIRST_COLOUR + (1 - FIRST_COLOUR) * share, SEQUENTIAL)
    return colours, (LEAST_OPACITY + (MOST_OPACITY - LEAST_OPACITY) * share)[..., None]


def _grey(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey: NDArray[np.float64] = picture.astype(np.float64) @ np.array([0.2126, 0.7152, 0.0722])
    return np.repeat(grey[..., None], 3, axis=-1)


def _mixed(maps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns up to three ranked maps ``[h, w, 3]``, 0-1, in the colours of the parts, 0-255, as the page mixes them.

    The strongest map of a place keeps its value, the others enter by the square of their share of it; a sum beyond
    white is dimmed as a whole and keeps its hue.
    """
    strongest = np.maximum(maps.max(axis=-1, keepdims=True), 1e-9)
    colours: NDArray[np.float64] = (maps**2 / strongest) @ np.array([to_rgb(colour) for colour in COMPOSITE], float)
    mixed: NDArray[np.float64] = colours * (255 / np.maximum(255, colours.max(axis=-1, keepdims=True)))
    return mixed


def _darkened(picture: NDArray[np.uint8]) -> NDArray[np.float64]:
    return _grey(picture) * (1 - COLOUR_SHARE)
