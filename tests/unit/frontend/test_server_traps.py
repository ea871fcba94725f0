from __future__ import annotations

import re
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import JSONResponse

from backend.contract.problems import ProblemCode, make_problem
from backend.settings import WebSettings
from frontend.api import ApiClient, ApiError
from frontend.link_preview import add_share_page, preview_tags
from frontend.server import create_server, make_page

SHARE = {"id": "abc", "title": 'A "toucan" & co', "manifests": [{}, {}], "pictures": []}


def stand_in() -> FastAPI:
    """An API that knows one share, with the page on it, as the server builds it."""
    api = FastAPI()

    @api.get("/api/v1/shares/{share_id}")
    async def share(share_id: str) -> Any:
        if share_id == "abc":
            return SHARE
        problem = make_problem(ProblemCode.SHARE_GONE, "This link is not valid.")
        return JSONResponse(problem.model_dump(mode="json"), status_code=problem.status)

    client = ApiClient(api)
    api.state.client = client
    page = make_page(api, client)
    add_share_page(api, page, client, public_url="")
    return api


async def get(api: FastAPI, path: str) -> httpx.Response:
    transport = httpx.ASGITransport(app=api)
    async with httpx.AsyncClient(transport=transport, base_url="http://vitrine.example") as http:
        return await http.get(path)


async def test_a_cold_deep_link_brings_our_assets_once_the_server_is_warm() -> None:
    api = stand_in()
    await api.state.client.warm_up()
    page = await get(api, "/s/abc")
    assert page.status_code == 200
    assert "/assets/style.css" in page.text
    assert "/assets/inspect.js" in page.text


async def test_without_warming_up_the_deep_link_would_lack_them() -> None:
    page = await get(stand_in(), "/s/abc")
    assert "/assets/style.css" not in page.text


async def test_warming_up_is_part_of_the_start_of_the_server() -> None:
    api = create_server(WebSettings(_env_file=None))
    assert [start.__name__ for start in api.state.on_start].count("warm_up") == 1


async def test_an_unknown_address_below_api_is_a_json_404() -> None:
    answer = await get(create_server(WebSettings(_env_file=None)), "/api/v1/nothing-here")
    assert answer.status_code == 404
    assert answer.json()["code"] == "not_found"


async def test_the_page_forbids_inline_scripts_but_its_own() -> None:
    api = create_server(WebSettings(_env_file=None))
    page = await get(api, "/")
    policy = page.headers["content-security-policy"]
    scripts = next(rule for rule in policy.split("; ") if rule.startswith("script-src"))
    assert "'unsafe-inline'" not in scripts
    assert "'unsafe-eval'" not in scripts
    inline = re.findall(r"<script(?![^>]*\bsrc=)[^>]*>", page.text)
    runs = [tag for tag in inline if "application/json" not in tag]
    assert len(runs) == len(re.findall(r"'sha256-", scripts)) == 1


async def test_everything_the_page_loads_comes_from_here() -> None:
    page = await get(create_server(WebSettings(_env_file=None)), "/")
    sources = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert sources
    assert [source for source in sources if not source.startswith("/")] == []


async def test_the_page_holds_no_socket_open() -> None:
    page = await get(create_server(WebSettings(_env_file=None)), "/")
    assert "_dash-ws-callback" not in page.text


async def test_dash_is_not_mounted_as_an_application_of_its_own() -> None:
    api = create_server(WebSettings(_env_file=None))
    assert (await get(api, "/_dash-layout")).status_code == 200
    assert (await get(api, "/_dash-dependencies")).status_code == 200


async def test_a_share_has_words_and_a_picture_for_link_previews() -> None:
    page = await get(stand_in(), "/s/abc")
    assert '<meta property="og:title" content="A &quot;toucan&quot; &amp; co">' in page.text
    picture = "http://vitrine.example/api/v1/shares/abc/preview.png"
    assert f'<meta property="og:image" content="{picture}">' in page.text
    assert '<meta name="robots" content="noindex">' in page.text


async def test_a_share_that_is_gone_answers_with_the_status_of_its_problem() -> None:
    page = await get(stand_in(), "/s/gone")
    assert page.status_code == 410
    assert "og:image" not in page.text
    assert "react-entry-point" in page.text


def test_one_map_is_not_plural_in_a_preview() -> None:
    assert "1 map, pinned" in preview_tags({**SHARE, "manifests": [{}]}, "u", "p")


async def test_a_problem_of_the_api_reaches_the_page_as_a_problem() -> None:
    with pytest.raises(ApiError) as caught:
        await ApiClient(stand_in()).share("gone")
    assert caught.value.problem.code is ProblemCode.SHARE_GONE
