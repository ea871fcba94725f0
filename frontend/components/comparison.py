"""Below the grid: where do the maps disagree? A line that asks, and the maps laid over each other."""

from __future__ import annotations

from dash import dcc, html
from dash.development.base_component import Component

from backend.contract.results import Manifest
from frontend import ids
from frontend.components.viewer_cell import CellView, viewer
from frontend.renderers import render
from frontend.renderers.spec import Addresses


def comparison_place() -> Component:
    """Returns the section; it is hidden until two maps are finished that can be compared."""
    line = html.Div(
        [
            html.H2("Where do these maps disagree?"),
            html.Button(
                "Compare all finished maps",
                className="v-button v-button-small",
                **{"data-action": "compare", "data-testid": "compare"},
            ),
            html.Span(id=ids.COMPARE_TEXT, className="v-note", role="status"),
        ],
        className="v-compare-line",
    )
    return html.Section(
        [line, html.Div(id=ids.COMPARE_BODY), dcc.Store(id=ids.COMPARE_RUN)],
        className="v-compare is-hidden",
        **{"data-live": "compare", "aria-label": "Comparison of the maps"},
    )


def comparison(manifest: Manifest, addresses: Addresses) -> Component:
    """Returns the maps together: the picture with what is chosen, and the triangle of pairs beside it."""
    look = render(manifest, addresses)
    width, height = manifest.picture_size
    view = CellView(
        model="all",
        model_title=manifest.model_title,
        method="compare",
        method_title=manifest.method_title,
        picture={"url": addresses.picture(manifest.image_ids[0]), "width": width, "height": height},
        key=manifest.run_key,
        state="done",
        addresses=addresses,
    )
    picture = html.Div([viewer(view, look.viewer)], className="v-compare-picture")
    words = html.Div(
        [part for part in (look.reading, look.cautions, look.controls, look.details) if part is not None],
        className="v-compare-words",
    )
    return html.Article(
        [picture, words],
        className="v-cell v-compare-body",
        **{"data-run": manifest.run_key, "data-testid": "comparison", "aria-label": "Maps laid over each other"},
    )
