"""What stands around every page: top bar, stores, the share dialog, and the way from an address to a page."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import ClientsideFunction, Dash, Input, Output, dcc, html
from dash.development.base_component import Component

from frontend import ids
from frontend.api import ApiClient, ApiError
from frontend.callbacks import on
from frontend.components.icons import icon
from frontend.components.problem_notice import problem_notice
from frontend.components.share_dialog import share_dialog
from frontend.details import register_details
from frontend.pages import Page, Visit, find_page
from frontend.theme import make_theme

STORES = (
    ids.PICTURE,
    ids.FURTHER,
    ids.STAGE,
    ids.MODELS,
    ids.METHODS,
    ids.TARGETS,
    ids.RUNS,
    ids.PREDICTIONS,
    ids.LOOKS,
)
VISIT = "visit"
TITLE = "document-title"


def make_shell(pages: list[Page]) -> Component:
    """Returns the layout of the application."""
    return dmc.MantineProvider(
        theme=make_theme(),
        defaultColorScheme="auto",
        children=html.Div(
            className="v-shell",
            children=[
                html.A("Skip to the content", href=f"#{ids.CONTENT}", className="v-skip"),
                html.Header(id="top-bar", className="v-topbar", children=_top_bar(pages, None)),
                html.Main(id=ids.CONTENT, className="v-content", tabIndex="-1"),
                html.Div(id="announcer", className="v-hidden", role="status", **{"aria-live": "polite"}),
                share_dialog(),
                dcc.Location(id=ids.LOCATION, refresh=False),
                dcc.Store(id=VISIT),
                dcc.Store(id=TITLE),
                *(dcc.Store(id=name) for name in STORES),
            ],
        ),
    )


def register_shell(app: Dash, api: ApiClient, pages: list[Page]) -> None:
    """Adds the callbacks of the shell."""
    register_details(app, api)
    app.clientside_callback(
        ClientsideFunction("shell", "visit"),
        Output(VISIT, "data"),
        Input(ids.LOCATION, "pathname"),
        Input(ids.LOCATION, "search"),
    )
    app.clientside_callback(
        ClientsideFunction("shell", "title"), Output(TITLE, "modified_timestamp"), Input(TITLE, "data")
    )

    @on(
        app,
        Output(ids.CONTENT, "children"),
        Output("top-bar", "children"),
        Output(TITLE, "data"),
        Input(VISIT, "data"),
        prevent_initial_call=True,
    )
    async def show_page(visit: dict[str, Any]) -> tuple[Component, list[Component], str]:
        path = str(visit.get("path") or "/")
        page = find_page(pages, path)
        if page is None:
            return _not_found(path), _top_bar(pages, None), "Not found, Vitrine"
        arrival = Visit(api=api, path=path, search=str(visit.get("search") or ""), stores=visit.get("stores") or {})
        try:
            content = await page.layout(arrival)
        except ApiError as error:
            content = html.Div(problem_notice(error.problem), className="v-page-narrow")
        title = "Vitrine" if page.path == "/" else f"{page.title}, Vitrine"
        return content, _top_bar(pages, page), title


def _top_bar(pages: list[Page], current: Page | None) -> list[Component]:
    reduced = current is not None and current.reduced
    brand = html.A([_mark(), html.Span("Vitrine")], href="/", className="v-brand", **{"data-spa": ""})
    if reduced:
        note = html.Span([icon("lock", size=14), "Read only. Nothing here is recomputed."], className="v-bar-note")
        return [brand, html.Div(className="v-grow"), note, _scheme_switch()]
    listed = [page for page in pages if page.nav is not None]
    return [
        brand,
        html.Nav([_link(page, current) for page in listed], className="v-nav", **{"aria-label": "Pages"}),
        html.Div(className="v-grow"),
        html.Span(
            id=ids.WORKERS, className="v-workers", children=_worker_words(), role="status", **{"data-live": "workers"}
        ),
        _scheme_switch(),
        _share_button(hidden=current is None or current.path != "/"),
        _phone_menu(listed, current),
    ]


def _worker_words() -> list[Component]:
    return [html.I(className="v-dot"), html.Span(**{"data-live": "workers-text"})]


def _mark() -> Component:
    return html.Span([icon("frame", size=22), html.I()], className="v-mark")


def _link(page: Page, current: Page | None) -> Component:
    here = {"aria-current": "page"} if page is current else {}
    return html.A(page.title, href=page.path, className="v-nav-link", **{"data-spa": ""}, **here)


def _scheme_switch() -> Component:
    return dmc.ColorSchemeToggle(
        lightIcon=icon("moon", size=18),
        darkIcon=icon("sun", size=18),
        variant="subtle",
        color="gray",
        size=36,
        className="v-scheme",
        **{"aria-label": "Switch between light and dark"},
    )


def _share_button(*, hidden: bool) -> Component:
    return html.Button(
        [icon("share"), "Share"],
        id=ids.SHARE_BUTTON,
        className="v-button v-button-filled v-share" + (" is-elsewhere" if hidden else ""),
        disabled=True,
        **{"data-action": "share-open", "data-testid": "share-button"},
    )


def _phone_menu(pages: list[Page], current: Page | None) -> Component:
    items = [html.Summary(icon("menu", size=22), **{"aria-label": "Menu"})]
    items.append(html.Nav([_link(page, current) for page in pages], **{"aria-label": "Pages, menu"}))
    return html.Details(items, className="v-phone-menu")


def _not_found(path: str) -> Component:
    return html.Div(
        [
            html.H1("Nothing here", className="v-title"),
            html.P(["There is no page at ", html.Code(path), "."], className="v-lead"),
            html.A("Go to Inspect", href="/", className="v-link", **{"data-spa": ""}),
        ],
        className="v-page-narrow",
    )
