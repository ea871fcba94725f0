"""Short bars with a label and a value; where a bar would do, no chart library is needed."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from frontend.components.tables import group_swatch
from frontend.components.words import number


def bar(share: float, *, strong: bool = True) -> Component:
    """Returns a bar, filled to ``share`` (clipped to 0-1), in the accent or the baseline colour."""
    width = min(max(share, 0.0), 1.0) * 100
    fill = html.I(style={"width": f"{width:.1f}%"})
    return html.Span(fill, className="v-bar" + ("" if strong else " is-baseline"), **{"aria-hidden": "true"})


def labelled_bar(label: str, value: float, *, strong: bool = True, digits: int = 2) -> Component:
    """Returns label, bar and value in three fixed columns."""
    return html.Div(
        [
            html.Span(label, className="v-bar-label", title=label),
            bar(value, strong=strong),
            html.B(number(value, digits)),
        ],
        className="v-bar-row" + (" is-strong" if strong else ""),
    )


def strip(rows: list[tuple[str, float, bool]]) -> Component:
    """Returns the strip under a map: a value against its counterpart.

    Args:
        rows: Label, value (0-1), whether it is the map's own (else the counterpart).
    """
    return html.Div([labelled_bar(label, value, strong=own) for label, value, own in rows], className="v-strip")


def paired_strip(rows: list[tuple[str, float, int, int | None]]) -> Component:
    """Returns the strip under ranked maps: one bar for each part, two in a line, so that four keep its height.

    Args:
        rows: Label, value (0-1), number of the part, its place in the palette of parts.
    """
    drawn = []
    for label, value, part, colour in rows:
        row = labelled_bar(label, value)
        swatch = group_swatch(part, colour, palette="parts")
        drawn.append(html.Div([*([swatch] if swatch is not None else []), row], className="v-bar-part"))
    return html.Div(drawn, className="v-strip is-paired")
