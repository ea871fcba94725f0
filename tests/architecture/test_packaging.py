"""What pip installs holds every file that the packages read, not only their Python."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("backend", "frontend", "models", "workers")


def _data_files() -> set[Path]:
    files = (path for name in PACKAGES for path in (ROOT / name).rglob("*") if path.is_file())
    return {path for path in files if path.suffix not in (".py", ".pyc")}


def _installed() -> set[Path]:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    patterns: dict[str, list[str]] = declared["tool"]["setuptools"]["package-data"]
    every = [marker.parent for name in PACKAGES for marker in (ROOT / name).rglob("__init__.py")]
    found: set[Path] = set()
    for package, globs in patterns.items():
        folders = every if package == "*" else [ROOT.joinpath(*package.split("."))]
        # setuptools reads ``**`` as files at any depth; pathlib needs a name behind it to mean files.
        found |= {
            path
            for folder in folders
            for glob in globs
            for path in folder.glob(f"{glob}/*" if glob[-2:] == "**" else glob)
        }
    return found


def test_every_file_beside_the_code_is_installed_with_it() -> None:
    files = _data_files()
    assert {path.suffix for path in files} >= {".css", ".js", ".safetensors", ".jpg", ".toml"}
    assert sorted(str(path.relative_to(ROOT)) for path in files - _installed()) == []
