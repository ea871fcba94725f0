"""Opening pictures by name: a folder on this machine, or the built-in world."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from backend.contract.decoding import MAX_BYTES, read_picture
from backend.contract.problems import ProblemCode, ProblemError
from models.demo.dataset import FRESH_FROM, DrawnSet, drawn_set
from models.demo.grammar import SPECIES, species_names
from models.demo.picture import WORLD_VERSION
from models.training.data import DataSource, PictureSet, Progress, make_set

BIRDS = "birds"
"""Name of the built-in world, with the number of pictures behind a colon: ``birds:1200``."""
DEFAULT_BIRDS = 2_000
MOST_BIRDS = 100_000
EXPLAINERS_FROM = 4_000_000
"""First seed of the pictures that explainers learn from; no demo model has seen them."""
PIECE = 50
"""Pictures that are drawn at once, so that a training can be stopped in between."""
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
MAX_PIXELS = 50_000_000
PARTS = {"train": ("train",), "validation": ("val", "valid", "validation"), "test": ("test",)}
_BIRDS = re.compile(rf"{BIRDS}(?::(\d{{1,7}}))?")


def open_data(
    given: str | Path,
    *,
    pictures: int | None = None,
    follow_links: bool = False,
    index: Path | None = None,
    on_progress: Progress = lambda _done, _total: None,
    check_cancelled: Callable[[], None] = lambda: None,
) -> DataSource:
    """Returns the pictures of a folder, or ``birds`` / ``birds:<number>`` of the built-in world.

    A folder holds one sub-folder for each class (its name is the class), or the folders ``train`` and perhaps ``val``
    and ``test`` with the classes in them. Every picture is decoded once, so that a broken one is left out and counted
    now and does not end a training in its third hour.

    Args:
        given: What to open.
        pictures: How many pictures ``birds`` without a number means.
        follow_links: Whether classes and pictures may be symbolic links; links further inside never count.
        index: File that remembers what was found, so that opening the same folder again is quick.
        on_progress: Told (pictures checked, pictures in all).
        check_cancelled: Raises to stop.

    Raises:
        ProblemError: ``data_unusable``: no such folder, fewer than two classes, a class without readable picture.
    """
    found = _BIRDS.fullmatch(str(given))
    if found:
        return open_birds(int(found[1]) if found[1] else pictures or DEFAULT_BIRDS)
    scan = _Scan(Path(given), follow_links, _Index(index), on_progress, check_cancelled)
    return scan.source()


def open_birds(count: int = DEFAULT_BIRDS, *, first_seed: int = EXPLAINERS_FROM, test: int | None = None) -> DataSource:
    """Returns pictures of the built-in world; they are drawn when they are first read, a few at a time.

    Args:
        count: Pictures to learn from, validation included; species take turns.
        first_seed: Seed of the first one.
        test: Pictures of the test part; by default a quarter as many, between 60 and 600.

    Raises:
        ProblemError: ``data_unusable`` if that is too few for every species, or too many.
    """
    least = 2 * len(SPECIES)
    if not least <= count <= MOST_BIRDS:
        raise unusable(f"The built-in world gives {least} to {MOST_BIRDS} pictures for a training, not {count}.")
    tested = min(600, max(60, count // 4)) if test is None else test
    return DataSource(
        name=f"{BIRDS}:{count}",
        description=f"{count} drawn pictures of {len(SPECIES)} species of the built-in world.",
        train=_drawn(first_seed, count),
        test=_drawn(FRESH_FROM, tested),
    )


def unusable(message: str) -> ProblemError:
    """Returns the refusal of pictures that cannot be trained on."""
    return ProblemError(ProblemCode.DATA_UNUSABLE, message)


def _drawn(first: int, count: int) -> PictureSet:
    names = species_names()
    items = []
    for place in range(count):
        seed = first + place
        label = seed % len(SPECIES)
        digest = hashlib.sha256(f"vitrine-world:{WORLD_VERSION}:{seed}".encode()).hexdigest()
        items.append((place, label, digest, f"{names[label]}/{seed}"))
    return make_set(_Birds(first), items, names)


@dataclass(eq=False)
class _Birds:
    """Drawn pictures, a piece at a time; pieces that were drawn stay in memory (64 kB for each picture)."""

    first: int
    _pieces: dict[int, DrawnSet] = field(default_factory=dict)

    def load(self, place: int) -> NDArray[np.uint8]:
        piece, row = self._piece(place)
        pixels: NDArray[np.uint8] = piece.pixels[row]
        return pixels

    def parts(self, place: int) -> NDArray[np.uint8] | None:
        piece, row = self._piece(place)
        labels: NDArray[np.uint8] = piece.labels[row]
        return labels

    def _piece(self, place: int) -> tuple[DrawnSet, int]:
        number, row = divmod(place, PIECE)
        if number not in self._pieces:
            self._pieces[number] = drawn_set(self.first + number * PIECE, PIECE)
        return self._pieces[number], row


@dataclass(eq=False)
class _Files:
    """Picture files below a folder, by place."""

    root: Path
    files: list[tuple[str, str]] = field(default_factory=list)
    """Relative name and digest of each."""

    def load(self, place: int) -> NDArray[np.uint8]:
        name, digest = self.files[place]
        try:
            data = (self.root / name).read_bytes()
        except OSError:
            data = b""
        if hashlib.sha256(data).hexdigest() != digest:
            raise unusable(f"The picture {name} has changed since the training began. Start a new training.")
        return decode(data)

    def parts(self, place: int) -> NDArray[np.uint8] | None:  # noqa: ARG002 - part of the protocol
        return None


def decode(data: bytes) -> NDArray[np.uint8]:
    """Returns a picture file as ``[H, W, 3]`` uint8 sRGB, read with the limits and the colours of an upload.

    Raises:
        ProblemError: As :func:`backend.contract.decoding.read_picture`.
    """
    return read_picture(data, max_pixels=MAX_PIXELS)[1]


class _Index:
    """What is known of files that did not change since they were last decoded.

    Args:
        path: File that remembers; ``None``: nothing is remembered.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[str, list[object]] = {}
        if path is not None and path.is_file():
            try:
                self._known = json.loads(path.read_text(encoding="utf-8"))
            except ValueError:
                self._known = {}

    def digest(self, file: Path) -> str | None:
        """Returns the sha256 of a readable picture file, or ``None`` for one that is broken."""
        state = file.stat()
        key, seen = str(file), [state.st_mtime_ns, state.st_size]
        known = self._known.get(key)
        if known is None or known[:2] != seen:
            self._known[key] = known = [*seen, _examined(file, state.st_size)]
        return str(known[2]) if known[2] else None

    def save(self) -> None:
        """Writes what is known."""
        if self._path is None:
            return
        self._path.parent.mkdir(parents=True, exist_ok=True)
        partial = self._path.with_name(self._path.name + ".partial")
        partial.write_text(json.dumps(self._known), encoding="utf-8")
        partial.replace(self._path)


def _examined(file: Path, size: int) -> str:
    if size > MAX_BYTES:
        return ""
    data = file.read_bytes()
    try:
        decode(data)
    except ProblemError:
        return ""
    return hashlib.sha256(data).hexdigest()


@dataclass(eq=False)
class _Scan:
    """One look through a folder."""

    root: Path
    follow_links: bool
    index: _Index
    on_progress: Progress
    check_cancelled: Callable[[], None]
    skipped: Counter[str] = field(default_factory=Counter)
    done: int = 0
    total: int = 0

    def source(self) -> DataSource:
        """Returns the opened folder."""
        if not self.root.is_dir():
            raise unusable(f"There is no folder {self.root.name!r} with pictures.")
        folders = self._parts()
        listed = {part: self._list(folder) for part, folder in folders.items()}
        self.total = sum(len(files) for classes in listed.values() for files in classes.values())
        classes = sorted(listed["train"])
        if len(classes) < 2:
            raise unusable(
                f"{self.root.name} has {_classes(len(classes))}; a training needs at least two: "
                "one sub-folder with pictures for each class."
            )
        sets = {part: self._set(folders[part], files, classes, part) for part, files in listed.items()}
        self.index.save()
        self._check_train(sets["train"])
        return DataSource(
            name=self.root.resolve().name,
            description=f"{len(sets['train'])} pictures of {len(classes)} classes.",
            train=sets["train"],
            validation=sets.get("validation"),
            test=sets.get("test"),
            skipped=dict(self.skipped),
        )

    def _parts(self) -> dict[str, Path]:
        """Returns the folders of the parts; a folder without ``train`` is all for training."""
        below = {path.name: path for path in self._folders(self.root)}
        if "train" not in below:
            return {"train": self.root}
        return {part: below[name] for part, names in PARTS.items() for name in names if name in below}

    def _list(self, folder: Path) -> dict[str, list[Path]]:
        """Returns the picture files of each class."""
        found = {path.name: sorted(self._files(path)) for path in self._folders(folder)}
        return found if any(found.values()) else {}

    def _folders(self, root: Path) -> list[Path]:
        shown = [path for path in sorted(root.iterdir()) if not path.name.startswith((".", "__MACOSX"))]
        return [path for path in shown if path.is_dir() and (self.follow_links or not path.is_symlink())]

    def _files(self, folder: Path) -> list[Path]:
        files = []
        for top, folders, names in os.walk(folder, followlinks=False):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                path = Path(top) / name
                if name.startswith("."):
                    continue
                if path.suffix.lower() not in SUFFIXES:
                    self.skipped["no picture file"] += 1
                elif path.is_symlink() and not self.follow_links:
                    self.skipped["a link"] += 1
                elif path.is_file():
                    files.append(path)
        return files

    def _set(self, folder: Path, files: dict[str, list[Path]], classes: Sequence[str], part: str) -> PictureSet:
        foreign = sorted(set(files) - set(classes))
        if foreign:
            raise unusable(f"The class {foreign[0]!r} has pictures for {part} but none to learn from.")
        reader, items = _Files(folder), []
        for label, name in enumerate(classes):
            for path in files.get(name, ()):
                self.check_cancelled()
                digest = self.index.digest(path)
                self.done += 1
                self.on_progress(self.done, self.total)
                if digest is None:
                    self.skipped["not readable"] += 1
                    continue
                relative = path.relative_to(folder).as_posix()
                items.append((len(reader.files), label, digest, relative))
                reader.files.append((relative, digest))
        return make_set(reader, items, classes)

    def _check_train(self, train: PictureSet) -> None:
        for name, count in zip(train.classes, train.counts(), strict=True):
            if count == 0:
                broken = self.skipped["not readable"]
                raise unusable(
                    f"The class {name!r} has no readable picture"
                    + (f" ({broken} files of the folder could not be read)." if broken else ".")
                )


def _classes(count: int) -> str:
    return {0: "no class", 1: "one class"}.get(count, f"{count} classes")
