"""The bird's anatomy in its own coordinates: outline, pose, beak, eye and legs.

Coordinates: x forward (the bird looks to the right), y down, unit = about the length of the trunk with the head.
The shoulder joint of the neck is the pivot of the head.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from models.demo.grammar import Beak, Part
from models.demo.texture import Colour, Rng

Points = npt.NDArray[np.float64]
"""Points ``[n, 2]`` as (x, y)."""

NECK = (0.22, -0.16)
HEAD_CENTRE = (0.365, -0.315)
HEAD_RADIUS = 0.165
TAIL_ROOT = (-0.40, 0.05)
HIPS = ((0.055, 0.205), (-0.06, 0.20))
LEG_LENGTH = 0.16

_TRUNK = (
    (0.512, -0.335), (0.472, -0.425), (0.375, -0.482), (0.262, -0.452), (0.175, -0.352), (0.075, -0.240),
    (-0.10, -0.160), (-0.29, -0.065), (-0.43, 0.005), (-0.47, 0.045), (-0.43, 0.095), (-0.32, 0.150),
    (-0.18, 0.222), (0.0, 0.262), (0.17, 0.228), (0.305, 0.118), (0.385, -0.02), (0.435, -0.140), (0.488, -0.235),
)  # fmt: skip
_HEAD_WEIGHTS = (1, 1, 1, 1, 0.75, 0.2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.1, 0.65, 1)


@dataclass(frozen=True)
class Pose:
    """How the bird holds itself; angles in radians, positive = nose up.

    Attributes:
        body: Turn of the whole bird about its hips.
        head: Turn of the head about the neck.
        tail: Turn of the tail about its root.
        plump: Height of the belly, 1 = standard.
        faces_left: Mirror the bird.
    """

    body: float
    head: float
    tail: float
    plump: float
    faces_left: bool


@dataclass(frozen=True)
class Shape:
    """One painted polygon.

    Attributes:
        part: The mask it belongs to.
        points: Outline, in the bird's coordinates.
        colour: Fill.
        edge: Colour of a thin line along the outline, if any.
    """

    part: Part
    points: Points
    colour: Colour
    edge: Colour | None = None


def draw_pose(rng: Rng) -> Pose:
    """A random pose within what looks natural."""
    return Pose(
        body=float(rng.uniform(-0.16, 0.34)),
        head=float(rng.uniform(-0.20, 0.16)),
        tail=float(rng.uniform(-0.16, 0.18)),
        plump=float(rng.uniform(0.92, 1.12)),
        faces_left=bool(rng.random() < 0.5),
    )


def turned(points: Points, angle: float, pivot: tuple[float, float]) -> Points:
    """The points turned nose-up by ``angle`` about ``pivot``."""
    cosine, sine = np.cos(angle), np.sin(angle)
    matrix = np.array([[cosine, sine], [-sine, cosine]])
    return np.asarray((points - pivot) @ matrix.T + pivot)


def closed_spline(points: Points, *, steps: int = 8) -> Points:
    """A smooth closed curve (Catmull-Rom) through the points, ``steps`` points per stretch."""
    before, after = np.roll(points, 1, 0), np.roll(points, -1, 0)
    later = np.roll(points, -2, 0)
    t = (np.arange(steps) / steps)[:, None, None]
    curve = 0.5 * (
        2 * points
        + (after - before) * t
        + (2 * before - 5 * points + 4 * after - later) * t**2
        + (3 * points - before - 3 * after + later) * t**3
    )
    return np.asarray(curve.transpose(1, 0, 2).reshape(-1, 2))


def trunk_outline(pose: Pose) -> Points:
    """The outline of trunk and head, with the head turned."""
    points = np.array(_TRUNK)
    below = points[:, 1] > 0.1
    points[below, 1] = 0.1 + (points[below, 1] - 0.1) * (1 + (pose.plump - 1) * 2.5)
    weights = np.array(_HEAD_WEIGHTS)[:, None]
    moved = turned(points, pose.head, NECK)
    return closed_spline(points + (moved - points) * weights)


def head_outline(pose: Pose) -> Points:
    """A disc that, cut with the trunk's outline, is the head."""
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    disc = np.stack([0.385 + np.cos(angles) * 0.215, -0.325 + np.sin(angles) * 0.20], 1)
    return turned(disc, pose.head, NECK)


def on_head(points: Points, pose: Pose) -> Points:
    """Points fixed to the head, moved with it."""
    return turned(points, pose.head, NECK)


_BEAK_COLOURS: dict[Beak, tuple[Colour, Colour, Colour]] = {
    Beak.SHORT: ((0.62, 0.58, 0.52), (0.40, 0.36, 0.33), (0.93, 0.90, 0.84)),
    Beak.LONG: ((0.93, 0.45, 0.10), (0.58, 0.22, 0.06), (1.00, 0.76, 0.38)),
    Beak.HOOKED: ((0.20, 0.19, 0.22), (0.08, 0.08, 0.10), (0.55, 0.56, 0.62)),
}
"""Middle, shadow and light of each beak: the same for every species that has it."""

_UPPER: dict[Beak, tuple[tuple[float, float], ...]] = {
    Beak.SHORT: ((0.475, -0.385), (0.56, -0.375), (0.635, -0.325), (0.695, -0.262), (0.60, -0.268), (0.475, -0.268)),
    Beak.LONG: (
        (0.475, -0.360), (0.58, -0.345), (0.74, -0.300), (0.94, -0.240), (0.74, -0.262), (0.60, -0.275),
        (0.475, -0.280),
    ),
    Beak.HOOKED: (
        (0.465, -0.405), (0.56, -0.425), (0.665, -0.385), (0.735, -0.285), (0.728, -0.170), (0.700, -0.225),
        (0.645, -0.262), (0.56, -0.262), (0.470, -0.268),
    ),
}  # fmt: skip
_LOWER: dict[Beak, tuple[tuple[float, float], ...]] = {
    Beak.SHORT: ((0.475, -0.270), (0.60, -0.268), (0.672, -0.258), (0.61, -0.215), (0.54, -0.195), (0.475, -0.20)),
    Beak.LONG: ((0.475, -0.280), (0.62, -0.272), (0.90, -0.240), (0.72, -0.238), (0.58, -0.222), (0.475, -0.222)),
    Beak.HOOKED: ((0.470, -0.268), (0.58, -0.260), (0.655, -0.255), (0.640, -0.200), (0.56, -0.172), (0.475, -0.188)),
}


def beak_shapes(beak: Beak, pose: Pose) -> list[Shape]:
    """The beak: lower half, upper half, and lighter and darker stripes that make it round."""
    middle, shadow, light = _BEAK_COLOURS[beak]
    upper = closed_spline(np.array(_UPPER[beak]), steps=6)
    lower = closed_spline(np.array(_LOWER[beak]), steps=6)
    shapes = [Shape(Part.BEAK, lower, _blend(middle, shadow, 0.55), shadow)]
    shapes += [Shape(Part.BEAK, upper, _blend(middle, shadow, 0.25), shadow)]
    shapes += [Shape(Part.BEAK, _shrunk(upper, 0.84, -0.007), middle)]
    shapes += [Shape(Part.BEAK, _shrunk(upper, 0.62, -0.020), _blend(middle, light, 0.45))]
    shapes += [Shape(Part.BEAK, _shrunk(upper, 0.36, -0.030), _blend(middle, light, 0.85))]
    nostril = np.array([(0.535, -0.335), (0.558, -0.334), (0.562, -0.322), (0.54, -0.322)])
    shapes.append(Shape(Part.BEAK, nostril, _blend(shadow, (0.0, 0.0, 0.0), 0.5)))
    return [Shape(s.part, on_head(s.points, pose), s.colour, s.edge) for s in shapes]


def eye_place(pose: Pose) -> tuple[float, float]:
    """The middle of the eye."""
    place = on_head(np.array([(0.415, -0.345)]), pose)[0]
    return float(place[0]), float(place[1])


def _shrunk(points: Points, factor: float, lift: float) -> Points:
    middle = points.mean(0)
    return np.asarray((points - middle) * (factor, factor) + middle + (0.0, lift))


def _blend(first: Colour, second: Colour, amount: float) -> Colour:
    red, green, blue = (a + (b - a) * amount for a, b in zip(first, second, strict=True))
    return red, green, blue


blend = _blend
