"""House rules that no other tool checks: names, sizes, who may know what, and links that lead somewhere."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PACKAGES = ("backend", "frontend", "workers", "models")
SOURCES = [*sorted(p for package in PACKAGES for p in (ROOT / package).rglob("*.py")), ROOT / "vitrine.py"]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
ENVIRONMENT_READERS = {
    "settings": "that is what they are for",
    "vitrine": "hands the environment on to the processes it starts",
    "_pami_child": "limits the threads of a process before numpy is imported in it",
}
FIELDS = {"caption": "a field of results and of what is known about drawn pictures; only comparisons with it count"}
METHODS = sorted(p.stem for p in (ROOT / "workers" / "methods").glob("*.py") if not p.stem.startswith("_"))


def _relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_a_file_has_a_name_that_says_something(path: Path) -> None:
    assert path.stem not in {"utils", "util", "helpers", "helper", "common", "misc"}
    assert path.name != "models.py"


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_a_file_is_short_enough_to_be_one_thing(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_the_environment_is_read_by_settings_and_entry_points_only(path: Path) -> None:
    if path.stem in ENVIRONMENT_READERS:
        return
    reads = [
        node.lineno
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in {"environ", "getenv"}
    ]
    assert not reads


@pytest.mark.parametrize("path", SOURCES, ids=_relative)
def test_nothing_is_printed_outside_the_command_line(path: Path) -> None:
    if path.name in {"vitrine.py", "__main__.py"} or "demo" in path.parts:
        return
    calls = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


def test_there_are_methods_to_look_for() -> None:
    assert {"nave", "pami"} <= set(METHODS)


def _strings(tree: ast.AST, *, compared: bool) -> list[object]:
    """Returns the constants of a file, or only those that something is compared with."""
    places = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)] if compared else [tree]
    return [node.value for place in places for node in ast.walk(place) if isinstance(node, ast.Constant)]


@pytest.mark.parametrize("method", METHODS)
def test_no_other_file_knows_a_method_by_its_name(method: str) -> None:
    own = {f"{method}.py"} | {p.name for p in (ROOT / "workers" / "methods").glob("_*.py")}
    knowing = []
    for path in SOURCES:
        if path.name in own:
            continue
        if method in _strings(ast.parse(path.read_text()), compared=method in FIELDS):
            knowing.append(_relative(path))
    assert knowing == []


@pytest.mark.parametrize("page", PAGES, ids=_relative)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text())
    local = [t for t in targets if not re.match(r"[a-z]+:", t)]
    assert [t for t in local if not (page.parent / t).exists()] == []


def test_the_queue_server_of_the_containers_keeps_everything() -> None:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    assert "noeviction" in services["queue"]["command"]
    assert "--appendonly yes" in services["queue"]["command"]
    assert "allkeys-lfu" in services["cache"]["command"]
    for name in ("web", "worker", "worker-gpu"):
        urls = services[name]["environment"]
        assert urls["VITRINE_QUEUE_REDIS_URL"] != urls["VITRINE_CACHE_REDIS_URL"]
    assert all(port.startswith("127.0.0.1:") for port in services["web"]["ports"])


def test_the_containers_know_only_variables_that_exist() -> None:
    known = set(re.findall(r"^#?\s*(VITRINE_[A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = set(
        re.findall(r"VITRINE_[A-Z_]+", (ROOT / "docker-compose.yml").read_text() + (ROOT / "Dockerfile").read_text())
    )
    assert used <= known
