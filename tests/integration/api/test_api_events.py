"""The live stream over real HTTP and real Redis: snapshot, resume, many viewers, restarts."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from backend.contract.keys import run_key
from backend.contract.schemas import Progress, RunSpec, RunState
from backend.queue import QueueRuns
from backend.settings import WebSettings
from tests.backend_fakes import make_spec
from tests.integration.api.conftest import DEADLINE_S, RedisServer, Served, serve
from workers.reporter import Reporter

pytestmark = pytest.mark.redis


@dataclass(frozen=True)
class Message:
    kind: str
    data: dict[str, Any]
    id: str | None


class Stream:
    """Reads server-sent events as a browser does."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.comments = 0

    async def next(self) -> Message:
        fields: dict[str, str] = {}
        async with asyncio.timeout(DEADLINE_S):
            while True:
                line = await anext(self._lines)
                if line.startswith(":"):
                    self.comments += 1
                elif line:
                    name, _, value = line.partition(":")
                    fields[name] = value.removeprefix(" ")
                elif "data" in fields:
                    return Message(fields["event"], json.loads(fields["data"]), fields.get("id"))

    async def next_run(self, *states: str) -> Message:
        while True:
            message = await self.next()
            if message.kind == "run" and (not states or message.data["state"] in states):
                return message

    async def until_workers(self) -> list[Message]:
        """Returns the snapshot: everything up to and with the first word on the workers."""
        messages = [await self.next()]
        while messages[-1].kind != "workers":
            messages.append(await self.next())
        return messages


@contextlib.asynccontextmanager
async def follow(client: httpx.AsyncClient, *keys: str, last_id: str | None = None) -> AsyncIterator[Stream]:
    headers = {} if last_id is None else {"Last-Event-ID": last_id}
    async with client.stream("GET", "/api/v1/events", params={"runs": ",".join(keys)}, headers=headers) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        yield Stream(response.aiter_lines())


def _end(reporter: Reporter, connection: redis.Redis, state: RunState = RunState.DONE) -> None:
    with connection.pipeline() as pipe:
        reporter.end(pipe, state)
        pipe.execute()


def _spec(number: int) -> RunSpec:
    return make_spec(params={"steps": number, "width": 0.5, "mode": "fast"})


async def test_a_new_browser_gets_how_its_runs_stand_and_then_what_follows(
    http: httpx.AsyncClient, runs: QueueRuns, queue: redis.Redis
) -> None:
    first, second, other = (runs.submit(_spec(number)).key for number in (1, 2, 3))
    async with follow(http, first, second) as stream:
        *snapshot, workers = await stream.until_workers()
        assert {message.data["run"]: message.data["position"] for message in snapshot} == {first: 0, second: 1}
        assert workers.data == {"workers": 0, "waiting": 3, "busy": 0}
        assert [message.id for message in snapshot] == [None, None]
        assert workers.id is not None
        Reporter(queue, _spec(3)).start()
        Reporter(queue, _spec(2)).start()
        message = await stream.next_run("running")
        assert message.data["run"] == second
    assert other not in {message.data["run"] for message in snapshot}


async def test_fields_that_did_not_change_stay_null(
    http: httpx.AsyncClient, runs: QueueRuns, queue: redis.Redis
) -> None:
    key = runs.submit(_spec(1)).key
    async with follow(http, key) as stream:
        await stream.until_workers()
        reporter = Reporter(queue, _spec(1))
        reporter.start()
        await stream.next_run("running")
        reporter.progress(Progress(done=3, total=9, seconds_left=2.0))
        message = await stream.next_run("running")
        assert message.data["progress"] == {"done": 3, "total": 9, "seconds_left": 2.0, "stage": ""}
        assert message.data["partial"] is None


async def test_a_returning_browser_gets_what_it_missed_once_and_in_order(
    http: httpx.AsyncClient, runs: QueueRuns, queue: redis.Redis
) -> None:
    key = runs.submit(_spec(1)).key
    reporter = Reporter(queue, _spec(1))
    async with follow(http, key) as stream:
        last_id = (await stream.until_workers())[-1].id
        reporter.start()
        last_id = (await stream.next_run("running")).id or last_id
    sent = list(range(1, 40))
    seen: list[int] = []
    for done in sent[:20]:
        reporter.progress(Progress(done=done, total=40))
    async with follow(http, key, last_id=last_id) as stream:
        for done in sent[20:]:
            reporter.progress(Progress(done=done, total=40))
        while not seen or seen[-1] != sent[-1]:
            message = await stream.next_run("running")
            seen.append(message.data["progress"]["done"])
            last_id = message.id
    # Missed events all come; live ones may be merged where they overtook each other, but none comes twice or late.
    assert seen[:20] == sent[:20]
    assert seen == sorted(set(seen))
    _end(reporter, queue)
    async with follow(http, key, last_id=last_id) as stream:
        message = await stream.next_run()
        assert message.data["state"] == "done"
        assert message.id is not None


async def test_breaking_off_at_any_event_loses_and_doubles_no_change_of_state(
    http: httpx.AsyncClient, runs: QueueRuns, queue: redis.Redis
) -> None:
    keys = [runs.submit(_spec(number)).key for number in range(1, 6)]
    seen: list[tuple[str, str]] = []
    last_id: str | None = None
    async with follow(http, *keys) as stream:
        last_id = (await stream.until_workers())[-1].id
    for number, _ in enumerate(keys, 1):
        reporter = Reporter(queue, _spec(number))
        reporter.start()
        _end(reporter, queue)
    for _ in range(10):
        async with follow(http, *keys, last_id=last_id) as stream:
            message = await stream.next_run("running", "done")
            seen.append((message.data["run"], message.data["state"]))
            last_id = message.id
    assert seen == [(key, state) for key in keys for state in ("running", "done")]


async def test_an_id_from_before_the_stream_was_trimmed_gives_a_snapshot(
    http: httpx.AsyncClient, runs: QueueRuns, queue: redis.Redis
) -> None:
    key = runs.submit(_spec(1)).key
    for last_id in ("1-0", "nonsense", "99999999999999999999-0"):
        async with follow(http, key, last_id=last_id) as stream:
            *snapshot, _ = await stream.until_workers()
            assert [message.data["state"] for message in snapshot] == ["queued"]


async def test_places_move_up_while_people_watch(http: httpx.AsyncClient, runs: QueueRuns) -> None:
    first, second = (runs.submit(_spec(number)).key for number in (1, 2))
    async with follow(http, second) as stream:
        assert (await stream.next_run("queued")).data["position"] == 1
        runs.cancel(first)
        while (message := await stream.next_run("queued")).data["position"] != 0:
            pass
        assert message.id is None


async def test_a_lost_run_ends_while_people_watch(
    http: httpx.AsyncClient, runs: QueueRuns, queue: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.queue.GRACE_S", 0.0)
    monkeypatch.setattr("backend.events.LOST_CHECK_S", 0.0)
    key = runs.submit(_spec(1)).key
    async with follow(http, key) as stream:
        await stream.next_run("queued")
        queue.delete(f"rq:job:{key}")
        message = await stream.next_run("failed")
        assert message.data["problem"]["code"] == "worker_lost"


async def test_arriving_and_leaving_workers_are_told(http: httpx.AsyncClient, queue: redis.Redis) -> None:
    async with follow(http) as stream:
        assert (await stream.until_workers())[-1].data == {"workers": 0, "waiting": 0, "busy": 0}
        queue.hset("rq:worker:w1", mapping={"state": "idle"})
        queue.sadd("rq:workers", "rq:worker:w1")
        while (message := await stream.next()).data != {"workers": 1, "waiting": 0, "busy": 0}:
            assert message.kind == "workers"
        queue.srem("rq:workers", "rq:worker:w1")
        assert (await stream.next()).data == {"workers": 0, "waiting": 0, "busy": 0}


async def test_sixty_viewers_need_few_connections_and_all_see_the_end(
    served: Served, runs: QueueRuns, queue: redis.Redis
) -> None:
    viewers = 60
    key = runs.submit(_spec(1)).key
    before = len(queue.client_list())
    limits = httpx.Limits(max_connections=viewers + 5)
    async with (
        httpx.AsyncClient(base_url=served.url, timeout=DEADLINE_S, limits=limits) as client,
        contextlib.AsyncExitStack() as stack,
    ):
        streams = [await stack.enter_async_context(follow(client, key)) for _ in range(viewers)]
        await asyncio.gather(*(stream.until_workers() for stream in streams))
        assert len(queue.client_list()) < 30
        reporter = Reporter(queue, _spec(1))
        reporter.start()
        _end(reporter, queue)
        ends = await asyncio.gather(*(stream.next_run("done") for stream in streams))
        assert {message.data["run"] for message in ends} == {key}
        assert len({message.id for message in ends}) == 1
        assert len(queue.client_list()) - before < 25


async def test_a_browser_that_left_is_forgotten(served: Served, runs: QueueRuns) -> None:
    hub = served.server.config.app.state.services.hub  # type: ignore[union-attr]
    key = runs.submit(_spec(1)).key
    async with httpx.AsyncClient(base_url=served.url, timeout=DEADLINE_S) as client:
        async with follow(client, key) as stream:
            await stream.until_workers()
            assert hub.viewers == 1
        deadline = time.monotonic() + DEADLINE_S
        while hub.viewers:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)


async def test_wrong_run_keys_are_refused_before_the_stream_begins(http: httpx.AsyncClient) -> None:
    answer = await http.get("/api/v1/events", params={"runs": "not-a-key"})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_the_stream_goes_on_after_redis_came_back_empty(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    server.start()
    settings = WebSettings(_env_file=None, queue_redis_url=server.url, data_dir=tmp_path)
    try:
        async with (
            serve(settings) as served,
            httpx.AsyncClient(base_url=served.url, timeout=DEADLINE_S) as client,
            follow(client, run_key(_spec(1))) as stream,
        ):
            await stream.until_workers()
            server.stop()
            down = await client.get("/api/v1/ready")
            assert down.status_code == 503
            assert server.url.split("//")[1] not in down.text
            refused = await client.get(f"/api/v1/runs/{'0' * 64}")
            assert (refused.status_code, refused.json()["code"]) == (503, "queue_unreachable")
            assert str(server.port) not in refused.text
            server.start()
            with redis.Redis.from_url(server.url) as queue:
                reporter = Reporter(queue, _spec(1))
                reporter.start()
                message = await stream.next_run("running")
                assert message.data["run"] == run_key(_spec(1))
    finally:
        server.stop()


def test_the_server_leaves_on_sigterm_although_a_stream_is_open(redis_url: str, tmp_path: Path) -> None:
    code = (
        "import sys, uvicorn; from pathlib import Path;"
        "from backend.app import create_api; from backend.serving import uvicorn_options;"
        "from backend.settings import WebSettings;"
        "s = WebSettings(_env_file=None, queue_redis_url=sys.argv[1], data_dir=Path(sys.argv[2]), shutdown_grace_s=1);"
        "uvicorn.run(create_api(s), **(uvicorn_options(s) | {'fd': int(sys.argv[3])}))"
    )
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", code, redis_url, str(tmp_path), str(listener.fileno())],
        pass_fds=[listener.fileno()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )
    listener.close()
    try:
        url = f"http://127.0.0.1:{port}/api/v1/events"
        with httpx.Client(timeout=DEADLINE_S) as client, client.stream("GET", url) as response:
            assert next(response.iter_lines()).startswith(":")
            process.send_signal(signal.SIGTERM)
            process.wait(DEADLINE_S)
    except httpx.RemoteProtocolError:
        process.wait(DEADLINE_S)
    finally:
        if process.poll() is None:
            process.kill()
            pytest.fail("the server did not leave")
