"""An explainer on the shelf: what it is, what it learned from, what it is worth, and what can be done with it."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.schemas import ExplainerCard
from frontend.components.bars import bar
from frontend.components.explainer_words import FLOORS, address_of, facts, figure_name, figure_value
from frontend.components.icons import icon

SHOWN = ("accuracy", "base_accuracy", "agreement")


def explainer_card(card: ExplainerCard, *, kind: str, model: str) -> Component:
    """Returns the card of an explainer.

    Args:
        card: The explainer.
        kind: Title of its kind, for people.
        model: Title of the model that it explains.
    """
    head = html.Div(
        [
            html.H3(html.A(card.title, href=f"/explainers?open={address_of(card)}", **{"data-spa": ""})),
            html.P([kind, " for ", html.Span(model, className="v-strong")], className="v-text"),
            html.P([facts(card), "" if not card.is_builtin else ", built in"], className="v-note"),
        ]
    )
    return html.Article(
        [head, metrics(card.metrics), _actions(card)],
        className="v-explainer",
        **{"data-testid": "explainer-card", "data-explainer": address_of(card)},
    )


def metrics(values: dict[str, Any]) -> Component:
    """Returns the figures that count: answers beside the model's own, overlap beside its floors."""
    rows = [_figure(name, values[name]) for name in SHOWN if isinstance(values.get(name), int | float)]
    if isinstance(values.get("iou"), int | float):
        rows.append(_figure("iou", values["iou"]))
        floors = [(words, values[name]) for name, words in FLOORS.items() if isinstance(values.get(name), int | float)]
        rows += [_floor(words, float(value)) for words, value in floors]
    if not rows:
        return html.P("Nothing was measured.", className="v-note")
    return html.Div(rows, className="v-explainer-figures")


def _figure(name: str, value: float) -> Component:
    is_other = name == "base_accuracy"
    return html.Div(
        [
            html.Span(figure_name(name), className="v-bar-label"),
            bar(float(value), strong=not is_other),
            html.B(figure_value(name, float(value))),
        ],
        className="v-bar-row" + ("" if is_other else " is-strong"),
    )


def _floor(words: str, value: float) -> Component:
    return html.Div(
        [
            html.Span(words, className="v-bar-label is-floor"),
            bar(value, strong=False),
            html.B(figure_value("iou", value)),
        ],
        className="v-bar-row",
    )


def _actions(card: ExplainerCard) -> Component:
    address = address_of(card)
    data = {"data-explainer": address, "data-model": card.base, "data-method": card.method, "data-id": card.id}
    use = html.Button("Use it", className="v-button", **{"data-action": "explainer-use", **data})
    opened = html.A("Look inside", href=f"/explainers?open={address}", className="v-link", **{"data-spa": ""})
    return html.Div([use, opened, *([] if card.is_builtin else [delete_choice(card)])], className="v-explainer-actions")


def delete_choice(card: ExplainerCard) -> Component:
    """Returns the way to delete an explainer: asked once more before it is gone."""
    data = {"data-explainer": address_of(card)}
    ask = html.Button(
        [icon("trash", size=14), "Delete"],
        className="v-plain v-link v-explainer-ask",
        **{"data-action": "confirm-ask", "aria-label": f"Delete {card.title}"},
    )
    sure = html.Span(
        [
            html.Span("Delete it for good?", className="v-text"),
            html.Button("Delete", className="v-button v-button-small", **{"data-action": "explainer-delete", **data}),
            html.Button("Keep", className="v-button v-button-small", **{"data-action": "confirm-keep"}),
        ],
        className="v-confirm",
        hidden=True,
    )
    return html.Span([ask, sure], className="v-explainer-delete")
