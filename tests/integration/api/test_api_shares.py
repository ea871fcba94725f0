"""Shares over HTTP: they outlive Redis, the process and the model, and end when their owner says so."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from backend.contract import names
from backend.contract.artifacts import RedisArtifactStore, npy_to_array
from backend.contract.results import Manifest
from backend.settings import WebSettings
from tests.backend_fakes import put_picture, put_result
from tests.integration.api.conftest import DEADLINE_S, serve

pytestmark = pytest.mark.redis
RUN, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def manifest(store: RedisArtifactStore) -> Manifest:
    record = put_picture(store)
    put_result(store, record, OTHER, {"map": np.ones((2, 3, 4), np.float32)}, model="other-cnn")
    return put_result(store, record, RUN)


async def _share(http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    body = {"title": " Wings \n and tail ", "runs": [RUN, OTHER], "looks": {"opacity": 0.5}, **changes}
    answer = await http.post("/api/v1/shares", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _everything(http: httpx.AsyncClient, share_id: str) -> AsyncIterator[tuple[str, bytes]]:
    share = (await http.get(f"/api/v1/shares/{share_id}")).json()
    yield "share", json.dumps(share, sort_keys=True).encode()
    paths = [f"pictures/{record['id']}" for record in share["pictures"]] + ["preview.png", "recipe.json"]
    for manifest in share["manifests"]:
        for array in manifest["arrays"].values():
            paths += [f"artifacts/{array['digest']}", f"artifacts/{array['digest']}/image?index=0"]
    for path in paths:
        answer = await http.get(f"/api/v1/shares/{share_id}/{path}")
        assert answer.status_code == 200, path
        yield path, answer.content


async def test_a_share_opens_bit_for_bit_after_redis_was_flushed_and_the_server_restarted(
    settings: WebSettings, queue: redis.Redis, manifest: Manifest
) -> None:
    async with (
        serve(settings) as served,
        httpx.AsyncClient(base_url=served.url, timeout=DEADLINE_S) as http,
    ):
        made = await _share(http)
        before = [item async for item in _everything(http, made["id"])]
    queue.flushall()
    async with (
        serve(settings) as served,
        httpx.AsyncClient(base_url=served.url, timeout=DEADLINE_S) as http,
    ):
        assert (await http.get("/api/v1/models")).json()["total"] == 0
        after = [item async for item in _everything(http, made["id"])]
    assert before == after
    assert len(before) == 1 + 3 + 4


async def test_the_answer_holds_link_secret_and_expiry(http: httpx.AsyncClient, manifest: Manifest) -> None:
    made = await _share(http, expires_days=7)
    assert made["url"].endswith(f"/s/{made['id']}")
    assert made["title"] == "Wings and tail"
    assert made["expires"] - made["created"] == 7 * 86_400
    share = (await http.get(f"/api/v1/shares/{made['id']}")).json()
    assert "owner_token" not in share
    assert made["owner_token"] not in json.dumps(share)
    assert share["sizes"]["total"] == share["sizes"]["pictures"] + share["sizes"]["arrays"]


async def test_only_its_owner_changes_and_ends_a_share(http: httpx.AsyncClient, manifest: Manifest) -> None:
    made = await _share(http)
    path = f"/api/v1/shares/{made['id']}"
    owner = {"X-Vitrine-Owner": made["owner_token"]}
    assert (await http.delete(path)).status_code == 422
    for wrong in ("x", made["id"]):
        refused = await http.patch(path, json={"title": "Mine"}, headers={"X-Vitrine-Owner": wrong})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    changed = await http.patch(path, json={"title": "Tail", "expires_days": 3}, headers=owner)
    assert changed.json()["title"] == "Tail"
    too_long = await http.patch(path, json={"expires_days": 99_999}, headers=owner)
    assert too_long.json()["code"] == "request_invalid"
    assert (await http.delete(path, headers=owner)).status_code == 204
    for rest in ("", "/preview.png", "/recipe.json", "/bundle.zip"):
        gone = await http.get(path + rest)
        assert (gone.status_code, gone.json()["code"]) == (410, "share_gone")


async def test_the_bundle_streams_and_the_preview_may_be_shown_elsewhere(
    http: httpx.AsyncClient, manifest: Manifest
) -> None:
    made = await _share(http)
    bundle = await http.get(f"/api/v1/shares/{made['id']}/bundle.zip")
    archive = zipfile.ZipFile(io.BytesIO(bundle.content))
    assert archive.testzip() is None
    assert archive.namelist()[-1] == "manifest.json"
    assert sum(name.endswith("run.json") for name in archive.namelist()) == 2
    preview = await http.get(f"/api/v1/shares/{made['id']}/preview.png")
    assert Image.open(io.BytesIO(preview.content)).size == (1200, 630)
    assert preview.headers["cross-origin-resource-policy"] == "cross-origin"
    array = await http.get(f"/api/v1/shares/{made['id']}/artifacts/{manifest.arrays['map'].digest}/slice?index=0")
    assert npy_to_array(array.content).shape == (5, 7)


async def test_going_on_from_a_share_answers_its_runs_from_the_store(
    http: httpx.AsyncClient, queue: redis.Redis, manifest: Manifest
) -> None:
    made = await _share(http)
    catalogue = queue.get(names.CATALOGUE)
    queue.flushall()
    queue.set(names.CATALOGUE, catalogue or b"")
    assert (await http.get(f"/api/v1/runs/{RUN}/result")).status_code == 404
    opened = await http.post(f"/api/v1/shares/{made['id']}/open")
    assert opened.status_code == 200
    assert (await http.get(f"/api/v1/runs/{RUN}/result")).json()["run_key"] == RUN
    assert (await http.get(f"/api/v1/images/{manifest.image_ids[0]}")).status_code == 200


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"runs": []}, "request_invalid"),
        ({"runs": ["x"]}, "request_invalid"),
        ({"runs": ["3" * 64]}, "result_gone"),
        ({"expires_days": 0}, "request_invalid"),
        ({"expires_days": 99_999}, "request_invalid"),
        ({"title": "x" * 201}, "request_invalid"),
        ({"looks": {"x": "y" * 30_000}}, "request_invalid"),
        ({"surprise": 1}, "request_invalid"),
    ],
)
async def test_what_cannot_be_shared_is_refused(
    http: httpx.AsyncClient, manifest: Manifest, changes: dict[str, Any], code: str
) -> None:
    body = {"title": "t", "runs": [RUN], **changes}
    answer = await http.post("/api/v1/shares", json=body)
    assert answer.json()["code"] == code
