"""Curves of a training: what it minimises in one chart, what it is measured by in another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from dash import html
from dash.development.base_component import Component

from frontend.components.chart import chart
from frontend.components.explainer_words import figure_name

SHARES = "accuracy|agreement|iou|share|purity"
"""Curves between 0 and 1 by their names, as a pattern that the browser understands too."""
LOSSES = "loss|entropy|distillation|cluster|align"
BESIDE = ("base_", "iou_", "agreement_")
"""Figures that only accompany another one; as curves they would hide it."""
COLOURS = ("#3F9E92", "#E69F00", "#0072B2", "#CC79A7", "#8CCBEE", "#D55E00")
HEIGHT = 220
LEGEND_PX = 19
Curves = Mapping[str, Sequence[Sequence[float]]]


def curve_charts(curves: Curves, *, owner: str = "") -> Component:
    """Returns both charts; one without curves stays hidden until it has some.

    Args:
        curves: Points ``[epochs since the beginning, value]`` by name.
        owner: Training whose events change the charts; empty for charts that stay.
    """
    shares, losses = by_family(curves)
    parts = [
        _part("Measured", "shares", SHARES, shares, owner, top=1.0),
        _part("Loss", "losses", LOSSES, losses, owner),
    ]
    return html.Div(parts, className="v-curves")


def by_family(curves: Curves) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns the curves between 0 and 1 and the losses; a rate or a count is no curve that anybody compares."""
    shares = {name: points for name, points in curves.items() if any(one in name for one in SHARES.split("|"))}
    rest = {name: points for name, points in curves.items() if name not in shares}
    losses = {name: points for name, points in rest.items() if any(one in name for one in LOSSES.split("|"))}
    return shares, losses


def curves_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[float, float]]]:
    """Returns the curves of a record's history: one row for each step, numbers by name, also one level deeper."""
    epochs = [row.get("epoch") for row in rows]
    numbered = all(isinstance(one, int) for one in epochs) and epochs == sorted(epochs, key=lambda one: one or 0)
    curves: dict[str, list[tuple[float, float]]] = {}
    for place, row in enumerate(rows):
        # Stages that count from the start again are put one after the other.
        along = float(epochs[place] or 0) + 1.0 if numbered else place + 1.0
        for name, value in _numbers(row).items():
            if not name.startswith(BESIDE):
                curves.setdefault("loss" if name == "total" else name, []).append((along, value))
    return curves


def overlap_chart(curves: Mapping[str, Any]) -> Component | None:
    """Returns the overlap of two maps against the percentile, beside its floors; ``None`` where none was measured."""
    along = curves.get("percentile")
    if not isinstance(along, list) or len(curves) < 2:
        return None
    names = {
        "book": "this explainer",
        "gaussian": "middle of the picture",
        "other": "another picture's map",
        "chance": "chance",
        "mirrored": "mirrored picture",
    }
    order = [name for name in names if name in curves]
    data = [trace(names[name], list(zip(along, curves[name], strict=False))) for name in order]
    for one, name in zip(data, order, strict=True):
        one["mode"] = "lines"
        one["line"] = {"width": 2 if name == "book" else 1.4, "dash": "solid" if name == "book" else "dot"}
    layout = layout_of("per cent left out", lines=len(data), top=1.0)
    return chart({"data": data, "layout": layout}, label="Overlap with where the model looks", height=HEIGHT + 30)


def trace(name: str, points: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Returns one line of a chart."""
    return {
        "type": "scatter",
        "name": name,
        "x": [point[0] for point in points],
        "y": [point[1] for point in points],
        "mode": "lines+markers",
        "line": {"width": 1.7},
        "marker": {"size": 4},
    }


def layout_of(along: str, *, lines: int, top: float | None = None) -> dict[str, Any]:
    """Returns axes and margins without a colour of the page in them, so that they fit light and dark.

    Args:
        along: What the x axis counts.
        lines: Number of lines; their names stand above the axes, two in a row.
        top: Upper end of the y axis, if it is known.
    """
    axis = {"showgrid": True, "zeroline": False, "fixedrange": True, "gridcolor": "rgba(134,134,128,0.22)"}
    upward = {**axis, "range": [0, top * 1.03]} if top is not None else {**axis, "rangemode": "tozero"}
    return {
        "colorway": list(COLOURS),
        "xaxis": {**axis, "title": {"text": along}, "rangemode": "tozero"},
        "yaxis": upward,
        "margin": {"l": 40, "r": 8, "t": 8 + LEGEND_PX * math.ceil(lines / 2), "b": 36},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "Inter Variable, system-ui, sans-serif", "size": 11},
        "legend": {"orientation": "h", "y": 1.01, "yanchor": "bottom", "x": 0},
        "showlegend": True,
        "hovermode": "x unified",
        "uirevision": "kept",
    }


def _part(
    title: str, name: str, pattern: str, curves: dict[str, Any], owner: str, *, top: float | None = None
) -> Component:
    layout = layout_of("epochs", lines=max(2, len(curves)), top=top)
    data = [trace(figure_name(one), points) for one, points in curves.items()]
    drawn = chart(
        {"data": data, "layout": layout},
        label=f"{title} against epochs",
        height=HEIGHT,
        id={"type": "explainer-chart", "training": owner, "chart": name} if owner else None,
    )
    live = {"data-pattern": pattern, "data-layout": json.dumps(layout), "data-chart": name} if owner else {}
    return html.Div([html.H4(title), drawn], className="v-curve" + ("" if data else " is-empty"), **live)


def _numbers(row: Mapping[str, Any]) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            found |= {inner: one for inner, one in _numbers(value).items() if not isinstance(one, Mapping)}
        elif isinstance(value, int | float) and not isinstance(value, bool):
            found[name] = float(value)
    return found
