"""Directories in the hub's own format: ``config.json`` beside the weights."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import timm
from timm.models._hub import load_model_config_from_path

from backend.contract.problems import ProblemCode, ProblemError
from models import captioners_folder
from models.hub import WEIGHT_FILES
from models.own_model import MODEL_FILE, RESERVED_ARGUMENTS
from models.source import ModelSource
from models.weights import broken, file_digest

CONFIG_FILE = "config.json"


def is_model(path: Path) -> bool:
    """Returns whether a path is a directory that describes a model, in either format."""
    return (path / MODEL_FILE).is_file() or (path / CONFIG_FILE).is_file()


def open_folder(name: str, directory: Path, *, source: str) -> ModelSource:
    """Returns the model in a directory of the hub's format.

    Raises:
        ProblemError: ``model_unknown`` when there is none, ``model_broken`` when it cannot be used.
    """
    config = directory / CONFIG_FILE
    content = _content(config)
    if captioners_folder.is_transformers_config(content):
        return captioners_folder.read_source(name, content, title=directory.name, source=source, folder=directory)
    checkpoint = next((directory / file for file in WEIGHT_FILES if (directory / file).is_file()), None)
    if checkpoint is None or not config.is_file():
        raise ProblemError(
            ProblemCode.MODEL_UNKNOWN,
            f"There is no model folder {directory.name!r} (config.json beside {WEIGHT_FILES[0]} or {WEIGHT_FILES[1]}).",
        )
    digest = hashlib.sha256(f"vitrine-folder:1:{file_digest(config)}:{file_digest(checkpoint)}".encode()).hexdigest()
    return read_config(name, config, title=directory.name, source=source, checkpoint=checkpoint, weights=digest)


def read_config(
    name: str,
    config_path: Path,
    *,
    title: str,
    source: str,
    checkpoint: Path | None = None,
    weights: str | None = None,
    repository: str | None = None,
) -> ModelSource:
    """Returns the model that a ``config.json`` describes.

    Raises:
        ProblemError: ``model_broken`` when it is neither in timm's format nor that of a captioner.
    """
    content = _content(config_path)
    if captioners_folder.is_transformers_config(content):
        return captioners_folder.read_source(name, content, title=title, source=source, repository=repository)
    try:
        config, architecture, arguments = load_model_config_from_path(config_path.parent)
    except (OSError, json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, AttributeError) as error:
        raise broken(f"The config.json of {title} is not in timm's format, nor is it a captioner's.") from error
    if not isinstance(architecture, str) or not timm.is_model(architecture):
        raise broken(f"The architecture {architecture!r} of {title} is none that timm {timm.__version__} knows.")
    reserved = RESERVED_ARGUMENTS & set(arguments)
    if reserved:
        raise broken(f"In the config.json of {title}, model_args cannot hold {min(reserved)!r}.")
    config = {key: value for key, value in config.items() if key not in ("file", "source", "state_dict")}
    return ModelSource(
        name=name,
        title=title,
        source=source,
        architecture=architecture,
        weights=weights or f"hub:{title}",
        arguments=arguments,
        checkpoint=checkpoint,
        repository=repository,
        config=config,
    )


def _content(config: Path) -> dict[str, Any]:
    """Returns what a ``config.json`` holds; nothing where it cannot be read, which its readers tell in words."""
    try:
        content = json.loads(config.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError, UnicodeDecodeError):
        return {}
    return content if isinstance(content, dict) else {}
