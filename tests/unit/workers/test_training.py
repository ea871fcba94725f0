"""One training from what was asked to the explainer on the shelf, and tidy afterwards."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.contract.explainers import ExplainerShelf
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.trainings import TrainingSpec
from models.catalogue import ModelCatalogue
from models.loader import ModelLoader
from models.training.job import FINISH, STOP, TrainingStopped
from models.training.kinds import find_kinds
from tests.fakes_training import KIND
from tests.queue_fakes import make_own_model
from workers.training import TrainingHouse, _measures

ID = "t0123456789abcdef"


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> TrainingHouse:
    folder = tmp_path_factory.mktemp("house")
    make_own_model(folder / "models" / "tiny")
    for label, name in enumerate(("finch", "owl")):
        (folder / "data" / "datasets" / "set" / name).mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(10 * label + number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "data" / "datasets" / "set" / name / f"{number}.png")
    (folder / "data" / "datasets" / "set" / "owl" / "notes.txt").write_text("left out")
    loader = ModelLoader(ModelCatalogue(folder / "models"), device="cpu")
    return TrainingHouse(loader, {"tiny": KIND}, ExplainerShelf(folder / "shelf", builtin=None), folder / "data")


def spec(**changes: Any) -> TrainingSpec:
    known = {"kind": "tiny", "model": "tiny", "weights": "", "data": "set", "preset": "two", "recipe": {}}
    return TrainingSpec(**(known | changes))


def perform(house: TrainingHouse, spec: TrainingSpec, wish: str | None = None) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = []
    house.perform(ID, spec, emit=events.append, cancelled=lambda: wish)
    return events


def test_a_training_tells_publishes_and_leaves_no_checkpoint(house: TrainingHouse) -> None:
    events = perform(house, spec(title="Mine"))
    assert [event["point"] for event in events if "point" in event] == [1.0, 2.0]
    assert "Left out: 1 × no picture file." in [event.get("message") for event in events]
    (record,) = house.shelf.list("tiny")
    assert record.manifest.title == "Mine"
    assert record.manifest.data["n_train"] == 4
    assert not house.folder(ID).exists()
    house.shelf.delete("tiny", record.base_digest, record.id)


def test_stopped_it_keeps_its_checkpoint_and_goes_on(house: TrainingHouse) -> None:
    asked = spec(recipe={"epochs": 4})
    events: list[dict[str, Any]] = []

    def wish() -> str | None:
        return STOP if any("point" in event for event in events) else None

    with pytest.raises(TrainingStopped):
        house.perform(ID, asked, emit=events.append, cancelled=wish)
    assert house.shelf.list("tiny") == []
    assert house.folder(ID).is_dir()
    perform(house, asked, FINISH)
    (record,) = house.shelf.list("tiny")
    assert (record.manifest.metrics["epochs"], record.manifest.metrics["starts"]) == (2, 2)
    house.shelf.delete("tiny", record.base_digest, record.id)


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"kind": "huge"}, ProblemCode.NOT_FOUND),
        ({"model": "nobody"}, ProblemCode.MODEL_UNKNOWN),
        ({"preset": "fast"}, ProblemCode.PARAMS_INVALID),
        ({"recipe": {"epochs": 0}}, ProblemCode.PARAMS_INVALID),
        ({"data": "../set"}, ProblemCode.DATA_UNUSABLE),
        ({"data": "nothing"}, ProblemCode.DATA_UNUSABLE),
        ({"recipe": {"fail": True}}, ProblemCode.DATA_UNUSABLE),
    ],
)
def test_what_cannot_be_trained_is_a_problem(house: TrainingHouse, changes: dict[str, Any], code: ProblemCode) -> None:
    with pytest.raises(ProblemError) as caught:
        perform(house, spec(**changes))
    assert caught.value.code is code
    assert house.shelf.list("tiny") == []


def test_the_measures_of_the_house_are_given_by_name() -> None:
    measures = _measures()
    assert {"attention_iou", "top_overlap"} <= set(measures)
    assert all(callable(measure) for measure in measures.values())


def test_every_kind_of_the_house_describes_itself() -> None:
    kinds = find_kinds()
    assert kinds
    for kind in kinds.values():
        properties = kind.recipe.model_json_schema()["properties"]
        for name, about in properties.items():
            assert "default" in about, (kind.name, name)
            assert about.get("title"), (kind.name, name)
            assert about.get("description"), (kind.name, name)
        names = [preset.name for preset in kind.presets]
        assert set(kind.preset_for.values()) | set(kind.pictures) <= set(names)
        for preset in kind.presets:
            kind.recipe.model_validate(preset.params)
