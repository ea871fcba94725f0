"""The command line trains here, shows what happens, and goes on after Ctrl-C where it was."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

import vitrine
from backend.contract.explainers import ExplainerShelf
from backend.contract.problems import ProblemCode, ProblemError
from tests.queue_fakes import make_own_model
from workers.training_terminal import read_given

METHODS_DIR = Path(__file__).parents[1] / "integration" / "queue_methods"
PATIENCE_S = 60.0


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with one small model, one small data set and the tiny training."""
    make_own_model(tmp_path / "models" / "tiny")
    for label, name in enumerate(("finch", "owl")):
        folder = tmp_path / "finches" / name
        folder.mkdir(parents=True)
        for number in range(3):
            pixels = np.random.default_rng(10 * label + number).integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
    for name, value in (
        ("DATA_DIR", tmp_path / "var"),
        ("MODELS_DIR", tmp_path / "models"),
        ("METHODS_DIR", METHODS_DIR),
        ("DEVICE", "cpu"),
    ):
        monkeypatch.setenv(f"VITRINE_{name}", str(value))
    return tmp_path


def train(place: Path, *more: str) -> tuple[int, str]:
    arguments = ["train", "tiny", "--model", "tiny", "--data", str(place / "finches"), *more]
    result = CliRunner().invoke(vitrine.app, arguments, env={"COLUMNS": "200"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def shelf(place: Path) -> ExplainerShelf:
    return ExplainerShelf(place / "var" / "explainers", builtin=None)


def test_a_training_shows_its_curves_and_leaves_an_explainer(place: Path) -> None:
    status, output = train(place, "--set", "epochs=2", "--title", "My finches")
    assert status == 0
    assert "epoch 2  loss 0.5  accuracy 0.5" in output
    (record,) = shelf(place).list()
    assert (record.manifest.title, record.manifest.data["name"]) == ("My finches", "finches")
    assert record.id in output
    assert list((place / "var" / "trainings").iterdir()) == []


def test_the_explainer_goes_where_it_is_sent(place: Path) -> None:
    assert train(place, "--preset", "two", "--out", str(place / "elsewhere"))[0] == 0
    assert len(ExplainerShelf(place / "elsewhere", builtin=None).list()) == 1
    assert shelf(place).list() == []


def interrupt_when(place: Path) -> None:
    """Presses Ctrl-C as soon as there is a checkpoint."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if any((place / "var").glob("trainings/*/checkpoints/*.pt")):
            os.kill(os.getpid(), signal.SIGINT)
            return
        time.sleep(0.01)  # between two looks, not instead of one


def test_after_ctrl_c_the_same_command_goes_on(place: Path) -> None:
    go = place / "go"
    settings = ("--set", "epochs=3", "--set", f"hold={go}")
    before = signal.getsignal(signal.SIGINT)
    presser = threading.Thread(target=interrupt_when, args=(place,), daemon=True)
    presser.start()
    status, output = train(place, *settings)
    presser.join(PATIENCE_S)
    assert status == 130
    assert "the same command goes on" in output
    assert shelf(place).list() == []
    assert signal.getsignal(signal.SIGINT) is before
    go.touch()
    assert train(place, *settings)[0] == 0
    (record,) = shelf(place).list()
    assert record.manifest.metrics["starts"] == 2


def test_other_settings_are_another_training_and_restart_begins_anew(place: Path) -> None:
    go = place / "go"
    settings = ("--set", "epochs=3", "--set", f"hold={go}")
    presser = threading.Thread(target=interrupt_when, args=(place,), daemon=True)
    presser.start()
    train(place, *settings)
    presser.join(PATIENCE_S)
    go.touch()
    assert train(place, "--set", "epochs=4", "--set", f"hold={go}", "--out", str(place / "other"))[0] == 0
    assert ExplainerShelf(place / "other", builtin=None).list()[0].manifest.metrics["starts"] == 1
    assert train(place, *settings, "--restart")[0] == 0
    assert shelf(place).list()[0].manifest.metrics["starts"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--preset", "fast"), "no preset 'fast'"),
        (("--set", "epochs"), "name=value"),
        (("--set", "epochs=0"), "epochs"),
        (("--set", "fail=true"), "asked to fail"),
        (("--data", "nowhere"), "no folder 'nowhere'"),
        (("--model", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_trained_is_said_in_words(place: Path, arguments: tuple[str, ...], words: str) -> None:
    with pytest.raises(ProblemError, match=words):
        train(place, *arguments)


def test_settings_are_numbers_truths_or_texts() -> None:
    assert read_given(["a=1", "b=0.5", "c=true", "d=text", "e=x=y", "f=[1,2]"]) == {
        "a": 1,
        "b": 0.5,
        "c": True,
        "d": "text",
        "e": "x=y",
        "f": [1, 2],
    }
    with pytest.raises(ProblemError) as caught:
        read_given(["=1"])
    assert caught.value.code is ProblemCode.PARAMS_INVALID
