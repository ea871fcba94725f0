"""The form that starts a training: what, for which model, from which pictures, how; every setting from the schema."""

from __future__ import annotations

import json
from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from backend.contract.results import ResultKind
from backend.contract.schemas import MethodCard, ModelCard, Preset
from backend.contract.trainings import Trainable, TrainingCard
from frontend.components.icons import icon
from frontend.components.method_form import method_form
from frontend.components.words import plural

FORM = "explainers-form"
KIND = "explainers-kind"
MODEL = "explainers-model"
DATA = "explainers-data"
COUNT = "explainers-count"
TITLE = "explainers-title"
PRESET = "explainers-preset"
SUMMARY = "explainers-summary"
REFUSED = "explainers-refused"
DATA_NOTE = "explainers-data-note"
COUNT_BOX = "explainers-count-box"
SETTINGS = "explainers-settings"
PREFIX = "training:"
"""Stands before a kind's name in the ids of its controls; a method of the same name has controls of its own."""
WORLD = "world"
DEFAULT_COUNT = 1200


def train_form(
    kinds: list[TrainingCard],
    models: list[ModelCard],
    trainable: list[Trainable],
    datasets: list[dict[str, Any]],
    *,
    wanted_kind: str = "",
    wanted_model: str = "",
) -> Component:
    """Returns the form, with the kind and the model of the address chosen when there are such.

    Args:
        kinds: What can be trained.
        models: Those that a worker has read.
        trainable: For which models each kind fits.
        datasets: What there is to learn from.
        wanted_kind: Kind to choose.
        wanted_model: Model to choose.
    """
    kind = next((one for one in kinds if one.name == wanted_kind), kinds[0])
    options = model_options(kind.name, models, trainable)
    names = [item["value"] for item in options]
    model = wanted_model if wanted_model in names else (names[0] if names else None)
    preset = kind.default_preset or (kind.presets[0].name if kind.presets else "")
    what = html.Div(
        [
            dmc.RadioGroup(
                [dmc.Radio(label=one.title, value=one.name, description=one.summary, size="xs") for one in kinds],
                id=KIND,
                value=kind.name,
                label="What to train",
                className="v-radios",
            ),
            dmc.Select(
                id=MODEL,
                data=options,
                value=model,
                label="For which model",
                description="The model stays as it is; the explainer is a second network beside it.",
                searchable=True,
                allowDeselect=False,
                nothingFoundMessage="No model of this name can get one",
            ),
            html.Div(refused(kind.name, models, trainable), id=REFUSED),
            dmc.TextInput(id=TITLE, label="Name", description="For the shelf; may stay empty.", debounce=300),
        ],
        className="v-form-part",
    )
    how = html.Div(
        [
            dmc.RadioGroup(preset_choices(kind), id=PRESET, value=preset, label="How thoroughly", className="v-radios"),
            html.Div(settings(kind, preset), id=SETTINGS),
        ],
        className="v-form-part",
    )
    return html.Div(
        [
            html.Div([what, _data_part(datasets, kind, preset), how], className="v-form-parts"),
            _start(),
        ],
        id=FORM,
        className="v-train-form",
        **{"data-testid": "train-form"},
    )


def _data_part(datasets: list[dict[str, Any]], kind: TrainingCard, preset: str) -> Component:
    first = next((one for one in datasets if one["source"] == WORLD), datasets[0] if datasets else None)
    chosen = str(first["name"]) if first else None
    return html.Div(
        [
            dmc.Select(
                id=DATA,
                data=data_options(datasets),
                value=chosen,
                label="From which pictures",
                description="Drawn birds, a folder of the server, or a zip that you upload.",
                allowDeselect=False,
            ),
            html.Div(
                dmc.NumberInput(
                    id=COUNT,
                    label="How many birds",
                    description="Drawn for this training.",
                    value=kind.pictures.get(preset, DEFAULT_COUNT),
                    min=20,
                    max=100_000,
                    step=100,
                    allowDecimal=False,
                ),
                id=COUNT_BOX,
                hidden=not (first and first["source"] == WORLD),
            ),
            html.Div(data_note(first), id=DATA_NOTE),
            _upload(),
            html.P(
                [
                    html.Strong("Exemplar crops are training pictures. "),
                    "An explainer may keep small pieces of the pictures it learned from; everybody who opens it, or a "
                    "share made with it, sees them.",
                ],
                className="v-note v-exemplar-note",
            ),
        ],
        className="v-form-part",
    )


def _upload() -> Component:
    return html.Div(
        [
            html.Button(
                [icon("upload"), "Upload a zip"],
                className="v-button",
                **{"data-action": "dataset-choose", "data-testid": "dataset-choose"},
            ),
            html.P(
                "One folder of pictures for each class, or train, val and test with such folders.", className="v-note"
            ),
            html.Div(
                [
                    html.P(className="v-text", role="status", **{"data-live": "dataset-progress"}),
                    html.Div(html.I(id="dataset-bar"), className="v-meter", **{"aria-hidden": "true"}),
                ],
                id="dataset-progress",
                hidden=True,
            ),
            html.Div(id="dataset-answer", role="alert"),
        ],
        className="v-dataset-upload",
    )


def _start() -> Component:
    return html.Div(
        [
            html.Button(
                "Start training",
                className="v-button v-button-filled",
                **{"data-action": "train-start", "data-testid": "train-start"},
            ),
            html.P(
                "It runs in the background, also when this page is closed, and tells its time left after some steps.",
                className="v-note",
            ),
            html.Div(id="train-answer", role="alert"),
        ],
        className="v-train-start",
    )


def model_options(kind: str, models: list[ModelCard], trainable: list[Trainable]) -> list[dict[str, str]]:
    """Returns the models that an explainer of a kind can be trained for."""
    fitting = {one.model for one in trainable if one.kind == kind and one.possible}
    return [{"value": card.name, "label": card.title} for card in models if card.name in fitting]


def refused(kind: str, models: list[ModelCard], trainable: list[Trainable]) -> Component | None:
    """Returns for which models a kind does not fit, with reasons; ``None`` when it fits all."""
    titles = {card.name: card.title for card in models}
    rows = [one for one in trainable if one.kind == kind and not one.possible and one.model in titles]
    if not rows:
        return None
    words = [html.Li([html.Strong(titles[one.model]), " ", one.reason]) for one in rows]
    return html.Details(
        [html.Summary(f"Not for {plural(len(rows), 'other model')}"), html.Ul(words, className="v-hints")],
        className="v-fold",
    )


def data_options(datasets: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns what a training can learn from; what is being unpacked or cannot be used is shown, not offered."""
    ends = {"unpacking": " (being unpacked)", "unusable": " (cannot be used)"}
    return [
        {
            "value": one["name"],
            "label": f"{one['title']}{ends.get(one['state'], '')}",
            "disabled": one["state"] != "ready",
        }
        for one in datasets
    ]


def data_note(card: dict[str, Any] | None) -> Component | None:
    """Returns what is known of a data set: classes, pictures, parts; uploaded ones can be removed."""
    if card is None:
        return None
    if card["source"] == WORLD:
        words = "Drawn while training. Their parts are known, so that the words of a book can be checked against them."
        return html.P(words, className="v-note")
    parts = card.get("parts") or {}
    words = f"{plural(card['class_count'], 'class', 'classes')}, {plural(card['pictures'], 'picture')} to learn from"
    held = [f"{count:,} for {name}" for name, count in parts.items() if name != "train" and count]
    text = ", ".join([words, *held]) + "."
    if not parts.get("validation"):
        text += " A share of them is put aside to measure by."
    told: list[Any] = [html.Span(text)]
    if card["source"] == "uploaded":
        told.append(
            html.Button(
                "Remove these pictures",
                className="v-plain v-link",
                **{"data-action": "dataset-delete", "data-dataset": card["name"]},
            )
        )
    return html.P(told, className="v-note v-data-note")


def preset_choices(kind: TrainingCard) -> list[Component]:
    """Returns the presets of a kind with what each is for."""
    return [
        dmc.Radio(label=one.title or one.name.capitalize(), value=one.name, description=_hint(one, kind), size="xs")
        for one in kind.presets
    ]


def _hint(preset: Preset, kind: TrainingCard) -> str:
    right = "Right for this machine. " if preset.name == kind.default_preset and len(kind.presets) > 1 else ""
    return f"{right}{preset.hint}".strip()


def settings(kind: TrainingCard, preset: str) -> Component:
    """Returns every setting of a kind, folded, filled in as a preset says."""
    given = next((one.params for one in kind.presets if one.name == preset), {})
    properties = kind.recipe_schema.get("properties", {})
    filled = {name: given.get(name, node.get("default")) for name, node in properties.items()}
    card = MethodCard(
        name=f"{PREFIX}{kind.name}",
        title=kind.title,
        question="",
        summary=kind.summary,
        help="",
        version=1,
        kind=ResultKind.SCALAR_MAP,
        params_schema=kind.recipe_schema,
    )
    return html.Div(method_form(card, given), className="v-train-settings", **{"data-defaults": json.dumps(filled)})
