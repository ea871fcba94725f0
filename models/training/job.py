"""The frame that every training shares: what it is given, what it tells, how it stops and goes on later.

A training is a function of one :class:`TrainingJob`. It tells what happens through ``emit``, asks ``cancelled`` between
any two steps, and leaves checkpoints in ``folder`` from which the same call goes on, bit for bit on a CPU.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from backend.contract.explainers import ExplainerRecord, ExplainerShelf
from backend.contract.schemas import ModelCard, Preset
from models.training.data import DataSource

if TYPE_CHECKING:
    from models.loader import LoadedModel

STOP, FINISH = "stop", "finish"
"""What ``cancelled`` may answer besides ``None``: leave with a checkpoint, or end early and publish what there is."""
INTERVAL_S = 0.5

Event = dict[str, Any]
"""What a training tells. Every entry is optional and keeps its last value where it is left out:

``stage`` (str), ``epoch`` and ``epochs`` (int, of the stage), ``done`` and ``total`` (of the whole training),
``seconds_left`` (float), ``message`` (one sentence), ``pictures`` (name -> PNG or WebP bytes, replacing those of the
same name); every other entry is a number by its name (``loss``, ``validation_accuracy``). With ``point`` (float, the
place on the x axis in epochs since the beginning) these numbers become points of the training's curves.
"""
Emit = Callable[[Event], None]
Cancelled = Callable[[], str | None]
RESERVED = frozenset({"stage", "epoch", "epochs", "done", "total", "seconds_left", "message", "pictures", "point"})


class TrainingStopped(Exception):  # noqa: N818 - an event, not an error
    """The training was told to stop; its checkpoint is written and the same job goes on from there."""


@dataclass(frozen=True, eq=False)
class TrainingJob:
    """Everything that a training is given.

    Attributes:
        id: Of this training.
        base: The model to train an explainer for, in evaluation mode, on its device.
        data: Opened pictures; part them with ``data.split(fraction, seed)``.
        recipe: Settings, an instance of the kind's own recipe.
        folder: For checkpoints and caches; the same again when a training goes on. Gone when it is done.
        shelf: Where the explainer is published.
        title: Given by the person; may be empty.
        emit: Told what happens.
        cancelled: Answers ``None``, ``"stop"`` or ``"finish"``; asked at least once a second.
        measures: Functions of the workers by name (``attention_iou``), for measuring the finished explainer.
    """

    id: str
    base: LoadedModel
    data: DataSource
    recipe: Any
    folder: Path
    shelf: ExplainerShelf
    title: str = ""
    emit: Emit = lambda _event: None
    cancelled: Cancelled = lambda: None
    measures: Mapping[str, Callable[..., Any]] = field(default_factory=dict)

    @property
    def checkpoints(self) -> Path:
        """Folder for the checkpoints alone."""
        return self.folder / "checkpoints"


@dataclass(frozen=True, eq=False)
class Examination:
    """A finished explainer and the pictures that it is to be measured on.

    Attributes:
        record: The explainer.
        base: Its model.
        source: The pictures; the test part where there is one.
        unseen: ``u1`` or ``u2`` when the pictures' classes are new to it; ``None`` for classes that it knows.
        allow_seen: Whether known classes may be among the new ones.
        class_map: Names in the data by names of the model, where they differ.
    """

    record: ExplainerRecord
    base: LoadedModel
    source: DataSource
    unseen: str | None = None
    allow_seen: bool = False
    class_map: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class TrainingKind:
    """How a kind of training describes itself; each module of ``models/training`` may hold one, called ``KIND``.

    Attributes:
        name: Name of the method that explains with what is trained; also the name of the module.
        title: For people.
        summary: One sentence: what is trained.
        recipe: Settings as a pydantic model, every field with a default, a title and a description.
        presets: Named settings; the first is the default.
        run: Trains, publishes on ``job.shelf`` and returns the explainer's folder; raises :class:`TrainingStopped`
            after the checkpoint was written when it was told to stop.
        supports: Returns ``None`` when an explainer can be trained for a model, else the reason in one sentence.
        pictures: How many pictures of the built-in world a preset wants, by its name.
        preset_for: Name of the preset to choose where there is a GPU (``True``) or none (``False``).
        evaluate: Measures a finished explainer again; returns figures by name.
    """

    name: str
    title: str
    summary: str
    recipe: type[BaseModel]
    run: Callable[[TrainingJob], Path]
    supports: Callable[[ModelCard], str | None]
    presets: Sequence[Preset] = ()
    pictures: Mapping[str, int] = field(default_factory=dict)
    preset_for: Mapping[bool, str] = field(default_factory=dict)
    evaluate: Callable[[Examination], dict[str, Any]] | None = None


class Announcer:
    """Tells what happens: progress at most twice a second, with the time left; points of curves always.

    Args:
        emit: Told of every event.
        total: Steps (or passes) of the whole training.
        done: Steps that a checkpoint has behind it.
    """

    def __init__(self, emit: Emit, *, total: int, done: int = 0) -> None:
        self._emit = emit
        self.total = max(1, total)
        self.done = done
        self._from = done
        self._started = time.monotonic()
        self._told = float("-inf")
        self._state: Event = {}

    def enter(self, stage: str, *, epoch: int | None = None, epochs: int | None = None) -> None:
        """Says that a stage, or an epoch of it, begins."""
        self._state |= {"stage": stage, "epoch": epoch, "epochs": epochs}
        self._tell({})

    def step(self, count: int = 1, **values: float) -> None:
        """Says that ``count`` more steps are done, with numbers of the moment."""
        self.done += count
        if time.monotonic() - self._told >= INTERVAL_S or self.done >= self.total:
            self._tell(values)

    def point(self, place: float, **values: float) -> None:
        """Adds a point to the curves; ``place`` is in epochs since the beginning."""
        self._tell({**values, "point": place})

    def say(self, message: str) -> None:
        """Tells one sentence to people."""
        self._tell({"message": message})

    def show(self, pictures: Mapping[str, bytes]) -> None:
        """Shows small pictures (PNG or WebP) in place of those of the same names."""
        self._emit({"pictures": dict(pictures)})

    def left_s(self) -> float | None:
        """Returns the seconds left at the pace since this process began; ``None`` before anything was done."""
        if self.done >= self.total:
            return 0.0
        if self.done <= self._from:
            return None
        return (time.monotonic() - self._started) / (self.done - self._from) * (self.total - self.done)

    def _tell(self, values: Event) -> None:
        self._told = time.monotonic()
        known = {name: value for name, value in self._state.items() if value is not None}
        self._emit({**known, "done": self.done, "total": self.total, "seconds_left": self.left_s(), **values})


def seed_of(*parts: object) -> int:
    """Returns a seed that follows from its parts alone: ``seed_of(seed, "student", epoch, index)``."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
