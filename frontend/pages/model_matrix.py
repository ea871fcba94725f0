"""The models: what is here, which methods can explain each, with the reason where one cannot, and a way to add one."""

from __future__ import annotations

import asyncio
from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from backend.contract.schemas import Capability, MethodCard, ModelCard, ModelKind
from frontend.api import ApiClient, ApiError
from frontend.components.icons import icon
from frontend.components.words import cost, plural
from frontend.pages import Page, Visit

SOURCES = {"demo": "built in", "own": "own folder", "timm": "timm", "hub": "hub"}
KINDS = {ModelKind.CLASSIFIER: "classifier", ModelKind.ENCODER: "encoder", ModelKind.CAPTIONER: "captioner"}
LISTED = 100


async def layout(visit: Visit) -> Component:
    """Returns the capability matrix of every described model, and the form that adds one."""
    (total, cards), methods = await asyncio.gather(visit.api.models(limit=LISTED), visit.api.methods())
    here = [card for card in cards if card.described or card.problem is not None]
    explanations = [card for card in methods if card.role == "explanation"]
    verdicts = await _verdicts(visit.api, [card.name for card in here])
    return html.Div(
        [
            html.Header(
                [
                    html.Div(
                        [
                            html.H1("Models", className="v-title"),
                            html.P(_summary(here, total), className="v-text"),
                        ]
                    ),
                ],
                className="v-page-head",
            ),
            _add_form(),
            _matrix(here, explanations, verdicts),
            html.P(
                "The digest names the weights themselves: two models with one digest give the same maps.",
                className="v-note",
            ),
        ],
        className="v-page",
        **{"data-testid": "models-page"},
    )


async def _verdicts(api: ApiClient, names: list[str]) -> dict[tuple[str, str], Capability]:
    try:
        found = [one for start in range(0, len(names), 50) for one in await api.capabilities(names[start : start + 50])]
    except ApiError:
        return {}
    return {(one.model, one.method): one for one in found}


def _summary(here: list[ModelCard], total: int) -> str:
    ready = plural(len(here), "model is", "models are")
    return f"{ready} described here; {total - len(here):,} more pretrained names are known and can be added."


def _add_form() -> Component:
    field = dmc.TextInput(
        id="add-model-name",
        label="Add a model",
        description="A timm name such as resnet50.a1_in1k, a hub id such as hf-hub:timm/resnet18.a1_in1k, "
        "or local-dir: and a directory of the worker. Your own checkpoints come from a folder with a model.toml.",
        placeholder="resnet50.a1_in1k",
        className="v-add-field",
    )
    button = html.Button("Add model", className="v-button", **{"data-action": "add-model", "data-testid": "add-model"})
    answer = html.P(id="add-model-answer", className="v-text", role="status", **{"aria-live": "polite"})
    return html.Section([html.Div([field, button], className="v-add-line"), answer], className="v-add-model")


def _matrix(
    cards: list[ModelCard], methods: list[MethodCard], verdicts: dict[tuple[str, str], Capability]
) -> Component:
    fixed = ("Model", "Kind", "Input", "Parameters", "Grids it keeps")
    heads = [html.Th(title, scope="col") for title in fixed]
    heads += [html.Th(method.title.split(":")[0], scope="col", className="is-verdict") for method in methods]
    rows = [_row(card, methods, verdicts) for card in cards]
    table = html.Table(
        [
            html.Caption("Models and the methods that can explain them", className="v-hidden"),
            html.Thead(html.Tr(heads)),
            html.Tbody(rows),
        ],
        className="v-table v-matrix",
    )
    return html.Div(table, className="v-table-box", tabIndex="0", role="region", **{"aria-label": "Models and methods"})


def _row(card: ModelCard, methods: list[MethodCard], verdicts: dict[tuple[str, str], Capability]) -> Component:
    digest = card.weights[:10] if len(card.weights) == 64 else "from the hub"
    name = html.Th(
        [
            html.Span(card.title),
            html.Code(card.name),
            html.Span(f"{SOURCES.get(card.source, card.source)} · {digest}", className="v-note"),
        ],
        scope="row",
        className="v-named",
    )
    if card.problem is not None:
        sentence = html.Td(
            [icon("warning"), " ", card.problem.message], colSpan=4 + len(methods), className="v-matrix-problem"
        )
        return html.Tr([name, sentence])
    size = f"{card.input_size[1]} × {card.input_size[0]}" if card.input_size else "–"
    facts = [
        html.Td([KINDS[card.kind], _classes(card)]),
        html.Td(size, className="is-number"),
        html.Td(_count(card.parameter_count), className="is-number"),
        html.Td(_grids(card)),
    ]
    return html.Tr([name, *facts, *(_verdict(verdicts.get((card.name, method.name))) for method in methods)])


def _classes(card: ModelCard) -> Component | str:
    if not card.class_count:
        return ""
    return html.Span(plural(card.class_count, "class", "classes"), className="v-note v-below")


def _count(count: int | None) -> str:
    if count is None:
        return "–"
    return f"{count / 1e6:.1f} M" if count >= 100_000 else f"{count:,}"


def _grids(card: ModelCard) -> Any:
    if not card.blocks:
        return "none found"
    grids: dict[tuple[int, int], int] = {}
    for block in card.blocks:
        grids[block.grid] = grids.get(block.grid, 0) + 1
    words = [f"{rows} × {columns}" for rows, columns in grids]
    shown = words if len(words) <= 5 else [*words[:2], "…", *words[-2:]]
    extra = f", {plural(card.prefix_tokens, 'extra token')}" if card.prefix_tokens else ""
    return [", ".join(shown), html.Span(f"{plural(len(card.blocks), 'block')}{extra}", className="v-note v-below")]


def _verdict(capability: Capability | None) -> Component:
    if capability is None:
        return html.Td("not asked yet", className="is-verdict v-note")
    if capability.possible:
        price = cost(capability.passes, capability.seconds)
        return html.Td([icon("check"), html.Span(price or "yes")], className="is-verdict is-possible")
    words = [html.Span(capability.reason)]
    if capability.remedy:
        words.append(html.Span(capability.remedy, className="v-note v-below"))
    return html.Td(words, className="is-verdict is-impossible")


PAGE = Page(path="/models", title="Models", nav=30, layout=layout)
