"""Trainings on a real queue: they run, tell, stop, go on, survive the death of their worker, and end early."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from backend.catalogue import CatalogueReader
from backend.contract import names
from backend.contract.explainers import ExplainerShelf
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.trainings import TrainingEvent, TrainingRequest, TrainingState, TrainingView, Wish
from backend.devredis import development_redis
from backend.trainings import QueueTrainings
from models.explainers import read_tensors
from models.training.checkpoints import generator
from tests.integration.conftest import House, open_house, wait_for

pytestmark = [pytest.mark.redis, pytest.mark.xdist_group("queue")]


class School:
    """A house that trains, seen from the web process."""

    def __init__(self, house: House, data_dir: Path) -> None:
        self.house = house
        self.data_dir = data_dir
        self.shelf = ExplainerShelf(data_dir / "explainers", builtin=None)
        self.trainings = QueueTrainings(house.redis, house.redis, CatalogueReader(house.redis), data_dir)

    def submit(self, *, title: str = "", **recipe: Any) -> str:
        request = TrainingRequest(kind="tiny", model="tiny", data="finches", recipe=recipe, title=title)
        return self.trainings.submit(request).id

    def view(self, training_id: str) -> TrainingView:
        view = self.trainings.view(training_id)
        assert view is not None
        return view

    def wait(self, training_id: str, *states: TrainingState) -> TrainingView:
        def look() -> TrainingView | None:
            view = self.view(training_id)
            return view if (view.state in states if states else view.state.is_final) else None

        return wait_for(look, f"{[state.value for state in states] or 'an end'} of the training")

    def wait_for_point(self, training_id: str) -> None:
        wait_for(lambda: self.view(training_id).curves, "a point of a curve")

    def trainers(self) -> list[int]:
        """Returns the processes that train."""
        workers = self.house.workers().items()
        return [int(fields["pid"]) for name, fields in workers if name.startswith("training-") and "pid" in fields]

    def kill(self) -> None:
        """Kills the process that trains as the system's memory guard would."""
        (pid,) = self.trainers()
        os.kill(pid, signal.SIGKILL)

    def metrics(self, view: TrainingView) -> dict[str, Any]:
        assert view.explainer is not None
        return dict(view.explainer.metrics)

    def sums(self, view: TrainingView) -> torch.Tensor:
        assert view.explainer is not None
        record = self.shelf.find("tiny", view.explainer.base_digest, view.explainer.id)
        assert record is not None
        return read_tensors(record, "sum.safetensors")["sum"]


def undisturbed(*, epochs: int, seed: int) -> torch.Tensor:
    """Returns what the training adds up to when nothing happens on the way."""
    total = torch.zeros(3)
    for epoch in range(epochs):
        total = total + torch.rand(3, generator=generator(seed, epoch))
    return total


@pytest.fixture(scope="module")
def school(tmp_path_factory: pytest.TempPathFactory, queue_models_dir: Path) -> Iterator[School]:
    data_dir = tmp_path_factory.mktemp("data")
    for label, name in enumerate(("finch", "owl")):
        folder = data_dir / "datasets" / "finches" / name
        folder.mkdir(parents=True)
        for number in range(4):
            pixels = np.random.default_rng(10 * label + number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    with (
        development_redis(tmp_path_factory.mktemp("school")) as url,
        open_house(url, queue_models_dir, data_dir=data_dir) as house,
    ):
        school = School(house, data_dir)
        wait_for(school.trainings.kinds, "the kinds of training")
        yield school


def test_a_training_leaves_an_explainer_that_the_catalogue_knows(school: School) -> None:
    view = school.wait(school.submit(title="My first", epochs=3))
    assert view.state is TrainingState.DONE
    assert view.problem is None
    assert view.explainer is not None
    assert view.explainer.title == "My first"
    assert view.explainer.data == "finches"
    assert [point[0] for point in view.curves["loss"]] == [1.0, 2.0, 3.0]
    assert view.curves["accuracy"][-1][1] == pytest.approx(2 / 3)
    assert view.progress is not None
    assert (view.progress.done, view.progress.total) == (3, 3)
    card = next(card for card in school.house.catalogue().models if card.name == "tiny")
    assert view.explainer in card.explainers
    assert not (school.data_dir / "trainings" / view.id).exists()
    assert school.trainings.picture(view.id, "sum.png") == b"\x89PNG\r\n\x1a\n"


def test_every_change_is_told_in_order(school: School) -> None:
    training_id = school.submit(epochs=4)
    school.wait(training_id)
    entries = school.house.redis.xrange(names.EVENTS)
    told = [fields.get(names.TRAINING_FIELD.encode()) for _, fields in entries]
    events = [TrainingEvent.model_validate_json(data) for data in told if data]
    events = [event for event in events if event.training == training_id]
    states = list(dict.fromkeys(event.state for event in events))
    assert states == [TrainingState.QUEUED, TrainingState.RUNNING, TrainingState.DONE]
    points = [point for event in events if event.points and not event.whole for point in event.points.get("loss", ())]
    assert [point[0] for point in points] == [1.0, 2.0, 3.0, 4.0]
    assert events[-1].explainer is not None


def test_a_training_whose_worker_is_killed_goes_on_from_its_checkpoint(school: School, tmp_path: Path) -> None:
    training_id = school.submit(epochs=5, seed=7, hold=str(tmp_path / "go"))
    school.wait_for_point(training_id)
    school.kill()
    wait_for(lambda: school.view(training_id).attempt == 2, "the second attempt")
    (tmp_path / "go").touch()
    view = school.wait(training_id)
    assert view.state is TrainingState.DONE
    assert view.attempt == 2
    assert school.metrics(view)["starts"] == 2
    assert torch.equal(school.sums(view), undisturbed(epochs=5, seed=7))
    assert [point[0] for point in view.curves["loss"]] == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_stopped_training_keeps_its_checkpoint_and_goes_on(school: School, tmp_path: Path) -> None:
    training_id = school.submit(epochs=4, seed=3, hold=str(tmp_path / "go"))
    school.wait_for_point(training_id)
    assert school.trainings.stop(training_id).wish is Wish.STOP
    view = school.wait(training_id)
    assert view.state is TrainingState.STOPPED
    assert view.explainer is None
    assert (school.data_dir / "trainings" / training_id / "checkpoints").is_dir()
    (tmp_path / "go").touch()
    school.trainings.resume(training_id)
    view = school.wait(training_id)
    assert view.state is TrainingState.DONE
    assert school.metrics(view)["starts"] == 2
    assert torch.equal(school.sums(view), undisturbed(epochs=4, seed=3))


def test_a_training_that_ends_early_publishes_what_it_has(school: School, tmp_path: Path) -> None:
    training_id = school.submit(epochs=900, hold=str(tmp_path / "never"))
    school.wait_for_point(training_id)
    assert school.trainings.finish(training_id).wish is Wish.FINISH
    view = school.wait(training_id)
    assert view.state is TrainingState.DONE
    assert view.wish is None
    assert school.metrics(view)["epochs"] == 1


def test_a_waiting_training_is_stopped_at_once_and_the_one_before_goes_on(school: School, tmp_path: Path) -> None:
    first = school.submit(epochs=2, hold=str(tmp_path / "go"))
    school.wait(first, TrainingState.RUNNING)
    second = school.submit(epochs=2)
    assert school.view(second).position == 0
    assert school.trainings.stop(second).state is TrainingState.STOPPED
    (tmp_path / "go").touch()
    assert school.wait(first).state is TrainingState.DONE
    assert school.view(second).state is TrainingState.STOPPED


def test_a_failed_training_says_why_and_can_be_deleted(school: School) -> None:
    view = school.wait(school.submit(fail=True))
    assert view.state is TrainingState.FAILED
    assert view.problem is not None
    assert view.problem.message == "The tiny training was asked to fail."
    assert view.id in {one.id for one in school.trainings.views()}
    school.trainings.delete(view.id)
    assert school.trainings.view(view.id) is None
    assert view.id not in {one.id for one in school.trainings.views()}
    assert not (school.data_dir / "trainings" / view.id).exists()


def test_what_cannot_be_trained_is_refused_before_it_is_queued(school: School) -> None:
    for changes, code in (
        ({"kind": "huge"}, ProblemCode.REQUEST_INVALID),
        ({"model": "nobody"}, ProblemCode.MODEL_UNKNOWN),
        ({"data": "../finches"}, ProblemCode.DATA_UNUSABLE),
        ({"data": "nothing-here"}, ProblemCode.DATA_UNUSABLE),
        ({"preset": "fast"}, ProblemCode.PARAMS_INVALID),
        ({"recipe": {"epochs": 0}}, ProblemCode.PARAMS_INVALID),
        ({"recipe": {"speed": 1}}, ProblemCode.PARAMS_INVALID),
    ):
        request = TrainingRequest(**{"kind": "tiny", "model": "tiny", "data": "finches", **changes})
        with pytest.raises(ProblemError) as caught:
            school.trainings.submit(request)
        assert caught.value.code is code


def test_a_house_that_closes_puts_its_training_back_and_the_next_one_goes_on_and_then_leaves(
    tmp_path_factory: pytest.TempPathFactory, queue_models_dir: Path, school: School
) -> None:
    data_dir, go = tmp_path_factory.mktemp("moving"), tmp_path_factory.mktemp("go") / "go"
    (data_dir / "datasets").symlink_to(school.data_dir / "datasets")
    with development_redis(tmp_path_factory.mktemp("moving-redis")) as url:
        with open_house(url, queue_models_dir, data_dir=data_dir) as house:
            first = School(house, data_dir)
            wait_for(first.trainings.kinds, "the kinds of training")
            training_id = first.submit(epochs=3, hold=str(go))
            first.wait_for_point(training_id)
        assert first.view(training_id).state is TrainingState.QUEUED
        go.touch()
        with open_house(url, queue_models_dir, data_dir=data_dir, training_idle_s=1) as house:
            second = School(house, data_dir)
            view = second.wait(training_id)
            assert view.state is TrainingState.DONE
            assert second.metrics(view)["starts"] == 2
            wait_for(lambda: not second.trainers(), "the leaving of the process that trained")
