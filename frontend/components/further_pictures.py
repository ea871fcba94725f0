"""Further pictures under the first one, for methods that look at several together."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from frontend import ids


def further_pictures(samples: list[dict[str, Any]]) -> Component:
    """Returns the list of further pictures (the browser fills it) and the quiet way to add one.

    Args:
        samples: Built-in pictures, as the API lists them.
    """
    thumbs = html.Div(
        id=ids.FURTHER_LIST, className="v-further-list", role="group", **{"aria-label": "Further pictures"}
    )
    choose = html.Button("Choose pictures", className="v-button v-button-small", **{"data-action": "choose-further"})
    panel = html.Div(
        [
            html.P(
                "Methods that compare pictures look at all of them together; the others at the first.",
                className="v-note",
            ),
            html.Div([choose, html.Span("or drop them here", className="v-note")], className="v-further-choose"),
            html.Div([_sample(item) for item in samples], className="v-further-samples"),
        ],
        className="v-further-panel",
    )
    add = html.Details(
        [html.Summary("Add pictures", className="v-link", **{"data-testid": "add-pictures"}), panel],
        className="v-further-add",
    )
    note = html.P(className="v-note", role="status", **{"data-live": "further-note"})
    return html.Div([thumbs, add, note], className="v-further", **{"data-further": ""})


def _sample(sample: dict[str, Any]) -> Component:
    image = html.Img(src=sample["thumbnail"], alt="")
    attributes = {"data-action": "add-sample", "data-sample": sample["id"], "data-testid": f"add-{sample['id']}"}
    return html.Button(image, title=sample["title"], **attributes, **{"aria-label": f"Add {sample['title']}"})
