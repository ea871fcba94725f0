"""Measuring a finished explainer from the command line: figures, and refusals in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backend.contract.problems import ProblemCode, ProblemError
from models.training.job import Examination
from models.training.lvw import evaluate, train
from tests.fakes_lvw import blob_job, blob_source
from workers import evaluation_terminal


@pytest.fixture(scope="module")
def question(tmp_path_factory: pytest.TempPathFactory) -> Examination:
    job = blob_job(tmp_path_factory.mktemp("book"), joint_epochs=1)
    train(job)
    return Examination(job.shelf.list()[0], job.base, blob_source(16, test=8))


def test_the_figures_of_a_book_come_with_their_floors(question: Examination) -> None:
    figures: dict[str, Any] = evaluate(question)
    assert figures["pictures"] == 8
    assert {"accuracy", "agreement", "iou", "iou_gaussian", "iou_other", "iou_chance", "iou_mirrored"} <= set(figures)


def test_known_classes_are_no_unseen_classes(question: Examination) -> None:
    unseen = Examination(question.record, question.base, question.source, unseen="u1")
    with pytest.raises(ProblemError, match="green, red") as caught:
        evaluate(unseen)
    assert caught.value.code is ProblemCode.PARAMS_INVALID


def test_an_explainer_or_a_kind_that_is_not_there_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VITRINE_DATA_DIR", str(tmp_path))
    with pytest.raises(ProblemError, match="There is no training 'unknown'"):
        evaluation_terminal.run(["unknown", "--explainer", "one"])
    with pytest.raises(ProblemError, match="There is no explainer 'nothing'"):
        evaluation_terminal.run(["lvw", "--explainer", "nothing"])


def test_a_class_map_must_be_a_map(tmp_path: Path) -> None:
    path = tmp_path / "map.json"
    path.write_text("[1, 2]")
    with pytest.raises(ProblemError, match="class map"):
        evaluation_terminal._read_map(path)
    path.write_text('{"n01": "finch"}')
    assert evaluation_terminal._read_map(path) == {"n01": "finch"}
    assert evaluation_terminal._read_map(None) == {}
