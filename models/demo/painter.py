"""The painter: turns the bird's anatomy into colours, light and a map of parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from models.demo.anatomy import (
    HEAD_CENTRE,
    HEAD_RADIUS,
    HIPS,
    NECK,
    Points,
    Pose,
    Shape,
    beak_shapes,
    blend,
    eye_place,
    head_outline,
    trunk_outline,
    turned,
)
from models.demo.grammar import Part, Species
from models.demo.light import Light, shading
from models.demo.plumage import INK, PLUMAGES, Colours, crest_shapes, shoulder_shapes, tail_shapes, wing_shapes
from models.demo.texture import Colour, Field, Rng, blurred, broad_blur, mixed, noise_tile, sample, smoothstep

Labels = npt.NDArray[np.uint8]
"""A map of parts [h, w]: 0 = nothing, else 1 + the place of the part in ``Part``."""

CODES: dict[Part, int] = {part: index + 1 for index, part in enumerate(Part)}
BODY_PIVOT = (0.0, 0.2)
_SHADOW = 0.42


@dataclass(frozen=True)
class View:
    """Where the bird stands on the canvas.

    Attributes:
        unit: Pixels per unit of the bird's coordinates.
        x: Column of the bird's pivot.
        y: Row of the bird's pivot.
        pose: The pose; it turns and mirrors the bird.
    """

    unit: float
    x: float
    y: float
    pose: Pose

    def place(self, points: Points) -> Points:
        """Points in the bird's coordinates as pixels (x, y) of the canvas."""
        moved = (turned(points, self.pose.body, BODY_PIVOT) - BODY_PIVOT) * self.unit
        if self.pose.faces_left:
            moved = moved * (-1.0, 1.0)
        return np.asarray(np.add(moved, (self.x, self.y)))

    def coordinates(self, box: tuple[int, int, int, int]) -> tuple[Field, Field]:
        """The bird's coordinates x and y [h, w] of the pixels of ``box`` (left, top, right, bottom)."""
        left, top, right, bottom = box
        x = ((np.arange(left, right, dtype=np.float32) + 0.5 - self.x) / self.unit)[None, :]
        y = ((np.arange(top, bottom, dtype=np.float32) + 0.5 - self.y) / self.unit)[:, None]
        if self.pose.faces_left:
            x = -x
        cosine, sine = np.float32(np.cos(self.pose.body)), np.float32(np.sin(self.pose.body))
        return cosine * x - sine * y + np.float32(BODY_PIVOT[0]), sine * x + cosine * y + np.float32(BODY_PIVOT[1])


@dataclass(frozen=True)
class Layer:
    """A painted part of the canvas.

    Attributes:
        box: Left, top, right, bottom on the canvas.
        colours: Colours [h, w, 3] in 0-1.
        labels: Map of parts [h, w]; 0 where the layer is empty.
    """

    box: tuple[int, int, int, int]
    colours: Field
    labels: Labels


def paint_bird(
    species: Species,
    view: View,
    *,
    light: Light,
    feet: Sequence[tuple[float, float]],
    grip: float,
    canvas: tuple[int, int],
    rng: Rng,
) -> Layer:
    """The bird as a layer.

    Args:
        species: What to paint.
        view: Where and in which pose.
        light: The scene's light.
        feet: Where the two feet grip, in pixels of the canvas.
        grip: How far the toes bend around the perch, 0-1.
        canvas: Height and width of the canvas.
        rng: Source of the small variations between individuals; every part has a stream of its own, so that another
            variant of one part leaves the others as they are.
    """
    pose = view.pose
    own = rng.spawn(5)
    tail = tail_shapes(species.tail, pose, own[0])
    crest = crest_shapes(species.crest, pose, own[1])
    wing = wing_shapes(species.wing, species.plumage, own[2])
    beak = beak_shapes(species.beak, pose)
    ruffled = trunk_outline(pose)
    trunk = view.place(ruffled + own[3].normal(0.0, 0.0018, ruffled.shape))
    everything = [view.place(shape.points) for shape in (*tail, *crest, *beak)] + [trunk, np.array(feet)]
    box = _box_of(everything, pad=0.06 * view.unit, canvas=canvas)
    x, y = view.coordinates(box)
    pen = _Pen(box, view)
    _paint_legs(pen, view, feet, PLUMAGES[species.plumage], grip=grip)
    pen.shapes(tail)
    pen.trunk(_body_colours(x, y, pose, PLUMAGES[species.plumage]), trunk)
    pen.shapes(wing)
    pen.shapes(shoulder_shapes(species.plumage, own[4]))
    pen.shapes(beak)
    pen.shapes(crest)
    colours, labels = pen.arrays()
    colours = _lit(colours, labels, view, light, x, y)
    _paint_eye(colours, box, view, PLUMAGES[species.plumage])
    return Layer(box, colours, labels)


def _box_of(polygons: Sequence[Points], *, pad: float, canvas: tuple[int, int]) -> tuple[int, int, int, int]:
    points = np.concatenate(polygons)
    left, top = np.floor(points.min(0) - pad).astype(int)
    right, bottom = np.ceil(points.max(0) + pad).astype(int)
    return max(0, int(left)), max(0, int(top)), min(canvas[1], int(right)), min(canvas[0], int(bottom))


class _Pen:
    """Draws polygons into a picture and, at the same time, into the map of parts."""

    def __init__(self, box: tuple[int, int, int, int], view: View) -> None:
        self._origin = np.array(box[:2], dtype=np.float64)
        self._view = view
        size = (box[2] - box[0], box[3] - box[1])
        self._picture = Image.new("RGB", size)
        self._labels = Image.new("L", size)
        self._draw = ImageDraw.Draw(self._picture)
        self._mark = ImageDraw.Draw(self._labels)
        self._line = max(1, round(view.unit * 0.0045))

    def polygon(self, part: Part, points: Points, colour: Colour, edge: Colour | None = None) -> None:
        flat = (points - self._origin).ravel().tolist()
        self._draw.polygon(flat, fill=_bytes(colour))
        self._mark.polygon(flat, fill=CODES[part])
        if edge is not None:
            self._draw.line(flat, fill=_bytes(edge), width=self._line)

    def shapes(self, shapes: Sequence[Shape]) -> None:
        for shape in shapes:
            self.polygon(shape.part, self._view.place(shape.points), shape.colour, shape.edge)

    def stroke(self, part: Part, points: Points, colour: Colour, width: float) -> None:
        flat = (points - self._origin).ravel().tolist()
        self._draw.line(flat, fill=_bytes(colour), width=max(1, round(width)), joint="curve")
        self._mark.line(flat, fill=CODES[part], width=max(1, round(width)), joint="curve")

    def trunk(self, colours: Field, outline: Points) -> None:
        """Paint trunk and head: one outline, filled with a field of colours, the head cut out by a disc."""
        size = self._labels.size
        trunk, head = Image.new("L", size), Image.new("L", size)
        ImageDraw.Draw(trunk).polygon((outline - self._origin).ravel().tolist(), fill=255)
        disc = self._view.place(head_outline(self._view.pose))
        ImageDraw.Draw(head).polygon((disc - self._origin).ravel().tolist(), fill=255)
        inside = np.asarray(trunk) > 0
        self._picture.paste(Image.fromarray(_to_bytes(colours)), (0, 0), trunk)
        labels = np.asarray(self._labels).copy()
        labels[inside] = np.where(np.asarray(head)[inside] > 0, CODES[Part.HEAD], CODES[Part.BODY])
        self._labels = Image.fromarray(labels)
        self._mark = ImageDraw.Draw(self._labels)

    def arrays(self) -> tuple[Field, Labels]:
        colours = np.asarray(self._picture, dtype=np.float32) / np.float32(255)
        return colours, np.asarray(self._labels, dtype=np.uint8)


def _bytes(colour: Colour) -> tuple[int, int, int]:
    red, green, blue = (round(255 * channel) for channel in colour)
    return red, green, blue


def _to_bytes(colours: Field) -> npt.NDArray[np.uint8]:
    return np.asarray(np.clip(colours, 0.0, 1.0) * 255.0 + 0.5, dtype=np.uint8)


def _paint_legs(pen: _Pen, view: View, feet: Sequence[tuple[float, float]], colours: Colours, *, grip: float) -> None:
    """Two legs with toes; ``grip`` is how far the toes bend down around the perch, 0-1."""
    unit = view.unit
    forward = -1.0 if view.pose.faces_left else 1.0
    for index, (hip, foot) in enumerate(zip(HIPS, feet, strict=True)):
        colour = blend(colours.feet, INK, 0.30 if index else 0.0)
        top = view.place(np.array([hip]))[0]
        end = np.array(foot)
        knee = (top + end) / 2 + (-0.02 * forward * unit, 0.0)
        pen.stroke(Part.FEET, np.array([top, knee, end]), colour, 0.034 * unit)
        pen.stroke(
            Part.FEET, np.array([top, knee, end]) - (0.006 * unit, 0), blend(colour, (1, 0.9, 0.8), 0.3), 0.010 * unit
        )
        for reach, drop in ((0.10, 0.035), (0.075, 0.055), (0.035, 0.065), (-0.055, 0.045)):
            toe = np.array(
                [
                    end,
                    np.add(end, (reach * 0.6 * forward * unit, 0.002 * unit)),
                    np.add(end, (reach * forward * unit, grip * drop * unit)),
                ]
            )
            pen.stroke(Part.FEET, toe, colour, 0.030 * unit)
            claw = toe[-1] + np.array([[0, -0.004], [0.012 * forward, 0.022]]) * unit
            pen.stroke(Part.FEET, claw, blend(colours.feet, INK, 0.7), 0.014 * unit)


def _body_colours(x: Field, y: Field, pose: Pose, colours: Colours) -> Field:
    """The plumage of trunk and head [h, w, 3], from fields of the bird's coordinates."""
    grain = sample(noise_tile(9.0, 2.2), (x * 300), (y + 0.33 * x) * 300)
    across = 0.31 * x + 0.95 * y + 0.020 * grain
    along = 0.95 * x - 0.31 * y + 0.015 * grain
    shape = (*x.shape, 3)
    paint = np.broadcast_to(np.asarray(colours.back, np.float32), shape)
    paint = mixed(paint, colours.breast, smoothstep(-0.06, 0.09, across + 0.10 * along))
    paint = mixed(paint, colours.belly, smoothstep(0.10, 0.24, across) * smoothstep(0.20, -0.02, along))
    hx, hy = _head_coordinates(x, y, pose)
    hx, hy = hx + 0.05 * grain, hy + 0.06 * grain
    head = smoothstep(1.35, 1.05, np.hypot(hx, hy))
    face = mixed(
        np.broadcast_to(np.asarray(colours.crown, np.float32), shape),
        colours.throat,
        smoothstep(-0.05, 0.45, hy - 0.1 * hx),
    )
    band = smoothstep(0.30, 0.16, np.abs(hy + 0.10 - 0.10 * hx)) * smoothstep(-0.75, -0.35, hx)
    face = mixed(face, colours.mask, 0.92 * band)
    return mixed(paint, face, head)


def _head_coordinates(x: Field, y: Field, pose: Pose) -> tuple[Field, Field]:
    cosine, sine = np.float32(np.cos(pose.head)), np.float32(np.sin(pose.head))
    dx, dy = x - np.float32(NECK[0]), y - np.float32(NECK[1])
    hx = (cosine * dx - sine * dy + (NECK[0] - HEAD_CENTRE[0])) / HEAD_RADIUS
    hy = (sine * dx + cosine * dy + (NECK[1] - HEAD_CENTRE[1])) / HEAD_RADIUS
    return np.asarray(hx, np.float32), np.asarray(hy, np.float32)


def _feather_texture(x: Field, y: Field, fine: float) -> Field:
    """Brightness factors [h, w] of the small body feathers: overlapping scales plus fine barbs."""
    flow = y + 0.33 * x + 0.25 * x * x
    barbs = sample(noise_tile(7.0, 1.0), x * 420 + 60 * flow, flow * 420)
    bent = sample(noise_tile(16.0, 16.0), x * 220, flow * 220)
    row = (x * 0.95 - flow * 0.2) / 0.046 + 0.10 * bent
    index = np.floor(row)
    side = flow / 0.058 + 0.5 * (index % 2) + 0.10 * bent
    place = side - np.floor(side) - 0.5
    past = row - index - 2.0 * place * place
    shadow = np.where(past < 0, np.exp(past * 5.0), 0.0)
    fringe = np.where(past >= 0, np.exp(-past * 6.0), 0.0)
    return np.asarray(1.0 + 0.06 * fine * barbs - 0.15 * shadow + 0.06 * fringe, np.float32)


def _lit(colours: Field, labels: Labels, view: View, light: Light, x: Field, y: Field) -> Field:
    """The colours under the scene's light, with feather texture, shadows between parts and dark edges."""
    unit = view.unit
    inside = (labels > 0).astype(np.float32)
    trunk = np.isin(labels, (CODES[Part.BODY], CODES[Part.HEAD]))
    solid = (trunk | (labels == CODES[Part.WING]) | (labels == CODES[Part.CREST])).astype(np.float32)
    wing = (labels == CODES[Part.WING]).astype(np.float32)
    head = (labels == CODES[Part.HEAD]).astype(np.float32)
    volume = 1.5 * broad_blur(solid, 0.12 * unit) + 0.55 * broad_blur(solid, 0.045 * unit)
    volume += 0.5 * broad_blur(head, 0.06 * unit) + 0.25 * broad_blur(wing, 0.03 * unit)
    relief = blurred(colours.mean(-1) * inside, 0.004 * unit) * 0.06
    fine = 0.20 * blurred(inside, 0.012 * unit)
    factors = shading(volume + relief + fine, light, depth=0.20 * unit)
    feathers = np.where(
        trunk, _feather_texture(x, y, 1.0), 1.0 + 0.03 * sample(noise_tile(7.0, 1.0), x * 500, (y + 0.3 * x) * 500)
    )
    colours = colours * (factors * feathers[..., None].astype(np.float32))
    drop = round(0.028 * unit)
    fallen = np.zeros_like(wing)
    fallen[drop:] = wing[: len(wing) - drop]
    shadow = broad_blur(fallen, 0.025 * unit) * trunk * (1 - wing)
    return np.asarray(colours * (1.0 - _SHADOW * shadow)[..., None], np.float32)


def _paint_eye(colours: Field, box: tuple[int, int, int, int], view: View, plumage: Colours) -> None:
    """Paint the eye into ``colours``: a pale ring, the iris, the pupil and two lights."""
    x, y = view.place(np.array([eye_place(view.pose)]))[0] - np.array(box[:2])
    radius = 0.034 * view.unit
    reach = int(radius * 2.2) + 2
    top, left = max(0, int(y) - reach), max(0, int(x) - reach)
    patch = colours[top : int(y) + reach, left : int(x) + reach]
    rows, columns = np.mgrid[0 : patch.shape[0], 0 : patch.shape[1]].astype(np.float32)
    dx, dy = (columns + left + 0.5 - x) / radius, (rows + top + 0.5 - y) / radius
    distance = np.hypot(dx, dy).astype(np.float32)
    soft = 1.2 / radius
    for size, colour, amount in (
        (1.36, blend(plumage.throat, (1.0, 1.0, 1.0), 0.25), 0.7),
        (1.06, INK, 1.0),
        (0.92, plumage.iris, 1.0),
        (0.62, (0.02, 0.02, 0.03), 1.0),
    ):
        patch[:] = mixed(patch, colour, amount * smoothstep(size + soft / 2, size - soft / 2, distance))
    for cx, cy, size, amount in ((-0.28, -0.34, 0.30, 0.95), (0.30, 0.42, 0.20, 0.30)):
        spot = np.hypot(dx - cx, dy - cy).astype(np.float32)
        patch[:] = mixed(patch, (1.0, 1.0, 1.0), amount * smoothstep(size + soft / 2, size - soft / 2, spot))
