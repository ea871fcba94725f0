"""Predicted against expected, and the chip that chooses the class to explain."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Manifest
from backend.contract.schemas import PictureRecord
from frontend.components.icons import icon
from frontend.components.words import class_name, number


def target_chip(
    model: str, manifest: Manifest | None, target: int | None, record: PictureRecord | None
) -> list[Component]:
    """Returns the words and the chip at the right of a row's head; empty while the model has not answered.

    Args:
        model: Model name.
        manifest: The model's prediction.
        target: Class somebody asked for; ``None``: the model's own answer.
        record: The picture, for what is known to be right.
    """
    if manifest is None:
        return []
    if manifest.caption:
        return [html.Span(f"“{manifest.caption}”", className="v-chip is-target")]
    if not manifest.classes:
        return []
    best = manifest.classes[0]
    chosen = next((item for item in manifest.classes if item.index == target), None) if target is not None else best
    label = f"{class_name(chosen.label)} {number(chosen.score)}" if chosen else f"class {target}"
    return [
        html.Span(_comparison(manifest, target, record), className="v-compared"),
        _menu(model, manifest, target, label),
    ]


def expected_label(record: PictureRecord | None) -> str | None:
    """Returns the class that is known to be right for a drawn picture."""
    species = (record.truth or {}).get("species") if record else None
    return str(species).replace("-", " ").replace("_", " ") if species else None


def same_class(one: str, other: str) -> bool:
    """Whether two class names mean the same, whatever their case and joints."""
    return one.replace("_", " ").replace("-", " ").lower() == other.replace("_", " ").replace("-", " ").lower()


def _comparison(manifest: Manifest, target: int | None, record: PictureRecord | None) -> str:
    best = manifest.classes[0]
    expected = expected_label(record)
    if target is not None and target != best.index:
        return f"predicted {class_name(best.label)} {number(best.score)}, asked for"
    if expected is None:
        return "predicted"
    return "predicted = expected" if same_class(best.label, expected) else f"expected {expected}, predicted"


def _menu(model: str, manifest: Manifest, target: int | None, label: str) -> Component:
    def item(words: str, value: str, *, chosen: bool) -> Component:
        action = {"data-action": "target", "data-model": model, "data-target": value}
        mark = [icon("check", size=13)] if chosen else []
        pressed = {"aria-pressed": "true" if chosen else "false"}
        return html.Button([html.Span(words), *mark], className="v-menu-item", **action, **pressed)

    entries = [item("The model's own answer", "", chosen=target is None)]
    for one in manifest.classes:
        words = f"{class_name(one.label)} {number(one.score)}"
        entries.append(item(words, str(one.index), chosen=one.index == target))
    head = html.Summary(
        [label, icon("chevron", size=11)],
        className="v-chip is-target",
        **{"aria-label": f"Class to explain: {label}", "data-testid": "target-chip"},
    )
    listing = html.Div([html.P("Class to explain", className="v-note"), *entries], className="v-menu-list")
    return html.Details([head, listing], className="v-menu")
