"""The explainers: what was learned for which model, how to train one, and each of them from the inside."""

from __future__ import annotations

import asyncio
from urllib.parse import parse_qs

from dash import Dash, dcc, html
from dash.development.base_component import Component

from frontend.api import ApiClient
from frontend.components.explainer_form import train_form
from frontend.pages import Page, Visit
from frontend.pages._explainers_detail import detail_page, register_detail
from frontend.pages._explainers_list import shelf_parts
from frontend.pages._explainers_offer import Offer, read_form, read_shelf
from frontend.pages._explainers_server import NEWS, NOW, PAST, SHELF, register_server


async def layout(visit: Visit) -> Component:
    """Returns the list and the form, or one explainer from the inside where the address names one."""
    asked = {name: values[0] for name, values in parse_qs(visit.search.lstrip("?")).items()}
    if asked.get("open"):
        return await detail_page(visit.api, asked["open"])
    shelf, form = await asyncio.gather(read_shelf(visit.api), read_form(visit.api))
    now, learned, past = shelf_parts(shelf)
    return html.Div(
        [
            html.Header(
                html.Div(
                    [
                        html.H1("Explainers", className="v-title"),
                        html.P(
                            "Some methods need an explainer that was trained for the model: a second network that "
                            "learned to answer and to look as the model does. How well it does so stands on its card.",
                            className="v-text",
                        ),
                    ]
                ),
                className="v-page-head",
            ),
            html.P(
                "No worker is running. Start one with “vitrine worker”; trainings that wait begin by themselves.",
                className="v-notice v-no-worker",
                id="explainers-no-worker",
                role="status",
                hidden=True,
            ),
            html.Div(id="explainers-problem", role="alert"),
            html.Div(now, id=NOW),
            html.Section([html.H2("On the shelf"), html.Div(learned, id=SHELF)], className="v-library-part"),
            _train_section(form, asked),
            html.Div(past, id=PAST),
            dcc.Store(id=NEWS),
        ],
        className="v-page v-explainers-page",
        id="explainers-page",
        **{"data-testid": "explainers-page"},
    )


def _train_section(form: Offer, asked: dict[str, str]) -> Component:
    if form.kinds:
        body = train_form(
            form.kinds,
            form.models,
            form.trainable,
            form.datasets,
            wanted_kind=asked.get("kind", ""),
            wanted_model=asked.get("model", ""),
        )
    else:
        body = html.P(
            "No worker has said yet what can be trained. Start one with “vitrine worker”, then open this page again.",
            className="v-note",
            role="status",
        )
    return html.Section([html.H2("Train one"), body], className="v-library-part", id="train")


def register(app: Dash, api: ApiClient) -> None:
    """Adds the callbacks of the page."""
    register_server(app, api)
    register_detail(app, api)


PAGE = Page(path="/explainers", title="Explainers", nav=40, layout=layout, register=register)
