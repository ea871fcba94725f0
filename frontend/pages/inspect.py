"""Inspect: a picture, some models, some methods, and the grid of what they say."""

from __future__ import annotations

import asyncio
from typing import Any

import dash_mantine_components as dmc
from dash import Dash, dcc, html
from dash.development.base_component import Component

from backend.contract.schemas import MethodCard
from frontend import ids
from frontend.api import ApiClient, ApiError
from frontend.components.comparison import comparison_place
from frontend.components.further_pictures import further_pictures
from frontend.components.hero import hero
from frontend.components.method_card import method_cards
from frontend.components.model_chooser import model_search
from frontend.components.tool_row import tool_row
from frontend.example import load_example
from frontend.pages import Page, Visit
from frontend.pages._inspect_callbacks import register_clientside
from frontend.pages._inspect_server import register_server

STORES = (ids.CAPABILITIES, ids.STRUCTURE, ids.CATALOGUE, ids.CODE_REQUEST)


async def layout(visit: Visit) -> Component:
    """Returns the page; which of its two faces is shown (first visit or work) the browser decides."""
    samples, methods = await asyncio.gather(_or_empty(visit.api.samples()), _or_empty(visit.api.methods()))
    return html.Div(
        [
            html.Section(
                hero(samples, load_example(), max_bytes=visit.api.max_upload_bytes), className="v-hero", id=ids.HERO
            ),
            html.Div([_rail(samples, methods, visit.stores.get(ids.METHODS)), _main()], className="v-work"),
            _code_dialog(),
            *(dcc.Store(id=name) for name in STORES),
        ],
        id=ids.INSPECT,
        className="v-inspect",
    )


def register(app: Dash, api: ApiClient) -> None:
    """Adds the callbacks of the page."""
    register_clientside(app)
    register_server(app, api)


async def _or_empty(answer: Any) -> Any:
    try:
        return await answer
    except ApiError:
        # The page still opens when the queue cannot be reached; the notice on it says so.
        return []


def _rail(samples: list[dict[str, Any]], methods: list[MethodCard], saved: dict[str, Any] | None) -> Component:
    picture = html.Section(
        [
            _head("Picture", html.Button("Change", className="v-plain v-link", **{"data-action": "change"})),
            html.Div(id=ids.RAIL_PICTURE),
            further_pictures(samples),
        ]
    )
    models = html.Section(
        [
            _head("Models", html.Span(id=ids.MODEL_COUNT, className="v-count")),
            model_search(),
            html.Div(id=ids.CHOSEN_MODELS, className="v-models"),
        ]
    )
    cards = html.Section(
        [
            _head("Methods", html.Span(className="v-count", **{"data-live": "method-count"})),
            html.Div(method_cards(methods, saved), id=ids.METHOD_LIST, className="v-methods"),
        ]
    )
    close = html.Button("Done", className="v-button v-rail-close", **{"data-action": "close-rail"})
    return html.Aside(
        [html.Div([picture, models, cards], className="v-rail-scroll"), _footer(), close],
        className="v-rail",
        id="rail",
        **{"aria-label": "Picture, models and methods"},
    )


def _head(title: str, right: Component) -> Component:
    return html.Div([html.H2(title), right], className="v-section-head")


def _footer() -> Component:
    line = html.Div(
        [
            html.Div(
                [
                    html.Strong(**{"data-live": "progress-text"}),
                    html.Span(className="v-note", **{"data-live": "progress-left"}),
                ],
                className="v-footer-words",
            ),
            html.Button(
                "Stop all",
                className="v-button v-button-small v-stop",
                **{"data-action": "stop-all", "data-testid": "stop-all"},
            ),
            html.Button(
                html.Span("Run", **{"data-live": "run-label"}),
                className="v-button v-button-filled v-run",
                **{"data-action": "run", "data-testid": "run"},
            ),
        ],
        className="v-footer-line",
    )
    return html.Div([line, _meter()], className="v-footer", role="status", **{"data-live": "footer"})


def _meter() -> Component:
    return html.Div(html.I(**{"data-live": "progress-bar"}), className="v-meter", **{"aria-hidden": "true"})


def _main() -> Component:
    return html.Section(
        [
            html.H1("Inspect", className="v-hidden"),
            _narrow_bar(),
            html.Div(id=ids.NOTICE, className="v-notices", role="alert"),
            tool_row(),
            html.Div(id=ids.GRID, className="v-grid-box"),
            comparison_place(),
            _narrow_footer(),
        ],
        className="v-main",
        **{"aria-label": "Maps"},
    )


def _narrow_bar() -> Component:
    return html.Div(
        [
            html.Div(className="v-narrow-thumb", **{"data-live": "thumb"}),
            html.Div(
                [
                    html.Strong(**{"data-live": "picture-name"}),
                    html.Span(className="v-note", **{"data-live": "set-words"}),
                ],
                className="v-narrow-words",
            ),
            html.Button("Change", className="v-button", **{"data-action": "open-rail", "data-testid": "open-rail"}),
        ],
        className="v-narrow-bar",
    )


def _narrow_footer() -> Component:
    line = html.Div(
        [
            html.Span([html.Strong(**{"data-live": "progress-text"}), html.Span(**{"data-live": "progress-detail"})]),
            html.Button("Stop", className="v-plain v-link v-stop", **{"data-action": "stop-all"}),
        ],
        className="v-footer-line",
    )
    buttons = html.Div(
        [
            html.Button("Models and methods", className="v-button", **{"data-action": "open-rail"}),
            html.Button(
                html.Span("Run", **{"data-live": "run-label"}),
                className="v-button v-button-filled v-run",
                **{"data-action": "run"},
            ),
            html.Button("Share", className="v-button v-button-filled v-narrow-share", **{"data-action": "share-open"}),
        ],
        className="v-narrow-actions",
    )
    return html.Div([line, _meter(), buttons], className="v-narrow-footer", **{"data-live": "footer"})


def _code_dialog() -> Component:
    return dmc.Modal(
        id=ids.CODE,
        title="The code for these maps",
        opened=False,
        size=760,
        shadow="sm",
        closeButtonProps={"aria-label": "Close"},
        children=html.Div(id=ids.CODE_TEXT),
    )


PAGE = Page(path="/", title="Inspect", layout=layout, register=register, nav=10)
