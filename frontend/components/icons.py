"""Icons: drawn by us, coloured by the text around them."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component


def icon(name: str, *, size: int = 16) -> Component:
    """Returns an icon of ``assets/icons``; words beside it (or an aria-label around it) say what it means.

    Args:
        name: File name without ``.svg``.
        size: Width and height in CSS pixels.
    """
    style = {"width": f"{size}px", "height": f"{size}px"}
    return html.Span(className=f"v-icon v-icon-{name}", style=style, **{"aria-hidden": "true"})
