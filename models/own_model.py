"""The directory format of own models: ``model.toml`` beside a checkpoint."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path, PurePosixPath
from typing import Any

import timm
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from backend.contract.keys import canonical_json
from models.preprocessing import Preprocessing
from models.weights import broken, file_digest

MODEL_FILE = "model.toml"
RESERVED_ARGUMENTS = frozenset(
    ("cache_dir", "checkpoint_path", "features_only", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay")
)
"""Arguments of ``timm.create_model`` that would load something else than the directory's own checkpoint."""


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PreprocessingTable(_Table):
    """What differs from the architecture's own preprocessing."""

    input_size: tuple[int, int] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None
    interpolation: str | None = None
    crop_pct: float | None = None
    crop_mode: str | None = None

    def over(self, base: Preprocessing) -> Preprocessing:
        """Returns the architecture's preprocessing with these values put over it."""
        given = {name: value for name, value in self.model_dump().items() if value is not None}
        return Preprocessing(**{**vars(base), **given})


class TapsTable(_Table):
    """Which modules are the blocks, where they should not be found automatically."""

    blocks: tuple[str, ...] = Field(min_length=1)


class OwnModel(_Table):
    """The content of ``model.toml``."""

    title: str = Field(default="", max_length=120)
    note: str = Field(default="", max_length=500)
    architecture: str = Field(min_length=1, max_length=200)
    checkpoint: str = "weights.safetensors"
    classes: tuple[str, ...] | None = Field(default=None, min_length=1)
    classes_file: str | None = None
    architecture_args: dict[str, Any] = Field(default_factory=dict)
    preprocessing: PreprocessingTable = PreprocessingTable()
    taps: TapsTable | None = None


def read_own_model(directory: Path) -> OwnModel:
    """Returns the description of an own model, checked; class names from a file are read in.

    Raises:
        ProblemError: ``model_broken`` with a sentence that names the entry and what is allowed.
    """
    name = directory.name
    try:
        table = tomllib.loads((directory / MODEL_FILE).read_text(encoding="utf-8"))
        model = OwnModel.model_validate(table)
        model.preprocessing.over(Preprocessing())
    except (OSError, UnicodeDecodeError) as error:
        raise broken(f"The {MODEL_FILE} of {name} cannot be read.") from error
    except tomllib.TOMLDecodeError as error:
        raise broken(f"The {MODEL_FILE} of {name} is not valid TOML: {error}.") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise broken(f"In the {MODEL_FILE} of {name}, {where} is not possible: {first['msg']}.") from error
    except ValueError as error:
        raise broken(f"In the {MODEL_FILE} of {name}, {error}.") from error
    model = _with_classes_of_file(model, directory)
    _validate_arguments(model, name)
    return model


def checkpoint_path(model: OwnModel, directory: Path) -> Path:
    """Returns where the checkpoint is.

    Raises:
        ProblemError: ``model_broken`` when it is not there.
    """
    path = _inside(directory, model.checkpoint, "checkpoint")
    if not path.is_file():
        raise broken(f"The model {directory.name} has no checkpoint {model.checkpoint!r}.")
    return path


def own_digest(model: OwnModel, checkpoint: Path) -> str:
    """Returns a sha256 over everything that decides the answers: checkpoint, architecture, classes and taps.

    Title, note and preprocessing are left out; the latter is part of a run's identity of its own.
    """
    deciding = model.model_dump(mode="json", include={"architecture", "architecture_args", "classes", "taps"})
    content = f"vitrine-model:1:{canonical_json(deciding)}:{file_digest(checkpoint)}"
    return hashlib.sha256(content.encode()).hexdigest()


def _with_classes_of_file(model: OwnModel, directory: Path) -> OwnModel:
    if model.classes_file is None:
        return model
    if model.classes is not None:
        raise broken(f"The {MODEL_FILE} of {directory.name} has both classes and classes_file; keep one.")
    try:
        lines = _inside(directory, model.classes_file, "classes_file").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise broken(f"The model {directory.name} has no readable {model.classes_file!r}.") from error
    names = tuple(line.strip() for line in lines if line.strip())
    if not names:
        raise broken(f"The file {model.classes_file!r} of {directory.name} names no class.")
    return model.model_copy(update={"classes": names})


def _validate_arguments(model: OwnModel, name: str) -> None:
    reserved = RESERVED_ARGUMENTS & set(model.architecture_args)
    if reserved:
        raise broken(f"In the {MODEL_FILE} of {name}, architecture_args cannot hold {min(reserved)!r}.")
    if not timm.is_model(model.architecture.partition(".")[0]):
        raise broken(f"The architecture {model.architecture!r} of {name} is none that timm {timm.__version__} knows.")
    outputs = model.architecture_args.get("num_classes")
    if outputs is not None and model.classes is not None and outputs != len(model.classes):
        raise broken(f"The model {name} names {len(model.classes)} classes, but its num_classes is {outputs}.")


def _inside(directory: Path, filename: str, entry: str) -> Path:
    """Returns the path of a file that must lie in the model's own directory."""
    parts = PurePosixPath(filename)
    if parts.is_absolute() or ".." in parts.parts or not parts.parts:
        raise broken(f"In the {MODEL_FILE} of {directory.name}, {entry} must be a file in the same folder.")
    return directory.joinpath(*parts.parts)
