"""The one way to draw a chart with Plotly; maps are never drawn with it."""

from __future__ import annotations

from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

CONFIG: dict[str, Any] = {
    # Plotly's bar would offer to upload the numbers to a cloud.
    "displayModeBar": False,
    "showSendToCloud": False,
    "plotlyServerURL": "",
    "displaylogo": False,
    "responsive": True,
}


def chart(figure: dict[str, Any], *, label: str, height: int = 220, id: Any = None) -> Component:
    """Returns a chart that never talks to another host.

    Args:
        figure: Data and layout, as Plotly takes them.
        label: What the chart shows, for those who do not see it.
        height: In CSS pixels.
        id: Of the graph, for a chart that changes while it is looked at.
    """
    named = {} if id is None else {"id": id}
    graph = dcc.Graph(figure=figure, config=dict(CONFIG), style={"height": f"{height}px"}, **named)
    return html.Figure(graph, role="img", className="v-chart", **{"aria-label": label})
