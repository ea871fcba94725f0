"""Trainings, explainers and data sets over real HTTP and real Redis; a reporter stands in for the worker."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import stat
import zipfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image
from rq import Queue
from rq.serializers import JSONSerializer

from backend.contract import names
from backend.contract.explainers import ExplainerShelf
from backend.contract.schemas import ExplainerCard
from backend.contract.trainings import TrainingSpec, TrainingState
from backend.settings import WebSettings
from tests.backend_fakes import make_model
from tests.fakes_training import KIND
from tests.integration.api.conftest import DEADLINE_S, Served, serve
from workers.training_offer import publish_kinds, publish_trainable
from workers.training_reporter import TrainingReporter

pytestmark = pytest.mark.redis
BASE = "f" * 64
"""Weights digest of the model of these tests."""


@pytest.fixture
def kinds(queue: redis.Redis) -> None:
    publish_kinds(queue, {KIND.name: KIND}, has_gpu=False)
    publish_trainable(queue, {KIND.name: KIND}, [make_model()])


@pytest.fixture
def shelf(tmp_path: Path) -> ExplainerShelf:
    return ExplainerShelf(tmp_path / "explainers", builtin=None)


def publish(shelf: ExplainerShelf, id: str = "book-1", created: float = 1.0) -> ExplainerCard:
    folder = shelf.temporary()
    (folder / "words").mkdir()
    (folder / "words" / "0001-0.png").write_bytes(b"\x89PNG\r\n\x1a\ncrop")
    (folder / "network.safetensors").write_bytes(b"<script>weights</script>")
    content = {
        "method": "tiny",
        "id": id,
        "created": created,
        "base": {"name": "tiny-cnn", "weights_digest": BASE, "preprocessing": "64x64 bicubic"},
        "classes": ["a", "b"],
        "data": {"name": "finches", "digest": "0" * 64},
        "metrics": {"accuracy": 0.5},
        "own": {"entry": [1, 2]},
    }
    return shelf.publish(folder, content).card()


def archive(files: dict[str, bytes] | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in ("finch/1.png", "finch/2.png", "owl/1.png", "owl/2.png"):
            picture = io.BytesIO()
            pixels = np.random.default_rng(len(name) + ord(name[0]) + ord(name[-5])).integers(0, 256, (20, 20, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(picture, format="PNG")
            file.writestr(name, picture.getvalue())
        for name, data in (files or {}).items():
            file.writestr(name, data)
    return buffer.getvalue()


async def upload(http: httpx.AsyncClient, data: bytes, name: str = "set.zip") -> httpx.Response:
    return await http.post("/api/v1/datasets", files={"file": (name, data, "application/zip")})


async def start(http: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    body = {"kind": "tiny", "model": "tiny-cnn", "data": "birds:60", **changes}
    answer = await http.post("/api/v1/trainings", json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def reporter_of(queue: redis.Redis, view: dict[str, Any]) -> TrainingReporter:
    """Returns what writes for the worker, after the job was taken from the queue."""
    Queue(names.TRAINING_QUEUE, connection=queue, serializer=JSONSerializer).remove(view["id"])
    reporter = TrainingReporter(queue, view["id"], TrainingSpec.model_validate(view["spec"]), cache=queue)
    reporter.start()
    return reporter


def end(queue: redis.Redis, reporter: TrainingReporter, state: TrainingState, **changes: Any) -> None:
    with queue.pipeline() as pipe:
        reporter.end(pipe, state, **changes)
        pipe.execute()


async def test_the_kinds_are_listed_with_their_settings_and_what_they_fit(http: httpx.AsyncClient, kinds: None) -> None:
    answer = await http.get("/api/v1/trainings/kinds", params={"model": ["tiny-cnn", "no-grid"]})
    body = answer.json()
    (kind,) = body["kinds"]
    assert (kind["name"], kind["default_preset"], kind["pictures"]) == ("tiny", "standard", {"two": 60})
    assert kind["recipe_schema"]["properties"]["epochs"]["default"] == 3
    assert body["trainable"] == [{"model": "tiny-cnn", "kind": "tiny", "possible": True, "reason": ""}]


async def test_a_training_is_queued_followed_and_remembered(
    http: httpx.AsyncClient, queue: redis.Redis, kinds: None, shelf: ExplainerShelf
) -> None:
    view = await start(http, recipe={"epochs": 5}, title="Mine")
    assert (view["state"], view["position"]) == ("queued", 0)
    assert view["spec"]["recipe"] == {"epochs": 5}
    assert view["spec"]["preset"] == "standard"
    reporter = reporter_of(queue, view)
    reporter.tell({"stage": "counting", "done": 1, "total": 5, "point": 1.0, "loss": 0.5, "nonsense": float("nan")})
    reporter.tell({"pictures": {"word.png": b"\x89PNG\r\n\x1a\n", "odd.png": b"<html>"}})
    address = f"/api/v1/trainings/{view['id']}"
    running = (await http.get(address)).json()
    assert running["state"] == "running"
    assert running["curves"] == {"loss": [[1.0, 0.5]]}
    assert running["progress"]["stage"] == "counting"
    picture = await http.get(f"{address}/pictures/word.png")
    assert (picture.headers["content-type"], picture.content) == ("image/png", b"\x89PNG\r\n\x1a\n")
    for name in ("odd.png", "nothing.png"):
        assert (await http.get(f"{address}/pictures/{name}")).status_code == 404
    end(queue, reporter, TrainingState.DONE, explainer=publish(shelf))
    done = (await http.get(address)).json()
    assert done["explainer"]["id"] == "book-1"
    assert [one["id"] for one in (await http.get("/api/v1/trainings")).json()] == [view["id"]]
    assert (await http.get("/api/v1/trainings", params={"model": "other"})).json() == []


@contextlib.asynccontextmanager
async def following(http: httpx.AsyncClient, **params: str) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    async with http.stream("GET", "/api/v1/events", params=params) as response:
        assert response.status_code == 200

        async def messages() -> AsyncIterator[tuple[str, Any]]:
            kind = ""
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    yield kind, json.loads(line.removeprefix("data: "))

        yield messages()


async def test_one_stream_tells_of_runs_and_trainings(http: httpx.AsyncClient, queue: redis.Redis, kinds: None) -> None:
    view, other = await start(http), await start(http)
    reporter = reporter_of(queue, view)
    reporter.tell({"point": 1.0, "loss": 0.5})
    async with asyncio.timeout(DEADLINE_S), following(http, trainings=view["id"], runs="a" * 64) as messages:
        kind, first = await anext(messages)
        assert (kind, first["training"], first["state"], first["whole"]) == ("training", view["id"], "running", True)
        assert first["points"] == {"loss": [[1.0, 0.5]]}
        assert (await anext(messages))[0] == "workers"
        reporter_of(queue, other)
        reporter.tell({"point": 2.0, "loss": 0.25})
        reporter.tell({"point": 3.0, "loss": 0.125})
        end(queue, reporter, TrainingState.DONE)
        points: list[Any] = []
        async for kind, event in messages:
            if kind != "training":
                continue
            assert event["training"] == view["id"]
            points += (event["points"] or {}).get("loss", ()) if not event["whole"] else ()
            if event["state"] == "done":
                break
        assert points == [[2.0, 0.25], [3.0, 0.125]]


async def test_wishes_are_recorded_and_told(http: httpx.AsyncClient, queue: redis.Redis, kinds: None) -> None:
    view = await start(http)
    address = f"/api/v1/trainings/{view['id']}"
    assert (await http.post(f"{address}/finish")).status_code == 422
    stopped = (await http.post(f"{address}/stop")).json()
    assert stopped["state"] == "stopped"
    resumed = await http.post(f"{address}/resume")
    assert (resumed.status_code, resumed.json()["state"], resumed.json()["attempt"]) == (202, "queued", 2)
    reporter = reporter_of(queue, view)
    assert (await http.delete(address)).status_code == 422
    assert (await http.post(f"{address}/finish")).json()["wish"] == "finish"
    assert queue.get(names.training_wish(view["id"])) == b"finish"
    assert (await http.post(f"{address}/stop")).json()["wish"] == "stop"
    assert (await http.get(address)).json()["wish"] == "stop"
    end(queue, reporter, TrainingState.STOPPED)
    assert (await http.get(address)).json()["wish"] is None
    assert (await http.delete(address)).status_code == 204
    assert (await http.get(address)).status_code == 404
    assert (await http.get("/api/v1/trainings")).json() == []


async def test_trainings_that_cannot_be_are_refused_with_a_problem(http: httpx.AsyncClient, kinds: None) -> None:
    for changes, status, code in (
        ({"kind": "huge"}, 422, "request_invalid"),
        ({"model": "nobody"}, 404, "model_unknown"),
        ({"model": "resnet18.a1_in1k"}, 503, "model_not_ready"),
        ({"data": "../etc"}, 422, "data_unusable"),
        ({"recipe": {"epochs": 0}}, 422, "params_invalid"),
        ({"preset": "fast"}, 422, "params_invalid"),
        ({"surprise": 1}, 422, "request_invalid"),
    ):
        answer = await http.post("/api/v1/trainings", json={"kind": "tiny", "model": "tiny-cnn", **changes})
        assert (answer.status_code, answer.json()["code"]) == (status, code)
    unknown = "/api/v1/trainings/t0123456789abcdef"
    for method, address in (("GET", unknown), ("POST", f"{unknown}/stop"), ("DELETE", unknown)):
        assert (await http.request(method, address)).status_code == 404
    assert (await http.get("/api/v1/events", params={"trainings": "x"})).json()["code"] == "request_invalid"


async def test_without_a_worker_nothing_can_be_trained(http: httpx.AsyncClient) -> None:
    answer = await http.post("/api/v1/trainings", json={"kind": "tiny", "model": "tiny-cnn"})
    assert answer.json()["code"] == "no_worker"


async def test_explainers_are_listed_looked_into_and_deleted(http: httpx.AsyncClient, shelf: ExplainerShelf) -> None:
    publish(shelf)
    publish(shelf, "book-2", created=2.0)
    mine = {"method": "tiny"}
    assert [one["id"] for one in (await http.get("/api/v1/explainers", params=mine)).json()] == ["book-2", "book-1"]
    by_model = await http.get("/api/v1/explainers", params={"model": "tiny-cnn", "method": "tiny"})
    assert len(by_model.json()) == 2
    assert (await http.get("/api/v1/explainers", params={"method": "other"})).json() == []
    address = f"/api/v1/explainers/tiny/{BASE}/book-1"
    detail = (await http.get(address)).json()
    assert detail["manifest"]["own"] == {"entry": [1, 2]}
    assert detail["files"]["words/0001-0.png"] == 12
    assert detail["problem"] == ""
    assert (await http.delete(address)).status_code == 204
    assert (await http.get(address)).status_code == 404


async def test_files_of_an_explainer_are_served_safely(http: httpx.AsyncClient, shelf: ExplainerShelf) -> None:
    publish(shelf)
    address = f"/api/v1/explainers/tiny/{BASE}/book-1/files"
    crop = await http.get(f"{address}/words/0001-0.png")
    assert (crop.status_code, crop.headers["content-type"]) == (200, "image/png")
    again = await http.get(f"{address}/words/0001-0.png", headers={"If-None-Match": crop.headers["etag"]})
    assert again.status_code == 304
    weights = await http.get(f"{address}/network.safetensors")
    assert weights.headers["content-type"] == "application/octet-stream"
    assert weights.headers["content-disposition"].startswith("attachment")
    assert weights.headers["x-content-type-options"] == "nosniff"
    (shelf.folder or Path()).joinpath("secret.txt").write_text("secret")
    for name in ("manifest.json", "nothing.png", "..%2F..%2F..%2Fsecret.txt", "words%2F..%2Fmanifest.json", "%2Fetc"):
        answer = await http.get(f"{address}/{name}")
        assert answer.status_code in (404, 422)
        assert "secret" not in answer.text


async def test_a_data_set_is_uploaded_listed_and_removed(http: httpx.AsyncClient, tmp_path: Path, kinds: None) -> None:
    answer = await upload(http, archive(), "My finches.zip")
    assert answer.status_code == 201, answer.text
    assert (answer.json()["name"], answer.json()["classes"]) == ("My-finches", ["finch", "owl"])
    listed = (await http.get("/api/v1/datasets")).json()
    assert [(one["name"], one["source"]) for one in listed] == [("birds", "world"), ("My-finches", "uploaded")]
    assert (await start(http, data="My-finches"))["spec"]["data"] == "My-finches"
    assert (await http.get("/api/v1/datasets/My-finches")).json()["pictures"] == 4
    assert (await http.delete("/api/v1/datasets/My-finches")).status_code == 204
    assert (await http.get("/api/v1/datasets/My-finches")).status_code == 404
    assert list((tmp_path / "datasets").iterdir()) == []


async def test_a_bad_archive_gets_a_problem_and_leaves_nothing(http: httpx.AsyncClient, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("owl/link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    linked = io.BytesIO(archive())
    with zipfile.ZipFile(linked, "a") as file:
        file.writestr(link, "/etc/passwd")
    for data, code in (
        (archive({"../evil.png": b"x"}), "archive_refused"),
        (archive({"/evil.png": b"x"}), "archive_refused"),
        (linked.getvalue(), "archive_refused"),
        (archive({"owl/notes.txt": b"x"}), "archive_refused"),
        (archive({"owl/3.png": b"x"}), "picture_format"),
        (b"no zip", "archive_refused"),
    ):
        answer = await upload(http, data)
        assert (answer.status_code >= 400, answer.json()["code"]) == (True, code)
    assert list((tmp_path / "datasets").iterdir()) == []
    assert not (tmp_path / "evil.png").exists()
    assert [one["name"] for one in (await http.get("/api/v1/datasets")).json()] == ["birds"]


async def test_an_archive_may_be_larger_than_a_picture_and_has_a_limit_of_its_own(
    redis_url: str, queue: redis.Redis, tmp_path: Path
) -> None:
    settings = WebSettings(
        _env_file=None,
        queue_redis_url=redis_url,
        data_dir=tmp_path,
        max_upload_bytes=100_000,
        max_archive_bytes=500_000,
    )
    noise = np.random.default_rng(0).integers(0, 256, 90_000, dtype=np.uint8).tobytes()
    many = archive({f"owl/.{number}": noise for number in range(4)})
    async with serve(settings) as running, httpx.AsyncClient(base_url=running.url, timeout=DEADLINE_S) as http:
        assert len(many) > 300_000
        assert (await upload(http, many)).status_code == 201
        refused = await upload(http, archive({f"owl/.{number}": noise for number in range(8)}))
        assert (refused.status_code, refused.json()["code"]) == (413, "picture_too_large")
        picture = await http.post("/api/v1/images", files={"file": ("a.png", many)})
        assert picture.status_code == 413


async def test_every_address_is_described(served: Served, http: httpx.AsyncClient) -> None:
    paths = (await http.get("/api/v1/openapi.json")).json()["paths"]
    mine = {path: item for path, item in paths.items() if path.split("/")[3] in ("trainings", "explainers", "datasets")}
    assert len(mine) == 12
    for path, item in mine.items():
        for method, operation in item.items():
            assert operation["summary"], (path, method)
            assert operation["description"], (path, method)
