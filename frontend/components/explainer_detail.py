"""One explainer from the inside: figures, curves, settings, and its words where it keeps some."""

from __future__ import annotations

import json
from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.schemas import ExplainerCard
from frontend.components.explainer_book import Book
from frontend.components.explainer_card import delete_choice, metrics
from frontend.components.explainer_curves import curve_charts, curves_of, overlap_chart
from frontend.components.explainer_words import address_of, facts, figure_name, figure_value
from frontend.components.explainer_words_grid import usage_map, words_section
from frontend.components.icons import icon

CURVES = "curves.jsonl"
"""File with one line of JSON for each step of the training."""
PRINTED = frozenset({"accuracy", "base_accuracy", "agreement", "iou", "iou_gaussian", "iou_other", "iou_chance"})


def explainer_detail(
    card: ExplainerCard,
    manifest: dict[str, Any],
    *,
    kind: str,
    model: str,
    base: str,
    problem: str = "",
    book: Book | None = None,
    history: list[dict[str, Any]] | None = None,
) -> Component:
    """Returns the page of one explainer.

    Args:
        card: What the catalogue says of it.
        manifest: Everything it says of itself.
        kind: Title of its kind.
        model: Title of its model.
        base: Address of its files.
        problem: What is wrong with its files.
        book: Its words, if it keeps some.
        history: Steps of its training, if it keeps them.
    """
    parts = [_head(card, kind, model)]
    if problem:
        words = f"Its files are not whole: {problem}. It cannot be used; delete it and train it again."
        parts.append(html.P([icon("warning"), " ", words], className="v-notice", role="alert"))
    parts.append(_worth(card, manifest, model, history or []))
    if book is not None:
        parts += [words_section(book, base), usage_map(book)]
    parts.append(_made(card, manifest))
    return html.Div(parts, className="v-page v-explainer-page", **{"data-testid": "explainer-detail"})


def _head(card: ExplainerCard, kind: str, model: str) -> Component:
    data = {
        "data-explainer": address_of(card),
        "data-model": card.base,
        "data-method": card.method,
        "data-id": card.id,
    }
    words = html.Div(
        [
            html.A(
                [icon("arrow", size=14), "All explainers"],
                href="/explainers",
                className="v-link v-up",
                **{"data-spa": ""},
            ),
            html.H1(card.title, className="v-title"),
            html.P(
                f"{kind} for {model}, {facts(card)}{', built in' if card.is_builtin else ''}.",
                className="v-text",
            ),
        ]
    )
    use = html.Button("Use it", className="v-button v-button-filled", **{"data-action": "explainer-use", **data})
    actions = [*([] if card.is_builtin else [delete_choice(card)]), use]
    return html.Header([words, html.Div(actions, className="v-explainer-actions")], className="v-page-head")


def _worth(card: ExplainerCard, manifest: dict[str, Any], model: str, history: list[dict[str, Any]]) -> Component:
    measured = manifest.get("metrics") or {}
    columns = [html.Div([html.H2("What it is worth"), metrics(card.metrics), reading(card.metrics, model)])]
    overlap = overlap_chart(measured.get("curves") or {})
    if overlap is not None:
        note = "How well both look at the same place, for every cut of the map; compare with the dotted floors."
        columns.append(html.Div([html.H2("Same place"), overlap, html.P(note, className="v-note")]))
    curves = curves_of(history)
    if curves:
        columns.append(html.Div([html.H2("How it learned"), curve_charts(curves)]))
    return html.Section(columns, className="v-worth")


def reading(values: dict[str, Any], model: str) -> Component | None:
    """Returns the figures in one sentence, the overlap only beside its floors; ``None`` when nothing was measured."""
    said = []
    if isinstance(values.get("agreement"), int | float):
        share = figure_value("agreement", values["agreement"])
        said.append(f"gives the same answer as {model} on {share} of the pictures it was measured on")
    if all(isinstance(values.get(name), int | float) for name in ("iou", "iou_gaussian", "iou_other", "iou_chance")):
        iou, gaussian, other, chance = (
            figure_value("iou", values[name]) for name in ("iou", "iou_gaussian", "iou_other", "iou_chance")
        )
        said.append(
            f"looks at the same half of a picture with an overlap of {iou}; the middle of the picture gives "
            f"{gaussian}, another picture's map {other}, chance {chance}"
        )
    if not said:
        return None
    return html.P(f"It {' and '.join(said)}.", className="v-text v-worth-reading")


def _made(card: ExplainerCard, manifest: dict[str, Any]) -> Component:
    made_with: dict[str, Any] = {
        **_flat(manifest.get("versions") or {}),
        **{name: manifest[name] for name in ("device", "seconds") if name in manifest},
        "weights of the model": card.base_digest[:16],
        "id": card.id,
    }
    tables = [
        ("Pictures", _flat(manifest.get("data") or {})),
        (
            "More figures",
            {name: value for name, value in _flat(manifest.get("metrics") or {}).items() if name not in PRINTED},
        ),
        ("Settings", _flat(manifest.get("recipe") or {})),
        ("Made with", made_with),
    ]
    folds = [
        html.Details([html.Summary(title), _table(title, rows)], className="v-fold v-made")
        for title, rows in tables
        if rows
    ]
    return html.Section([html.H2("How it was made"), *folds], className="v-made-part")


def _table(title: str, rows: dict[str, Any]) -> Component:
    lines = [
        html.Tr([html.Th(figure_name(name), scope="row"), html.Td(figure_value(name, value))])
        for name, value in rows.items()
    ]
    body = html.Table([html.Caption(title, className="v-hidden"), html.Tbody(lines)], className="v-table v-plain-table")
    return html.Div(body, className="v-table-box", tabIndex="0", role="region", **{"aria-label": title})


def _flat(values: dict[str, Any], above: str = "") -> dict[str, Any]:
    """Returns the plain entries, those one level deeper under both names; long lists are left to the manifest."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        key = f"{above} {name}".strip()
        if isinstance(value, dict):
            found |= {} if above else _flat(value, key)
        elif isinstance(value, list):
            if len(value) <= 12 and not any(isinstance(one, list | dict) for one in value):
                found[key] = ", ".join(str(one) for one in value) or "none"
        else:
            found[key] = value
    return found


def read_history(manifest: dict[str, Any], lines: str | None) -> list[dict[str, Any]]:
    """Returns the steps of a training from its file of curves, or from the manifest; empty when neither has them."""
    if lines is not None:
        try:
            rows = [json.loads(line) for line in lines.splitlines() if line.strip()]
        except ValueError:
            rows = []
    else:
        rows = manifest.get("history") or []
    return [row for row in rows if isinstance(row, dict)]
