"""From the words of a command line to questions, to a method's settings and to a class of a model."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.contract.params import fill_params
from backend.contract.problems import ProblemCode, ProblemError
from models.loader import ModelLoader
from workers.method import Method

MOST_TOGETHER = 256
"""Most pictures of one run."""


@dataclass(frozen=True)
class Question:
    """One cell of models x methods.

    Attributes:
        model: Name of the model.
        method: Name of the method.
        folder: Where the evidence goes.
        places: Which of the photographs it is about.
        words: What tells it from the same question about others; empty when there is one photograph.
    """

    model: str
    method: str
    folder: Path
    places: tuple[int, ...]
    words: str = ""


def is_joint(method: Method, given: Mapping[str, Any]) -> bool:
    """Whether these settings ask a method to explain all photographs in one run."""
    return method.several_pictures and fill_params(method.card().params_schema, dict(given)).get("joint") is True


def plan_questions(
    photos: Sequence[Path], *, models: Sequence[str], methods: Sequence[str], joint: set[str], out: Path
) -> list[Question]:
    """Returns what is asked: a run for each photograph, or one for all where a method takes them together.

    Args:
        photos: Picture files.
        models: Names of models.
        methods: Names of methods.
        joint: Those methods that take all photographs in one run.
        out: Folder of the evidence; several photographs get a folder each in it.

    Raises:
        ProblemError: ``request_invalid`` if one run would have too many pictures.
    """
    if joint and len(photos) > MOST_TOGETHER:
        raise ProblemError(
            ProblemCode.REQUEST_INVALID,
            f"{len(photos)} photographs are too many for one run; {MOST_TOGETHER} are the most.",
        )
    folders = _photo_folders(photos)
    asked = []
    for model, method in itertools.product(models, methods):
        name = f"{_safe(model)}--{method}"
        if method in joint or len(photos) == 1:
            words = "" if len(photos) == 1 else f" · {len(photos)} pictures"
            asked.append(Question(model, method, out / name, tuple(range(len(photos))), words))
            continue
        asked += [
            Question(model, method, out / folder / name, (place,), f" · {photos[place].name}")
            for place, folder in enumerate(folders)
        ]
    return asked


def _photo_folders(photos: Sequence[Path]) -> list[str]:
    """Returns one folder name for each photograph; equal file names are told apart by a number."""
    folders: list[str] = []
    for photo in photos:
        name = folder = _safe(photo.stem)
        number = 2
        while folder.casefold() in {other.casefold() for other in folders}:
            folder, number = f"{name}-{number}", number + 1
        folders.append(folder)
    return folders


def _safe(text: str) -> str:
    """Returns a text that can name a folder on every system."""
    return "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in text).strip(".") or "picture"


def read_settings_of(
    names: Sequence[str], methods: Mapping[str, Method], *, given: Sequence[str], preset: str | None
) -> dict[str, dict[str, Any]]:
    """Returns the settings of each chosen method: its preset, then what was given for it.

    Args:
        names: The chosen methods.
        methods: Every method by name.
        given: ``name=value``, meant for every chosen method that has the setting, or ``method.name=value``.
        preset: Name of a preset, meant for every chosen method that has it.

    Raises:
        ProblemError: ``method_unknown``, or ``params_invalid`` for a setting or preset that no method has.
    """
    chosen = [_find_method(name, methods) for name in names]
    settings = _preset_params(chosen, preset)
    for text in given:
        owner, key, value = _read_setting(text)
        users = [method for method in chosen if owner in (None, method.name) and key in _known(method)]
        if not users:
            allowed = sorted({name for method in chosen for name in _known(method)})
            raise ProblemError(
                ProblemCode.PARAMS_INVALID,
                f"No chosen method has a setting {key!r}. There are: {', '.join(allowed) or 'none'}.",
            )
        for method in users:
            settings[method.name][key] = value
    return settings


def find_target(wanted: str | None, method: Method, loader: ModelLoader, model: str) -> int | None:
    """Returns the class that is meant by a number or a name; ``None`` when none is or the method has no target.

    Raises:
        ProblemError: ``target_unknown`` if the model has no class of that name.
    """
    if wanted is None or not method.has_target:
        return None
    if wanted.isdecimal():
        return int(wanted)
    class_names = loader.load(model).class_names
    found = [index for index, name in enumerate(class_names) if name.casefold() == wanted.casefold()]
    if not found:
        raise ProblemError(ProblemCode.TARGET_UNKNOWN, f"{model} has no class called {wanted!r}.")
    return found[0]


def _find_method(name: str, methods: Mapping[str, Method]) -> Method:
    if name not in methods:
        known = ", ".join(sorted(methods)) or "none"
        raise ProblemError(ProblemCode.METHOD_UNKNOWN, f"There is no method {name!r}. Known methods: {known}.")
    return methods[name]


def _preset_params(chosen: Sequence[Method], preset: str | None) -> dict[str, dict[str, Any]]:
    found = {method.name: known for method in chosen for known in method.presets if known.name == preset}
    if preset is not None and not found:
        names = ", ".join(dict.fromkeys(known.name for method in chosen for known in method.presets)) or "none"
        raise ProblemError(ProblemCode.PARAMS_INVALID, f"No chosen method has a preset {preset!r}. There are: {names}.")
    return {method.name: dict(found[method.name].params) if method.name in found else {} for method in chosen}


def _known(method: Method) -> set[str]:
    return set(method.card().params_schema.get("properties", {}))


def _read_setting(text: str) -> tuple[str | None, str, Any]:
    """Returns method (or ``None``), name and value; a value that is no JSON is taken as text."""
    name, sign, value = text.partition("=")
    if not sign or not name:
        raise ProblemError(ProblemCode.PARAMS_INVALID, f"{text!r} is no setting; write name=value.")
    owner, _, key = name.rpartition(".")
    try:
        return owner or None, key, json.loads(value)
    except json.JSONDecodeError:
        return owner or None, key, value
