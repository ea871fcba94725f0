from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import frontend
from backend.contract.problems import ProblemCode, make_problem
from backend.contract.schemas import Capability, ModelCard, ModelKind
from frontend import ids
from frontend.api import ApiError
from frontend.cells import draw_cell, draw_grid
from frontend.pages import Visit, find_page, find_pages
from frontend.pages._inspect_server import read_offer
from frontend.pages.inspect import layout as inspect_layout
from frontend.pages.share import layout as share_layout
from frontend.pages.share import summary, versions
from frontend.theme import GLASS, make_theme
from tests.fakes_page import (
    IMAGE,
    KEY,
    by_attribute,
    by_class,
    find,
    label_manifest,
    method_card,
    props,
    scalar_manifest,
    words_of,
)

ASSETS = Path(frontend.__file__).parent / "assets"


class FakeApi:
    """Answers as the API would, from memory."""

    max_upload_bytes = 5_000_000

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def _answer(self, name: str) -> Any:
        answer = self.answers.get(name)
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def samples(self) -> Any:
        return self._answer("samples") or []

    async def methods(self) -> Any:
        return self._answer("methods") or []

    async def models(self, *_: Any, **__: Any) -> Any:
        cards = self._answer("models") or []
        return len(cards), cards

    async def model(self, name: str) -> Any:
        return ModelCard(name=name, title=name.title(), kind=ModelKind.CLASSIFIER, source="own", weights="")

    async def capabilities(self, _models: list[str]) -> Any:
        return self._answer("capabilities") or []

    async def result(self, _key: str) -> Any:
        return self._answer("result")

    async def share(self, _share: str) -> Any:
        return self._answer("share")

    async def get(self, _path: str) -> Any:
        return self._answer("get")


def gone(code: ProblemCode) -> ApiError:
    return ApiError(make_problem(code, "It is gone."))


def cell(method: str, state: str, **changes: Any) -> dict[str, Any]:
    picture = {"id": IMAGE, "width": 640, "height": 480}
    return {"picture": picture, "model": "m", "method": method, "key": KEY, "state": state, **changes}


def test_every_page_has_an_address_of_its_own() -> None:
    pages = find_pages()
    assert len({page.path for page in pages}) == len(pages)
    assert next(page.title for page in pages) == "Inspect"


@pytest.mark.parametrize(("path", "title"), [("/", "Inspect"), ("/s/abc", "Shared maps"), ("/s/", None), ("/x", None)])
def test_an_address_leads_to_its_page(path: str, title: str | None) -> None:
    page = find_page(find_pages(), path)
    assert (page.title if page else None) == title


async def test_inspect_opens_when_neither_samples_nor_methods_can_be_had() -> None:
    api = FakeApi(samples=gone(ProblemCode.QUEUE_UNREACHABLE), methods=gone(ProblemCode.QUEUE_UNREACHABLE))
    page = await inspect_layout(Visit(api=api, path="/"))
    assert by_attribute(page, "data-testid", "drop-zone")
    assert "No worker has said yet" in words_of(page)


async def test_inspect_draws_the_methods_as_they_were_left() -> None:
    stores = {ids.METHODS: {"chosen": ["b"], "params": {"b": {"count": 7}}, "seeds": {}}}
    api = FakeApi(methods=[method_card(name="a"), method_card(name="b")])
    page = await inspect_layout(Visit(api=api, path="/", stores=stores))
    count = find(page, lambda one: getattr(one, "id", None) == ids.param("b", "count"))[0]
    assert props(count)["value"] == 7


async def test_what_can_be_done_is_told_for_every_chosen_model() -> None:
    possible = Capability(model="m", method="probe", possible=True, passes=420, preset_passes={"fast": 20})
    offer = await read_offer(FakeApi(methods=[method_card()], capabilities=[possible]), ["m"])
    assert offer["can"]["m"]["probe"]["preset_passes"] == {"fast": 20}
    assert offer["cards"]["m"]["title"] == "M"
    assert offer["methods"][0]["defaults"]["count"] == 5
    assert offer["suggested"] == []


async def test_the_first_visit_suggests_a_built_in_model() -> None:
    def card(name: str, source: str, *, described: bool) -> ModelCard:
        return ModelCard(
            name=name, title=name, kind=ModelKind.CLASSIFIER, source=source, weights="", described=described
        )

    models = [card("own", "own", described=True), card("demo", "demo", described=True)]
    assert (await read_offer(FakeApi(models=models), []))["suggested"] == ["demo"]
    assert (await read_offer(FakeApi(models=models[:1]), []))["suggested"] == ["own"]


async def test_an_unreachable_queue_is_a_problem_on_the_page() -> None:
    offer = await read_offer(FakeApi(methods=gone(ProblemCode.QUEUE_UNREACHABLE)), [])
    assert offer["problem"]["code"] == "queue_unreachable"


async def test_the_grid_has_a_row_for_each_model_and_a_column_for_each_method() -> None:
    structure = {
        "rows": [{"model": "m", "title": "M"}],
        "columns": [{"method": "a", "title": "A", "question": "?"}, {"method": "b", "title": "B", "question": "!"}],
        "cells": [cell("a", "done"), cell("b", "queued")],
    }
    grid = await draw_grid(structure, FakeApi(result=scalar_manifest()))
    cells = by_attribute(grid, "data-testid", "cell")
    assert [props(one)["data-state"] for one in cells] == ["done", "queued"]
    assert [words_of(head) for head in by_class(grid, "v-column-head")] == ["A ?", "B !"]
    assert find(grid, lambda one: getattr(one, "id", None) == ids.cell_run("m", "b"))


async def test_a_result_that_is_no_longer_kept_can_be_run_again() -> None:
    drawn = await draw_cell(cell("a", "done"), FakeApi(result=gone(ProblemCode.RESULT_GONE)))
    assert props(drawn)["data-state"] == "lost"
    assert by_attribute(drawn, "data-action", "run-cell")


async def test_a_partial_result_travels_with_the_cell() -> None:
    partial = scalar_manifest(partial=True).model_dump(mode="json")
    drawn = await draw_cell(cell("a", "running", partial=partial), FakeApi())
    assert props(drawn)["data-partial"] == "true"


def shared() -> dict[str, Any]:
    manifests = [scalar_manifest(versions={"torch": "2.9.0+cpu", "timm": "1.0.20"}), label_manifest()]
    return {
        "id": "abc",
        "title": "A robin",
        "created": 1_773_446_400.0,
        "expires": 1_804_982_400.0,
        "pictures": [{"id": IMAGE, "width": 640, "height": 480, "name": "robin.jpg"}],
        "manifests": [one.model_dump(mode="json") for one in manifests],
        "looks": {"runs": {KEY: {"layer": "c7"}}},
        "sizes": {"total": 1_800_000},
    }


async def test_a_share_shows_its_maps_its_recipe_and_its_downloads() -> None:
    page = await share_layout(Visit(api=FakeApi(share=shared(), get={"runs": []}), path="/s/abc"))
    assert len(by_attribute(page, "data-testid", "cell")) == 2
    assert "2 maps, 1 model, pinned on 14 March 2026. Opens until 14 March 2027." in words_of(page)
    assert "timm 1.0.20, torch 2.9.0, float32, seed 0" in words_of(page)
    downloads = [props(one)["href"] for one in by_class(page, "v-download")]
    assert downloads[0] == "/api/v1/shares/abc/bundle.zip"
    assert "1.8 MB" in words_of(page)


async def test_a_share_shows_each_map_as_it_was_left() -> None:
    page = await share_layout(Visit(api=FakeApi(share=shared(), get={}), path="/s/abc"))
    first = by_class(page, "v-viewer")[0]
    assert '"active":"c7"' in props(first)["data-viewer"]


async def test_only_the_owner_sees_how_to_delete_a_share() -> None:
    page = await share_layout(Visit(api=FakeApi(share=shared(), get={}), path="/s/abc"))
    box = find(page, lambda one: getattr(one, "id", None) == "share-owner")[0]
    assert props(box)["hidden"] is True


async def test_a_link_that_lost_its_end_is_told_in_plain_words() -> None:
    with pytest.raises(ApiError) as caught:
        await share_layout(Visit(api=FakeApi(share=gone(ProblemCode.REQUEST_INVALID)), path="/s/abc"))
    assert caught.value.problem.code is ProblemCode.SHARE_GONE
    assert "Copy the whole address" in caught.value.problem.message


def test_a_share_without_expiry_does_not_speak_of_one() -> None:
    share = {**shared(), "expires": None}
    assert summary(share, [scalar_manifest()]) == "1 map, 1 model, pinned on 14 March 2026."
    assert versions([]) == ""


def test_the_theme_has_the_ten_steps_of_the_accent() -> None:
    theme = make_theme()
    assert len(GLASS) == 10
    assert GLASS[theme["primaryShade"]["light"]] == "#0B6B61"
    assert GLASS[theme["primaryShade"]["dark"]] == "#7CCFC1"


TOKENS = [
    "page",
    "surface",
    "case",
    "line",
    "control",
    "ink",
    "ink-2",
    "ink-3",
    "accent",
    "on-accent",
    "accent-soft",
    "failed",
    "caution",
    "baseline",
]


@pytest.mark.parametrize("token", TOKENS)
def test_every_colour_is_defined_for_light_and_for_dark(token: str) -> None:
    css = (ASSETS / "style.css").read_text(encoding="utf-8")
    assert len(re.findall(rf"--v-{token}:", css)) == 2


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("token", ["ink", "ink-2", "ink-3", "accent", "failed", "caution"])
def test_text_colours_are_readable_on_the_page_in_light_and_dark(token: str) -> None:
    css = (ASSETS / "style.css").read_text(encoding="utf-8")
    pages, colours = re.findall(r"--v-page: (#\w+)", css), re.findall(rf"--v-{token}: (#\w+)", css)
    for page, colour in zip(pages, colours, strict=True):
        light, dark = sorted((_luminance(page), _luminance(colour)), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_every_icon_that_is_named_is_drawn() -> None:
    named = re.findall(r"url\(\"icons/(\w+)\.svg\"\)", (ASSETS / "icons.css").read_text(encoding="utf-8"))
    assert named
    assert [name for name in named if not (ASSETS / "icons" / f"{name}.svg").is_file()] == []
    root = Path(frontend.__file__).parent
    used = {name for file in root.rglob("*.py") for name in re.findall(r"\bicon\(\"(\w+)\"", file.read_text())}
    assert used <= set(named)


def test_the_font_ships_with_its_licence() -> None:
    assert "SIL Open Font License" in (ASSETS / "fonts" / "OFL-Inter.txt").read_text(encoding="utf-8")
    assert list((ASSETS / "fonts").glob("*.woff2"))


def test_no_style_sheet_or_script_asks_another_host() -> None:
    for file in [*ASSETS.rglob("*.css"), *ASSETS.rglob("*.js")]:
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/", "")
        assert not re.search(r"https?://", text), file.name
