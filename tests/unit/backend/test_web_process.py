"""The web process stays light: no torch, no workers, quick to import; its settings refuse nonsense."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from backend.contract.settings import SettingsError, read_settings
from backend.serving import uvicorn_options
from backend.settings import WebSettings

HEAVY = ("torch", "timm", "skimage", "scipy", "sklearn", "transformers", "dash", "plotly", "pandas", "matplotlib")


def test_the_web_process_imports_neither_torch_nor_the_workers() -> None:
    code = (
        "import sys; from backend.app import create_api; from backend.settings import WebSettings;"
        "create_api(WebSettings(_env_file=None)).openapi();"
        f"print([name for name in {(*HEAVY, 'workers', 'models', 'frontend')!r} if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_importing_the_api_opens_nothing(tmp_path: Path) -> None:
    code = (
        "import socket, sqlite3\n"
        "def refuse(*a, **k): raise AssertionError('opened something')\n"
        "socket.socket.connect = refuse; sqlite3.connect = refuse\n"
        "from backend.app import create_api; from backend.settings import WebSettings\n"
        "create_api(WebSettings(_env_file=None))\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, env={"PYTHONPATH": str(Path.cwd())})
    assert list(tmp_path.iterdir()) == []


def test_settings_come_from_the_environment_and_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_PORT", "9000")
    monkeypatch.setenv("VITRINE_PUBLIC_URL", "https://vitrine.example.org/")
    settings = read_settings(WebSettings, _env_file=None)
    assert (settings.port, settings.public_url) == (9000, "https://vitrine.example.org")
    with pytest.raises(Exception, match="frozen"):
        settings.port = 1  # type: ignore[misc]


def test_all_wrong_values_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VITRINE_PORT", "99999")
    monkeypatch.setenv("VITRINE_MAX_PIXELS", "1")
    monkeypatch.setenv("VITRINE_PUBLIC_URL", "vitrine.example.org")
    with pytest.raises(SettingsError) as caught:
        read_settings(WebSettings, _env_file=None)
    for name in ("VITRINE_PORT", "VITRINE_MAX_PIXELS", "VITRINE_PUBLIC_URL"):
        assert name in str(caught.value)


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in WebSettings.model_fields.values())


def test_the_server_does_not_wait_for_streams_that_never_end() -> None:
    options = uvicorn_options(WebSettings(_env_file=None))
    assert 0 < options["timeout_graceful_shutdown"] <= 60
    assert options["host"] == "127.0.0.1"
