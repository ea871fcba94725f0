"""Small curves without a chart library: ribbons cut out of plain boxes, so that a strip costs nothing to draw."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dash import html
from dash.development.base_component import Component

Points = Sequence[tuple[float, float]]
"""Places (x, y), both 0-1, y upwards, x rising."""


def spark(
    own: Points,
    floor: Points,
    *,
    label: str,
    size: tuple[int, int] = (54, 28),
    strong: bool = True,
    stroke: float = 1.7,
) -> Component:
    """Returns two curves and the area between them.

    Args:
        own: The map's curve.
        floor: What it is held against, dashed.
        label: What the drawing says, for people who do not see it.
        size: Width and height in pixels.
        strong: Whether the own curve is drawn in the accent; else in the colour of the floor.
        stroke: Width of the own curve in pixels.
    """
    between = [*own, *reversed(floor)]
    boxes = [
        html.I(className="v-spark-area", style={"clipPath": _polygon(_scaled(between, size))}),
        html.I(className="v-spark-floor", style={"clipPath": _polygon(ribbon(_scaled(floor, size), 1.2))}),
        html.I(className="v-spark-own", style={"clipPath": _polygon(ribbon(_scaled(own, size), stroke))}),
    ]
    style = {"width": f"{size[0]}px", "height": f"{size[1]}px"}
    return html.Span(
        boxes,
        className="v-spark" + ("" if strong else " is-weak"),
        style=style,
        role="img",
        **{"aria-label": label},
    )


def ribbon(points: Points, width: float) -> list[tuple[float, float]]:
    """Returns the outline of a line of some width through points (pixels, y downwards)."""
    half = width / 2
    left, right = [], []
    for at, (x, y) in enumerate(points):
        before, after = points[max(0, at - 1)], points[min(len(points) - 1, at + 1)]
        dx, dy = after[0] - before[0], after[1] - before[1]
        length = math.hypot(dx, dy) or 1.0
        nx, ny = -dy / length * half, dx / length * half
        left.append((x + nx, y + ny))
        right.append((x - nx, y - ny))
    return [*left, *reversed(right)]


def _scaled(points: Points, size: tuple[int, int]) -> list[tuple[float, float]]:
    width, height = size
    return [(1 + x * (width - 2), 1 + (1 - min(max(y, 0.0), 1.0)) * (height - 2)) for x, y in points]


def _polygon(points: Points) -> str:
    return "polygon(" + ", ".join(f"{x:.1f}px {y:.1f}px" for x, y in points) + ")"
