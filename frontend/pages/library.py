"""The library: what this browser has looked at, and the shares it made. Both are kept in the browser alone."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from frontend.pages import Page, Visit


async def layout(visit: Visit) -> Component:  # noqa: ARG001 - what is shown is known to the browser only
    """Returns the frame; ``assets/library.js`` fills it from the browser's own history."""
    return html.Div(
        [
            html.Header(
                [
                    html.Div(
                        [
                            html.H1("Library", className="v-title"),
                            html.P(
                                "What this browser has looked at. The list is kept here and sent nowhere.",
                                className="v-text",
                            ),
                        ]
                    ),
                    html.Button(
                        "Clear the list",
                        className="v-button",
                        hidden=True,
                        id="clear-history",
                        **{"data-action": "clear-history"},
                    ),
                ],
                className="v-page-head",
            ),
            html.Section([html.H2("Shares you made"), html.Div(id="library-shares")], className="v-library-part"),
            html.Section([html.H2("Pictures"), html.Div(id="library-pictures")], className="v-library-part"),
        ],
        className="v-page",
        **{"data-testid": "library-page"},
    )


PAGE = Page(path="/library", title="Library", nav=20, layout=layout)
