"""Names of data sets: folders with pictures below the data directory, or the built-in world."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = "datasets"
"""Where uploaded data sets are, and the best place for one's own."""
RESERVED = frozenset({"redis", "shares", "explainers", "trainings", "datasets", "birds", "train", "val", "test"})
"""Folders of the data directory that hold other things, and names that would be taken for something else."""
WORLD = re.compile(r"birds(?::\d{1,7})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def is_world(name: str) -> bool:
    """Whether a name means drawn pictures of the built-in world."""
    return WORLD.fullmatch(name) is not None


def is_dataset_name(name: str) -> bool:
    """Whether a text can be the name of a data set, and so of a folder."""
    return _NAME.fullmatch(name) is not None and name.lower() not in RESERVED and ".." not in name


def find_dataset(data_dir: Path, name: str) -> Path | None:
    """Returns the folder of a data set: in ``datasets``, else directly below the data directory; ``None``: not here."""
    if not is_dataset_name(name):
        return None
    for folder in (data_dir / FOLDER / name, data_dir / name):
        if folder.is_dir():
            return folder
    return None
