"""What every answer has in common: problems, safe headers, limits, caching; and what no answer ever holds."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import fakeredis
import httpx
import numpy as np
import pytest
import redis
from fastapi import FastAPI
from PIL import Image

from backend import examples
from backend.app import create_api
from backend.contract.artifacts import RedisArtifactStore, npy_to_array
from backend.contract.problems import KINDS, Problem, ProblemCode
from backend.contract.schemas import RunRequest
from backend.contract.trainings import TrainingRequest
from backend.middleware import ContentPolicy
from backend.routes.catalogue import ModelName
from backend.settings import WebSettings
from backend.share_requests import NewShare, ShareChange
from backend.submission import BatchRequest, PredictionRequest
from tests.backend_fakes import encode, make_pixels, png_bomb, put_picture, put_result

RUN = "1" * 64


def _problem(answer: httpx.Response) -> Problem:
    problem = Problem.model_validate(answer.json())
    assert answer.status_code == KINDS[problem.code].status
    assert answer.headers["cache-control"] == "no-store"
    return problem


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("path", ["/api/nope", "/api/v1/nope", "/api/v2/runs", "/api/", "/api/v1/runs/x/y/z"])
async def test_an_unknown_api_address_is_a_problem_and_never_a_page(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    answer = await client.request(method, path)
    assert _problem(answer).code is ProblemCode.NOT_FOUND


async def test_an_unknown_api_address_is_refused_before_a_catch_all_that_comes_later(api: FastAPI) -> None:
    api.add_api_route("/{rest:path}", lambda rest: "<html>page</html>", methods=["GET"])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://x") as http:
        assert (await http.get("/api/v1/nope")).json()["code"] == "not_found"
        assert (await http.get("/elsewhere")).text == '"<html>page</html>"'


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"", ProblemCode.PICTURE_UNREADABLE),
        (b"plain words", ProblemCode.PICTURE_FORMAT),
        (b"\x89PNG\r\n\x1a\nbroken", ProblemCode.PICTURE_UNREADABLE),
        (encode(make_pixels(200, 200))[:3000], ProblemCode.PICTURE_UNREADABLE),
        (encode(make_pixels(8, 40)), ProblemCode.PICTURE_TOO_SMALL),
        (png_bomb(1001, 1000), ProblemCode.PICTURE_TOO_MANY_PIXELS),
        (bytes(450_000), ProblemCode.PICTURE_TOO_LARGE),
        (bytes(900_000), ProblemCode.PICTURE_TOO_LARGE),
        (bytes(9_000_000), ProblemCode.PICTURE_TOO_LARGE),
    ],
    ids=["empty", "text", "broken", "cut", "small", "pixels", "large", "larger", "largest"],
)
async def test_a_bad_upload_has_its_documented_code(client: httpx.AsyncClient, data: bytes, code: ProblemCode) -> None:
    answer = await client.post("/api/v1/images", files={"file": ("bird.png", data, "image/png")})
    assert _problem(answer).code is code


async def test_an_endless_upload_without_a_length_is_stopped(client: httpx.AsyncClient) -> None:
    sent = 0

    async def pieces():  # type: ignore[no-untyped-def]
        nonlocal sent
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="x.png"\r\n\r\n'
        yield head
        while sent < 50_000_000:
            sent += 100_000
            yield bytes(100_000)

    answer = await client.post(
        "/api/v1/images", content=pieces(), headers={"Content-Type": "multipart/form-data; boundary=b"}
    )
    assert _problem(answer).code is ProblemCode.PICTURE_TOO_LARGE
    assert sent < 2_000_000


@pytest.mark.parametrize("options", [{}, {"data": {"file": "text"}}, {"content": b"no form"}, {"json": {}}])
async def test_an_upload_that_is_no_form_is_a_problem(client: httpx.AsyncClient, options: dict[str, object]) -> None:
    answer = await client.post("/api/v1/images", **options)  # type: ignore[arg-type]
    assert _problem(answer).code is ProblemCode.REQUEST_INVALID


async def test_a_picture_goes_in_and_comes_out(client: httpx.AsyncClient) -> None:
    pixels = make_pixels(300, 200)
    made = await client.post("/api/v1/images", files={"file": ("../bird.png", encode(pixels), "image/png")})
    record = made.json()
    assert (made.status_code, record["name"], record["width"], record["height"]) == (201, "bird.png", 300, 200)
    assert (await client.get(f"/api/v1/images/{record['id']}")).json() == record
    whole = await client.get(f"/api/v1/images/{record['id']}/picture")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(whole.content))), pixels)
    small = await client.get(f"/api/v1/images/{record['id']}/picture", params={"max_side": 150})
    assert Image.open(io.BytesIO(small.content)).size == (150, 100)
    assert "immutable" in small.headers["cache-control"]
    known = await client.get(
        f"/api/v1/images/{record['id']}/picture", headers={"If-None-Match": f'W/"x", {whole.headers["etag"]}'}
    )
    assert (known.status_code, known.content) == (304, b"")


async def test_a_picture_that_is_gone_says_so(client: httpx.AsyncClient) -> None:
    for path in (f"/api/v1/images/{'0' * 64}", f"/api/v1/images/{'0' * 64}/picture"):
        assert _problem(await client.get(path)).code is ProblemCode.PICTURE_GONE


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/images/..%2F..%2Fetc%2Fpasswd",
        "/api/v1/artifacts/" + "g" * 64,
        "/api/v1/artifacts/" + "A" * 64,
        "/api/v1/runs/" + "0" * 63,
        "/api/v1/shares/short",
        "/api/v1/samples/..%2Fsettings/thumbnail",
    ],
)
async def test_addresses_take_only_what_ids_look_like(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code in (404, 422)
    assert Problem.model_validate(answer.json()).code in (ProblemCode.NOT_FOUND, ProblemCode.REQUEST_INVALID)


async def test_arrays_are_served_whole_in_slices_and_as_pictures(
    client: httpx.AsyncClient, store: RedisArtifactStore
) -> None:
    stack = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    digest = next(iter(put_result(store, put_picture(store), RUN, {"map": stack}).digests()))
    base = f"/api/v1/artifacts/{digest}"
    assert np.array_equal(npy_to_array((await client.get(base)).content), stack)
    half = await client.get(f"{base}/slice", params={"index": 1, "dtype": "float16"})
    assert npy_to_array(half.content).dtype == np.float16
    assert np.array_equal(npy_to_array(half.content), stack[1])
    image = await client.get(f"{base}/image", params={"index": 0, "bits": 16})
    assert image.headers["x-vitrine-range"] == "0,11"
    assert np.asarray(Image.open(io.BytesIO(image.content))).max() == 65535
    ranged = await client.get(f"{base}/image", params={"index": 0, "low": 0, "high": 22})
    assert np.asarray(Image.open(io.BytesIO(ranged.content))).max() == 128
    for suffix in ("/slice", "/slice?index=2", "/image", "/image?index=0&bits=12", "/image?index=0&low=nan"):
        assert _problem(await client.get(base + suffix)).code is ProblemCode.REQUEST_INVALID
    gone = await client.get(f"/api/v1/artifacts/{'0' * 64}")
    assert _problem(gone).code is ProblemCode.RESULT_GONE
    known = await client.get(f"{base}/slice?index=1", headers={"If-None-Match": f'"{digest}-1-as-is"'})
    assert known.status_code == 304


async def test_every_answer_carries_the_safe_headers_and_an_id(client: httpx.AsyncClient) -> None:
    ids = set()
    for path in ("/api/v1/health", "/api/v1/nope", "/docs", "/api/v1/samples/none/thumbnail"):
        headers = (await client.get(path)).headers
        policy = headers["content-security-policy"]
        assert "script-src 'self';" in policy
        assert "unsafe-eval" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cross-origin-resource-policy"] == "same-origin"
        ids.add(headers["x-request-id"])
    assert len(ids) == 4


def test_inline_scripts_are_allowed_by_hash_only() -> None:
    policy = ContentPolicy(["sha256-abc="])
    policy.allow_scripts(["'sha256-def='", "sha256-abc="])
    assert "script-src 'self' 'sha256-abc=' 'sha256-def=';" in policy.header


async def test_hashes_can_be_added_after_the_api_was_made(settings: WebSettings) -> None:
    api = create_api(settings, csp_script_hashes=["sha256-one="])
    api.state.content_policy.allow_scripts(["sha256-two="])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://x") as http:
        policy = (await http.get("/api/v1/health")).headers["content-security-policy"]
    assert "'sha256-one=' 'sha256-two='" in policy


async def test_another_sites_page_cannot_make_a_browser_change_anything(client: httpx.AsyncClient) -> None:
    foreign = await client.post("/api/v1/samples/chelsea", headers={"Sec-Fetch-Site": "cross-site"})
    assert _problem(foreign).code is ProblemCode.FORBIDDEN
    own = await client.post("/api/v1/samples/chelsea", headers={"Sec-Fetch-Site": "same-origin"})
    assert own.status_code == 201
    reading = await client.get("/api/v1/health", headers={"Sec-Fetch-Site": "cross-site"})
    assert reading.status_code == 200


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (redis.ConnectionError("Error 111 connecting to secret-host:6379"), ProblemCode.QUEUE_UNREACHABLE),
        (redis.TimeoutError("secret-host"), ProblemCode.QUEUE_UNREACHABLE),
        (redis.OutOfMemoryError("secret-host"), ProblemCode.STORE_FULL),
        (RuntimeError("/secret-host/path"), ProblemCode.INTERNAL),
    ],
)
async def test_no_answer_holds_a_path_a_host_or_a_traceback(
    client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, error: Exception, code: ProblemCode
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("backend.contract.artifacts.RedisArtifactStore.get_picture_record", fail)
    answer = await client.get(f"/api/v1/images/{'0' * 64}")
    assert _problem(answer).code is code
    for secret in ("secret-host", "Traceback", str(Path.cwd()), ".py"):
        assert secret not in answer.text
    if answer.status_code == 503:
        assert int(answer.headers["retry-after"]) > 0


async def test_the_log_names_routes_and_never_addresses(
    client: httpx.AsyncClient, logged: list[dict[str, object]]
) -> None:
    await client.get("/api/v1/shares/thisIsTheKeyOfAShare22")
    (entry,) = [entry for entry in logged if entry["event"] == "request.end"]
    assert (entry["method"], entry["status"]) == ("GET", 410)
    assert "thisIsTheKeyOfAShare22" not in str(logged)


async def test_before_the_start_is_over_requests_are_told_to_wait(settings: WebSettings) -> None:
    api = create_api(settings)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(api), base_url="http://x") as http:
        assert _problem(await http.get("/api/v1/samples")).retry


async def test_what_the_page_registers_runs_at_the_start(
    api: FastAPI, settings: WebSettings, redis_client: fakeredis.FakeRedis
) -> None:
    told: list[str] = []

    async def warm_up() -> None:
        told.append("warm")

    api.state.on_start.append(warm_up)
    async with api.router.lifespan_context(api):
        assert told == ["warm"]


async def test_the_description_names_every_address_and_how_each_can_fail(client: httpx.AsyncClient) -> None:
    description = (await client.get("/api/v1/openapi.json")).json()
    paths = description["paths"]
    expected = {
        "/api/v1/health": {"get"},
        "/api/v1/ready": {"get"},
        "/api/v1/images": {"post"},
        "/api/v1/images/{image_id}": {"get"},
        "/api/v1/images/{image_id}/picture": {"get"},
        "/api/v1/samples": {"get"},
        "/api/v1/samples/{sample_id}": {"post"},
        "/api/v1/samples/{sample_id}/thumbnail": {"get"},
        "/api/v1/models": {"get", "post"},
        "/api/v1/models/{name}": {"get"},
        "/api/v1/methods": {"get"},
        "/api/v1/capabilities": {"get"},
        "/api/v1/workers": {"get"},
        "/api/v1/predictions": {"post"},
        "/api/v1/runs": {"post"},
        "/api/v1/runs/batch": {"post"},
        "/api/v1/runs/{key}": {"get", "delete"},
        "/api/v1/runs/{key}/retry": {"post"},
        "/api/v1/runs/{key}/result": {"get"},
        "/api/v1/events": {"get"},
        "/api/v1/artifacts/{digest}": {"get"},
        "/api/v1/artifacts/{digest}/slice": {"get"},
        "/api/v1/artifacts/{digest}/image": {"get"},
        "/api/v1/shares": {"post"},
        "/api/v1/shares/{share_id}": {"get", "patch", "delete"},
        "/api/v1/shares/{share_id}/open": {"post"},
        "/api/v1/shares/{share_id}/pictures/{image_id}": {"get"},
        "/api/v1/shares/{share_id}/artifacts/{digest}": {"get"},
        "/api/v1/shares/{share_id}/artifacts/{digest}/slice": {"get"},
        "/api/v1/shares/{share_id}/artifacts/{digest}/image": {"get"},
        "/api/v1/shares/{share_id}/preview.png": {"get"},
        "/api/v1/shares/{share_id}/recipe.json": {"get"},
        "/api/v1/shares/{share_id}/bundle.zip": {"get"},
        "/api/v1/trainings": {"get", "post"},
        "/api/v1/trainings/kinds": {"get"},
        "/api/v1/trainings/{training_id}": {"get", "delete"},
        "/api/v1/trainings/{training_id}/stop": {"post"},
        "/api/v1/trainings/{training_id}/finish": {"post"},
        "/api/v1/trainings/{training_id}/resume": {"post"},
        "/api/v1/trainings/{training_id}/pictures/{name}": {"get"},
        "/api/v1/explainers": {"get"},
        "/api/v1/explainers/{method}/{base_digest}/{explainer_id}": {"get", "delete"},
        "/api/v1/explainers/{method}/{base_digest}/{explainer_id}/files/{name}": {"get"},
        "/api/v1/datasets": {"get", "post"},
        "/api/v1/datasets/{name}": {"get", "delete"},
    }
    assert {path: set(item) for path, item in paths.items()} == expected
    for path, item in paths.items():
        for operation in item.values():
            assert operation["summary"], path
            assert operation["description"], path
    text = json.dumps(description)
    # Every refusal is a Problem; FastAPI's own shape of errors is never sent.
    assert "HTTPValidationError" not in text
    assert "picture_too_many_pixels" in text


async def test_the_page_of_the_description_needs_no_script_and_no_other_host(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs")).text
    assert "<script" not in page
    assert not re.findall(r"(?:src|href)=\"(?:https?:)?//", page)
    description = (await client.get("/api/v1/openapi.json")).json()
    for path, item in description["paths"].items():
        assert path in page
        assert page.count("<details>") == sum(len(methods) for methods in description["paths"].values())
        for operation in item.values():
            assert operation["summary"].replace("'", "&#x27;") in page


def test_every_example_is_a_request_that_is_understood() -> None:
    shapes = {
        "RUN_EXAMPLES": RunRequest,
        "BATCH_EXAMPLES": BatchRequest,
        "PREDICTION_EXAMPLES": PredictionRequest,
        "SHARE_EXAMPLES": NewShare,
        "CHANGE_EXAMPLES": ShareChange,
        "MODEL_EXAMPLES": ModelName,
        "TRAINING_EXAMPLES": TrainingRequest,
    }
    assert {name for name in vars(examples) if name.endswith("_EXAMPLES")} == set(shapes)
    for name, shape in shapes.items():
        for example in getattr(examples, name).values():
            shape.model_validate(example["value"])


async def test_every_body_has_an_example_on_the_page(client: httpx.AsyncClient) -> None:
    description = (await client.get("/api/v1/openapi.json")).json()
    bodies = [
        content
        for item in description["paths"].values()
        for operation in item.values()
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
        if kind == "application/json"
    ]
    assert len(bodies) == 7
    assert all(body["examples"] for body in bodies)
    assert (await client.get("/docs")).text.count("For example") == 7


def test_the_guide_names_only_addresses_that_exist(settings: WebSettings) -> None:
    guide = (Path(__file__).parents[3] / "docs" / "api.md").read_text()
    known = create_api(settings).openapi()["paths"]
    patterns = [re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path.removeprefix("/api/v1"))) for path in known]
    named = re.findall(r"\$api(/[^\s\"?|]+)", guide)
    assert len(named) > 25
    assert [path for path in named if not any(pattern.fullmatch(path) for pattern in patterns)] == []
