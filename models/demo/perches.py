"""The perches: branch, post and rock, painted in focus under the bird's feet."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from models.demo.anatomy import blend
from models.demo.branch import Footing, paint_branch
from models.demo.grammar import Part, Perch
from models.demo.light import Light, shading
from models.demo.painter import CODES, Labels, Layer
from models.demo.texture import Colour, Field, Rng, blurred, cloud_noise, mixed, noise_tile, ramp, sample, smoothstep

_WOODS: tuple[tuple[Colour, Colour], ...] = (
    ((0.30, 0.26, 0.22), (0.70, 0.65, 0.58)),
    ((0.30, 0.19, 0.12), (0.66, 0.48, 0.32)),
)
_STONES: tuple[tuple[Colour, Colour], ...] = (
    ((0.30, 0.31, 0.33), (0.68, 0.67, 0.64)),
    ((0.34, 0.28, 0.23), (0.74, 0.66, 0.55)),
)
_LICHENS: tuple[Colour, ...] = ((0.70, 0.68, 0.36), (0.52, 0.58, 0.42))


def paint_perch(perch: Perch, footing: Footing, *, light: Light, leaf: Colour, slope: float, rng: Rng) -> Layer:
    """The perch as a layer; ``slope`` (rise per pixel to the right) is used by the branch."""
    if perch is Perch.POST:
        return _post(footing, light, rng)
    if perch is Perch.ROCK:
        return _rock(footing, light, rng)
    return paint_branch(footing, light=light, leaf=leaf, slope=slope, rng=rng)


def _post(footing: Footing, light: Light, rng: Rng) -> Layer:
    """A weathered fence post from below the picture up to the feet, seen a little from above."""
    height, width = footing.canvas
    unit = footing.unit
    half = unit * float(rng.uniform(0.17, 0.24))
    cap = 0.30 * half
    x0, y0 = footing.middle
    left, right = max(0, int(x0 - 1.15 * half)), min(width, int(x0 + 1.15 * half))
    top = max(0, int(y0 - cap - 2))
    rows = np.arange(top, height, dtype=np.float32)[:, None] + 0.5
    columns = np.arange(left, right, dtype=np.float32)[None, :] + 0.5
    wobble = 0.07 * (cloud_noise(rng, (height - top, 2), cells=(4, 1), octaves=3)[:, :1] - 0.5)
    across = np.asarray((columns - x0) / half + wobble, np.float32)
    dark, pale = _WOODS[0 if rng.random() < 0.6 else 1]
    along = np.asarray(rows / unit * 130 + float(rng.uniform(0, 200)), np.float32)
    colours = _wood(across, along, (dark, pale), half=half, unit=unit, light=light)
    rim = np.sqrt(np.clip(1 - across * across, 0, 1)) * cap
    lid = np.abs(rows - (y0 + 0.1 * cap)) < rim
    from_middle = np.asarray(np.hypot(across, (rows - y0) / cap), np.float32)
    rings = sample(noise_tile(3.0, 1.0), from_middle * 40, np.asarray(across * 45 + 80, np.float32) * 0.1)
    sawn = ramp([(-2, blend(dark, pale, 0.55)), (2, blend(pale, (1.0, 0.97, 0.9), 0.35))], rings)
    colours = np.where(lid[..., None], sawn * np.asarray(light.key, np.float32), colours).astype(np.float32)
    inside = (np.abs(across) < 1) & ((rows > y0 + 0.1 * cap) | lid)
    return Layer((left, top, right, height), colours, _labels(inside))


def _wood(
    across: Field, along: Field, tones: tuple[Colour, Colour], *, half: float, unit: float, light: Light
) -> Field:
    """The lit side of a post [h, w, 3]: grain, cracks, roundness."""
    u = np.asarray(across * 45 + 80, np.float32)
    grain = 0.7 * sample(noise_tile(14.0, 1.3), along, u) + 0.3 * sample(noise_tile(20.0, 0.6), along, u * 1.5)
    colours = ramp([(-2, tones[0]), (2, tones[1])], grain)
    cracks = smoothstep(1.5, 2.1, sample(noise_tile(24.0, 0.9), along * 0.6, u * 0.8))
    colours = mixed(colours, (0.10, 0.08, 0.07), 0.75 * cracks)
    bulge = np.sqrt(np.clip(1 - across * across, 0.0, 1.0)) * half
    return colours * shading(np.asarray(bulge + 0.008 * unit * grain, np.float32), light, depth=0.6)


def _rock(footing: Footing, light: Light, rng: Rng) -> Layer:
    """A boulder, flat below the feet and falling off to both sides."""
    height, width = footing.canvas
    unit = footing.unit
    x0, y0 = footing.middle
    x = np.arange(width, dtype=np.float32)
    away = np.abs(x - x0) / unit
    reach = float(rng.uniform(0.7, 1.2))
    bumps = cloud_noise(rng, (2, width), cells=(1, 3.5 * width / unit), octaves=4)[0]
    fall = np.clip((away - 0.22) / reach, 0.0, None)
    line = y0 + unit * (0.5 * fall**2 + 0.12 * (bumps - 0.5) * np.clip(away * 3 - 0.3, 0, 1) + 0.04 * fall)
    top = max(0, int(line.min()) - 2)
    rows = np.arange(top, height, dtype=np.float32)[:, None] + 0.5
    depth = np.asarray((rows - line[None, :]) / unit, np.float32)
    u, v = (np.broadcast_to(places / unit * 170, depth.shape) for places in (x, rows))
    colours = _stone(depth, sample(noise_tile(1.5, 1.5), u, v), unit=unit, light=light, rng=rng)
    return Layer((0, top, width, height), colours, _labels(depth > 0))


def _stone(depth: Field, speckle: Field, *, unit: float, light: Light, rng: Rng) -> Field:
    """The lit stone [h, w, 3] with lichen; ``depth`` is the distance below its upper edge in units."""
    shape = (depth.shape[0], depth.shape[1])
    cells = (shape[0] / unit * 3.0 + 1, shape[1] / unit * 3.0 + 1)
    lumps = cloud_noise(rng, shape, cells=cells, octaves=5)
    dark, pale = _STONES[0 if rng.random() < 0.6 else 1]
    colours = ramp([(0.15, dark), (0.85, pale)], lumps + 0.05 * speckle)
    lichen = smoothstep(0.60, 0.70, cloud_noise(rng, shape, cells=cells, octaves=4))
    colours = mixed(colours, _LICHENS[0 if rng.random() < 0.5 else 1], 0.55 * lichen)
    dome = np.sqrt(np.clip(depth, 0.0, 0.35) / 0.35) * 0.24 * unit
    height = blurred(np.asarray(dome + 0.20 * unit * lumps, np.float32), 0.006 * unit)
    return colours * shading(height, light, depth=0.9)


def _labels(inside: npt.NDArray[np.bool_]) -> Labels:
    return np.where(inside, CODES[Part.PERCH], 0).astype(np.uint8)
