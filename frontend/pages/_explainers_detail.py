"""One explainer from the inside: reads what its record holds, and shows one of its words after the other."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs

from dash import Dash, Input, Output, State, dcc, html, no_update
from dash.development.base_component import Component

from backend.contract.explainers import is_id
from backend.contract.problems import Problem, ProblemCode, make_problem
from backend.contract.schemas import ExplainerCard
from frontend import ids
from frontend.api import ROOT, ApiClient, ApiError
from frontend.callbacks import on
from frontend.components.explainer_book import TABLE, Book, has_words, read_book
from frontend.components.explainer_detail import CURVES, explainer_detail, read_history
from frontend.components.explainer_words_grid import WORD_VIEW, word_view
from frontend.components.problem_notice import problem_notice
from frontend.pages._explainers_offer import read_shelf

CHOSEN = "explainers-word"
"""Store (memory): ``{"word": number, "at": ms}``, the word somebody chose."""
_DIGEST = re.compile(r"[0-9a-f]{64}")


async def detail_page(api: ApiClient, address: str) -> Component:
    """Returns the page of an explainer, or a sentence where there is none.

    Args:
        api: The way to the API.
        address: ``method/digest/id`` as in the page's address.
    """
    path = explainer_path(address)
    if path is None:
        return _nothing(make_problem(ProblemCode.NOT_FOUND, "There is no explainer at this address."))
    try:
        found = await api.get(path)
        offer = await read_shelf(api)
        book = await load_book(api, path, found)
        lines = await _text(api, path, CURVES) if CURVES in found["files"] else None
    except ApiError as error:
        return _nothing(error.problem)
    card = ExplainerCard.model_validate(found["card"])
    detail = explainer_detail(
        card,
        found["manifest"],
        kind=offer.kind_title(card.method),
        model=offer.model_title(card.base),
        base=f"{ROOT}{path}/files",
        problem=found.get("problem") or "",
        book=book,
        history=read_history(found["manifest"], lines),
    )
    return html.Div([detail, dcc.Store(id=CHOSEN)])


def explainer_path(address: str) -> str | None:
    """Returns the path of an explainer below ``/api/v1``; ``None`` when the address names none."""
    parts = address.split("/")
    if len(parts) != 3 or not is_id(parts[0]) or not _DIGEST.fullmatch(parts[1]) or not is_id(parts[2]):
        return None
    return "/explainers/" + "/".join(parts)


async def load_book(api: ApiClient, path: str, found: dict[str, Any]) -> Book | None:
    """Returns the words of an explainer that keeps some and is whole; ``None`` else."""
    if not has_words(found["files"]) or found.get("problem"):
        return None
    return read_book(found["manifest"], found["files"], await api.file(f"{path}/files/{TABLE}"))


def register_detail(app: Dash, api: ApiClient) -> None:
    """Adds the callback that opens a word."""

    @on(
        app,
        Output(WORD_VIEW, "children"),
        Input(CHOSEN, "data"),
        State(ids.LOCATION, "search"),
        prevent_initial_call=True,
    )
    async def show_word(chosen: dict[str, Any] | None, search: str | None) -> Any:
        path = explainer_path(parse_qs((search or "").lstrip("?")).get("open", [""])[0])
        if not chosen or path is None:
            return no_update
        try:
            book = await load_book(api, path, await api.get(path))
        except ApiError as error:
            return problem_notice(error.problem)
        index = int(chosen.get("word", -1))
        if book is None or not 0 <= index < len(book.words):
            return no_update
        return word_view(book, index, f"{ROOT}{path}/files")


def _nothing(problem: Problem) -> Component:
    return html.Div(
        [
            html.H1("No such explainer", className="v-title"),
            problem_notice(problem),
            html.A("All explainers", href="/explainers", className="v-link", **{"data-spa": ""}),
        ],
        className="v-page-narrow",
    )


async def _text(api: ApiClient, path: str, name: str) -> str | None:
    try:
        return (await api.file(f"{path}/files/{name}")).decode("utf-8", errors="replace")
    except ApiError:
        return None
