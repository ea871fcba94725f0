"""A curve from a table of a result: the second column over the first number, one line for each kind of row."""

from __future__ import annotations

from typing import Any

from dash.development.base_component import Component

from backend.contract.results import Table
from frontend.components.chart import chart


def curve(table: Table) -> Component:
    """Returns the chart of a table with the columns kind, x and y; a kind with one row is drawn as a point."""
    _kind, along, upward = table.columns[:3]
    lines: dict[str, list[tuple[Any, Any]]] = {}
    for kind, x, y, *_ in table.rows:
        lines.setdefault(str(kind), []).append((x, y))
    data = [_trace(kind, points) for kind, points in lines.items()]
    axis = {"showgrid": True, "zeroline": False, "fixedrange": True, "gridcolor": "rgba(134,134,128,0.22)"}
    layout = {
        "xaxis": {**axis, "title": {"text": along.title}},
        "yaxis": {**axis, "title": {"text": upward.title}, "rangemode": "tozero"},
        "margin": {"l": 48, "r": 8, "t": 8, "b": 40},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"family": "Inter Variable, system-ui, sans-serif", "size": 11},
        "legend": {"orientation": "h", "y": 1.08, "x": 0},
        "showlegend": len(data) > 1,
        "hovermode": "x unified",
    }
    return chart({"data": data, "layout": layout}, label=table.title)


def _trace(kind: str, points: list[tuple[Any, Any]]) -> dict[str, Any]:
    alone = len(points) == 1
    return {
        "type": "scatter",
        "name": kind,
        "x": [x for x, _ in points],
        "y": [y for _, y in points],
        "mode": "markers" if alone else "lines+markers",
        "line": {"color": "#3F9E92", "width": 1.7},
        "marker": {"color": "#E69F00" if alone else "#3F9E92", "size": 9 if alone else 4},
    }
