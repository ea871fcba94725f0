"""The branch: a crooked cylinder of bark with side twigs and leaves, and what every perch must carry."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from models.demo.anatomy import Points, blend
from models.demo.grammar import Part
from models.demo.light import Light, shading
from models.demo.painter import CODES, Layer
from models.demo.plumage import feather
from models.demo.texture import Colour, Field, Rng, cloud_noise, mixed, noise_tile, ramp, sample, smoothstep


@dataclass(frozen=True)
class Footing:
    """What a perch must carry.

    Attributes:
        feet: The two feet in pixels of the canvas (x, y): where the perch's surface must be.
        unit: Pixels per unit of the bird's coordinates.
        canvas: Height and width of the canvas.
    """

    feet: tuple[tuple[float, float], tuple[float, float]]
    unit: float
    canvas: tuple[int, int]

    @property
    def middle(self) -> tuple[float, float]:
        """The point between the feet."""
        (x1, y1), (x2, y2) = self.feet
        return (x1 + x2) / 2, (y1 + y2) / 2


_BARKS: tuple[tuple[Colour, Colour], ...] = (
    ((0.26, 0.19, 0.14), (0.58, 0.47, 0.36)),
    ((0.30, 0.28, 0.26), (0.66, 0.63, 0.58)),
    ((0.34, 0.22, 0.14), (0.68, 0.48, 0.30)),
)


def paint_branch(footing: Footing, *, light: Light, leaf: Colour, slope: float, rng: Rng) -> Layer:
    """A branch through the whole picture; ``slope`` is its rise per pixel to the right, ``leaf`` the leaves' colour."""
    height, width = footing.canvas
    middle, radius = _course(footing, slope, rng)
    twigs = _twigs(footing, middle, radius, leaf, rng)
    points = np.concatenate([twig.points for twig in twigs]) if twigs else np.zeros((0, 2))
    top = max(0, int(min((middle - radius).min(), *points[:, 1], height)) - 3)
    bottom = min(height, int(max((middle + radius).max(), *points[:, 1], 0.0)) + 3)
    bottom = max(bottom, top + 2)
    rows = np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5
    across = ((rows - middle) / radius).astype(np.float32)
    colours = _bark(across, radius, footing.unit, light=light, leaf=leaf, rng=rng)
    labels = np.where(np.abs(across) < 1, CODES[Part.PERCH], 0).astype(np.uint8)
    return _with_twigs(Layer((0, top, width, bottom), colours, labels), twigs, light, footing.unit)


def _course(footing: Footing, slope: float, rng: Rng) -> tuple[Field, Field]:
    """For every column of the canvas the row of the branch's middle and its radius, in pixels."""
    width, unit = footing.canvas[1], footing.unit
    from_feet = (np.arange(width, dtype=np.float32) - footing.middle[0]) / unit
    taper = 1.0 - 0.22 * float(rng.choice([-1.0, 1.0])) * np.clip(from_feet, -1.8, 1.8)
    knots = cloud_noise(rng, (2, width), cells=(1, 0.9 * width / unit * 3), octaves=2)[0]
    radius = unit * float(rng.uniform(0.062, 0.085)) * taper * (0.82 + 0.36 * knots)
    sway = cloud_noise(rng, (2, width), cells=(1, max(2.0, width / unit * 1.4)), octaves=2)[0]
    weight = 1 - np.exp(-((from_feet / 0.25) ** 2))
    bend = float(rng.uniform(-0.10, 0.10))
    rise = slope * from_feet + bend * from_feet**2 + 0.16 * (sway - 0.5) * weight
    middle = footing.middle[1] + rise * unit + radius * 0.62
    return np.asarray(middle, np.float32), np.asarray(radius, np.float32)


def _bark(across: Field, radius: Field, unit: float, *, light: Light, leaf: Colour, rng: Rng) -> Field:
    """The lit bark [h, w, 3]; ``across`` is -1 at the branch's upper and 1 at its lower edge."""
    x = np.arange(across.shape[1], dtype=np.float32)
    dark, pale = _BARKS[int(rng.integers(len(_BARKS)))]
    offset = float(rng.uniform(0, 256))
    u = np.asarray(np.broadcast_to((x[None, :] / unit) * 150 + offset, across.shape), np.float32)
    angle = np.asarray(np.arcsin(np.clip(across, -1, 1)), np.float32)
    grain = sample(noise_tile(10.0, 1.2), u, angle * 16 + 100) * 0.5
    grain += sample(noise_tile(3.0, 2.0), u * 1.7, angle * 20) * 0.5
    colours = ramp([(-2, dark), (2, pale)], grain)
    moss = smoothstep(0.1, -0.6, across + 0.6 * sample(noise_tile(6.0, 6.0), u * 0.7, angle * 10))
    colours = mixed(colours, blend(leaf, (0.45, 0.5, 0.2), 0.4), 0.55 * moss * float(rng.random() < 0.5))
    bulge = np.sqrt(np.clip(1 - across * across, 0.0, 1.0)) * radius
    return colours * shading(np.asarray(bulge + 0.006 * unit * grain, np.float32), light, depth=0.75)


@dataclass(frozen=True)
class _Twig:
    points: Points
    colour: Colour
    rib: Points | None = None


def _twigs(footing: Footing, middle: Field, radius: Field, leaf: Colour, rng: Rng) -> list[_Twig]:
    """Side twigs with leaves, away from the bird."""
    unit = footing.unit
    width = footing.canvas[1]
    twigs: list[_Twig] = []
    for _ in range(int(rng.integers(2, 7))):
        away = float(rng.uniform(0.6, 1.8)) * float(rng.choice([-1.0, 1.0]))
        column = int(footing.middle[0] + away * unit)
        if not 0 <= column < width:
            continue
        up = float(rng.choice([-1.0, 1.0], p=[0.6, 0.4]))
        angle = float(rng.uniform(0.5, 1.1)) * up
        outward = 1.0 if away > 0 else -1.0
        base = np.array([column, middle[column] + up * 0.4 * radius[column]])
        reach = float(rng.uniform(0.18, 0.34)) * unit
        tip = base + reach * np.array([outward * np.cos(angle), np.sin(angle)])
        stem = feather(base, tip, 0.05 * unit, bend=0.08, blunt=3.0)
        twigs.append(_Twig(stem, (0.34, 0.28, 0.18)))
        for place in (0.5, 0.78, 1.0):
            root = base + (tip - base) * place
            turn = angle + float(rng.uniform(-0.9, 0.9))
            length = float(rng.uniform(0.15, 0.24)) * unit
            end = root + length * np.array([outward * np.cos(turn), np.sin(turn)])
            shade = float(rng.uniform(0.75, 1.3))
            colour: Colour = (min(1.0, leaf[0] * shade), min(1.0, leaf[1] * shade), min(1.0, leaf[2] * shade))
            blade = feather(root, end, 0.45 * length, bend=float(rng.uniform(-0.15, 0.15)), blunt=1.6)
            twigs.append(_Twig(blade, colour, np.array([root, end])))
    return twigs


def _with_twigs(layer: Layer, twigs: list[_Twig], light: Light, unit: float) -> Layer:
    if not twigs:
        return layer
    picture = Image.fromarray(np.asarray(np.clip(layer.colours, 0, 1) * 255, np.uint8))
    labels = Image.fromarray(layer.labels)
    draw, mark = ImageDraw.Draw(picture), ImageDraw.Draw(labels)
    tint = [0.55 * k + 0.45 * s for k, s in zip(light.key, light.sky, strict=True)]
    for twig in twigs:
        points = twig.points - layer.box[:2]
        flat = points.ravel().tolist()
        fill = tuple(round(255 * min(1.0, c * t)) for c, t in zip(twig.colour, tint, strict=True))
        draw.polygon(flat, fill=fill)
        mark.polygon(flat, fill=CODES[Part.PERCH])
        if twig.rib is not None:
            half = len(points) // 2
            spine = (points[:half] + points[half:][::-1]) / 2
            first_is_lit = points[:half, 1].mean() < points[half:, 1].mean()
            upper = np.concatenate([points[:half], spine[::-1]] if first_is_lit else [points[half:], spine])
            draw.polygon(upper.ravel().tolist(), fill=tuple(min(255, round(c * 1.18 + 8)) for c in fill))
            line = (twig.rib - layer.box[:2]).ravel().tolist()
            draw.line(line, fill=tuple(round(c * 0.72) for c in fill), width=max(1, round(0.006 * unit)))
    return Layer(layer.box, np.asarray(picture, np.float32) / np.float32(255), np.asarray(labels, np.uint8))
