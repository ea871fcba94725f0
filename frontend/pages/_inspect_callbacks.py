"""Callbacks of Inspect that run in the browser: what the controls say becomes stores and looks."""

from __future__ import annotations

from dash import ALL, MATCH, ClientsideFunction, Dash, Input, Output, State

from frontend import ids


def register_clientside(app: Dash) -> None:
    """Adds the callbacks whose code is ``assets/inspect.js`` and ``assets/looks.js``."""
    _stores(app)
    _looks(app)
    _panels(app)


def _stores(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("inspect", "mounted"), Output(ids.INSPECT, "n_clicks"), Input(ids.INSPECT, "id")
    )
    app.clientside_callback(
        ClientsideFunction("inspect", "methods"),
        Output(ids.METHODS, "data", allow_duplicate=True),
        Input({"type": "method-check", "method": ALL}, "checked"),
        Input({"type": "param", "method": ALL, "name": ALL}, "value"),
        Input({"type": "param-switch", "method": ALL, "name": ALL}, "checked"),
        prevent_initial_call="initial_duplicate",
    )
    app.clientside_callback(
        ClientsideFunction("inspect", "preset"),
        Output({"type": "param", "method": MATCH, "name": ALL}, "value"),
        Output({"type": "param-switch", "method": MATCH, "name": ALL}, "checked"),
        Input({"type": "preset", "method": MATCH}, "value"),
        State({"type": "param", "method": MATCH, "name": ALL}, "value"),
        State({"type": "param-switch", "method": MATCH, "name": ALL}, "checked"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("inspect", "capabilities"),
        Output(ids.CAPABILITIES, "modified_timestamp"),
        Input(ids.CAPABILITIES, "data"),
    )
    app.clientside_callback(
        ClientsideFunction("inspect", "pick"),
        Output(ids.MODEL_SEARCH, "value"),
        Output(ids.MODEL_SEARCH, "searchValue"),
        Input(ids.MODEL_SEARCH, "value"),
        prevent_initial_call=True,
    )
    app.clientside_callback(
        ClientsideFunction("inspect", "drawn"), Output(ids.GRID, "n_clicks"), Input(ids.GRID, "children")
    )


def _looks(app: Dash) -> None:
    app.clientside_callback(
        ClientsideFunction("looks", "change"),
        Output("look-custom", "className"),
        Output("look-threshold", "className"),
        Input(ids.LOOK_MODE, "value"),
        Input(ids.LOOK_OPACITY, "value"),
        Input(ids.LOOK_PALETTE, "value"),
        Input(ids.LOOK_RANGE, "value"),
        Input(ids.LOOK_LOW, "value"),
        Input(ids.LOOK_HIGH, "value"),
        Input(ids.LOOK_SHOW, "value"),
        Input(ids.LOOK_VALUE, "value"),
        Input(ids.LOOK_TOP, "value"),
        Input(ids.LOOK_SMOOTH, "checked"),
        Input(ids.LOOK_CONTOUR, "checked"),
        Input(ids.LOOK_MATCH, "checked"),
    )


def _panels(app: Dash) -> None:
    for kind in ("class", "minus", "layer", "groups"):
        name = {"type": f"panel-{kind}", "run": MATCH}
        app.clientside_callback(
            ClientsideFunction("looks", kind),
            Output(name, "name"),
            Input(name, "value"),
            State(name, "id"),
            prevent_initial_call=True,
        )
