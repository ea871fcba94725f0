"""From what the browser knows of a cell to the cell: fetches the result, then draws."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from backend.contract.problems import Problem, ProblemCode
from backend.contract.results import Manifest
from backend.contract.schemas import Progress
from frontend import ids
from frontend.api import ApiClient, ApiError
from frontend.components.viewer_cell import CellView, viewer_cell
from frontend.renderers.legible import legible
from frontend.renderers.spec import Addresses

GONE = {ProblemCode.RESULT_GONE, ProblemCode.NOT_FOUND}


async def draw_grid(structure: dict[str, Any], api: ApiClient) -> Component:
    """Returns rows of models and columns of methods, every cell in the state it is in.

    Args:
        structure: ``{"rows": [{"model", "title"}], "columns": [{"method", "title", "question"}], "cells": [...]}``,
            cells in row order.
        api: The way to the API.
    """
    rows, columns, cells = structure["rows"], structure["columns"], structure["cells"]
    drawn = await asyncio.gather(*(draw_cell(cell, api) for cell in cells))
    boxes = {(cell["model"], cell["method"]): _box(cell, body) for cell, body in zip(cells, drawn, strict=True)}
    count = {"data-columns": str(min(len(columns), 4))}
    heads = html.Div([_column_head(column) for column in columns], className="v-columns", **count)
    body = [_row(row, [boxes[row["model"], column["method"]] for column in columns], count) for row in rows]
    return html.Div([_switches(rows, columns), heads, *body], className="v-grid", **count)


async def draw_cell(data: dict[str, Any], api: ApiClient) -> Component:
    """Returns one cell; a finished one with its result."""
    view = to_view(data)
    if view.state == "done":
        try:
            manifest = await api.result(view.key)
        except ApiError as error:
            gone = error.problem.code in GONE
            data = {**data, "state": "lost" if gone else "failed", "problem": error.problem.model_dump(mode="json")}
            return viewer_cell(to_view(data))
        return viewer_cell(replace(to_view(data, manifest), check=await read_check(data.get("check"), api)))
    return viewer_cell(view)


async def read_check(key: str | None, api: ApiClient) -> Manifest | None:
    """Returns the check of a map against chance; ``None`` when there is none or it is no longer kept."""
    if not key:
        return None
    try:
        return legible(await api.result(key))
    except ApiError:
        return None


def to_view(data: dict[str, Any], manifest: Manifest | None = None) -> CellView:
    """Returns what the browser sent as a typed view."""
    picture = data["picture"]
    addresses = Addresses()
    if manifest is None and data.get("partial"):
        manifest = Manifest.model_validate(data["partial"])
    return CellView(
        model=data["model"],
        model_title=data.get("model_title") or data["model"],
        method=data["method"],
        method_title=data.get("method_title") or data["method"],
        picture={"url": addresses.picture(picture["id"]), "width": picture["width"], "height": picture["height"]},
        seen=data.get("seen"),
        key=data.get("key") or "",
        state=data.get("state") or "idle",
        progress=Progress.model_validate(data["progress"]) if data.get("progress") else None,
        position=data.get("position"),
        cached=bool(data.get("cached")),
        problem=Problem.model_validate(data["problem"]) if data.get("problem") else None,
        passes=data.get("passes"),
        seconds=data.get("seconds"),
        waiting_for=data.get("waiting_for") or "",
        attempt=data.get("attempt") or 1,
        manifest=manifest,
        look=data.get("look") or {},
        addresses=addresses,
        kind=data.get("kind") or "",
    )


def _box(cell: dict[str, Any], body: Component) -> Component:
    model, method = cell["model"], cell["method"]
    return html.Div(
        [html.Div(body, id=ids.cell(model, method)), dcc.Store(id=ids.cell_run(model, method))],
        className="v-cell-box",
        **{"data-model": model, "data-method": method},
    )


def _column_head(column: dict[str, Any]) -> Component:
    return html.Div([html.Strong(column["title"]), html.Span(column["question"])], className="v-column-head")


def _row(row: dict[str, Any], cells: list[Component], count: dict[str, str]) -> Component:
    head = html.Div(
        [
            html.H2(row["title"]),
            *([html.Code(row["model"])] if row["model"] != row["title"] else []),
            html.Div(className="v-grow"),
            html.Div(id=ids.row_target(row["model"]), className="v-row-target"),
        ],
        className="v-row-head",
    )
    return html.Section(
        [head, html.Div(cells, className="v-cells", **count)], className="v-row", **{"data-model": row["model"]}
    )


def _switches(rows: list[dict[str, Any]], columns: list[dict[str, Any]]) -> Component:
    """Returns the phone's way through the grid: one model, one method at a time."""
    models = [
        html.Button(row["title"], className="v-switch", **{"data-action": "show-model", "data-model": row["model"]})
        for row in rows
    ]
    methods = [
        html.Button(
            column["title"], className="v-tab", **{"data-action": "show-method", "data-method": column["method"]}
        )
        for column in columns
    ]
    groups = [html.Div(methods, className="v-tabs", role="group", **{"aria-label": "Method shown"})]
    if len(models) > 1:
        groups.insert(0, html.Div(models, className="v-switches", role="group", **{"aria-label": "Model shown"}))
    return html.Div(groups, className="v-narrow-switches")
