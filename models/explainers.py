"""Trained explainers (a word book, a feature-group classifier): where they are found and how they are published.

The shelf itself is part of the contract, because the web process reads it as well; networks are read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from backend.contract.explainers import (
    BUILTIN,
    MANIFEST,
    SCHEMA_VERSION,
    ExplainerManifest,
    ExplainerRecord,
    ExplainerShelf,
    file_digests,
    is_safe_name,
)
from backend.contract.problems import ProblemCode, ProblemError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = [
    "BUILTIN",
    "MANIFEST",
    "SCHEMA_VERSION",
    "ExplainerManifest",
    "ExplainerRecord",
    "ExplainerShelf",
    "file_digests",
    "is_safe_name",
    "read_tensors",
    "write_tensors",
]


def read_tensors(record: ExplainerRecord, name: str) -> dict[str, Tensor]:
    """Returns the named tensors of one of an explainer's safetensors files, on the CPU.

    Raises:
        ProblemError: ``not_found`` if it has no such file, ``model_broken`` if the file cannot be read.
    """
    import safetensors
    from safetensors.torch import load_file

    try:
        return dict(load_file(record.path(name)))
    except (OSError, ValueError, safetensors.SafetensorError) as error:
        raise ProblemError(
            ProblemCode.MODEL_BROKEN, f"The explainer {record.id} cannot be used: its file {name} cannot be read."
        ) from error


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes tensors as a safetensors file that everybody may read; the same tensors give the same bytes."""
    from safetensors.torch import save_file

    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)
    path.chmod(0o644)
