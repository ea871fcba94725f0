"""Facts about measuring a book on other pictures and on classes that it never saw."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from models.heads.lvw import VisualWordNetwork
from models.loader import LoadedModel
from models.training._lvw_parts import Store
from models.training._lvw_unseen import fit_weights
from models.training.data import DataSource, PictureSet
from models.training.lvw import Examiner, SeenClassError, fidelity, load_network, open_book, train
from tests.fakes_lvw import blob_job, blob_source


@pytest.fixture(scope="module")
def examiner(tmp_path_factory: pytest.TempPathFactory) -> Examiner:
    torch.set_num_threads(1)
    folder: Path = tmp_path_factory.mktemp("book")
    job = blob_job(folder, warm_epochs=6)
    train(job)
    return Examiner(open_book(job.shelf.list()[0]), job.base, Store(folder / "caches", 2**28), fidelity)


def _renamed(source: DataSource, names: tuple[str, str]) -> DataSource:
    def under(pictures: PictureSet | None) -> PictureSet | None:
        return None if pictures is None else dataclasses.replace(pictures, classes=names)

    train_set = under(source.train)
    assert train_set is not None
    return dataclasses.replace(source, train=train_set, test=under(source.test))


def test_measuring_again_gives_the_figures_of_the_manifest(examiner: Examiner) -> None:
    test = blob_source().test
    assert test is not None
    figures = examiner.fidelity(test)
    stored = examiner.opened.record.manifest.metrics
    for name in ("accuracy", "agreement", "iou", "iou_gaussian", "iou_chance", "iou_mirrored"):
        assert figures[name] == pytest.approx(stored[name], abs=1e-6), name


def test_names_may_be_mapped_and_unknown_classes_are_left_out(examiner: Examiner) -> None:
    test = blob_source().test
    assert test is not None
    swapped = examiner.fidelity(test, {"red": "green", "green": "red"})
    plain = examiner.fidelity(test)
    assert swapped["agreement"] == pytest.approx(1 - plain["agreement"])
    half = dataclasses.replace(test, classes=("red", "violet"))
    assert examiner.fidelity(half)["pictures"] == len(test) // 2
    with pytest.raises(ValueError, match="red"):
        examiner.fidelity(dataclasses.replace(test, classes=("violet", "brown")))


def test_new_weights_for_unseen_classes_leave_every_word_alone_and_the_overlap_is_the_same(
    examiner: Examiner, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = _renamed(blob_source(40, test=16), ("crimson", "lime"))
    network = load_network(examiner.opened, examiner.base)

    def kept(_opened: object, _model: LoadedModel) -> VisualWordNetwork:
        return network

    monkeypatch.setattr("models.training._lvw_unseen.load_network", kept)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    first, second = examiner.unseen(source, level="u1"), examiner.unseen(source, level="u2")
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert first["iou"] == second["iou"]
    assert first["curves"] == second["curves"]
    assert "accuracy" not in first
    assert second["accuracy"] >= 0.9
    assert second["accuracy_majority"] == 0.5
    assert {"accuracy_features", "accuracy_random"} <= set(second)


def test_seen_classes_are_refused_unless_allowed(examiner: Examiner) -> None:
    source = blob_source(20, test=8)
    with pytest.raises(SeenClassError, match="green, red"):
        examiner.unseen(source, level="u1")
    assert examiner.unseen(source, level="u1", allow_seen=True)["pictures"] == 8
    with pytest.raises(ValueError, match="u1 and u2"):
        examiner.unseen(_renamed(source, ("a", "b")), level="u3")


def test_weights_from_zero_separate_what_can_be_separated() -> None:
    inputs = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.8]])
    labels = torch.tensor([0, 0, 1, 1])
    weights = fit_weights(inputs, labels, 2, seed=0)
    assert ((inputs @ weights.T).argmax(1) == labels).all()
    assert torch.equal(weights, fit_weights(inputs, labels, 2, seed=0))
