"""What a worker does around a run: a model that changed since it was described is described again."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest

from backend.contract import names
from backend.contract.artifacts import FolderArtifactStore
from backend.contract.keys import run_key
from backend.contract.problems import ProblemCode
from backend.contract.schemas import ModelCard, RunSpec
from tests.fakes_engine import Constant, make_model
from tests.queue_fakes import Counting, OneModelLoader, make_pixels, put_picture
from workers import tasks
from workers.bench import Bench
from workers.reporter import read_view


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    loader = OneModelLoader(make_model(Constant([2.0, 1.0]), classes=2))
    bench = Bench(
        queue=fakeredis.FakeRedis(),
        store=FolderArtifactStore(tmp_path),
        loader=loader,  # type: ignore[arg-type]
        methods={"counting": Counting()},
        limit_s=60,
    )
    tasks.use_bench(bench)
    yield bench
    tasks.use_bench(None)


def _run(bench: Bench, model: str, weights: str) -> ProblemCode | None:
    card = bench.loader.load("tiny").card if model == "tiny" else None
    record = put_picture(bench.store, make_pixels())
    spec = RunSpec(
        image_ids=(record.id,),
        model=model,
        weights=weights,
        preprocessing=card.preprocessing if card else "model",
        method="counting",
        method_version=1,
        params={"steps": 1, "strength": 1.0},
    )
    tasks.run(spec.model_dump(mode="json"))
    view = read_view(bench.queue, run_key(spec))
    assert view is not None
    return view.problem.code if view.problem else None


def _card(bench: Bench, name: str) -> ModelCard:
    return ModelCard.model_validate_json(bench.queue.hget(names.CARDS, name) or b"")


def test_a_model_that_changed_since_it_was_described_is_described_again(bench: Bench) -> None:
    now = bench.loader.load("tiny").card
    old = now.model_copy(update={"weights": "1" * 64})
    bench.queue.hset(names.CARDS, "tiny", old.model_dump_json())
    assert _run(bench, "tiny", old.weights) is ProblemCode.MODEL_UNKNOWN
    assert _card(bench, "tiny") == now
    assert _run(bench, "tiny", now.weights) is None


def test_a_model_that_went_says_so_the_next_time_it_is_looked_at(bench: Bench) -> None:
    gone = bench.loader.load("tiny").card.model_copy(update={"name": "gone"})
    bench.queue.hset(names.CARDS, "gone", gone.model_dump_json())
    assert _run(bench, "gone", gone.weights) is ProblemCode.MODEL_UNKNOWN
    problem = _card(bench, "gone").problem
    assert problem is not None
    assert problem.code is ProblemCode.MODEL_UNKNOWN
