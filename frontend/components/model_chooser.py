"""The chosen models in the rail, each with its strongest classes."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from backend.contract.problems import Problem
from backend.contract.results import ClassScore, Manifest
from backend.contract.schemas import ModelCard
from frontend import ids
from frontend.components.bars import labelled_bar
from frontend.components.icons import icon
from frontend.components.words import class_name

SHOWN_CLASSES = 3
SOURCES = {"demo": "Built in", "own": "Own models", "timm": "timm", "hub": "Hub"}


def model_search() -> Component:
    """Returns the search over every model on offer; the server does the searching."""
    return dmc.Select(
        id=ids.MODEL_SEARCH,
        placeholder="Search models",
        searchable=True,
        value=None,
        data=[],
        clearSearchOnFocus=False,
        nothingFoundMessage="No model of that name. Type hf-hub:owner/name for one on the hub.",
        leftSection=icon("search", size=15),
        rightSection=html.Span(),
        maxDropdownHeight=340,
        filter={"function": "everything"},
        comboboxProps={"shadow": "sm"},
        **{"aria-label": "Search models", "data-testid": "model-search"},
    )


def search_options(cards: list[ModelCard], chosen: list[str], typed: str) -> list[dict[str, Any]]:
    """Returns the options for what was typed, grouped by where the models come from."""
    groups: dict[str, list[dict[str, str]]] = {}
    for card in cards:
        if card.name in chosen:
            continue
        groups.setdefault(SOURCES.get(card.source, card.source), []).append(
            {"value": card.name, "label": card.title if card.title != card.name else card.name}
        )
    typed = typed.strip()
    is_address = typed.startswith(("hf-hub:", "local-dir:"))
    if is_address and typed not in chosen and all(card.name != typed for card in cards):
        groups.setdefault("By name", []).append({"value": typed, "label": typed})
    return [{"group": name, "items": items} for name, items in groups.items()]


def chosen_model(card: ModelCard) -> Component:
    """Returns one chosen model: name, id, remove; room for its predictions."""
    remove = {"data-action": "remove-model", "data-model": card.name, "aria-label": f"Remove {card.title}"}
    head = html.Div(
        [
            html.Strong(card.title),
            *([html.Code(card.name, title=card.name)] if card.name != card.title else []),
            html.Button(icon("close", size=13), className="v-plain v-remove", **remove),
        ],
        className="v-model-head",
    )
    note = [html.P(card.note, className="v-note v-model-note")] if card.note else []
    return html.Div(
        [head, *note, html.Div(id=ids.prediction(card.name), className="v-prediction")],
        className="v-model",
        **{"data-model": card.name},
    )


def top_classes(classes: tuple[ClassScore, ...], target: int | None) -> Component:
    """Returns the strongest classes as bars; the target's in the accent."""
    marked = target if target is not None else (classes[0].index if classes else None)
    shown = list(classes[:SHOWN_CLASSES])
    if marked is not None and all(item.index != marked for item in shown):
        shown[-1:] = [item for item in classes if item.index == marked] or shown[-1:]
    rows = [labelled_bar(class_name(item.label), item.score, strong=item.index == marked) for item in shown]
    return html.Div(rows, className="v-classes")


def prediction_body(*, manifest: Manifest | None, problem: Problem | None, state: str, target: int | None) -> Component:
    """Returns what stands under a chosen model: bars, a caption, a reason, or how far it is."""
    if problem is not None:
        actions = (
            html.Button("Try again", className="v-plain v-link", **{"data-action": "predict-again"})
            if problem.retry
            else None
        )
        return html.P([problem.message, " ", actions], className="v-reason is-failed", role="status")
    if manifest is not None and manifest.caption:
        return html.P(f"“{manifest.caption}”", className="v-caption")
    if manifest is not None and manifest.classes:
        return top_classes(manifest.classes, target)
    if manifest is not None:
        return html.P(manifest.texts.reading or "An encoder: it has no classes.", className="v-note")
    words = {"queued": "Waiting for a worker", "running": "Reading the picture"}.get(state, "")
    return html.P(words, className="v-note")
