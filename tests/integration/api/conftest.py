"""A real Redis and a real HTTP server for the tests of the API."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import redis
import uvicorn

from backend.app import create_api
from backend.contract import names
from backend.contract.artifacts import RedisArtifactStore
from backend.queue import QueueRuns
from backend.serving import uvicorn_options
from backend.settings import WebSettings
from tests.backend_fakes import make_catalogue

DEADLINE_S = 20.0


class RedisServer:
    """A redis-server of our own on a free port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        binary = shutil.which("redis-server") or shutil.which("valkey-server")
        if binary is None:
            pytest.skip("no redis-server on this machine")
        options = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder), "--save", ""]
        self._process = subprocess.Popen([binary, *options], stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            deadline = time.monotonic() + DEADLINE_S
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "redis-server did not start"
                    time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(DEADLINE_S)
            self._process = None


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    with redis.Redis.from_url(shared_redis.url) as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture
def queue(redis_url: str) -> Iterator[redis.Redis]:
    client = redis.Redis.from_url(redis_url)
    client.set(names.CATALOGUE, make_catalogue().model_dump_json())
    yield client
    client.close()


@pytest.fixture
def store(queue: redis.Redis) -> RedisArtifactStore:
    return RedisArtifactStore(queue)


@pytest.fixture
def runs(queue: redis.Redis, store: RedisArtifactStore) -> QueueRuns:
    return QueueRuns(queue, store)


@pytest.fixture
def settings(redis_url: str, tmp_path: Path) -> WebSettings:
    return WebSettings(_env_file=None, queue_redis_url=redis_url, data_dir=tmp_path)


@dataclass(frozen=True)
class Served:
    """A running server."""

    url: str
    server: uvicorn.Server


@contextlib.asynccontextmanager
async def serve(settings: WebSettings) -> AsyncIterator[Served]:
    api = create_api(settings)
    options = uvicorn_options(settings) | {"port": 0, "log_level": "warning"}
    server = uvicorn.Server(uvicorn.Config(api, **options))
    # The test owns the process and its signals; uvicorn must not take them over.
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(DEADLINE_S):
        while not server.started:
            assert not task.done(), "the server did not start"
            await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield Served(f"http://127.0.0.1:{port}", server)
    finally:
        server.should_exit = True
        await asyncio.wait_for(task, DEADLINE_S)


@pytest.fixture
async def served(settings: WebSettings, queue: redis.Redis) -> AsyncIterator[Served]:
    async with serve(settings) as running:
        yield running


@pytest.fixture
async def http(served: Served) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=served.url, timeout=DEADLINE_S) as client:
        yield client
