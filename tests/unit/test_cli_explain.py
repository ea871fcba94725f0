"""``vitrine explain`` on a real model directory, a real method and a real picture file."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

import vitrine
from backend.contract.problems import ProblemCode, ProblemError
from tests.queue_fakes import make_own_model, make_pixels

METHODS_DIR = Path(__file__).parents[1] / "integration" / "queue_methods"


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    make_own_model(folder / "tiny")
    make_own_model(folder / "other", seed=1)
    return folder


@pytest.fixture
def photo(tmp_path: Path, models_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VITRINE_MODELS_DIR", str(models_dir))
    monkeypatch.setenv("VITRINE_METHODS_DIR", str(METHODS_DIR))
    monkeypatch.setenv("VITRINE_DEVICE", "cpu")
    path = tmp_path / "photo.png"
    Image.fromarray(make_pixels()).save(path)
    return path


def explain(photo: Path, *options: str, model: str = "tiny", method: str = "sixth") -> Result:
    given = ["explain", str(photo), "--model", model, "--method", method, "--out", str(photo.parent / "out"), *options]
    return CliRunner().invoke(vitrine.app, given)


def test_a_photograph_is_explained_into_a_folder(photo: Path) -> None:
    answer = explain(photo)
    assert answer.exit_code == 0, answer.output
    folder = photo.parent / "out" / "tiny--sixth"
    assert json.loads((folder / "manifest.json").read_text())["title"] == "Sixth of Tiny"
    assert (np.load(folder / "map.npy") == 1.0).all()
    assert "Counted." in answer.output


def test_several_models_and_methods_make_a_grid_of_folders(photo: Path) -> None:
    answer = explain(photo, "--model", "other", method="sixth,top_classes")
    assert answer.exit_code == 0, answer.output
    made = {path.name for path in (photo.parent / "out").iterdir()}
    assert made == {"tiny--sixth", "tiny--top_classes", "other--sixth", "other--top_classes"}


@pytest.fixture
def photos(photo: Path) -> list[Path]:
    """Three photographs of different shapes; two have the same file name."""
    folder = photo.parent / "more"
    folder.mkdir()
    others = [photo.parent / "wide.jpg", folder / "photo.png"]
    noise = np.random.default_rng(5)
    for path, shape in zip(others, [(40, 96, 3), (72, 48, 3)], strict=True):
        Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)).save(path)
    return [photo, *others]


def explain_all(photos: list[Path], *options: str, method: str) -> tuple[Result, Path]:
    out = photos[0].parent / "all"
    names = [str(path) for path in photos]
    given = ["explain", *names, "--model", "tiny", "--method", method, "--out", str(out), *options]
    return CliRunner().invoke(vitrine.app, given), out


def test_several_photographs_get_a_folder_each(photos: list[Path]) -> None:
    answer, out = explain_all(photos, method="sixth,top_classes")
    assert answer.exit_code == 0, answer.output
    assert {path.name for path in out.iterdir()} == {"photo", "wide", "photo-2"}
    for folder, photo in zip(("photo", "wide", "photo-2"), photos, strict=True):
        assert {path.name for path in (out / folder).iterdir()} == {"tiny--sixth", "tiny--top_classes"}
        run = json.loads((out / folder / "tiny--sixth" / "run.json").read_text())
        assert tuple(run["picture_size"]) == Image.open(photo).size
        assert (out / folder / "tiny--sixth" / "picture.png").exists()


def test_joint_methods_take_all_photographs_in_one_run_and_others_one_by_one(photos: list[Path]) -> None:
    settings = ("--param", "joint=true", "--param", "floors=[]", "--param", "n_clusters=3")
    answer, out = explain_all(photos, *settings, method="nave,sixth")
    assert answer.exit_code == 0, answer.output
    assert {path.name for path in out.iterdir()} == {"tiny--nave", "photo", "wide", "photo-2"}
    folder = out / "tiny--nave"
    run = json.loads((folder / "run.json").read_text())
    assert len(run["image_ids"]) == 3
    assert [tuple(size) for size in run["picture_sizes"]] == [Image.open(photo).size for photo in photos]
    for place, size in enumerate(run["picture_sizes"]):
        labels = np.load(folder / f"labels_{place:03d}.npy")
        assert labels.max() < 3
        assert Image.open(folder / f"picture-{place:03d}.png").size == tuple(size)
        assert Image.open(folder / f"labels_{place:03d}.png").size == tuple(size)
    assert np.allclose(np.load(folder / "proportions.npy").sum(axis=1), 1)
    assert not (folder / "picture.png").exists()
    assert "picture-002.png" in (folder / "snippet.py").read_text()


def test_the_enclosed_code_computes_a_joint_result_again(
    photos: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    answer, out = explain_all(photos[:2], "--param", "joint=true", "--param", "floors=[]", method="nave")
    assert answer.exit_code == 0, answer.output
    runpy.run_path(str(out / "tiny--nave" / "snippet.py"), run_name="__main__")
    told = capsys.readouterr().out
    assert "splits these 2 pictures into" in told
    assert "labels_001 int16" in told


def test_without_joint_even_a_method_for_several_pictures_runs_once_for_each(photos: list[Path]) -> None:
    answer, out = explain_all(photos[:2], "--param", "floors=[]", method="nave")
    assert answer.exit_code == 0, answer.output
    assert {str(path.parent.relative_to(out)) for path in out.rglob("labels_000.npy")} == {
        "photo/tiny--nave",
        "wide/tiny--nave",
    }


def test_settings_reach_the_method(photo: Path) -> None:
    assert explain(photo, "--param", "passes=5", "--seed", "3").exit_code == 0
    run = json.loads((photo.parent / "out" / "tiny--sixth" / "run.json").read_text())
    assert (run["params"]["passes"], run["passes"], run["seed"]) == (5, 5, 3)


def test_a_folder_that_is_not_empty_is_refused_before_anything_is_computed(photo: Path) -> None:
    assert explain(photo).exit_code == 0
    before = (photo.parent / "out" / "tiny--sixth" / "manifest.json").stat().st_mtime_ns
    answer = explain(photo)
    assert isinstance(answer.exception, vitrine.RefusalError)
    assert "--force" in str(answer.exception)
    assert (photo.parent / "out" / "tiny--sixth" / "manifest.json").stat().st_mtime_ns == before
    assert explain(photo, "--force").exit_code == 0


def test_a_problem_of_one_cell_does_not_stop_the_others(photo: Path) -> None:
    answer = explain(photo, "--model", "no_such_model")
    assert answer.exit_code == 1
    assert (photo.parent / "out" / "tiny--sixth" / "manifest.json").exists()
    assert not (photo.parent / "out" / "no_such_model--sixth").exists()


def test_an_unknown_method_or_setting_is_told_in_words(photo: Path) -> None:
    for options, code in (
        ({"method": "magic"}, ProblemCode.METHOD_UNKNOWN),
        ({"method": "sixth"}, ProblemCode.PARAMS_INVALID),
    ):
        answer = explain(photo, *(["--param", "speed=1"] if options["method"] == "sixth" else []), **options)
        assert isinstance(answer.exception, ProblemError)
        assert answer.exception.code is code


def test_a_file_that_is_no_picture_is_told_in_words(photo: Path) -> None:
    photo.write_text("no picture")
    answer = explain(photo)
    assert isinstance(answer.exception, ProblemError)
    assert answer.exception.to_problem().status in (415, 422)


def test_the_command_line_tells_a_refusal_without_a_traceback(
    photo: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["vitrine", "explain", str(photo), "--model", "tiny", "--method", "magic", "--out", "x"]
    )
    with pytest.raises(SystemExit) as caught:
        vitrine.main()
    told = capsys.readouterr().err
    assert caught.value.code == 1
    assert "magic" in told
    assert "Traceback" not in told


def test_wrong_settings_are_told_without_a_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VITRINE_DEVICE", "tpu")
    monkeypatch.setattr("sys.argv", ["vitrine", "doctor"])
    with pytest.raises(SystemExit) as caught:
        vitrine.main()
    assert caught.value.code == 2
    assert "VITRINE_DEVICE" in capsys.readouterr().err
