"""Settings come from the environment, are frozen, and tell every mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from backend.contract.settings import CommonSettings, Environment, LogLevel, SettingsError, read_settings
from workers.settings import WorkerSettings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("VITRINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_without_an_environment_the_defaults_hold() -> None:
    settings = read_settings(CommonSettings)
    assert settings.environment is Environment.DEVELOPMENT
    assert not settings.has_own_queue_url
    assert settings.cache_redis_url == settings.queue_redis_url


def test_the_cache_is_the_queues_server_unless_it_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_QUEUE_REDIS_URL", "redis://queue:6379/0")
    settings = read_settings(CommonSettings)
    assert settings.has_own_queue_url
    assert settings.cache_redis_url == "redis://queue:6379/0"
    monkeypatch.setenv("VITRINE_CACHE_REDIS_URL", "redis://cache:6379/0")
    assert read_settings(CommonSettings).cache_redis_url == "redis://cache:6379/0"


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_QUEUE_REDIS_URL", "")
    monkeypatch.setenv("VITRINE_MODELS_DIR", "")
    settings = read_settings(WorkerSettings)
    assert not settings.has_own_queue_url
    assert settings.models_dir is None


def test_words_may_be_written_in_capitals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_ENVIRONMENT", "Production")
    monkeypatch.setenv("VITRINE_LOG_LEVEL", "DEBUG")
    settings = read_settings(CommonSettings)
    assert (settings.environment, settings.log_level) == (Environment.PRODUCTION, LogLevel.DEBUG)


def test_every_mistake_is_told_at_once_with_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_QUEUE_REDIS_URL", "http://somewhere")
    monkeypatch.setenv("VITRINE_DEVICE", "tpu")
    monkeypatch.setenv("VITRINE_JOB_TIMEOUT_S", "0")
    with pytest.raises(SettingsError) as caught:
        read_settings(WorkerSettings)
    for name in ("VITRINE_QUEUE_REDIS_URL", "VITRINE_DEVICE", "VITRINE_JOB_TIMEOUT_S"):
        assert name in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    settings = read_settings(CommonSettings)
    with pytest.raises(ValidationError):
        settings.data_dir = Path("elsewhere")


def test_what_is_given_directly_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_DEVICE", "cuda")
    assert read_settings(WorkerSettings, device="cpu").device == "cpu"
