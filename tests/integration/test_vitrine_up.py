"""One command starts the whole house in the foreground, and one Ctrl-C ends all of it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.integration.conftest import METHODS_DIR, ROOT, wait_for

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("queue")]


class Foreground:
    """A ``vitrine up`` with what it printed."""

    def __init__(self, folder: Path, models_dir: Path, *options: str) -> None:
        self.log = folder / "log"
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("VITRINE_")},
            "VITRINE_DATA_DIR": str(folder / "data"),
            "VITRINE_MODELS_DIR": str(models_dir),
            "VITRINE_METHODS_DIR": str(METHODS_DIR),
            "VITRINE_DEVICE": "cpu",
            "VITRINE_THREADS": "1",
            "VITRINE_ENVIRONMENT": "test",
        }
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "vitrine", "up", *options],
                env=environment,
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        found = wait_for(lambda: re.search(r"Vitrine is at (\S+)", self.text()), "the address")
        self.address = found.group(1)

    def text(self) -> str:
        assert self.process.poll() is None or "Vitrine is at" in self.log.read_text(), self.log.read_text()
        return self.log.read_text()

    def children(self) -> set[int]:
        """Returns the processes below the command, whichever sessions they have."""
        parents = {}
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parents[int(path.parent.name)] = int(fields[1])
        found: set[int] = set()
        wave = {self.process.pid}
        while wave:
            wave = {pid for pid, parent in parents.items() if parent in wave} - found
            found |= wave
        return found


@pytest.fixture
def foreground(tmp_path: Path, queue_models_dir: Path) -> Iterator[Foreground]:
    started = Foreground(tmp_path, queue_models_dir, "--port", str(_free_port()))
    yield started
    started.process.kill()
    started.process.wait(30)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ready(address: str) -> bool:
    return bool(httpx.get(f"{address}/api/v1/ready", timeout=20).json()["ready"])


def _gone(pids: set[int]) -> bool:
    return not [pid for pid in pids if Path(f"/proc/{pid}/stat").exists() and not _is_zombie(pid)]


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_everything_starts_with_one_command_and_ends_with_ctrl_c(foreground: Foreground) -> None:
    wait_for(lambda: _ready(foreground.address), "a worker")
    assert httpx.get(foreground.address, timeout=30).status_code == 200
    children = foreground.children()
    assert len(children) >= 3
    foreground.process.send_signal(signal.SIGINT)
    assert foreground.process.wait(60) == 0
    wait_for(lambda: _gone(children), "the end of all processes", patience_s=30)
    assert "Traceback" not in foreground.log.read_text()


def test_everything_ends_when_the_command_is_killed(foreground: Foreground) -> None:
    wait_for(lambda: _ready(foreground.address), "a worker")
    children = foreground.children()
    foreground.process.kill()
    foreground.process.wait(30)
    wait_for(lambda: _gone(children), "the end of all processes", patience_s=60)


def test_a_port_that_is_taken_and_was_asked_for_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = subprocess.run(
            [sys.executable, "-m", "vitrine", "web", "--port", str(taken.getsockname()[1])],
            env={**os.environ, "VITRINE_DATA_DIR": str(tmp_path)},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=90,
        )
    assert answer.returncode == 2
    assert "--port" in answer.stderr
    assert "Traceback" not in answer.stderr
