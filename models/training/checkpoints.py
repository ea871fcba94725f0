"""Checkpoints: tensors and plain values only, complete or not there, and never those of another training."""

from __future__ import annotations

import contextlib
import os
import pickle
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from backend.contract.keys import canonical_json
from backend.contract.problems import ProblemCode, ProblemError
from models.training.job import seed_of

KEPT = 2
_NAME = re.compile(r"checkpoint-(\d{8})\.pt")


class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    Args:
        folder: Made when missing.
        recipe: Settings of the training, as plain values.
        data: Digest of the pictures (and of how they were parted).
        base: Digest of the base model's weights.
        keep: How many are kept; an older one serves when the newest is torn.
    """

    def __init__(self, folder: Path, *, recipe: Mapping[str, Any], data: str, base: str, keep: int = KEPT) -> None:
        self.folder = folder
        self._identity = {"recipe": canonical_json(dict(recipe)), "data": data, "base": base}
        self._keep = keep

    def save(self, state: Mapping[str, Any]) -> Path:
        """Writes a checkpoint, flushed to the disk, under its name in one step; older ones go.

        Args:
            state: Tensors, numbers, texts, and lists and dictionaries of them; optimiser states as they are.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        numbers = self._numbers()
        path = self._path(numbers[-1] + 1 if numbers else 1)
        partial = path.with_suffix(".partial")
        with partial.open("wb") as file:
            torch.save({"identity": self._identity, "state": dict(state)}, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        for number in self._numbers()[: -self._keep]:
            self._path(number).unlink(missing_ok=True)
        return path

    def load(self) -> dict[str, Any] | None:
        """Returns the state of the newest checkpoint that can be read, on the CPU; ``None`` when there is none.

        Raises:
            ProblemError: ``checkpoint_foreign`` if it belongs to another recipe, other pictures or another model.
        """
        for number in reversed(self._numbers()):
            try:
                content = torch.load(self._path(number), map_location="cpu", weights_only=True)
                identity, state = content["identity"], content["state"]
            except (OSError, RuntimeError, EOFError, ValueError, KeyError, TypeError, pickle.UnpicklingError):
                continue
            self._check(identity)
            return dict(state)
        return None

    def clear(self) -> None:
        """Removes every checkpoint."""
        for number in self._numbers():
            self._path(number).unlink(missing_ok=True)

    def _check(self, identity: Mapping[str, str]) -> None:
        words = {"recipe": "another recipe", "data": "other pictures", "base": "another model"}
        foreign = [words[name] for name, value in self._identity.items() if identity.get(name) != value]
        if foreign:
            raise ProblemError(
                ProblemCode.CHECKPOINT_FOREIGN,
                f"This checkpoint belongs to {' and '.join(foreign)}. Start a new training, or delete this one.",
            )

    def _path(self, number: int) -> Path:
        return self.folder / f"checkpoint-{number:08d}.pt"

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(found[1]) for path in self.folder.iterdir() if (found := _NAME.fullmatch(path.name)))


def generator(*parts: object) -> torch.Generator:
    """Returns a generator on the CPU whose numbers follow from the parts alone: ``generator(seed, "warm", epoch)``."""
    return torch.Generator().manual_seed(seed_of(*parts))


def random_state() -> dict[str, Any]:
    """Returns the state of torch's own generators as tensors, for a checkpoint."""
    gpus = list(torch.cuda.get_rng_state_all()) if torch.cuda.is_available() else []
    return {"cpu": torch.get_rng_state(), "gpus": gpus}


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Puts torch's own generators back where :func:`random_state` found them; GPUs that are not here are left out."""
    torch.set_rng_state(state["cpu"])
    for device, gpu in enumerate(state["gpus"][: torch.cuda.device_count()]):
        torch.cuda.set_rng_state(gpu, device)


@contextlib.contextmanager
def seeded(*parts: object) -> Iterator[None]:
    """Makes torch's own generators follow from the parts inside the block (dropout, say), and puts them back after."""
    before = random_state()
    torch.manual_seed(seed_of(*parts))
    try:
        yield
    finally:
        restore_random_state(before)
