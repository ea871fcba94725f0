"""The look of several maps together: consensus, disagreement, and a triangle in which every pair can be chosen."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Manifest, Scalar, Table
from frontend.components.words import number
from frontend.renderers.parts import cautions, details, layer_choice, reading
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, viewer_spec

SHADES = 6


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the maps on one scale of ranks; a pair is subtracted in the browser, without a new run."""
    layers = drawable(manifest)
    viewer = viewer_spec(manifest, addresses, layers=layers, badge=manifest.texts.badge, look=look)
    if manifest.partial or not manifest.tables:
        return Rendering(viewer=viewer, reading=reading(manifest))
    shared = [layer for layer in layers if layer.index is None]
    controls = html.Div(
        [part for part in (layer_choice(manifest, shared, viewer["active"]), triangle(manifest)) if part is not None],
        className="v-controls",
    )
    return Rendering(
        viewer=viewer,
        reading=reading(manifest),
        controls=controls,
        cautions=cautions(manifest),
        details=details(manifest, share=addresses.share),
    )


def triangle(manifest: Manifest) -> Component:
    """Returns the lower triangle of rank correlations: the darker, the more a pair disagrees."""
    pairs = {(row[0], row[1]): (row[2], row[3]) for row in _rows(manifest, "pairs")}
    maps = _rows(manifest, "maps")
    head = html.Thead(
        html.Tr([html.Th("Map", scope="col"), *(html.Th(str(row[0]), scope="col") for row in maps[:-1])]),
        className="v-hidden",
    )
    rows = []
    for at, (place, method, model, _) in enumerate(maps):
        title = [html.Span(f"{place} ", className="v-note"), str(method).split(":")[0], html.Small(str(model))]
        entries = [_pair(manifest.run_key, maps[at], other, pairs[place, other[0]]) for other in maps[:at]]
        rows.append(html.Tr([html.Th(title, scope="row"), *(html.Td(entry) for entry in entries), html.Td(str(place))]))
    caption = html.Caption("Rank correlation of every pair; a click subtracts one from the other.")
    return html.Table([caption, head, html.Tbody(rows)], className="v-triangle")


def _pair(run: str, one: tuple[Scalar, ...], other: tuple[Scalar, ...], values: tuple[Scalar, Scalar]) -> Component:
    correlation, overlap = values
    first, second = (f"{str(row[1]).split(':')[0]}, {row[2]}" for row in (other, one))
    if not isinstance(correlation, int | float):
        return html.Span("-", title=f"{first} and {second}: one of them is the same everywhere")
    together = f"{float(overlap):.0%}" if isinstance(overlap, int | float) else "-"
    words = f"{first} minus {second}: rank correlation {number(float(correlation))}, overlap of the top {together}"
    return html.Button(
        number(float(correlation)),
        className=f"v-pair v-shade-{shade(float(correlation))}",
        title=words,
        type="button",
        **{
            "aria-label": words,
            "data-action": "pair",
            "data-run": run,
            "data-a": f"map {other[0]}",
            "data-b": f"map {one[0]}",
        },
    )


def shade(correlation: float) -> int:
    """Returns 0 (full agreement) to 5 (none, or opposite)."""
    return min(SHADES - 1, int((1 - max(0.0, min(1.0, correlation))) * SHADES))


def _rows(manifest: Manifest, name: str) -> tuple[tuple[Scalar, ...], ...]:
    found: Table | None = next((table for table in manifest.tables if table.name == name), None)
    return found.rows if found else ()
