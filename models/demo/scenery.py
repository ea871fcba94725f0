"""The backgrounds: out-of-focus places in different lights, painted without the bird.

Everything here is blurred as a long lens would blur it, so it is painted at the final size, not supersampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from models.demo.light import Light
from models.demo.plumage import feather
from models.demo.texture import (
    Colour,
    Field,
    Rng,
    blurred,
    broad_blur,
    cloud_noise,
    mixed,
    noise_tile,
    ramp,
    sample,
    smoothstep,
)


@dataclass(frozen=True)
class Scene:
    """A painted background.

    Attributes:
        name: The kind of place.
        colours: Colours [h, w, 3] in 0-1.
        light: The light of the place, for the bird and its perch.
        leaf: Colour of leaves that grow there.
    """

    name: str
    colours: Field
    light: Light
    leaf: Colour


@dataclass(frozen=True)
class _Mood:
    key: Colour
    sky: Colour
    ground: Colour
    leaf: Colour
    height: float = 0.62


_DAY = _Mood((1.08, 1.02, 0.92), (0.86, 0.95, 1.10), (0.80, 0.74, 0.60), (0.36, 0.55, 0.20))
_SHADE = _Mood((0.98, 1.03, 0.90), (0.82, 0.98, 0.90), (0.62, 0.70, 0.48), (0.30, 0.52, 0.18))
_EVENING = _Mood((1.12, 0.93, 0.76), (0.92, 0.82, 0.98), (0.86, 0.64, 0.52), (0.42, 0.42, 0.18), 0.5)
_COLD = _Mood((1.00, 1.01, 1.04), (0.98, 1.02, 1.12), (0.92, 0.95, 1.02), (0.40, 0.45, 0.36))
_GOLD = _Mood((1.10, 0.99, 0.84), (0.95, 0.92, 0.92), (0.88, 0.66, 0.42), (0.80, 0.48, 0.12))


def paint_scene(rng: Rng, shape: tuple[int, int]) -> Scene:
    """A random background of ``shape`` (height, width)."""
    name = SCENES[int(rng.integers(len(SCENES)))]
    painter, mood = _PAINTERS[name]
    side = -1.0 if rng.random() < 0.5 else 1.0
    colours = painter(rng, shape)
    colours *= np.float32(rng.uniform(0.88, 1.06))
    slant = float(rng.uniform(0.30, 0.62))
    direction = np.array([side * slant, -mood.height, 0.68])
    direction /= np.linalg.norm(direction)
    strength = float(rng.uniform(0.92, 1.08))
    key: Colour = (mood.key[0] * strength, mood.key[1] * strength, mood.key[2] * strength)
    light = Light((float(direction[0]), float(direction[1]), float(direction[2])), key, mood.sky, mood.ground)
    return Scene(name, np.clip(colours, 0.0, 1.0), light, mood.leaf)


def _rows(shape: tuple[int, int]) -> Field:
    return np.broadcast_to(np.linspace(0, 1, shape[0], dtype=np.float32)[:, None], shape)


def _wavy(rng: Rng, shape: tuple[int, int], *, amount: float, cells: float = 3) -> Field:
    """The row coordinate 0-1, bent by noise."""
    return np.asarray(_rows(shape) + amount * (cloud_noise(rng, shape, cells=(cells, cells)) - 0.5), np.float32)


def _discs(
    rng: Rng,
    colours: Field,
    palette: list[Colour],
    *,
    count: int,
    sizes: tuple[float, float],
    alpha: tuple[float, float],
    rows: tuple[float, float] = (0.0, 1.0),
    soft: float = 0.006,
) -> Field:
    """Lay discs of light (bokeh) over the picture; sizes in fractions of its shorter side."""
    height, width = colours.shape[:2]
    side = min(height, width)
    factor = 2 if side < 400 else 1
    for group in range(2):
        image = Image.fromarray(np.asarray(np.clip(colours, 0.0, 1.0) * 255 + 0.5, np.uint8))
        image = image.resize((width * factor, height * factor), Image.Resampling.BILINEAR)
        draw = ImageDraw.Draw(image, "RGBA")
        for _ in range(count // 2):
            radius = side * factor * float(rng.uniform(*sizes)) ** (1.0 if group else 1.1)
            x, y = float(rng.uniform(0, width)) * factor, float(rng.uniform(*rows)) * height * factor
            red, green, blue = (round(255 * c) for c in palette[int(rng.integers(len(palette)))])
            strength = round(255 * float(rng.uniform(*alpha)))
            corners = (x - radius, y - radius, x + radius, y + radius)
            draw.ellipse(
                corners, fill=(red, green, blue, strength), outline=(red, green, blue, min(255, round(strength * 1.35)))
            )
        image = image.resize((width, height), Image.Resampling.BOX)
        image = image.filter(ImageFilter.GaussianBlur(max(0.5, (soft if group else soft * 3) * side)))
        colours = np.asarray(image, np.float32) / np.float32(255)
    return colours


def _sky(rng: Rng, shape: tuple[int, int]) -> Field:
    blue = float(rng.uniform(-0.06, 0.06))
    base = ramp(
        [(0, (0.36 + blue, 0.58 + blue, 0.84)), (0.6, (0.62, 0.78, 0.92)), (1, (0.86, 0.91, 0.94))],
        _wavy(rng, shape, amount=0.1),
    )
    clouds = smoothstep(0.48, 0.78, cloud_noise(rng, shape, cells=(4, 2.5), octaves=4))
    shade = cloud_noise(rng, shape, cells=(5, 3))
    white = ramp([(0, (0.78, 0.82, 0.88)), (1, (1.0, 0.99, 0.97))], shade)
    return mixed(base, white, 0.85 * clouds)


def _foliage(rng: Rng, shape: tuple[int, int]) -> Field:
    depth = cloud_noise(rng, shape, cells=(3, 3), octaves=2)
    base = ramp([(0.1, (0.06, 0.13, 0.07)), (0.5, (0.20, 0.34, 0.13)), (0.9, (0.50, 0.62, 0.26))], depth)
    palette: list[Colour] = [
        (0.75, 0.85, 0.40),
        (0.55, 0.74, 0.30),
        (0.95, 0.95, 0.70),
        (0.30, 0.50, 0.20),
        (0.80, 0.90, 0.78),
    ]
    return _discs(rng, base, palette, count=44, sizes=(0.02, 0.085), alpha=(0.10, 0.36))


def _blossom(rng: Rng, shape: tuple[int, int]) -> Field:
    depth = cloud_noise(rng, shape, cells=(3, 3), octaves=2)
    base = ramp([(0.1, (0.34, 0.38, 0.34)), (0.5, (0.62, 0.64, 0.58)), (0.9, (0.88, 0.86, 0.82))], depth)
    accents: list[list[Colour]] = [
        [(0.95, 0.72, 0.78), (0.98, 0.86, 0.88), (0.90, 0.52, 0.62)],
        [(0.78, 0.70, 0.92), (0.60, 0.52, 0.84), (0.92, 0.88, 0.98)],
        [(0.92, 0.30, 0.22), (0.98, 0.60, 0.40), (0.72, 0.78, 0.46)],
    ]
    palette = accents[int(rng.integers(len(accents)))]
    return _discs(rng, base, [*palette, (0.98, 0.96, 0.92)], count=52, sizes=(0.02, 0.08), alpha=(0.18, 0.5))


def _autumn(rng: Rng, shape: tuple[int, int]) -> Field:
    depth = cloud_noise(rng, shape, cells=(3, 3), octaves=2)
    base = ramp([(0.1, (0.20, 0.11, 0.07)), (0.5, (0.52, 0.30, 0.12)), (0.9, (0.86, 0.62, 0.26))], depth)
    palette: list[Colour] = [(0.96, 0.68, 0.20), (0.86, 0.38, 0.12), (0.99, 0.85, 0.50), (0.62, 0.60, 0.22)]
    return _discs(rng, base, palette, count=46, sizes=(0.02, 0.085), alpha=(0.12, 0.42))


def _forest(rng: Rng, shape: tuple[int, int]) -> Field:
    width = shape[1]
    base = ramp(
        [(0, (0.72, 0.80, 0.62)), (0.5, (0.42, 0.56, 0.36)), (1, (0.14, 0.22, 0.12))], _wavy(rng, shape, amount=0.35)
    )
    x = np.arange(width, dtype=np.float32)[None, :] / max(shape)
    lean = _rows(shape) * 0.04
    for distance in (0.25, 0.55, 0.9):
        cover = np.zeros(shape, np.float32)
        for _ in range(int(rng.integers(2, 5))):
            place, wide = float(rng.uniform(0, width / max(shape))), float(rng.uniform(0.012, 0.04)) * (0.5 + distance)
            offset = np.abs(x + lean * float(rng.uniform(-1, 1)) - place)
            cover = np.maximum(cover, smoothstep(wide * 1.3, wide * 0.7, offset))
        colour: Colour = (0.46 - 0.32 * distance, 0.52 - 0.38 * distance, 0.42 - 0.32 * distance)
        base = mixed(base, colour, 0.85 * broad_blur(cover, (0.022 - 0.010 * distance) * min(shape)))
    palette: list[Colour] = [(0.90, 0.95, 0.70), (0.70, 0.85, 0.45)]
    return _discs(rng, base, palette, count=20, sizes=(0.02, 0.07), alpha=(0.08, 0.26))


def _water(rng: Rng, shape: tuple[int, int]) -> Field:
    horizon = float(rng.uniform(0.12, 0.42))
    rows = _rows(shape)
    tint = float(rng.uniform(-0.04, 0.06))
    base = ramp([(0, (0.64, 0.78, 0.86)), (0.35, (0.42 + tint, 0.62, 0.72)), (1, (0.12 + tint, 0.30, 0.40))], rows)
    ripples = cloud_noise(rng, shape, cells=(34, 3), octaves=3)
    depth = smoothstep(horizon, 1.0, rows)
    base = mixed(base, (0.88, 0.94, 0.96), (0.15 + 0.55 * depth) * smoothstep(0.55, 0.80, ripples))
    base = mixed(base, (0.06, 0.18, 0.26), (0.10 + 0.45 * depth) * smoothstep(0.48, 0.25, ripples))
    edge = horizon + 0.10 * (cloud_noise(rng, shape, cells=(2, 7)) - 0.5)
    bank = smoothstep(edge + 0.02, edge - 0.02, rows)
    greens = ramp([(0, (0.22, 0.34, 0.22)), (1, (0.60, 0.68, 0.44))], cloud_noise(rng, shape, cells=(6, 8), octaves=2))
    sky = smoothstep(horizon * 0.55, horizon * 0.25, rows)
    greens = mixed(greens, (0.82, 0.90, 0.94), sky)
    return blurred(mixed(base, greens, bank), 0.010 * min(shape))


def _meadow(rng: Rng, shape: tuple[int, int]) -> Field:
    horizon = float(rng.uniform(0.2, 0.5))
    rows = _wavy(rng, shape, amount=0.08)
    stops: list[tuple[float, Colour]] = [
        (0, (0.66, 0.82, 0.92)), (horizon - 0.06, (0.92, 0.95, 0.90)), (horizon + 0.02, (0.50, 0.64, 0.36)),
        (0.8, (0.58, 0.70, 0.26)), (1, (0.28, 0.42, 0.13)),
    ]  # fmt: skip
    base = ramp(stops, rows)
    blades = cloud_noise(rng, shape, cells=(4, 40), octaves=2)
    base *= (1 + 0.35 * (blades - 0.5) * smoothstep(horizon, 1.0, rows))[..., None]
    palettes: list[list[Colour]] = [
        [(0.98, 0.92, 0.45), (0.99, 0.98, 0.90)],
        [(0.90, 0.28, 0.20), (0.98, 0.95, 0.86)],
        [(0.55, 0.48, 0.86), (0.96, 0.75, 0.85)],
    ]
    palette = palettes[int(rng.integers(len(palettes)))]
    flowers = _discs(
        rng, base, palette, count=44, sizes=(0.008, 0.035), alpha=(0.35, 0.85), rows=(horizon + 0.05, 1.0), soft=0.005
    )
    return blurred(flowers, 0.008 * min(shape))


def _dusk(rng: Rng, shape: tuple[int, int]) -> Field:
    sky = ramp(
        [(0, (0.26, 0.28, 0.46)), (0.35, (0.66, 0.46, 0.56)), (0.62, (0.96, 0.62, 0.40)), (1, (0.99, 0.82, 0.54))],
        _wavy(rng, shape, amount=0.10),
    )
    streaks = smoothstep(0.52, 0.75, cloud_noise(rng, shape, cells=(12, 2.5), octaves=3))
    sky = mixed(sky, (0.98, 0.72, 0.56), 0.5 * streaks)
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / np.float32(min(shape))
    sun = np.hypot(x - float(rng.uniform(0.1, 0.9)), y - float(rng.uniform(0.35, 0.7)))
    sky = mixed(sky, (1.0, 0.93, 0.72), 0.9 * smoothstep(0.10, 0.085, sun) + 0.5 * np.exp(-7 * sun) * (sun > 0.0925))
    return _ridges(rng, sky, [(0.58, 0.38, 0.46), (0.38, 0.24, 0.36), (0.20, 0.14, 0.24)], start=0.68)


def _mountain(rng: Rng, shape: tuple[int, int]) -> Field:
    sky = ramp(
        [(0, (0.52, 0.70, 0.88)), (0.6, (0.88, 0.92, 0.94)), (1, (0.94, 0.93, 0.88))], _wavy(rng, shape, amount=0.12)
    )
    colours: list[Colour] = [(0.66, 0.76, 0.86), (0.48, 0.61, 0.72), (0.34, 0.48, 0.50), (0.26, 0.38, 0.28)]
    return _ridges(rng, sky, colours, start=0.34)


def _ridges(rng: Rng, base: Field, colours: list[Colour], *, start: float) -> Field:
    """Hills behind hills, the nearer the darker."""
    shape = base.shape[0], base.shape[1]
    rows = _rows(shape)
    step = (1.0 - start) / len(colours)
    for index, colour in enumerate(colours):
        line = cloud_noise(rng, (2, shape[1]), cells=(1, 3 + 2 * index), octaves=4)[0]
        line = start + index * step + 0.22 * (line - 0.5)
        cover = smoothstep(-0.006, 0.006, rows - line[None, :])
        base = mixed(base, colour, cover * (1 - 0.25 * smoothstep(0.0, 0.3, rows - line[None, :])))
    return blurred(base, 0.009 * min(shape))


def _winter(rng: Rng, shape: tuple[int, int]) -> Field:
    base = ramp(
        [(0, (0.70, 0.77, 0.84)), (0.6, (0.86, 0.89, 0.92)), (1, (0.95, 0.96, 0.97))], _wavy(rng, shape, amount=0.25)
    )
    twigs = cloud_noise(rng, shape, cells=(5, 26), octaves=2)
    base = mixed(base, (0.48, 0.50, 0.54), 0.45 * blurred(smoothstep(0.60, 0.8, twigs), 0.01 * min(shape)))
    return _discs(rng, base, [(1.0, 1.0, 1.0)], count=60, sizes=(0.004, 0.022), alpha=(0.4, 0.9), soft=0.004)


def _plate(rng: Rng, shape: tuple[int, int]) -> Field:
    """The page of an old field guide: a soft wash of colour on paper."""
    tints: list[Colour] = [(0.80, 0.86, 0.84), (0.90, 0.84, 0.72), (0.78, 0.83, 0.90), (0.86, 0.88, 0.76)]
    tint = tints[int(rng.integers(len(tints)))]
    paper = ramp([(0, (0.93, 0.90, 0.83)), (1, (0.98, 0.96, 0.91))], cloud_noise(rng, shape, cells=(4, 4), octaves=4))
    wash = smoothstep(0.30, 0.70, cloud_noise(rng, shape, cells=(2, 2), octaves=5))
    y, x = np.mgrid[0 : shape[0], 0 : shape[1]].astype(np.float32) / np.float32(max(shape))
    sheet = sample(noise_tile(1.0, 1.0), x * 900, y * 900)
    return mixed(paper, tint, 0.85 * wash) * (1 + 0.008 * sheet)[..., None]


_PAINTERS: dict[str, tuple[Callable[[Rng, tuple[int, int]], Field], _Mood]] = {
    "sky": (_sky, _DAY),
    "foliage": (_foliage, _SHADE),
    "blossom": (_blossom, _DAY),
    "autumn": (_autumn, _GOLD),
    "forest": (_forest, _SHADE),
    "water": (_water, _DAY),
    "meadow": (_meadow, _DAY),
    "dusk": (_dusk, _EVENING),
    "mountain": (_mountain, _DAY),
    "winter": (_winter, _COLD),
    "plate": (_plate, _DAY),
}
SCENES: tuple[str, ...] = tuple(_PAINTERS)


def paint_foreground(rng: Rng, shape: tuple[int, int], leaf: Colour) -> tuple[Field, Field]:
    """Leaves and blades close to the lens, far out of focus: colours [h, w, 3] and cover [h, w] in 0-1."""
    height, width = shape
    side = min(shape)
    picture, cover = Image.new("RGB", (width, height)), Image.new("L", (width, height))
    brush, mark = ImageDraw.Draw(picture), ImageDraw.Draw(cover)
    picture.paste(tuple(round(255 * channel) for channel in leaf), (0, 0, width, height))
    for _ in range(int(rng.integers(0, 5))):
        corner = np.array(
            [float(rng.choice([0.0, 1.0])) * width, float(rng.choice([0.0, 1.0], p=[0.25, 0.75])) * height]
        )
        inward = np.array([width / 2, height / 2]) - corner
        inward /= np.linalg.norm(inward)
        root = corner + rng.uniform(-0.25, 0.25, 2) * side - 0.12 * side * inward
        tip = root + (inward + rng.uniform(-0.7, 0.7, 2)) * side * float(rng.uniform(0.22, 0.42))
        blade = feather(
            root, tip, side * float(rng.uniform(0.05, 0.14)), bend=float(rng.uniform(-0.15, 0.15)), blunt=2.0
        )
        shade = float(rng.uniform(0.55, 1.35))
        brush.polygon(blade.ravel().tolist(), fill=tuple(min(255, round(255 * channel * shade)) for channel in leaf))
        mark.polygon(blade.ravel().tolist(), fill=230)
    radius = 0.022 * side
    soft = (
        np.asarray(image.filter(ImageFilter.GaussianBlur(radius)), np.float32) / np.float32(255)
        for image in (picture, cover)
    )
    colours, amount = soft
    return colours, amount
