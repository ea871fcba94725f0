"""Noise and small array tools that all painters of the demo world use."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

Field = npt.NDArray[np.float32]
"""A float32 array: ``[h, w]`` or, for colours, ``[h, w, 3]`` in 0-1."""
Rng = np.random.Generator
Colour = tuple[float, float, float]
"""Red, green, blue in 0-1."""

TILE = 256


def resized(field: Field, shape: tuple[int, int]) -> Field:
    """The field ``[h, w]`` enlarged or reduced to ``shape`` with bicubic interpolation."""
    image = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    result: Field = np.asarray(image.resize((shape[1], shape[0]), Image.Resampling.BICUBIC), dtype=np.float32)
    return result


def cloud_noise(rng: Rng, shape: tuple[int, int], *, cells: tuple[float, float], octaves: int = 3) -> Field:
    """Smooth noise ``[h, w]``, about 0-1 with mean 0.5; ``cells`` is the coarsest grid (rows, columns)."""
    total = np.zeros(shape, np.float32)
    weight, weights = 1.0, 0.0
    for octave in range(octaves):
        rows, columns = (max(2, round(cell * 2**octave)) for cell in cells)
        total += weight * resized(rng.random((rows + 1, columns + 1), dtype=np.float32), shape)
        weights += weight
        weight *= 0.5
    return np.asarray(np.clip(0.5 + (total / weights - 0.5) * 1.4, 0.0, 1.0), dtype=np.float32)


@lru_cache(maxsize=8)
def noise_tile(along: float, across: float) -> Field:
    """A periodic noise tile ``[256, 256]``, mean 0, deviation 1, smoothed by so many cells in x and in y."""
    rng = np.random.default_rng([7, round(along * 100), round(across * 100)])
    tile = rng.standard_normal((TILE, TILE), dtype=np.float32)
    tile = ndimage.gaussian_filter1d(tile, along, axis=1, mode="wrap")
    tile = ndimage.gaussian_filter1d(tile, across, axis=0, mode="wrap")
    tile = (tile - tile.mean()) / tile.std()
    tile.flags.writeable = False
    return np.asarray(tile, dtype=np.float32)


def sample(tile: Field, u: Field, v: Field) -> Field:
    """The tile's values at coordinates ``u`` (columns) and ``v`` (rows), repeated without end."""
    columns = np.floor(u).astype(np.int32) & (TILE - 1)
    rows = np.floor(v).astype(np.int32) & (TILE - 1)
    return np.asarray(tile[rows, columns], dtype=np.float32)


def smoothstep(low: float | Field, high: float | Field, value: Field) -> Field:
    """0 below ``low``, 1 above ``high``, a smooth slope between."""
    t = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(t * t * (3.0 - 2.0 * t), dtype=np.float32)


def mixed(first: Field, second: Field | Colour, amount: Field) -> Field:
    """``first`` [h, w, 3] moved towards ``second`` by ``amount`` [h, w] in 0-1."""
    other = np.asarray(second, dtype=np.float32)
    return np.asarray(first + (other - first) * amount[..., None], dtype=np.float32)


def blurred(field: Field, sigma: float) -> Field:
    """The field smoothed by a Gaussian of ``sigma`` pixels, edges continued."""
    if sigma <= 0.3:
        return field
    spread = (sigma, sigma) + (0,) * (field.ndim - 2)
    return np.asarray(ndimage.gaussian_filter(field, spread, mode="nearest", truncate=2.5), dtype=np.float32)


def broad_blur(field: Field, sigma: float) -> Field:
    """As :func:`blurred`, for [h, w] and large ``sigma``: computed on a reduced grid, several times as fast."""
    factor = max(1, int(sigma / 2.5))
    if factor == 1:
        return blurred(field, sigma)
    height, width = field.shape
    small = (max(2, -(-height // factor)), max(2, -(-width // factor)))
    image = Image.fromarray(np.ascontiguousarray(field, dtype=np.float32))
    reduced = np.asarray(image.resize((small[1], small[0]), Image.Resampling.BOX), dtype=np.float32)
    return resized(blurred(reduced, sigma / factor), field.shape)


def ramp(stops: list[tuple[float, Colour]], at: Field) -> Field:
    """Colours [..., 3] of a gradient through ``stops`` (place, colour) at the places ``at``."""
    places = [place for place, _ in stops]
    return np.stack([np.interp(at, places, [colour[i] for _, colour in stops]) for i in range(3)], -1).astype(
        np.float32
    )
