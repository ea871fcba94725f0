"""A real Redis, a real supervisor and real worker processes; the methods and the model are small."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
import redis

from backend.contract import names
from backend.contract.artifacts import RedisArtifactStore
from backend.contract.keys import run_key
from backend.contract.schemas import Catalogue, ModelCard, PictureRecord, RunEvent, RunSpec, RunState, RunView
from backend.devredis import development_redis
from backend.queue import QueueRuns
from tests.queue_fakes import make_own_model, make_pixels, put_picture

ROOT = Path(__file__).parents[2]
METHODS_DIR = Path(__file__).parent / "queue_methods"
PATIENCE_S = 120.0

T = TypeVar("T")


def wait_for(look: Callable[[], T | None], what: str, *, patience_s: float = PATIENCE_S) -> T:
    """Returns the first thing that is found; fails after the deadline."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.01)  # between two looks, not instead of one
    raise AssertionError(f"waited {patience_s:g} s in vain for {what}")


class House:
    """A queue with workers, seen from the web process."""

    def __init__(self, url: str, process: subprocess.Popen[bytes]) -> None:
        self.url = url
        self.supervisor = process
        self.redis = redis.Redis.from_url(url, socket_timeout=20)
        self.store = RedisArtifactStore(self.redis)
        self.runs = QueueRuns(self.redis, self.store)
        self._seeds = iter(range(1, 10_000))

    def catalogue(self) -> Catalogue:
        data = wait_for(lambda: self.redis.get(names.CATALOGUE), "the catalogue")
        return Catalogue.model_validate_json(data)

    def model(self) -> ModelCard:
        return next(card for card in self.catalogue().models if card.name == "tiny")

    def picture(self) -> PictureRecord:
        return put_picture(self.store, make_pixels())

    def spec(self, *, method: str = "sixth", seed: int | None = None, **params: Any) -> RunSpec:
        """Returns a question that nobody has asked before."""
        card = next(card for card in self.catalogue().methods if card.name == method)
        defaults = {name: item["default"] for name, item in card.params_schema["properties"].items()}
        model = self.model()
        return RunSpec(
            image_ids=(self.picture().id,),
            model=model.name,
            weights=model.weights,
            preprocessing=model.preprocessing,
            method=method,
            method_version=card.version,
            params=defaults | params,
            seed=next(self._seeds) if seed is None else seed,
        )

    def submit(self, spec: RunSpec) -> str:
        self.runs.submit(spec)
        return run_key(spec)

    def view(self, key: str) -> RunView:
        data = self.redis.get(names.run_state(key))
        assert isinstance(data, bytes)
        return RunView.model_validate_json(data)

    def wait(self, key: str, *states: RunState, patience_s: float = PATIENCE_S) -> RunView:
        """Returns the run as soon as it is in one of the states; by default in any final one."""

        def look() -> RunView | None:
            view = self.view(key)
            return view if (view.state in states if states else view.state.is_final) else None

        return wait_for(look, f"{[state.value for state in states] or 'an end'} of the run", patience_s=patience_s)

    def events(self, key: str) -> list[RunEvent]:
        entries = self.redis.xrange(names.EVENTS)
        events = [RunEvent.model_validate_json(fields[b"event"]) for _, fields in entries]
        return [event for event in events if event.run == key]

    def workers(self) -> dict[str, dict[str, str]]:
        """Returns the registered workers with what they say of themselves."""
        found = {}
        for key in self.redis.smembers("rq:workers"):
            fields = self.redis.hgetall(key)
            if fields:
                found[key.decode().removeprefix("rq:worker:")] = {k.decode(): v.decode() for k, v in fields.items()}
        return found

    def worker_pid(self) -> int:
        def look() -> int | None:
            pids = [int(fields["pid"]) for fields in self.workers().values() if "pid" in fields]
            return pids[0] if pids else None

        return wait_for(look, "a worker")

    def kill_worker(self) -> int:
        """Kills the worker process as the system's memory guard would; returns its pid."""
        pid = self.worker_pid()
        os.kill(pid, signal.SIGKILL)
        return pid


@contextmanager
def open_house(url: str, models_dir: Path, **settings: Any) -> Iterator[House]:
    """Runs a supervisor with one worker on the CPU."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("VITRINE_")},
        "VITRINE_QUEUE_REDIS_URL": url,
        "VITRINE_MODELS_DIR": str(models_dir),
        "VITRINE_METHODS_DIR": str(METHODS_DIR),
        "VITRINE_DATA_DIR": str(models_dir.parent / "data"),
        "VITRINE_DEVICE": "cpu",
        "VITRINE_THREADS": "1",
        "VITRINE_ENVIRONMENT": "test",
        **{f"VITRINE_{name.upper()}": str(value) for name, value in settings.items()},
    }
    process = subprocess.Popen([sys.executable, "-m", "workers.supervisor"], env=environment, cwd=ROOT)
    try:
        house = House(url, process)
        house.catalogue()
        yield house
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with development_redis(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def queue_models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_own_model(folder / "tiny")
    return folder


@pytest.fixture(scope="session")
def house(redis_url: str, queue_models_dir: Path) -> Iterator[House]:
    with open_house(redis_url, queue_models_dir, job_timeout_s=300) as house:
        yield house
