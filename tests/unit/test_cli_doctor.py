"""The doctor finds what is wrong and says what helps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
import redis
from typer.testing import CliRunner

import vitrine
from backend.devredis import RedisMissingError
from workers import connection, doctor
from workers.doctor import Finding, Verdict, examine
from workers.settings import WorkerSettings


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise httpx.ConnectError("no network in tests")

    monkeypatch.setattr(doctor.httpx, "head", refuse)


def findings(
    tmp_path: Path, *, own_server: Callable[[], str] = lambda: "redis-server", **settings: object
) -> dict[str, Finding]:
    given = {"data_dir": tmp_path, **settings}
    return {item.subject: item for item in examine(WorkerSettings(**given), own_server=own_server)}


def test_everything_that_is_needed_is_looked_at(tmp_path: Path) -> None:
    found = findings(tmp_path)
    subjects = {"Python", "torch", "timm", "Device", "Redis", "Data folder", "Models", "Methods", "Model hub"}
    assert subjects <= set(found)
    assert found["torch"].verdict is Verdict.GOOD
    assert found["Redis"].found == "`vitrine up` starts redis-server"


def test_an_unreachable_hub_is_a_note_and_not_an_error(tmp_path: Path) -> None:
    assert findings(tmp_path)["Model hub"].verdict is Verdict.NOTE


def test_a_missing_server_program_is_told_with_its_remedy(tmp_path: Path) -> None:
    def missing() -> str:
        raise RedisMissingError("Install redis-server.")

    found = findings(tmp_path, own_server=missing)["Redis"]
    assert (found.verdict, found.remedy) == (Verdict.BAD, "Install redis-server.")


def test_a_server_that_does_not_answer_is_told(tmp_path: Path) -> None:
    found = findings(tmp_path, queue_redis_url="redis://127.0.0.1:1/0")["Queue Redis"]
    assert found.verdict is Verdict.BAD
    assert "cannot be reached" in found.found


@pytest.mark.parametrize(
    ("policy", "verdict"),
    [
        ("noeviction", Verdict.GOOD),
        ("allkeys-lru", Verdict.BAD),
        ("allkeys-lfu", Verdict.BAD),
        ("volatile-ttl", Verdict.NOTE),
    ],
)
def test_a_queue_server_that_throws_jobs_away_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str, verdict: Verdict
) -> None:
    def info(_self: redis.Redis, section: str) -> dict[str, str]:
        return {"memory": {"maxmemory_policy": policy}, "server": {"redis_version": "8.0"}}[section]

    monkeypatch.setattr(connection.redis.Redis, "info", info)
    found = findings(tmp_path, queue_redis_url="redis://127.0.0.1:1/0", cache_redis_url="redis://127.0.0.1:2/0")
    assert found["Queue Redis"].verdict is verdict
    assert found["Cache Redis"].verdict is Verdict.GOOD


def test_a_folder_of_models_that_is_not_there_is_told(tmp_path: Path) -> None:
    found = findings(tmp_path, models_dir=tmp_path / "none", methods_dir=tmp_path / "none")
    assert (found["Models"].verdict, found["Methods"].verdict) == (Verdict.BAD, Verdict.BAD)
    assert "VITRINE_MODELS_DIR" in found["Models"].remedy


def test_a_method_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1")
    found = findings(tmp_path, methods_dir=tmp_path)["Methods"]
    assert found.verdict is Verdict.BAD
    assert "broken" in found.remedy


def test_a_data_folder_below_a_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    found = findings(tmp_path, data_dir=tmp_path / "file" / "data")["Data folder"]
    assert found.verdict is Verdict.BAD


def test_the_command_prints_a_table_and_its_status_tells_the_worst(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VITRINE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("VITRINE_METHODS_DIR", str(tmp_path / "none"))
    answer = CliRunner().invoke(vitrine.app, ["doctor"])
    assert answer.exit_code == 1
    assert "VITRINE_METHODS_DIR" in answer.output.replace("\n", "")
