"""Python files of an operator's own, imported by path: methods and kinds of training that are not part of Vitrine."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType


def files_of(folder: Path | None, namespace: str) -> Iterator[tuple[str, Callable[[], ModuleType]]]:
    """Yields the name of each file in a folder, sorted, with what imports it; names that begin with ``_`` are private.

    Args:
        folder: Where the files lie; ``None``: there are none.
        namespace: Under which the modules are known, so that they cannot shadow others.
    """
    if folder is None:
        return
    for path in sorted(folder.glob("*.py")):
        if not path.name.startswith("_"):
            yield path.stem, _loader(path, f"{namespace}.{path.stem}")


def _loader(path: Path, name: str) -> Callable[[], ModuleType]:
    def load() -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{path.name} cannot be imported")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # pydantic looks the module up to resolve annotations
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
        return module

    return load
