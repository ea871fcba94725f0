"""Several curves in one chart: a result's own, and the dashed ones that say what chance or a plain guess would give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from dash.development.base_component import Component

from frontend.components.chart import chart

OWN, SECOND, FLOOR = "#3F9E92", "#C98A1B", "#868883"
"""Read on the light and on the dark page."""
DASHES = ("dash", "dot", "dashdot")


@dataclass(frozen=True)
class Line:
    """One curve.

    Attributes:
        name: In the legend.
        x: Places.
        y: Values; ``None`` leaves a gap.
        floor: Whether it is a counterpart, drawn dashed and grey.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    floor: bool = False


def lines(curves: Sequence[Line], *, along: str, upward: str, label: str, height: int = 256) -> Component:
    """Returns the chart.

    Args:
        curves: First the result's own.
        along: Words under the chart.
        upward: Words beside it.
        label: What the chart shows, for those who do not see it.
        height: In CSS pixels.
    """
    axis = {"showgrid": True, "zeroline": False, "fixedrange": True, "gridcolor": "rgba(134,134,128,0.22)"}
    layout = {
        "xaxis": {**axis, "title": {"text": along}},
        "yaxis": {**axis, "title": {"text": upward}, "rangemode": "tozero"},
        "margin": {"l": 44, "r": 8, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "Inter Variable, system-ui, sans-serif", "size": 11},
        "legend": {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0},
        "hovermode": "x unified",
    }
    return chart({"data": _traces(curves), "layout": layout}, label=label, height=height)


def _traces(curves: Sequence[Line]) -> list[dict[str, Any]]:
    own = [curve for curve in curves if not curve.floor]
    floors = [curve for curve in curves if curve.floor]
    traces = []
    for place, curve in enumerate([*own, *floors]):
        at = place - len(own)
        colour = FLOOR if curve.floor else (OWN, SECOND)[place % 2]
        line = {"color": colour, "width": 1.2 if curve.floor else 1.8}
        if curve.floor:
            line["dash"] = DASHES[at % len(DASHES)]
        traces.append(
            {
                "type": "scatter",
                "mode": "lines",
                "name": curve.name,
                "x": list(curve.x),
                "y": list(curve.y),
                "line": line,
                "hovertemplate": "%{y:.2f}",
            }
        )
    return traces
