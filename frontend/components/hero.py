"""The first visit: one promise, one sentence, a place to drop a picture, a live result, samples. Nothing else."""

from __future__ import annotations

import json
from typing import Any

from dash import html
from dash.development.base_component import Component

from frontend.components.icons import icon
from frontend.components.words import size

GROUPS = (("photograph", "Or start with a photograph", ""), ("drawn", "Drawn birds", "the right answer is known"))
SHOWN = {"photograph": 5, "drawn": 6}
"""How many samples of a group are seen at once; the others are behind a fold."""


def hero(samples: list[dict[str, Any]], example: dict[str, Any] | None, *, max_bytes: int) -> Component:
    """Returns the first visit.

    Args:
        samples: Built-in pictures, as the API lists them.
        example: A finished result to swipe over (see :mod:`frontend.example`).
        max_bytes: Largest file that can be dropped.
    """
    promise = html.Div(
        [
            html.H1("See what a model sees.", className="v-display"),
            html.P(
                "Put a picture and some models in the case, and look at how each of them sees it, side by side.",
                className="v-lead",
            ),
            drop_zone(max_bytes),
            html.Div(id="back-to-work", className="v-back"),
        ]
    )
    upper = html.Div([promise, *([_example(example)] if example else [])], className="v-hero-upper")
    return html.Div([upper, _samples(samples)], className="v-hero-inner")


def drop_zone(max_bytes: int) -> Component:
    """Returns the place for a picture; the file goes straight to the API, never through a callback."""
    zone = html.Div(
        [
            icon("upload", size=26),
            html.Strong("Drop a picture here"),
            html.P("or paste one from the clipboard"),
            html.Button(
                "Choose a picture",
                className="v-button v-button-filled",
                **{"data-action": "choose-file", "data-testid": "choose-picture"},
            ),
        ],
        className="v-drop",
        id="drop-zone",
        **{"data-testid": "drop-zone", "data-upload-max-bytes": str(max_bytes)},
    )
    hint = html.P(f"JPEG, PNG or WebP, up to {size(max_bytes)}. The picture stays on this server.", className="v-note")
    return html.Div([zone, hint, html.Div(id="picture-problem", role="alert")])


def _example(example: dict[str, Any]) -> Component:
    viewer = html.Div(
        className="v-viewer",
        id="example-viewer",
        **{"data-viewer": json.dumps(example["viewer"], separators=(",", ":"))},
    )
    return html.Figure(
        [viewer, html.Figcaption([html.Strong(example["title"]), html.P(example["reading"])])], className="v-example"
    )


def _samples(samples: list[dict[str, Any]]) -> Component:
    groups = []
    for group, title, hint in GROUPS:
        chosen = [sample for sample in samples if sample["group"] == group]
        if chosen:
            head = html.H2([title, *([html.Span(hint)] if hint else [])], className="v-group-title")
            groups.append(
                html.Section(
                    [head, _row(chosen[: SHOWN[group]]), *_fold(chosen[SHOWN[group] :])],
                    className=f"v-group is-{group}",
                )
            )
    return html.Div(groups, className="v-hero-lower")


def _row(samples: list[dict[str, Any]]) -> Component:
    return html.Div([_sample(item) for item in samples], className="v-samples")


def _fold(samples: list[dict[str, Any]]) -> list[Component]:
    if not samples:
        return []
    return [html.Details([html.Summary("More samples"), _row(samples)], className="v-fold v-more-samples")]


def _sample(sample: dict[str, Any]) -> Component:
    picture = html.Img(src=sample["thumbnail"], alt="", width=sample.get("width"), height=sample.get("height"))
    attributes = {"data-action": "sample", "data-sample": sample["id"], "data-testid": f"sample-{sample['id']}"}
    return html.Button(
        [picture, html.Span(sample["title"])], className="v-sample", title=sample.get("credit") or None, **attributes
    )
