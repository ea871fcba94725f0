"""The look of maps in order of rank: all in one picture first, each alone one click away, how much each one holds.

Where a trained classifier read nothing but these maps, the panel also says who answered what, how good that classifier
is, and what each map added to its answer, with the sum written out.
"""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Manifest, Region
from frontend.components.answers import Answer, both_answers
from frontend.components.bars import bar, paired_strip
from frontend.components.icons import icon
from frontend.components.tables import group_swatch
from frontend.components.words import class_name, number
from frontend.renderers.parts import cautions, details, layer_choice, layer_list, reading, split_layers
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, viewer_spec

IMPORTANCE, CONTRIBUTION = "importance", "contribution"
"""Keys of the columns whose bars stand under the map: 0-1, and signed."""
MOST_BARS = 4
"""The strip has two lines of two; further ranks stand in the table."""
USED, GROUPS = "attention used by the BR-NPA classifier", "feature groups, not the model's attention"
TRAINED = "trained"


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the composite; its parts are one choice away, without a new pass."""
    layers = drawable(manifest)
    viewer = viewer_spec(manifest, addresses, layers=layers, badge=manifest.texts.badge, look=look)
    if manifest.partial:
        return Rendering(viewer=viewer, reading=reading(manifest))
    main = [layer for layer in layers if layer.role == "main"]
    buttons, listed = split_layers([layer for layer in layers if layer.role != "main"])
    active = viewer["active"]
    is_trained = manifest.scalars.get("mode") == TRAINED
    parts = (
        _kind(manifest),
        _quality(manifest) if is_trained else None,
        layer_choice(manifest, [*main, *buttons], active),
        layer_list(manifest, listed, active),
        _contributions(manifest) if is_trained else None,
    )
    controls = [part for part in parts if part is not None]
    return Rendering(
        viewer=viewer,
        reading=reading(manifest),
        controls=html.Div(controls, className="v-controls") if controls else None,
        cautions=cautions(manifest),
        strip=_answers(manifest) if is_trained else _strip(manifest),
        details=details(manifest, share=addresses.share),
    )


def _kind(manifest: Manifest) -> Component | None:
    """Returns what the maps are, in fixed words: green where a classifier read them, grey where none did."""
    mode = manifest.scalars.get("mode")
    if mode is None:
        return None
    is_used = mode == TRAINED
    words = USED if is_used else GROUPS
    sign = [icon("check", size=13)] if is_used else []
    return html.P(
        [*sign, words], className="v-kind" + (" is-used" if is_used else ""), **{"data-testid": "kind of maps"}
    )


def _quality(manifest: Manifest) -> Component:
    """Returns which explainer it is, what it learned from, and how far it can be trusted, with counterparts."""
    given = manifest.scalars
    said = [f"Explainer {given.get('explainer')}, trained on {given.get('explainer_data')}."]
    accuracy, base = given.get("accuracy_validation"), given.get("base_accuracy_validation")
    if isinstance(accuracy, int | float):
        beside = f" (the model on {_percent(base)})" if isinstance(base, int | float) else ""
        said.append(f"Right on {_percent(accuracy)} of its validation pictures{beside}.")
    agreement = given.get("agreement_validation")
    if isinstance(agreement, int | float):
        said.append(f"Gives the model's answer on {_percent(agreement)}.")
    sentence = " ".join(said).replace(" %", "\u00a0%")
    return html.P(sentence, className="v-note v-fidelity", **{"data-testid": "fidelity"})


def _answers(manifest: Manifest) -> Component | None:
    """Returns both answers to this picture and whether they agree."""
    given = manifest.scalars
    chance = next((item.score for item in manifest.classes if item.label == given.get("answer")), None)
    answers = (
        Answer("Explainer", given.get("answer"), chance, own=True),
        Answer(manifest.model_title, given.get("base_answer"), given.get("base_probability")),
    )
    return both_answers(answers, given.get("agree"))


def _contributions(manifest: Manifest) -> Component:
    """Returns a row for each group, importance beside its signed contribution, and the sum written out."""
    largest = max((abs(_number(region, CONTRIBUTION)) for region in manifest.regions), default=0.0) or 1.0
    heads = [
        html.Span("", className="v-ranked-head"),
        html.Span("Importance", className="v-ranked-head"),
        html.Span("Contribution, logits", className="v-ranked-head"),
    ]
    rows = [cell for region in manifest.regions for cell in _contribution_row(region, largest)]
    target = manifest.scalars.get("explained_class")
    against = manifest.scalars.get("contrast_class")
    what = f"for {class_name(str(target))}" + (f" against {class_name(str(against))}" if against is not None else "")
    return html.Div(
        [
            html.Div([*heads, *rows], className="v-ranked"),
            html.P([html.B(str(manifest.scalars.get("sum", ""))), f" {what}"], className="v-sum"),
            html.P("Maps do not depend on the class; contributions do.", className="v-note"),
        ],
        className="v-ranked-box",
        **{"data-testid": "contributions"},
    )


def _contribution_row(region: Region, largest: float) -> list[Component]:
    importance, added = _number(region, IMPORTANCE), _number(region, CONTRIBUTION)
    swatch = group_swatch(region.id, region.colour, palette="parts")
    width = 50 * min(abs(added) / largest, 1.0)
    style = {"left": f"{50 - (width if added < 0 else 0):.1f}%", "width": f"{width:.1f}%"}
    track = html.Span(
        html.I(className="v-signed-bar" + (" is-against" if added < 0 else ""), style=style),
        className="v-track",
        **{"aria-hidden": "true"},
    )
    return [
        html.Span([*([swatch] if swatch is not None else []), region.label], className="v-ranked-name"),
        html.Span([bar(importance), html.B(number(importance))], className="v-ranked-value"),
        html.Span([track, html.B(_signed(added))], className="v-ranked-value"),
    ]


def _number(region: Region, key: str) -> float:
    value = region.values.get(key)
    return float(value) if isinstance(value, int | float) else 0.0


def _signed(value: float) -> str:
    return f"{'−' if value < 0 else '+'}{abs(value):.2f}"


def _percent(share: float) -> str:
    """Returns a share with one decimal: between 99.5 % and 100 % lies what matters here."""
    return f"{100 * share:.1f} %"


def _strip(manifest: Manifest) -> Component | None:
    rows = []
    for region in manifest.regions[:MOST_BARS]:
        value = region.values.get(IMPORTANCE, region.score)
        if isinstance(value, int | float):
            rows.append((region.label, float(value), region.id, region.colour))
    return paired_strip(rows) if rows else None
