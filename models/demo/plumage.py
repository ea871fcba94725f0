"""The feathers: wing, tail and crest as rows of single feathers, and the colours of the plumages."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from models.demo.anatomy import TAIL_ROOT, Points, Pose, Shape, blend, on_head, turned
from models.demo.grammar import Crest, Part, Plumage, Tail, Wing
from models.demo.texture import Colour, Rng

CREAM: Colour = (0.97, 0.94, 0.85)
INK: Colour = (0.07, 0.07, 0.09)


@dataclass(frozen=True)
class Colours:
    """The colours of one plumage."""

    back: Colour
    breast: Colour
    belly: Colour
    crown: Colour
    mask: Colour
    throat: Colour
    feet: Colour
    iris: Colour


PLUMAGES: dict[Plumage, Colours] = {
    Plumage.RED: Colours(
        back=(0.56, 0.10, 0.09), breast=(0.88, 0.19, 0.11), belly=(0.95, 0.55, 0.42), crown=(0.78, 0.12, 0.08),
        mask=(0.24, 0.07, 0.08), throat=(0.93, 0.27, 0.15), feet=(0.45, 0.30, 0.26), iris=(0.42, 0.18, 0.08),
    ),
    Plumage.BLUE: Colours(
        back=(0.11, 0.24, 0.55), breast=(0.25, 0.52, 0.86), belly=(0.80, 0.88, 0.95), crown=(0.14, 0.35, 0.76),
        mask=(0.05, 0.09, 0.20), throat=(0.45, 0.68, 0.92), feet=(0.25, 0.26, 0.30), iris=(0.30, 0.20, 0.12),
    ),
    Plumage.YELLOW: Colours(
        back=(0.70, 0.55, 0.10), breast=(0.98, 0.78, 0.13), belly=(0.99, 0.91, 0.58), crown=(0.93, 0.66, 0.08),
        mask=(0.30, 0.22, 0.08), throat=(0.99, 0.86, 0.32), feet=(0.62, 0.38, 0.20), iris=(0.34, 0.16, 0.06),
    ),
    Plumage.GREEN: Colours(
        back=(0.13, 0.37, 0.15), breast=(0.38, 0.63, 0.20), belly=(0.80, 0.87, 0.50), crown=(0.20, 0.50, 0.17),
        mask=(0.06, 0.17, 0.09), throat=(0.56, 0.76, 0.30), feet=(0.40, 0.38, 0.32), iris=(0.55, 0.22, 0.08),
    ),
}  # fmt: skip

_UPPER_EDGE = np.array(
    [(0.235, -0.045), (0.13, -0.150), (-0.04, -0.135), (-0.24, -0.065), (-0.42, 0.005), (-0.60, 0.10)]
)
_LOWER_EDGE = np.array([(0.235, -0.020), (0.17, 0.105), (0.00, 0.150), (-0.20, 0.128), (-0.40, 0.092), (-0.60, 0.11)])
_EDGE_STEPS = np.array([0.0, 0.15, 0.36, 0.58, 0.79, 1.0])


def feather(base: Points, tip: Points, width: float, *, bend: float = 0.0, blunt: float = 5.0) -> Points:
    """The outline of one feather from ``base`` to ``tip``; ``blunt`` 1.5 = pointed, 6 = round."""
    t = np.linspace(0.0, 1.0, 9)
    along = tip - base
    length = float(np.hypot(*along)) + 1e-9
    normal = np.array([-along[1], along[0]]) / length
    middle = base + along * t[:, None] + normal * (bend * length * 4 * t * (1 - t))[:, None]
    half = 0.5 * width * (0.55 + 0.45 * np.sqrt(t)) * np.sqrt(np.maximum(1 - t**blunt, 0.0))
    return np.concatenate([middle + normal * half[:, None], (middle - normal * half[:, None])[::-1]])


def _tip_of(outline: Points, start: float) -> Points:
    """The part of a feather's outline from ``start`` (0-1 along it) to the tip."""
    count = len(outline) // 2
    first = round(start * (count - 1))
    return np.asarray(outline[first : len(outline) - first])


def _varied(colour: Colour, rng: Rng, amount: float) -> Colour:
    factor = 1.0 + float(rng.uniform(-amount, amount))
    red, green, blue = (min(1.0, channel * factor) for channel in colour)
    return red, green, blue


# --- wing ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _WingColours:
    coverts: Colour
    flight: Colour
    edge: Colour


def _wing_colours(wing: Wing, plumage: Plumage) -> _WingColours:
    if wing is Wing.BARRED:
        return _WingColours((0.33, 0.30, 0.30), (0.21, 0.19, 0.20), (0.60, 0.56, 0.52))
    if wing is Wing.PATCHED:
        return _WingColours((0.15, 0.15, 0.19), (0.10, 0.10, 0.13), (0.36, 0.37, 0.44))
    colours = PLUMAGES[plumage]
    return _WingColours(colours.back, blend(colours.back, INK, 0.35), blend(colours.breast, CREAM, 0.25))


def _on_wing(s: float, t: float) -> Points:
    """The point of the folded wing at ``s`` (0 front, 1 tip) and ``t`` (0 upper edge, 1 lower edge)."""
    upper = np.array([np.interp(s, _EDGE_STEPS, _UPPER_EDGE[:, axis]) for axis in (0, 1)])
    lower = np.array([np.interp(s, _EDGE_STEPS, _LOWER_EDGE[:, axis]) for axis in (0, 1)])
    return np.asarray(upper + (lower - upper) * t)


@dataclass(frozen=True)
class _Row:
    """A row of feathers laid over the row behind it, like tiles on a roof.

    ``span`` says between which ``t`` the row lies, ``tips`` how far (``s``) its upper and its lower feather reach.
    """

    count: int
    base: float
    tips: tuple[float, float]
    width: float
    blunt: float
    flight: bool
    span: tuple[float, float] = (0.06, 0.97)
    bar: float | None = None
    panel: bool = False


_WING_ROWS = (
    _Row(6, 0.50, (1.00, 0.78), 0.050, 3.0, flight=True, span=(0.40, 1.0)),
    _Row(6, 0.40, (0.66, 0.74), 0.056, 4.0, flight=True, panel=True),
    _Row(6, 0.26, (0.50, 0.49), 0.060, 5.0, flight=False, bar=0.62, panel=True),
    _Row(6, 0.12, (0.31, 0.30), 0.058, 6.0, flight=False, bar=0.50),
    _Row(5, 0.02, (0.17, 0.16), 0.055, 6.0, flight=False),
)


def wing_outline() -> Points:
    """The whole folded wing."""
    upper = [_on_wing(s, 0.0) for s in np.linspace(0.02, 0.8, 16)]
    lower = [_on_wing(s, 1.0) for s in np.linspace(0.8, 0.02, 16)]
    return np.array(upper + lower)


def wing_shapes(wing: Wing, plumage: Plumage, rng: Rng) -> list[Shape]:
    """The folded wing, from its ground and the long flight feathers to the small coverts in front."""
    colours = _wing_colours(wing, plumage)
    shapes = [Shape(Part.WING, wing_outline(), blend(colours.coverts, colours.flight, 0.5))]
    for row in _WING_ROWS:
        shapes += _row_shapes(row, wing, colours, rng)
    return shapes


def _row_shapes(row: _Row, wing: Wing, colours: _WingColours, rng: Rng) -> Iterator[Shape]:
    fill = colours.flight if row.flight else colours.coverts
    panel = wing is Wing.PATCHED and row.panel
    for t in np.linspace(row.span[1], row.span[0], row.count):
        reach = float(np.interp(t, row.span, row.tips))
        tip = _on_wing(reach, min(1.0, float(t) + 0.04))
        outline = feather(_on_wing(row.base, float(t)), tip, row.width, bend=-0.03, blunt=row.blunt)
        edge = blend(colours.edge, CREAM, 0.6) if panel else colours.edge
        yield Shape(Part.WING, outline, _varied(CREAM if panel else fill, rng, 0.05 if panel else 0.13), edge)
        if wing is Wing.BARRED and row.bar is not None:
            yield Shape(Part.WING, _tip_of(outline, row.bar), _varied(CREAM, rng, 0.03))
        if panel:
            yield Shape(Part.WING, _tip_of(outline, 0.9), fill)


def shoulder_shapes(plumage: Plumage, rng: Rng) -> list[Shape]:
    """A few feathers of the body that lie over the front of the wing and bind the two together."""
    colours = PLUMAGES[plumage]
    shapes = []
    for t in np.linspace(1.0, -0.05, 6):
        base = np.add(_on_wing(0.0, float(t)), (0.075, 0.10 * (t - 0.4)))
        tip = np.add(_on_wing(0.075, float(t)), (0.0, 0.02 * (t - 0.5)))
        colour = _varied(blend(colours.back, colours.breast, 0.15 + 0.75 * float(np.clip(t, 0, 1))), rng, 0.06)
        shapes.append(Shape(Part.BODY, feather(base, tip, 0.062, bend=0.03, blunt=5.0), colour))
    return shapes


# --- tail ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TailForm:
    count: int
    inner: float
    outer: float
    spread: float
    width: float
    blunt: float
    colour: Colour
    edge: Colour


_TAILS: dict[Tail, _TailForm] = {
    Tail.SHORT: _TailForm(5, 0.27, 0.25, 0.13, 0.075, 6.0, (0.45, 0.27, 0.15), (0.72, 0.50, 0.32)),
    Tail.FORKED: _TailForm(6, 0.26, 0.56, 0.20, 0.055, 2.2, (0.09, 0.10, 0.17), (0.33, 0.38, 0.52)),
    Tail.BROAD: _TailForm(7, 0.43, 0.39, 0.40, 0.105, 6.0, (0.40, 0.37, 0.36), (0.62, 0.59, 0.56)),
}


def tail_shapes(tail: Tail, pose: Pose, rng: Rng) -> list[Shape]:
    """The tail as a fan of feathers, the outer ones behind."""
    form = _TAILS[tail]
    places = np.linspace(-1.0, 1.0, form.count)
    shapes: list[Shape] = []
    for place in sorted(places, key=lambda p: (-abs(p), p)):
        angle = np.pi - 0.36 + place * form.spread
        length = form.inner + (form.outer - form.inner) * abs(place) ** 1.5
        base = np.add(TAIL_ROOT, (0.03, place * 0.012))
        tip = base + length * np.array([np.cos(angle), np.sin(angle)])
        outline = feather(base, tip, form.width, bend=0.05 * place, blunt=form.blunt)
        shapes.append(Shape(Part.TAIL, outline, _varied(form.colour, rng, 0.14), form.edge))
        if tail is Tail.BROAD:
            shapes.append(Shape(Part.TAIL, _tip_of(outline, 0.55), INK))
            shapes.append(Shape(Part.TAIL, _tip_of(outline, 0.78), _varied(CREAM, rng, 0.03)))
    return [Shape(s.part, turned(s.points, -pose.tail, TAIL_ROOT), s.colour, s.edge) for s in shapes]


# --- crest --------------------------------------------------------------------------------------------------------

_CAP = np.array(
    [
        (0.505, -0.375),
        (0.472, -0.428),
        (0.375, -0.484),
        (0.262, -0.454),
        (0.185, -0.368),
        (0.25, -0.385),
        (0.36, -0.405),
        (0.44, -0.395),
    ]
)


def crest_shapes(crest: Crest, pose: Pose, rng: Rng) -> list[Shape]:
    """The crest: nothing, a black cap drawn out to a point, or an upright orange fan with black tips."""
    if crest is Crest.NONE:
        return []
    shapes = _pointed_crest(rng) if crest is Crest.POINTED else _fan_crest(rng)
    return [Shape(s.part, on_head(s.points, pose), s.colour, s.edge) for s in shapes]


def _pointed_crest(rng: Rng) -> list[Shape]:
    colour: Colour = (0.10, 0.10, 0.14)
    shapes = []
    for place in np.linspace(0.0, 1.0, 7):
        base = np.array([0.43 - 0.20 * place, -0.435 + 0.02 * place - 0.03 * np.sin(np.pi * place)])
        tip = np.array([0.075 - 0.075 * place, -0.775 + 0.165 * place])
        outline = feather(base, tip, 0.085, bend=-0.12, blunt=1.4)
        shapes.append(Shape(Part.CREST, outline, _varied(colour, rng, 0.3), (0.34, 0.36, 0.46)))
    return [*shapes, Shape(Part.CREST, _CAP, colour)]


def _fan_crest(rng: Rng) -> list[Shape]:
    colour: Colour = (0.95, 0.56, 0.16)
    shapes = []
    for place in np.linspace(1.0, 0.0, 9):
        angle = np.deg2rad(68 + 84 * place)
        base = np.array([0.455 - 0.19 * place, -0.425 - 0.05 * np.sin(np.pi * place)])
        length = 0.255 + 0.05 * np.sin(np.pi * place)
        tip = base + length * np.array([np.cos(angle), -np.sin(angle)])
        outline = feather(base, tip, 0.075, bend=-0.04, blunt=5.0)
        shapes.append(Shape(Part.CREST, outline, _varied(colour, rng, 0.08), (0.72, 0.36, 0.08)))
        shapes.append(Shape(Part.CREST, _tip_of(outline, 0.72), INK))
    return shapes
