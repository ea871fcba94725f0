"""Data sets to train on: folders below the data directory, uploaded archives, and the built-in world."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from pathlib import Path
from typing import BinaryIO

import structlog
from pydantic import Field

from backend.archives import PARTS, SUFFIXES, ArchiveLimits, unpack
from backend.contract.datasets import FOLDER, find_dataset, is_dataset_name
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Contract

MARKER = ".uploaded.json"
PART_PREFIX = ".part-"
STALE_S = 24 * 3600
FRESH_S = 10.0
CLASSES_SHOWN = 200
SPARE_BYTES = 200_000_000
"""Room on the disk that an upload leaves free."""
_log = structlog.get_logger()


class DatasetSource(StrEnum):
    """Where a data set comes from."""

    WORLD = "world"
    FOLDER = "folder"
    UPLOADED = "uploaded"


class DatasetState(StrEnum):
    """Whether a data set can be trained on."""

    READY = "ready"
    UNPACKING = "unpacking"
    UNUSABLE = "unusable"


class DatasetCard(Contract):
    """What is known of a data set."""

    name: str = Field(description="What a training names it by.")
    title: str
    source: DatasetSource
    state: DatasetState = DatasetState.READY
    class_count: int = 0
    classes: tuple[str, ...] = Field(default=(), description="Their names, at most 200.")
    pictures: int = Field(default=0, description="Pictures to learn from, by their file names.")
    parts: dict[str, int] = Field(default_factory=dict, description="Pictures of `train`, `validation` and `test`.")
    done: int | None = Field(default=None, description="Pictures unpacked so far, while unpacking.")
    total: int | None = None
    note: str = ""


WORLD_CARD = DatasetCard(
    name="birds",
    title="Drawn birds (built-in world)",
    source=DatasetSource.WORLD,
    note="Drawn while training; choose how many with birds:1200. Their parts are known, so a training can be checked.",
)


class DatasetShelf:
    """The data sets of one data directory.

    Args:
        data_dir: Where they are.
        limits: What an uploaded archive may hold.
        decoding: Entered while one picture is decoded.
    """

    def __init__(
        self,
        data_dir: Path,
        limits: ArchiveLimits,
        *,
        decoding: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._data_dir = data_dir
        self._limits = limits
        self._decoding = decoding
        self._lock = threading.Lock()
        self._unpacking: dict[str, tuple[int, int]] = {}
        self._known: dict[Path, tuple[float, DatasetCard]] = {}

    def cards(self) -> list[DatasetCard]:
        """Returns the built-in world and then every data set by name, those being unpacked included."""
        with self._lock:
            coming = dict(self._unpacking)
        cards = [WORLD_CARD, *(_unpacking_card(name, *pace) for name, pace in sorted(coming.items()))]
        folders: dict[str, Path] = {}
        for place in (self._data_dir / FOLDER, self._data_dir):
            for path in sorted(place.iterdir()) if place.is_dir() else ():
                if path.is_dir() and is_dataset_name(path.name):
                    folders.setdefault(path.name, path)
        found = [self._card(folders[name]) for name in sorted(folders)]
        # Beside the folder for data sets lie other things; only what can be trained on is a data set there.
        return cards + [one for one in found if one.state is DatasetState.READY or self._is_meant(one.name)]

    def _is_meant(self, name: str) -> bool:
        return (self._data_dir / FOLDER / name).is_dir()

    def card(self, name: str) -> DatasetCard:
        """Returns what is known of one data set.

        Raises:
            ProblemError: ``not_found``.
        """
        if name == WORLD_CARD.name:
            return WORLD_CARD
        with self._lock:
            pace = self._unpacking.get(name)
        if pace is not None:
            return _unpacking_card(name, *pace)
        folder = find_dataset(self._data_dir, name)
        if folder is None:
            raise _unknown(name)
        return self._card(folder)

    def add(self, file: BinaryIO, name: str) -> DatasetCard:
        """Returns the data set of an uploaded archive after unpacking it; after an error nothing of it is left.

        Args:
            file: The archive, seekable.
            name: What it shall be called; a number is added when there is one of this name.

        Raises:
            ProblemError: Why the archive is refused.
        """
        name = self._claim(dataset_name(name))
        root = self._data_dir / FOLDER
        try:
            root.mkdir(parents=True, exist_ok=True)
            _sweep(root)
            folder = Path(tempfile.mkdtemp(prefix=PART_PREFIX, dir=root))
            try:
                card = self._unpack(file, folder, name)
                folder.chmod(0o755)
                folder.replace(root / name)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
        except OSError as error:
            _log.warning("dataset.unwritable", error=type(error).__name__)
            raise ProblemError(
                ProblemCode.STORE_FULL, "The archive could not be unpacked: the disk is full."
            ) from error
        finally:
            with self._lock:
                self._unpacking.pop(name, None)
        return card

    def delete(self, name: str) -> None:
        """Removes an uploaded data set.

        Raises:
            ProblemError: ``not_found``, or ``forbidden`` for folders that were not uploaded here.
        """
        folder = find_dataset(self._data_dir, name)
        if folder is None:
            raise _unknown(name)
        if folder.is_symlink() or not (folder / MARKER).is_file():
            raise ProblemError(ProblemCode.FORBIDDEN, "Only data sets that were uploaded here can be deleted.")
        with self._lock:
            self._known.pop(folder, None)
        gone = folder.with_name(f"{PART_PREFIX}{folder.name}-gone")
        folder.replace(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def _claim(self, name: str) -> str:
        """Returns the name, or one with a number, that nobody has; it is ours until it is unpacked."""
        with self._lock:
            candidate, number = name, 2
            while candidate in self._unpacking or find_dataset(self._data_dir, candidate) is not None:
                candidate, number = f"{name}-{number}", number + 1
            self._unpacking[candidate] = (0, 0)
            return candidate

    def _unpack(self, file: BinaryIO, folder: Path, name: str) -> DatasetCard:
        def tell(done: int, total: int) -> None:
            with self._lock:
                self._unpacking[name] = (done, total)

        free = max(0, shutil.disk_usage(folder).free - SPARE_BYTES)
        limits = self._limits
        if free < limits.total_bytes:
            limits = ArchiveLimits(limits.files, max(1, free), limits.file_bytes, limits.ratio, limits.max_pixels)
        unpacked = unpack(file, folder, limits, on_progress=tell, decoding=self._decoding)
        (folder / MARKER).write_text(json.dumps({"bytes": unpacked.total_bytes, "at": time.time()}), encoding="utf-8")
        parts = {part: sum(classes.values()) for part, classes in unpacked.counts.items()}
        _log.info("dataset.added", pictures=sum(parts.values()), bytes=unpacked.total_bytes)
        return _ready_card(name, unpacked.counts, DatasetSource.UPLOADED)

    def _card(self, folder: Path) -> DatasetCard:
        with self._lock:
            known = self._known.get(folder)
        if known is not None and time.monotonic() - known[0] < FRESH_S:
            return known[1]
        source = DatasetSource.UPLOADED if (folder / MARKER).is_file() else DatasetSource.FOLDER
        card = _ready_card(folder.name, _counted(folder), source)
        with self._lock:
            self._known[folder] = (time.monotonic(), card)
        return card


def dataset_name(given: str) -> str:
    """Returns a name for a data set made of what somebody typed, or of the name of a file."""
    stem = re.sub(r"\.zip$", "", re.split(r"[/\\]", given)[-1], flags=re.IGNORECASE)
    name = re.sub(r"[^A-Za-z0-9_-]+", "-", stem).strip("-_")[:60] or "pictures"
    return name if is_dataset_name(name) else f"{name}-pictures"


def _counted(folder: Path) -> dict[str, dict[str, int]]:
    """Returns how many picture files each class of each part has, by their names alone."""
    below = _folders(folder)
    if "train" not in below:
        return {"train": {name: _count(path) for name, path in below.items()}}
    words = {"train": "train", "test": "test"} | dict.fromkeys(PARTS[1:4], "validation")
    return {
        words[part]: {name: _count(path) for name, path in _folders(below[part]).items()}
        for part in PARTS
        if part in below
    }


def _folders(root: Path) -> dict[str, Path]:
    with os.scandir(root) as entries:
        found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    return {path.name: path for path in sorted(found) if not path.name.startswith((".", "__MACOSX"))}


def _count(folder: Path) -> int:
    return sum(
        1
        for _, _, names in os.walk(folder, followlinks=False)
        for name in names
        if not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES
    )


def _ready_card(name: str, counts: dict[str, dict[str, int]], source: DatasetSource) -> DatasetCard:
    classes = sorted(counts.get("train", {}))
    parts = {part: sum(found.values()) for part, found in counts.items()}
    filled = [label for label in classes if counts["train"][label]]
    is_usable = len(filled) >= 2
    return DatasetCard(
        name=name,
        title=name,
        source=source,
        state=DatasetState.READY if is_usable else DatasetState.UNUSABLE,
        class_count=len(filled),
        classes=tuple(filled[:CLASSES_SHOWN]),
        pictures=parts.get("train", 0),
        parts=parts,
        note="" if is_usable else "A training needs at least two sub-folders with pictures, one for each class.",
    )


def _unpacking_card(name: str, done: int, total: int) -> DatasetCard:
    return DatasetCard(
        name=name,
        title=name,
        source=DatasetSource.UPLOADED,
        state=DatasetState.UNPACKING,
        done=done,
        total=total or None,
    )


def _sweep(root: Path) -> None:
    """Removes what processes left that died while they unpacked."""
    for path in root.glob(f"{PART_PREFIX}*"):
        if time.time() - path.stat().st_mtime > STALE_S:
            shutil.rmtree(path, ignore_errors=True)


def _unknown(name: str) -> ProblemError:
    shown = f" {name!r}" if is_dataset_name(name) else " of this name"
    return ProblemError(ProblemCode.NOT_FOUND, f"There is no data set{shown}.")
