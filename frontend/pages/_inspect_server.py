"""Callbacks of Inspect that ask the API: search, capabilities, predictions, the grid and its cells."""

from __future__ import annotations

import asyncio
from typing import Any

from dash import ALL, MATCH, Dash, Input, Output, State, ctx, html, no_update
from dash.development.base_component import Component

from backend.contract.problems import Problem, ProblemCode, make_problem
from backend.contract.results import Box, Manifest
from backend.contract.schemas import Capability, ModelCard, ModelKind, PictureRecord
from frontend import ids
from frontend.api import ApiClient, ApiError
from frontend.callbacks import on
from frontend.cells import draw_cell, draw_grid, read_check
from frontend.components.code_dialog import code_body
from frontend.components.comparison import comparison
from frontend.components.method_card import method_cards, reason_words, training_offer
from frontend.components.model_chooser import chosen_model, prediction_body, search_options
from frontend.components.picture_panel import picture_panel
from frontend.components.target_chip import target_chip
from frontend.components.trust import trust_strip, unchecked
from frontend.components.words import plural
from frontend.pages._explainers_offer import read_kinds
from frontend.renderers.spec import Addresses

SEARCH_LIMIT = 40


def register_server(app: Dash, api: ApiClient) -> None:
    """Adds the callbacks; every one is ``async``, so that none blocks the event stream."""
    _register_search(app, api)
    _register_capabilities(app, api)
    _register_predictions(app, api)
    _register_cells(app, api)


def _register_search(app: Dash, api: ApiClient) -> None:
    @on(
        app,
        Output(ids.MODEL_SEARCH, "data"),
        Output(ids.MODEL_SEARCH, "placeholder"),
        Input(ids.MODEL_SEARCH, "searchValue"),
        Input(ids.MODELS, "data"),
        Input(ids.CATALOGUE, "data"),
    )
    async def search_models(typed: str | None, chosen: list[str] | None, _catalogue: int | None) -> tuple[Any, str]:
        try:
            total, cards = await api.models((typed or "").strip(), limit=SEARCH_LIMIT)
        except ApiError:
            return [], "Search models"
        placeholder = no_update if typed else f"Search {total:,} models"
        return search_options(cards, chosen or [], typed or ""), placeholder


def _register_capabilities(app: Dash, api: ApiClient) -> None:
    @on(
        app,
        Output(ids.CAPABILITIES, "data"),
        Output(ids.CHOSEN_MODELS, "children"),
        Output(ids.MODEL_COUNT, "children"),
        Output({"type": "method-reason", "method": ALL}, "children"),
        Output({"type": "method-check", "method": ALL}, "disabled"),
        Output({"type": "method-box", "method": ALL}, "className"),
        Input(ids.MODELS, "data"),
        Input(ids.CATALOGUE, "data"),
        Input({"type": "method-reason", "method": ALL}, "id"),
    )
    async def show_capabilities(
        models: list[str] | None, _catalogue: int | None, names: list[dict[str, str]]
    ) -> tuple[Any, ...]:
        offer = await read_offer(api, models or [])
        titles = {name: card["title"] for name, card in offer["cards"].items()}
        shown = [
            [Capability.model_validate(can[item["method"]]) for can in offer["can"].values() if item["method"] in can]
            for item in names
        ]
        cards = [ModelCard.model_validate(card) for card in offer["cards"].values()]
        _kinds, trainable = await read_kinds(api, list(offer["cards"]))
        blocked = [bool(each) and not any(one.possible for one in each) for each in shown]
        return (
            offer,
            [chosen_model(card) for card in cards],
            f"{len(offer['cards'])} chosen",
            [
                training_offer(item["method"], cards, trainable, reason_words(each, titles))
                for item, each in zip(names, shown, strict=True)
            ],
            blocked,
            ["v-method is-blocked" if is_blocked else "v-method" for is_blocked in blocked],
        )

    @on(
        app,
        Output(ids.METHOD_LIST, "children"),
        Input(ids.CATALOGUE, "data"),
        State(ids.METHODS, "data"),
        State({"type": "method-check", "method": ALL}, "id"),
        prevent_initial_call=True,
    )
    async def show_methods(_catalogue: int, saved: dict[str, Any] | None, shown: list[dict[str, str]]) -> Any:
        methods = await api.methods()
        names = [card.name for card in methods if card.role == "explanation"]
        return no_update if names == [item["method"] for item in shown] else method_cards(methods, saved)


async def read_offer(api: ApiClient, models: list[str]) -> dict[str, Any]:
    """Returns what can be done with some models, as the browser keeps it.

    Args:
        api: The way to the API.
        models: Names of the chosen models; empty on the first visit.
    """
    try:
        methods = await api.methods()
        cards = await asyncio.gather(*(_model_card(api, name) for name in models))
        # A model that is gone keeps its row and its stored maps; the others must not suffer from it.
        capabilities = await api.capabilities([card.name for card in cards if card.problem is None])
        suggested = [] if models else await _first_model(api)
    except ApiError as error:
        return {
            "cards": {},
            "can": {},
            "methods": [],
            "check": "",
            "comparison": "",
            "suggested": [],
            "problem": error.problem.model_dump(mode="json"),
        }
    can: dict[str, dict[str, Any]] = {name: {} for name in models}
    for item in capabilities:
        can.setdefault(item.model, {})[item.method] = item.model_dump(mode="json")
    offered = [card for card in methods if card.role == "explanation"]
    keys = {"name", "title", "question", "has_target", "has_seed", "several_pictures", "kind"}
    return {
        "cards": {card.name: card.model_dump(mode="json", exclude={"class_names", "blocks"}) for card in cards},
        "can": can,
        "methods": [
            {
                **card.model_dump(mode="json", include=keys),
                "defaults": {
                    name: node.get("default") for name, node in card.params_schema.get("properties", {}).items()
                },
                "presets": {preset.name: preset.params for preset in card.presets},
            }
            for card in offered
        ],
        "check": next((card.name for card in methods if card.role == "check"), ""),
        "comparison": next((card.name for card in methods if card.role == "comparison"), ""),
        "suggested": suggested,
        "problem": None,
    }


async def _model_card(api: ApiClient, name: str) -> ModelCard:
    try:
        return await api.model(name)
    except ApiError as error:
        return ModelCard(name=name, title=name, kind=ModelKind.CLASSIFIER, source="", weights="", problem=error.problem)


async def _first_model(api: ApiClient) -> list[str]:
    _total, cards = await api.models(limit=20)
    ready = [card for card in cards if card.described and card.problem is None and card.kind == ModelKind.CLASSIFIER]
    ready.sort(key=lambda card: card.source != "demo")
    return [card.name for card in ready[:1]]


def _register_predictions(app: Dash, api: ApiClient) -> None:
    @on(
        app,
        Output({"type": "prediction", "model": ALL}, "children"),
        Output({"type": "row-target", "model": ALL}, "children"),
        Output(ids.RAIL_PICTURE, "children"),
        Input(ids.PREDICTIONS, "data"),
        Input(ids.TARGETS, "data"),
        Input({"type": "prediction", "model": ALL}, "id"),
        Input({"type": "row-target", "model": ALL}, "id"),
        State(ids.PICTURE, "data"),
    )
    async def show_predictions(
        views: dict[str, Any] | None,
        targets: dict[str, int] | None,
        in_rail: list[dict[str, str]],
        in_rows: list[dict[str, str]],
        picture: dict[str, Any] | None,
    ) -> tuple[Any, ...]:
        views, targets = views or {}, targets or {}
        found = await _prediction_results(api, views)
        record = PictureRecord.model_validate(picture) if picture else None
        bodies = [
            _prediction_words(views.get(item["model"]), found.get(item["model"]), targets.get(item["model"]))
            for item in in_rail
        ]
        chips = [
            target_chip(item["model"], found.get(item["model"]), targets.get(item["model"]), record) for item in in_rows
        ]
        seen = next((Box(*view["seen"]) for view in views.values() if view.get("seen")), None)
        panel = picture_panel(record, seen, url=Addresses().picture(record.id)) if record else None
        return bodies, chips, panel


async def _prediction_results(api: ApiClient, views: dict[str, Any]) -> dict[str, Manifest]:
    names = [name for name, view in views.items() if view.get("state") == "done"]
    answers = await asyncio.gather(*(api.result(views[name]["key"]) for name in names), return_exceptions=True)
    return {name: answer for name, answer in zip(names, answers, strict=True) if isinstance(answer, Manifest)}


def _prediction_words(view: dict[str, Any] | None, manifest: Manifest | None, target: int | None) -> Component:
    view = view or {}
    problem = Problem.model_validate(view["problem"]) if view.get("problem") else None
    if view.get("state") == "done" and manifest is None:
        problem = make_problem(ProblemCode.RESULT_GONE, "The prediction is no longer kept.")
    return prediction_body(manifest=manifest, problem=problem, state=str(view.get("state") or ""), target=target)


def _register_cells(app: Dash, api: ApiClient) -> None:
    @on(app, Output(ids.GRID, "children"), Input(ids.STRUCTURE, "data"), prevent_initial_call=True)
    async def show_grid(structure: dict[str, Any] | None) -> Any:
        return await draw_grid(structure, api) if structure else html.Div()

    @on(
        app,
        Output({"type": "cell", "model": MATCH, "method": MATCH}, "children"),
        Input({"type": "cell-run", "model": MATCH, "method": MATCH}, "data"),
        prevent_initial_call=True,
    )
    async def show_cell(data: dict[str, Any] | None) -> Any:
        # A grid that was drawn anew since: its cells are complete, and their stores are empty.
        return await draw_cell(data, api) if data else no_update

    @on(
        app,
        Output(ids.COMPARE_BODY, "children"),
        Input(ids.COMPARE_RUN, "data"),
        Input(ids.STRUCTURE, "data"),
        prevent_initial_call=True,
    )
    async def show_comparison(data: dict[str, Any] | None, _structure: dict[str, Any] | None) -> Any:
        if ctx.triggered_id != ids.COMPARE_RUN or not data:
            return None  # other maps stand above: what was compared is no longer what is seen
        manifest = await read_check(data.get("key"), api)
        return None if manifest is None else comparison(manifest, Addresses())

    @on(
        app,
        Output({"type": "trust", "run": MATCH}, "children"),
        Input({"type": "trust-run", "run": MATCH}, "data"),
        State({"type": "trust-run", "run": MATCH}, "id"),
        prevent_initial_call=True,
    )
    async def show_trust(data: dict[str, Any] | None, name: dict[str, str]) -> Any:
        if not data:
            return no_update
        check = await read_check(data.get("key"), api)
        return unchecked(name["run"], str(data.get("problem") or "")) if check is None else trust_strip(check)

    @on(
        app,
        Output(ids.CODE_TEXT, "children"),
        Output(ids.CODE, "opened"),
        Input(ids.CODE_REQUEST, "data"),
        prevent_initial_call=True,
    )
    async def show_code(request: dict[str, Any] | None) -> tuple[Any, bool]:
        if not request or not request.get("cells"):
            return no_update, False
        words = plural(len(request["cells"]), "map")
        return code_body(
            request["address"],
            request["picture"],
            request["cells"],
            words,
            url=request.get("url") or "",
            further=request.get("further") or [],
        ), True
