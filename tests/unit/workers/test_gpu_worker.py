"""The heart beats while a job runs and is silent afterwards; the offer is renewed when there is a reason."""

from __future__ import annotations

import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fakeredis
import pytest
import redis
import torch

from backend.contract import names
from backend.contract.explainers import ExplainerShelf
from backend.contract.schemas import Catalogue, ModelCard, ModelKind
from tests.queue_fakes import Counting
from workers import gpu_worker
from workers.gpu_worker import _Heart, _Offer


@pytest.fixture(autouse=True)
def _quick_heart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_worker, "BEAT_S", 0.001)


def test_the_heart_beats_again_and_again() -> None:
    beats: list[int] = []
    enough = threading.Event()

    def beat() -> None:
        beats.append(1)
        if len(beats) == 3:
            enough.set()

    with _Heart(beat):
        assert enough.wait(10)


def test_no_beat_comes_after_the_heart_was_stopped() -> None:
    running = threading.Event()
    finished: list[int] = []
    begun: list[int] = []

    def beat() -> None:
        begun.append(1)
        running.set()
        finished.append(1)

    with _Heart(beat) as heart:
        assert running.wait(10)
        heart.stop()
        counted = len(begun)
        assert len(finished) == counted
    assert len(begun) == counted


def test_a_missed_beat_does_not_stop_the_heart() -> None:
    recovered = threading.Event()
    attempts: list[int] = []

    def beat() -> None:
        attempts.append(1)
        if len(attempts) == 1:
            raise redis.ConnectionError("gone for a moment")
        recovered.set()

    with _Heart(beat):
        assert recovered.wait(10)


class Models:
    """A folder of models that is looked at each time."""

    def __init__(self, folder: Path) -> None:
        self.models_dir = folder

    def cards(self) -> tuple[ModelCard, ...]:
        found = sorted(path.parent.name for path in self.models_dir.glob("*/model.toml"))
        return tuple(
            ModelCard(name=name, title=name, kind=ModelKind.CLASSIFIER, source="own", weights="0" * 64)
            for name in found
        )

    def timm_names(self) -> tuple[str, ...]:
        return ()


@pytest.fixture
def bench(tmp_path: Path) -> Any:
    return SimpleNamespace(
        queue=fakeredis.FakeRedis(),
        loader=SimpleNamespace(catalogue=Models(tmp_path), device=torch.device("cpu"), loaded=list),
        methods={"counting": Counting()},
        explainers=ExplainerShelf(tmp_path / "explainers", builtin=None),
        kinds={},
    )


def _published(bench: Any) -> Catalogue:
    return Catalogue.model_validate_json(bench.queue.get(names.CATALOGUE))


def test_the_catalogue_is_published_once_while_nothing_changes(bench: Any) -> None:
    offer = _Offer(bench)
    offer.refresh()
    first = _published(bench)
    offer.refresh()
    assert _published(bench) == first


def test_the_catalogue_is_published_again_when_redis_lost_it(bench: Any) -> None:
    offer = _Offer(bench)
    offer.refresh()
    bench.queue.flushall()
    offer.refresh()
    assert [card.name for card in _published(bench).methods] == ["counting"]


def test_models_that_come_and_go_change_the_catalogue(bench: Any, tmp_path: Path) -> None:
    offer = _Offer(bench)
    offer.refresh()
    assert not _published(bench).models
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.toml").write_text("")
    offer.refresh()
    assert [card.name for card in _published(bench).models] == ["net"]
    (tmp_path / "net" / "model.toml").unlink()
    offer.refresh()
    assert not _published(bench).models


def test_new_weights_under_an_old_description_change_the_catalogue(bench: Any, tmp_path: Path) -> None:
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.toml").write_text("")
    (tmp_path / "net" / "weights.safetensors").write_bytes(b"old")
    offer = _Offer(bench)
    offer.refresh()
    first = _published(bench)
    (tmp_path / "net" / "weights.safetensors").write_bytes(b"newer")
    offer.refresh()
    assert _published(bench).published > first.published
