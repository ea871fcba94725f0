"""One drawn picture and everything that is known about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from models.demo.anatomy import HIPS, LEG_LENGTH, Pose, beak_shapes, draw_pose, trunk_outline
from models.demo.branch import Footing
from models.demo.grammar import SPECIES, Beak, Crest, Part, Perch, Species, Tail, caption, find_species
from models.demo.painter import CODES, Labels, Layer, View, paint_bird
from models.demo.perches import paint_perch
from models.demo.plumage import crest_shapes, tail_shapes
from models.demo.scenery import paint_foreground, paint_scene
from models.demo.texture import Colour, Field, Rng, broad_blur, mixed, smoothstep
from models.demo.watermark import stamp

Mask = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]
"""Left, top, right, bottom in pixels."""

WORLD_VERSION = 1
"""Raised whenever the same seed gives another picture."""


@dataclass(frozen=True, eq=False)
class DrawnPicture:
    """A picture of a bird with its truth.

    Attributes:
        pixels: uint8 [H, W, 3].
        masks: By name, bool [H, W]: every part (``body``, ``head``, ``beak``, ``crest``, ``wing``, ``tail``, ``feet``,
            ``perch``; disjoint, possibly empty), ``bird`` (all parts but the perch) and ``watermark``.
        species: What is painted.
        perch: What it stands on.
        caption: The right caption of the closed grammar.
        scene: The kind of background.
        seed: The number it was drawn from.
    """

    pixels: npt.NDArray[np.uint8]
    masks: Mapping[str, Mask]
    species: Species
    perch: Perch
    caption: str
    scene: str
    seed: int


def draw_picture(
    seed: int,
    *,
    size: int | tuple[int, int] = 160,
    species: str | Species | None = None,
    watermark: bool = False,
) -> DrawnPicture:
    """Draw the picture that belongs to ``seed``.

    The same arguments give the same picture bit for bit. Species and watermark do not touch the rest: the same seed
    with another species is the same place, pose and individual with other parts; with a watermark, the same picture
    with a stamp in a corner.

    Args:
        seed: Any number from 0 on.
        size: Side of a square picture, or (height, width), in pixels; at least 32.
        species: Name or species (also one that is not in the table); drawn from the seed if None.
        watermark: Put a stamp into a corner.

    Raises:
        ValueError: Unknown species name, negative seed or too small a size.
    """
    height, width = (size, size) if isinstance(size, int) else size
    if seed < 0 or min(height, width) < 32:
        raise ValueError(f"seed is {seed}, must be at least 0; size is {height} x {width}, must be at least 32 x 32")
    place, look, scenery, under = (np.random.default_rng([WORLD_VERSION, seed, stream]) for stream in range(4))
    drawn = SPECIES[int(place.integers(len(SPECIES)))]
    bird = drawn if species is None else find_species(species) if isinstance(species, str) else species
    factor = 3 if min(height, width) <= 720 else 2
    canvas = (height * factor, width * factor)
    view, footing, room = _arrange(place, canvas)
    perch, slope = _choose_perch(place, footing)
    feet = _feet_on(footing, perch, slope)
    footing = Footing(feet, footing.unit, canvas)
    scene = paint_scene(scenery, (height, width))
    ground = paint_perch(perch, footing, light=scene.light, leaf=scene.leaf, slope=slope, rng=under)
    figure = paint_bird(
        bird, view, light=scene.light, feet=feet, grip=1.0 if perch is Perch.BRANCH else 0.35, canvas=canvas, rng=look
    )
    colours, labels = _composed(scene.colours, [_in_shadow(ground, figure, view), figure], factor)
    inner = (room[0] / factor, room[1] / factor, room[2] / factor, room[3] / factor)
    colours, labels = _behind_leaves(colours, labels, inner, leaf=scene.leaf, rng=scenery)
    colours = _finished(colours, scenery)
    masks = {part.value: labels == CODES[part] for part in Part}
    masks["bird"] = (labels > 0) & ~masks[Part.PERCH.value]
    colours, masks["watermark"] = stamp(colours, place, visible=watermark)
    masks = {name: mask & ~masks["watermark"] if name != "watermark" else mask for name, mask in masks.items()}
    pixels = np.asarray(np.clip(colours, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)
    text = caption(bird, perch)
    return DrawnPicture(pixels, MappingProxyType(masks), bird, perch, text, scene.name, seed)


def _arrange(rng: Rng, canvas: tuple[int, int]) -> tuple[View, Footing, Box]:
    """Pose, size and place, such that every species fits, and the room it may need: the same for all species.

    Places near the border are drawn more often than the middle (arcsine law), so that "look at the middle" is a poor
    explanation.
    """
    height, width = canvas
    pose = draw_pose(rng)
    left, top, right, bottom = _reach(pose)
    fill = float(rng.uniform(0.58, 0.92))
    unit = fill * min(width / (right - left), height / (bottom - top))
    margin = 0.015 * min(canvas)
    across, down = (0.5 - 0.5 * float(np.cos(np.pi * rng.random())) for _ in range(2))
    x = margin - left * unit + across * (width - 2 * margin - (right - left) * unit)
    y = margin - top * unit + down * (height - 2 * margin - (bottom - top) * unit)
    view = View(unit, x, y, pose)
    room = (x + left * unit, y + top * unit, x + right * unit, y + bottom * unit)
    return view, Footing(_standing(view), unit, canvas), room


def _standing(view: View) -> tuple[tuple[float, float], tuple[float, float]]:
    """The feet straight below the hips."""
    hips = view.place(np.array(HIPS))
    near, far = ((float(x), float(y) + LEG_LENGTH * view.unit) for x, y in hips)
    level = (near[1] + far[1]) / 2
    return (near[0], level), (far[0], level)


def _reach(pose: Pose) -> tuple[float, float, float, float]:
    """The rectangle around all species in this pose, relative to the pivot, in units."""
    rng = np.random.default_rng(0)
    shapes = [shape for tail in Tail for shape in tail_shapes(tail, pose, rng)]
    shapes += [shape for crest in Crest for shape in crest_shapes(crest, pose, rng)]
    shapes += [shape for beak in Beak for shape in beak_shapes(beak, pose)]
    view = View(1.0, 0.0, 0.0, pose)
    points = view.place(np.concatenate([shape.points for shape in shapes] + [trunk_outline(pose)]))
    feet = max(y for _, y in _standing(view)) + 0.09
    left, top = points.min(0)
    right, bottom = points.max(0)
    return float(left), float(top), float(right), max(float(bottom), feet)


def _choose_perch(rng: Rng, footing: Footing) -> tuple[Perch, float]:
    """What stands below the feet, and the slope of a branch; a rock only where it need not be a cliff."""
    low = footing.middle[1] > 0.55 * footing.canvas[0]
    choice = float(rng.random())
    slope = float(rng.uniform(-0.22, 0.22))
    if choice < 0.34:
        return Perch.BRANCH, slope
    if choice < 0.67 or not low:
        return (Perch.POST, 0.0) if choice < 0.84 else (Perch.BRANCH, slope)
    return Perch.ROCK, 0.0


def _feet_on(footing: Footing, perch: Perch, slope: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """The feet moved onto the slope of a branch."""
    middle = footing.middle[0]
    tilt = slope if perch is Perch.BRANCH else 0.0
    near, far = ((x, y + tilt * (x - middle)) for x, y in footing.feet)
    return near, far


def _in_shadow(ground: Layer, figure: Layer, view: View) -> Layer:
    """The perch with the bird's soft shadow on it."""
    left, top, right, bottom = ground.box
    cover = np.zeros((bottom - top, right - left), np.float32)
    x, y = figure.box[0] - left, figure.box[1] - top + round(0.10 * view.unit)
    solid = (figure.labels > 0).astype(np.float32)
    rows = slice(max(0, y), max(0, min(cover.shape[0], y + solid.shape[0])))
    columns = slice(max(0, x), max(0, min(cover.shape[1], x + solid.shape[1])))
    part = solid[rows.start - y : rows.stop - y, columns.start - x : columns.stop - x]
    cover[rows, columns] = part
    shade = broad_blur(cover, 0.06 * view.unit)
    return Layer(ground.box, ground.colours * (1 - 0.5 * shade)[..., None], ground.labels)


def _composed(scene: Field, layers: list[Layer], factor: int) -> tuple[Field, Labels]:
    """Scene and layers put together at the final size: colours [H, W, 3] and the map of parts [H, W]."""
    height, width = scene.shape[:2]
    labels = np.zeros((height * factor, width * factor), np.uint8)
    colours = np.zeros((height * factor, width * factor, 3), np.float32)
    for layer in layers:
        left, top, right, bottom = layer.box
        inside = layer.labels > 0
        labels[top:bottom, left:right][inside] = layer.labels[inside]
        colours[top:bottom, left:right][inside] = layer.colours[inside]
    cover = _reduced((labels > 0).astype(np.float32)[..., None], factor)
    middle = factor // 2
    return scene * (1 - cover) + _reduced(colours, factor), labels[middle::factor, middle::factor].copy()


def _behind_leaves(colours: Field, labels: Labels, room: Box, *, leaf: Colour, rng: Rng) -> tuple[Field, Labels]:
    """The picture with blurred leaves close to the lens, which keep out of the room of the bird."""
    height, width = labels.shape
    front, cover = paint_foreground(rng, (height, width), leaf)
    left, top, right, bottom = (round(edge) for edge in room)
    kept = np.zeros((height, width), np.float32)
    kept[max(0, top) : bottom, max(0, left) : right] = 1.0
    cover = cover * (1 - smoothstep(0.02, 0.45, broad_blur(kept, 0.03 * min(height, width))))
    hidden = (cover > 0.5) & (labels == CODES[Part.PERCH])
    return mixed(colours, front, cover), np.where(hidden, 0, labels).astype(np.uint8)


def _reduced(field: Field, factor: int) -> Field:
    """The means of ``factor`` x ``factor`` blocks."""
    height, width, channels = field.shape
    blocks = field.reshape(height // factor, factor, width // factor, factor, channels)
    total = sum(blocks[:, i, :, j] for i in range(factor) for j in range(factor))
    return np.asarray(total / np.float32(factor * factor), dtype=np.float32)


def _finished(colours: Field, rng: Rng) -> Field:
    """A light vignette, a soft shoulder for the highlights and a trace of grain."""
    height, width = colours.shape[:2]
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    colours = colours * (1.0 - 0.09 * smoothstep(0.6, 1.9, x * x + y * y))[..., None]
    colours = np.where(colours > 0.85, 0.85 + 0.15 * np.tanh((colours - 0.85) / 0.15), colours)
    grain = rng.standard_normal((height, width, 1), dtype=np.float32)
    return np.asarray(colours + np.float32(0.008) * grain, np.float32)
