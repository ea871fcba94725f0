"""The example of an environment file and the settings agree, name by name and default by default."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from backend.contract.settings import CommonSettings
from backend.settings import WebSettings
from workers.settings import WorkerSettings

EXAMPLE = Path(__file__).parents[2] / ".env.example"


def _declared() -> dict[str, Any]:
    fields = {}
    for settings in (CommonSettings, WebSettings, WorkerSettings):
        for name, field in settings.model_fields.items():
            fields[f"VITRINE_{name.upper()}"] = field
    return fields


def _written() -> dict[str, str]:
    return dict(re.findall(r"^#\s?(VITRINE_[A-Z_]+)=(.*)$", EXAMPLE.read_text(), re.MULTILINE))


def test_every_setting_is_in_the_example_and_nothing_else() -> None:
    assert set(_written()) == set(_declared())


def test_the_example_shows_the_defaults() -> None:
    for name, field in _declared().items():
        default = "" if field.default is None else getattr(field.default, "value", field.default)
        shown = _written()[name]
        if isinstance(default, bool):
            assert shown == str(default).lower(), name
        elif isinstance(default, int | float):
            assert float(shown) == float(default), name
        else:
            assert shown == str(default), name


def test_every_setting_is_explained() -> None:
    text = EXAMPLE.read_text()
    for name, field in _declared().items():
        assert field.description, name
        assert re.search(rf"^# [A-Za-z].*\n(?:# .*\n)*#\s?{name}=", text, re.MULTILINE), name
