"""Fixtures for the web process: a catalogue without workers, results without models, fake Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import fakeredis
import httpx
import pytest
import structlog
from fastapi import FastAPI

from backend.app import create_api
from backend.contract import names
from backend.contract.artifacts import RedisArtifactStore
from backend.settings import WebSettings
from tests.backend_fakes import make_catalogue


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[structlog.types.EventDict]]:
    """Keeps the log; printing tracebacks with all their values would take longer than the tests."""
    with structlog.testing.capture_logs() as entries:
        yield entries


@pytest.fixture
def redis_server() -> fakeredis.FakeServer:
    return fakeredis.FakeServer()


@pytest.fixture
def redis_client(redis_server: fakeredis.FakeServer) -> Iterator[fakeredis.FakeRedis]:
    client = fakeredis.FakeRedis(server=redis_server)
    yield client
    client.close()


@pytest.fixture
def store(redis_client: fakeredis.FakeRedis) -> RedisArtifactStore:
    return RedisArtifactStore(redis_client)


@pytest.fixture
def published(redis_client: fakeredis.FakeRedis) -> None:
    redis_client.set(names.CATALOGUE, make_catalogue().model_dump_json())


@pytest.fixture
def settings(tmp_path: Path) -> WebSettings:
    return WebSettings(_env_file=None, data_dir=tmp_path, max_upload_bytes=400_000, max_pixels=1_000_000)


@pytest.fixture
def api(settings: WebSettings, redis_server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch) -> FastAPI:
    monkeypatch.setattr("backend.services.open_pool", lambda url, most: fakeredis.FakeRedis(server=redis_server))
    monkeypatch.setattr("backend.services.open_listener", lambda url: fakeredis.FakeAsyncRedis(server=redis_server))
    return create_api(settings)


@pytest.fixture
async def client(api: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(api, raise_app_exceptions=False)
    async with (
        api.router.lifespan_context(api),
        httpx.AsyncClient(transport=transport, base_url="http://vitrine.test") as http,
    ):
        yield http
