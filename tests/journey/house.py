"""The whole house as a person runs it: a real Redis, a real supervisor with its worker, a real web process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import redis

from backend.devredis import development_redis

T = TypeVar("T")
PATIENCE_S = 90.0


def wait_for(what: Callable[[], T | None], describe: str, *, within_s: float = PATIENCE_S) -> T:
    """Returns the first truthy answer, or fails with words when the time is over."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        answer = what()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {within_s:.0f} s: {describe}")


def free_port() -> int:
    """Returns a port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class House:
    """A running Vitrine with a folder of its own."""

    folder: Path
    redis_url: str
    port: int
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Address of the page."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def models_dir(self) -> Path:
        """Folder of own models."""
        return self.folder / "models"

    def start(self, part: str, *arguments: str) -> None:
        """Starts ``web`` or ``worker``; what it says goes to a log in the folder."""
        with (self.folder / f"{part}.log").open("ab") as log:
            self.processes[part] = subprocess.Popen(
                [sys.executable, "-m", "vitrine", part, *arguments],
                env={
                    **os.environ,
                    "VITRINE_QUEUE_REDIS_URL": self.redis_url,
                    "VITRINE_DATA_DIR": str(self.folder / "data"),
                    "VITRINE_MODELS_DIR": str(self.models_dir),
                    "VITRINE_DEVICE": "cpu",
                    "VITRINE_THREADS": "1",
                    "VITRINE_ENVIRONMENT": "test",
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def said(self, part: str, characters: int = 6_000) -> str:
        """Returns the end of what a part has written into its log."""
        return (self.folder / f"{part}.log").read_text(errors="replace")[-characters:]

    def start_web(self) -> None:
        """Starts the web process and waits until it answers."""
        self.start("web", "--port", str(self.port))
        wait_for(lambda: self._is_healthy(), "the web process answers")

    def start_worker(self) -> None:
        """Starts the supervisor and waits until a worker is ready and its catalogue is served."""
        self.start("worker")
        wait_for(lambda: self.get("/api/v1/workers")["workers"], "a worker is ready")
        wait_for(lambda: self.get("/api/v1/methods"), "the catalogue is served")

    def stop(self, part: str) -> None:
        """Stops a part as an operator would, and waits."""
        process = self.processes.pop(part, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def worker_pids(self) -> list[int]:
        """Returns the process ids of the workers under the supervisor that answer questions (one may train)."""
        parent = self.processes["worker"].pid
        listed = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(parent)]
        found = subprocess.run(listed, capture_output=True, text=True, check=False).stdout.splitlines()
        return [int(line.split()[0]) for line in found if "--queue explain" in line]

    def flush(self) -> None:
        """Empties Redis."""
        with redis.Redis.from_url(self.redis_url) as client:
            client.flushall()

    def get(self, path: str) -> Any:
        """Returns the JSON answer of a GET request."""
        return self._request("GET", path)

    def post(self, path: str, body: Any) -> Any:
        """Returns the JSON answer of a POST request with a JSON body."""
        return self._request("POST", path, json.dumps(body).encode(), {"Content-Type": "application/json"})

    def delete(self, path: str) -> Any:
        """Returns the JSON answer of a DELETE request."""
        return self._request("DELETE", path)

    def fetch(self, path: str) -> bytes:
        """Returns the bytes behind an address."""
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return bytes(answer.read())

    def upload(self, data: bytes, name: str) -> dict[str, Any]:
        """Uploads a picture and returns its record."""
        edge = "----house"
        head = f'--{edge}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        answer = self._request(
            "POST", "/api/v1/images", body, {"Content-Type": f"multipart/form-data; boundary={edge}"}
        )
        assert isinstance(answer, dict)
        return answer

    def finished(self, key: str) -> dict[str, Any]:
        """Waits for the end of a run and returns how it stands."""

        def look() -> dict[str, Any] | None:
            view: dict[str, Any] = self.get(f"/api/v1/runs/{key}")
            return view if view["state"] in {"done", "failed", "cancelled"} else None

        return wait_for(look, f"run {key[:8]} ends")

    def _request(self, verb: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
        request = urllib.request.Request(self.url + path, data=body, method=verb, headers=headers or {})
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def _is_healthy(self) -> bool:
        assert self.processes["web"].poll() is None, (self.folder / "web.log").read_text()
        try:
            return bool(self.get("/api/v1/health"))
        except (urllib.error.URLError, ConnectionError):
            return False


@contextmanager
def open_house(folder: Path) -> Iterator[House]:
    """Runs everything for as long as the block lasts."""
    (folder / "models").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    with ExitStack() as stack:
        url = stack.enter_context(development_redis(folder / "redis"))
        house = House(folder, url, free_port())
        stack.callback(house.stop, "worker")
        stack.callback(house.stop, "web")
        house.start_web()
        house.start_worker()
        yield house
