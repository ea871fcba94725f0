"""Pictures to learn from: a folder with one sub-folder for each class, or the built-in world.

Everything that follows from the pictures (who is held back for validation, what a checkpoint belongs to) is computed
from their digests, so the same pictures give the same training wherever they lie and in whatever order they are listed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from backend.contract.keys import canonical_json
from backend.contract.problems import ProblemCode, ProblemError

SPLIT_RULE = "per class, ordered by sha256(seed and picture digest); the first of them; equal pictures on one side"
Progress = Callable[[int, int], None]


class PictureReader(Protocol):
    """Reads pictures by their place in a source."""

    def load(self, place: int) -> NDArray[np.uint8]:
        """Returns one picture ``[H, W, 3]`` uint8 sRGB, upright."""

    def parts(self, place: int) -> NDArray[np.uint8] | None:
        """Returns the part of the bird at each pixel ``[H, W]`` (0: none, else the place in ``Part`` from 1 on).

        ``None`` where nobody knows, that is for every picture that was not drawn.
        """


@dataclass(frozen=True, eq=False)
class PictureSet:
    """Pictures with their classes, read one at a time.

    Args:
        reader: Where the pictures come from.
        places: int64 ``[N]``, where each picture is in the reader.
        labels: int64 ``[N]``, index into ``classes``.
        digests: One sha256 each: of the file's bytes, or of what a drawn picture follows from.
        names: One each, for people: the path below the data's folder.
        classes: Names of the classes.
    """

    reader: PictureReader
    places: NDArray[np.int64]
    labels: NDArray[np.int64]
    digests: tuple[str, ...]
    names: tuple[str, ...]
    classes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def load(self, index: int) -> NDArray[np.uint8]:
        """Returns picture ``index`` as ``[H, W, 3]`` uint8 sRGB, upright, of its own size.

        Raises:
            ProblemError: ``data_unusable`` if its file has gone or changed since the set was opened.
        """
        return self.reader.load(int(self.places[index]))

    def parts(self, index: int) -> NDArray[np.uint8] | None:
        """Returns the part labels ``[H, W]`` of a drawn picture; ``None`` for others."""
        return self.reader.parts(int(self.places[index]))

    def select(self, indices: Sequence[int] | NDArray[np.int64]) -> PictureSet:
        """Returns the set of some of the pictures, in the order given."""
        chosen = np.asarray(indices, dtype=np.int64)
        return PictureSet(
            reader=self.reader,
            places=self.places[chosen],
            labels=self.labels[chosen],
            digests=tuple(self.digests[index] for index in chosen),
            names=tuple(self.names[index] for index in chosen),
            classes=self.classes,
        )

    def counts(self) -> tuple[int, ...]:
        """Returns the number of pictures of each class."""
        return tuple(np.bincount(self.labels, minlength=len(self.classes)).tolist())

    @cached_property
    def digest(self) -> str:
        """Identity of the pictures and their classes, whatever their order."""
        pairs = sorted(zip(self.digests, self.labels.tolist(), strict=True))
        return hashlib.sha256(canonical_json([self.classes, pairs]).encode()).hexdigest()


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a training may look at. There is no test part in it on purpose.

    Args:
        train: To learn from.
        validation: To choose an epoch by and to draw curves of.
        classes: Names of the classes.
        description: One sentence for people.
        digest: Identity of both parts and of the rule that parted them; a checkpoint belongs to it.
        name: Short name of the pictures.
        split_rule: How the validation part was taken.
    """

    train: PictureSet
    validation: PictureSet
    classes: tuple[str, ...]
    description: str
    digest: str
    name: str = ""
    split_rule: str = SPLIT_RULE

    def describe(self) -> dict[str, Any]:
        """Returns what an explainer's manifest says about its pictures."""
        return {
            "name": self.name,
            "description": self.description,
            "digest": self.digest,
            "n_train": len(self.train),
            "n_validation": len(self.validation),
            "counts": list(self.train.counts()),
            "split_rule": self.split_rule,
        }


@dataclass(frozen=True, eq=False)
class DataSource:
    """Opened pictures, not yet parted.

    Args:
        name: Short name, shown in lists.
        description: One sentence for people.
        train: Everything a training may use, its validation part included unless that is given.
        validation: A validation part of its own, when the folder has one.
        test: A test part, only for measuring a finished explainer.
        skipped: What was left out and how often, by reason.
    """

    name: str
    description: str
    train: PictureSet
    validation: PictureSet | None = None
    test: PictureSet | None = None
    skipped: dict[str, int] = field(default_factory=dict)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes."""
        return self.train.classes

    @cached_property
    def digest(self) -> str:
        """Identity of what a training may use."""
        own = "" if self.validation is None else self.validation.digest
        return hashlib.sha256(f"{self.train.digest}:{own}".encode()).hexdigest()

    def split(self, fraction: float, seed: int = 0) -> TrainingData:
        """Returns the pictures to learn from and those held back; a validation folder of its own wins.

        Args:
            fraction: Share of each class that is held back, 0-1.
            seed: Of the choice.

        Raises:
            ProblemError: ``data_unusable`` when a class has too few different pictures.
        """
        rule, seeded = SPLIT_RULE, f"{seed}:{fraction:g}"
        if self.validation is not None:
            train, validation, rule, seeded = self.train, self.validation, "a folder of its own", "own"
        else:
            train, validation = split(self.train, fraction, seed)
        return TrainingData(
            train=train,
            validation=validation,
            classes=self.classes,
            description=self.description,
            digest=hashlib.sha256(f"{self.digest}:{seeded}".encode()).hexdigest(),
            name=self.name,
            split_rule=rule,
        )


def split(pictures: PictureSet, fraction: float, seed: int = 0) -> tuple[PictureSet, PictureSet]:
    """Returns two sets: to learn from, and held back for validation; both keep the order of the pictures.

    Of each class with n different pictures ``ceil(fraction * n)`` are held back, at least one, and at least one stays.
    Pictures of the same content are always on the same side, also across classes (then to learn from).

    Raises:
        ValueError: If the fraction is not between 0 and 1.
        ProblemError: ``data_unusable``, naming a class with fewer than two different pictures.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the validation share is between 0 and 1, not {fraction}")
    held: set[str] = set()
    kept: set[str] = set()
    for label, name in enumerate(pictures.classes):
        own = {pictures.digests[index] for index in np.flatnonzero(pictures.labels == label)}
        if len(own) < 2:
            raise ProblemError(
                ProblemCode.DATA_UNUSABLE,
                f"The class {name!r} has {_count(len(own), 'different picture')}; two are the least, "
                "one to learn from and one to check with.",
            )
        order = sorted(own, key=lambda digest: hashlib.sha256(f"{seed}:{digest}".encode()).hexdigest())
        count = min(max(1, math.ceil(fraction * len(order) - 1e-9)), len(order) - 1)
        held.update(order[:count])
        kept.update(order[count:])
    is_held = np.array([digest in held and digest not in kept for digest in pictures.digests])
    return pictures.select(np.flatnonzero(~is_held)), pictures.select(np.flatnonzero(is_held))


def make_set(reader: PictureReader, items: Sequence[tuple[int, int, str, str]], classes: Sequence[str]) -> PictureSet:
    """Returns a set from items of (place in the reader, label, digest, name)."""
    return PictureSet(
        reader=reader,
        places=np.array([item[0] for item in items], dtype=np.int64),
        labels=np.array([item[1] for item in items], dtype=np.int64),
        digests=tuple(item[2] for item in items),
        names=tuple(item[3] for item in items),
        classes=tuple(classes),
    )


def set_of_arrays(pictures: Sequence[NDArray[np.uint8]], labels: Sequence[int], classes: Sequence[str]) -> PictureSet:
    """Returns a set of pictures that are in memory, each ``[H, W, 3]`` uint8; for tests and notebooks."""
    items = []
    for place, (picture, label) in enumerate(zip(pictures, labels, strict=True)):
        digest = hashlib.sha256(f"{picture.shape}:".encode() + np.ascontiguousarray(picture).tobytes()).hexdigest()
        items.append((place, int(label), digest, f"{classes[label]}/{place:05d}"))
    return make_set(_Arrays(tuple(pictures)), items, classes)


@dataclass(frozen=True, eq=False)
class _Arrays:
    pictures: tuple[NDArray[np.uint8], ...]

    def load(self, place: int) -> NDArray[np.uint8]:
        return self.pictures[place]

    def parts(self, place: int) -> NDArray[np.uint8] | None:  # noqa: ARG002 - part of the protocol
        return None


def _count(number: int, noun: str) -> str:
    return f"{'no' if number == 0 else number} {noun}{'' if number == 1 else 's'}"
