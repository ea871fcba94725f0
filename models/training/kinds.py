"""Finds the kinds of training by looking into the folder where they live; no other file names one."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import ValidationError

import models.training
from backend.contract.params import fill_params
from backend.contract.problems import ProblemCode, ProblemError
from models.plugins import files_of
from models.training.job import TrainingKind


def find_kinds(
    extra_dir: Path | None = None, *, on_error: Callable[[str, Exception], None] | None = None
) -> dict[str, TrainingKind]:
    """Returns every kind of training by name: modules of ``models/training`` that hold a ``KIND``.

    Args:
        extra_dir: Folder with further methods; files in its folder ``training`` are looked at as well.
        on_error: Told of a module that cannot be used, which is then left out; without it the error is raised.

    Raises:
        ValueError: If a kind is not called like its module.
    """
    kinds: dict[str, TrainingKind] = {}
    for name, load in [*_own_modules(), *files_of(_training_folder(extra_dir), "vitrine_trainings")]:
        try:
            kind = getattr(load(), "KIND", None)
            if not isinstance(kind, TrainingKind):
                continue
            if kind.name != name:
                raise ValueError(f"the training in {name}.py calls itself {kind.name!r}")
            kinds[kind.name] = kind
        except Exception as error:
            if on_error is None:
                raise
            on_error(name, error)
    return kinds


def _own_modules() -> Iterator[tuple[str, Callable[[], ModuleType]]]:
    for item in sorted(pkgutil.iter_modules(models.training.__path__), key=lambda item: item.name):
        if not item.name.startswith("_"):
            yield item.name, _importer(f"{models.training.__name__}.{item.name}")


def _importer(name: str) -> Callable[[], ModuleType]:
    return lambda: importlib.import_module(name)


def find_kind(name: str, kinds: dict[str, TrainingKind]) -> TrainingKind:
    """Returns a kind by its name, in which a hyphen may stand for an underscore.

    Raises:
        ProblemError: ``not_found``, naming those there are.
    """
    kind = kinds.get(name.replace("-", "_"))
    if kind is None:
        known = ", ".join(sorted(kinds)) or "none"
        raise ProblemError(ProblemCode.NOT_FOUND, f"There is no training {name!r}. There are: {known}.")
    return kind


def choose_preset(kind: TrainingKind, given: str | None, *, has_gpu: bool) -> str:
    """Returns the name of the preset to use; the kind's own choice for this machine when none is given.

    Raises:
        ProblemError: ``params_invalid`` if there is no such preset.
    """
    known = [preset.name for preset in kind.presets]
    if given is None:
        return kind.preset_for.get(has_gpu, known[0] if known else "")
    if given not in known:
        raise ProblemError(
            ProblemCode.PARAMS_INVALID,
            f"{kind.title} has no preset {given!r}. There are: {', '.join(known) or 'none'}.",
        )
    return given


def make_recipe(kind: TrainingKind, preset: str, given: dict[str, Any]) -> Any:
    """Returns the settings of a training: the recipe's defaults, the preset over them, what was given over both.

    Raises:
        ProblemError: ``params_invalid`` with every fault in words.
    """
    chosen = next((one.params for one in kind.presets if one.name == preset), {})
    filled = fill_params(kind.recipe.model_json_schema(), {**chosen, **given})
    try:
        return kind.recipe.model_validate(filled)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}" for fault in error.errors()]
        raise ProblemError(
            ProblemCode.PARAMS_INVALID, f"{kind.title} cannot use these settings. {'; '.join(faults)}."
        ) from error


def _training_folder(extra_dir: Path | None) -> Path | None:
    return None if extra_dir is None else extra_dir / "training"
