"""Evidence is complete, vouched for, written in one go, and never over somebody's files."""

from __future__ import annotations

import hashlib
import io
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend import evidence_folder
from backend.contract.results import Manifest
from backend.evidence_folder import FolderTakenError
from tests.fakes_engine import Constant, make_model
from tests.queue_fakes import Counting, OneModelLoader, make_map_result, make_pixels
from workers import local
from workers.local import Answer, LocalRuns
from workers.method import Context, Result
from workers.settings import WorkerSettings


def make_runs(method: Counting | None = None) -> LocalRuns:
    model = make_model(Constant([1.0, 0.0]), class_names=("left", "right"))
    return LocalRuns(OneModelLoader(model), {"counting": method or Counting()})  # type: ignore[arg-type]


def make_answer(method: Counting | None = None) -> Answer:
    return make_runs(method).explain(make_pixels(), model="tiny", method="counting", params={"steps": 2}, target=1)


def write_answer(folder: Path, answer: Answer, *, force: bool = False) -> Path:
    return evidence_folder.write_evidence(
        folder, answer.manifest, answer.blobs.__getitem__, picture_png=answer.picture_png, force=force
    )


def test_an_answer_holds_its_arrays_and_the_filled_in_settings() -> None:
    answer = make_answer()
    assert answer.manifest.params == {"steps": 2, "strength": 1.0}
    assert (answer.arrays["map"] == np.ones((3, 5))).all()


def test_every_file_is_there_and_vouched_for(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    about = json.loads(write_answer(folder, make_answer()).read_text())
    listed = {entry["file"]: entry for entry in about["files"]}
    assert set(listed) == {"picture.png", "map.npy", "map.png", "run.json", "snippet.py"}
    assert set(listed) | {"manifest.json"} == {path.name for path in folder.iterdir()}
    for name, entry in listed.items():
        data = (folder / name).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (entry["bytes"], entry["sha256"])


def test_numbers_and_picture_come_back_as_they_were(tmp_path: Path) -> None:
    answer = make_answer()
    write_answer(tmp_path, answer)
    assert (np.load(tmp_path / "map.npy") == answer.arrays["map"]).all()
    assert (np.asarray(Image.open(tmp_path / "picture.png")) == make_pixels()).all()
    assert Manifest.model_validate_json((tmp_path / "run.json").read_text()) == answer.manifest


def test_a_map_is_drawn_at_the_size_of_the_picture(tmp_path: Path) -> None:
    write_answer(tmp_path, make_answer())
    drawn = np.asarray(Image.open(tmp_path / "map.png"))
    assert drawn.shape == (24, 40, 3)
    assert drawn.std() > 0


def test_regions_become_a_table(tmp_path: Path) -> None:
    from backend.contract.results import Box, Region

    def explain(context: Context) -> Result:
        region = Region(id=1, label="beak, upper", score=0.5, area=0.1, box=Box(0, 0, 4, 4))
        return Result(**(vars(make_map_result(context)) | {"regions": (region,)}))

    write_answer(tmp_path, make_answer(Counting(explain)))
    lines = (tmp_path / "regions.csv").read_text().splitlines()
    assert lines[0].startswith("id,label,layer,score,area")
    assert lines[1].startswith('1,"beak, upper",,0.5,0.1')


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(FolderTakenError):
        write_answer(tmp_path, make_answer())
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_force_replaces_earlier_evidence_and_nothing_else(tmp_path: Path) -> None:
    write_answer(tmp_path, make_answer())
    (tmp_path / "thesis.txt").write_text("mine")
    about = json.loads((tmp_path / "manifest.json").read_text())
    (tmp_path / "old.npy").write_bytes(b"")
    about["files"].append({"file": "old.npy"})
    (tmp_path / "manifest.json").write_text(json.dumps(about))
    write_answer(tmp_path, make_answer(), force=True)
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert not (tmp_path / "old.npy").exists()


def test_evidence_that_could_not_be_finished_has_no_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_answer(tmp_path, make_answer())

    def fail(*_: object, **__: object) -> bytes:
        raise OSError("disk full")

    monkeypatch.setattr(evidence_folder, "run_files", fail)
    with pytest.raises(OSError, match="disk full"):
        write_answer(tmp_path, make_answer(), force=True)
    assert not (tmp_path / "manifest.json").exists()


def test_a_manifest_cannot_make_us_remove_files_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    (tmp_path / "precious").write_text("mine")
    (folder / "manifest.json").write_text(json.dumps({"files": [{"file": "../precious"}]}))
    write_answer(folder, make_answer(), force=True)
    assert (tmp_path / "precious").exists()


def test_the_enclosed_code_computes_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = make_answer()
    write_answer(tmp_path, answer)

    def open_same(_settings: WorkerSettings) -> LocalRuns:
        return make_runs()

    monkeypatch.setattr(local, "open_local_runs", open_same)
    made: list[Answer] = []
    explain = local.explain
    monkeypatch.setattr(local, "explain", lambda *given, **more: made.append(explain(*given, **more)) or made[0])
    runpy.run_path(str(tmp_path / "snippet.py"), run_name="__main__")
    assert made[0].manifest.run_key == answer.manifest.run_key
    assert made[0].manifest.arrays == answer.manifest.arrays
    assert "Everything has the value 1." in capsys.readouterr().out


def test_the_enclosed_code_does_nothing_when_a_method_spawns_processes_that_import_it(tmp_path: Path) -> None:
    write_answer(tmp_path, make_answer())
    assert "answer" not in runpy.run_path(str(tmp_path / "snippet.py"), run_name="__mp_main__")


def test_a_picture_in_memory_is_stored_without_loss() -> None:
    stored = Image.open(io.BytesIO(make_answer().picture_png))
    assert (np.asarray(stored) == make_pixels()).all()
