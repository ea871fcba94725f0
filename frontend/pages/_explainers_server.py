"""Callbacks of the page Explainers: lists that follow what happens, a form that follows what is chosen."""

from __future__ import annotations

from typing import Any

from dash import ALL, ClientsideFunction, Dash, Input, Output, State, no_update

from backend.contract.trainings import TrainingCard
from frontend.api import ApiClient, ApiError
from frontend.callbacks import on
from frontend.components import explainer_form as form
from frontend.components.problem_notice import problem_notice
from frontend.pages._explainers_list import shelf_parts
from frontend.pages._explainers_offer import read_form, read_kinds, read_shelf

NEWS = "explainers-news"
"""Store (memory): ``{"at": ms, "data": name}``, set by the browser when the lists may have changed."""
NOW = "explainers-now"
SHELF = "explainers-shelf"
PAST = "explainers-past"


def register_server(app: Dash, api: ApiClient) -> None:
    """Adds the callbacks of lists and form."""
    _register_lists(app, api)
    _register_data(app, api)
    _register_choices(app, api)
    app.clientside_callback(
        ClientsideFunction("explainers", "form"),
        Output(form.FORM, "n_clicks"),
        Input(form.KIND, "value"),
        Input(form.MODEL, "value"),
        Input(form.DATA, "value"),
        Input(form.COUNT, "value"),
        Input(form.PRESET, "value"),
        Input(form.TITLE, "value"),
        Input({"type": "param", "method": ALL, "name": ALL}, "value"),
        Input({"type": "param-switch", "method": ALL, "name": ALL}, "checked"),
    )


def _register_lists(app: Dash, api: ApiClient) -> None:
    @on(
        app,
        Output(NOW, "children"),
        Output(SHELF, "children"),
        Output(PAST, "children"),
        Output("explainers-problem", "children"),
        Input(NEWS, "data"),
        prevent_initial_call=True,
    )
    async def show_lists(_news: dict[str, Any] | None) -> tuple[Any, ...]:
        try:
            return *shelf_parts(await read_shelf(api)), None
        except ApiError as error:
            return no_update, no_update, no_update, problem_notice(error.problem)

    app.clientside_callback(ClientsideFunction("explainers", "listed"), Output(NOW, "n_clicks"), Input(NOW, "children"))


def _register_data(app: Dash, api: ApiClient) -> None:
    @on(
        app,
        Output(form.DATA, "data"),
        Output(form.DATA, "value"),
        Input(NEWS, "data"),
        State(form.DATA, "value"),
        prevent_initial_call=True,
    )
    async def show_data(news: dict[str, Any] | None, chosen: str | None) -> tuple[Any, Any]:
        try:
            options = form.data_options(await api.get("/datasets"))
        except ApiError:
            return no_update, no_update
        ready = [item["value"] for item in options if not item["disabled"]]
        wanted = (news or {}).get("data") or chosen
        return options, wanted if wanted in ready else (ready[0] if ready else None)

    @on(
        app,
        Output(form.DATA_NOTE, "children"),
        Output(form.COUNT_BOX, "hidden"),
        Input(form.DATA, "value"),
        prevent_initial_call=True,
    )
    async def show_data_note(chosen: str | None) -> tuple[Any, bool]:
        try:
            cards = await api.get("/datasets")
        except ApiError:
            return None, True
        card = next((one for one in cards if one["name"] == chosen), None)
        return form.data_note(card), card is None or card["source"] != form.WORLD


def _register_choices(app: Dash, api: ApiClient) -> None:
    @on(
        app,
        Output(form.MODEL, "data"),
        Output(form.MODEL, "value"),
        Output(form.REFUSED, "children"),
        Output(form.PRESET, "children"),
        Output(form.PRESET, "value"),
        Input(form.KIND, "value"),
        State(form.MODEL, "value"),
        prevent_initial_call=True,
    )
    async def choose_kind(name: str, model: str | None) -> tuple[Any, ...]:
        try:
            offer = await read_form(api)
        except ApiError:
            return (no_update,) * 5
        kind = next((one for one in offer.kinds if one.name == name), None)
        if kind is None:
            return (no_update,) * 5
        options = form.model_options(name, offer.models, offer.trainable)
        names = [item["value"] for item in options]
        return (
            options,
            model if model in names else (names[0] if names else None),
            form.refused(name, offer.models, offer.trainable),
            form.preset_choices(kind),
            _preset(kind, None),
        )

    @on(
        app,
        Output(form.SETTINGS, "children"),
        Output(form.COUNT, "value"),
        Input(form.PRESET, "value"),
        Input(form.KIND, "value"),
        State(form.COUNT, "value"),
        prevent_initial_call=True,
    )
    async def choose_preset(name: str | None, kind_name: str, count: Any) -> tuple[Any, Any]:
        kinds, _trainable = await read_kinds(api, [])
        kind = next((one for one in kinds if one.name == kind_name), None)
        if kind is None:
            return no_update, no_update
        preset = _preset(kind, name)
        return form.settings(kind, preset), kind.pictures.get(preset, count)


def _preset(kind: TrainingCard, wanted: str | None) -> str:
    names = [one.name for one in kind.presets]
    if wanted in names:
        return str(wanted)
    return kind.default_preset or (names[0] if names else "")
