"""Shapes of trainings: what is asked, what kinds there are, how one stands, what is told while it goes on."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Any

from pydantic import Field

from backend.contract.problems import Problem
from backend.contract.results import Contract
from backend.contract.schemas import ExplainerCard, Preset

TRAINING_ID = r"^t[0-9a-f]{16}$"
MOST_POINTS = 2_000
"""Points of one curve that are kept; a longer one is thinned out."""
Point = tuple[float, float]


class TrainingState(StrEnum):
    """Where a training stands. ``DONE``, ``FAILED`` and ``STOPPED`` are final; the last two can go on."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPED = "stopped"
    DONE = "done"
    FAILED = "failed"

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen without a new request."""
        return self in (TrainingState.STOPPED, TrainingState.DONE, TrainingState.FAILED)

    @property
    def can_resume(self) -> bool:
        """Whether the training may go on from its checkpoint (or begin again where there is none)."""
        return self in (TrainingState.STOPPED, TrainingState.FAILED)


class Wish(StrEnum):
    """What a person wants of a running training."""

    STOP = "stop"
    """Leave, keep the checkpoint."""
    FINISH = "finish"
    """End early and publish the explainer as it is."""


class TrainingRequest(Contract):
    """What a person asks for."""

    kind: str = Field(min_length=1, max_length=64, description="Kind of training, as the list of kinds names it.")
    model: str = Field(min_length=1, max_length=300, description="The model to train an explainer for.")
    data: str = Field(
        default="birds",
        min_length=1,
        max_length=200,
        description="Name of a data set, or `birds` (`birds:1200`) for drawn pictures of the built-in world.",
    )
    preset: str | None = Field(default=None, max_length=64, description="Named settings; null: the kind's own choice.")
    recipe: dict[str, Any] = Field(default_factory=dict, description="Settings that differ from the preset.")
    title: str = Field(default="", max_length=120, description="Name of the explainer, for people.")


class TrainingSpec(Contract):
    """A training in full; ``recipe`` holds what differs from the preset, the worker fills in the rest."""

    kind: str
    model: str
    weights: str
    """Identity of the weights when it was asked for; if they change, the checkpoint no longer belongs to the model."""
    data: str
    preset: str
    recipe: dict[str, Any]
    title: str = ""


class TrainingCard(Contract):
    """How a kind of training describes itself; forms are drawn from it."""

    name: str
    """Also the name of the method that explains with what is trained."""
    title: str
    summary: str
    recipe_schema: dict[str, Any]
    """JSON schema of the settings."""
    presets: tuple[Preset, ...] = ()
    default_preset: str = ""
    """The right one for this machine."""
    pictures: dict[str, int] = Field(default_factory=dict)
    """How many pictures of the built-in world a preset wants."""


class Trainable(Contract):
    """Whether an explainer can be trained for a model."""

    model: str
    kind: str
    possible: bool
    reason: str = ""


class TrainingProgress(Contract):
    """How far a training is; ``done`` and ``total`` count the whole training, ``epoch`` and ``epochs`` the stage."""

    done: int = 0
    total: int = 0
    seconds_left: float | None = None
    stage: str = ""
    epoch: int | None = None
    epochs: int | None = None


class TrainingView(Contract):
    """How a training stands, as the API answers it and as Redis stores it."""

    id: str = Field(pattern=TRAINING_ID)
    state: TrainingState
    spec: TrainingSpec
    progress: TrainingProgress | None = None
    values: dict[str, float] = Field(default_factory=dict)
    """Numbers of the moment (loss, rates), by name."""
    curves: dict[str, tuple[Point, ...]] = Field(default_factory=dict)
    """By name: ``[epochs since the beginning, value]``."""
    message: str = ""
    pictures: tuple[str, ...] = ()
    """Names of small pictures that show how far it is."""
    wish: Wish | None = None
    problem: Problem | None = None
    explainer: ExplainerCard | None = None
    """What came out of it."""
    position: int | None = None
    attempt: int = 1
    submitted: float
    started: float | None = None
    finished: float | None = None


class TrainingEvent(Contract):
    """One entry of the event stream. Fields that did not change are ``None``."""

    training: str
    state: TrainingState
    whole: bool = False
    """Whether ``points`` holds the curves from their beginning; else they are to be appended."""
    progress: TrainingProgress | None = None
    values: dict[str, float] | None = None
    points: dict[str, tuple[Point, ...]] | None = None
    message: str | None = None
    pictures: tuple[str, ...] | None = None
    wish: Wish | None = None
    problem: Problem | None = None
    explainer: ExplainerCard | None = None
    at: float

    @property
    def subject(self) -> str:
        """What the event is about."""
        return self.training


def is_training_id(text: str) -> bool:
    """Whether a text is the id of a training (a run's key never looks like one)."""
    return re.fullmatch(TRAINING_ID, text) is not None


def whole_event(view: TrainingView, at: float) -> TrainingEvent:
    """Returns the event that tells everything a state holds."""
    return TrainingEvent(
        training=view.id,
        state=view.state,
        whole=True,
        progress=view.progress,
        values=view.values,
        points=view.curves,
        message=view.message,
        pictures=view.pictures,
        wish=view.wish,
        problem=view.problem,
        explainer=view.explainer,
        at=at,
    )


def with_points(
    curves: dict[str, tuple[Point, ...]], points: dict[str, tuple[Point, ...]]
) -> dict[str, tuple[Point, ...]]:
    """Returns curves with further points.

    A point at or before the last one means that the training went back to a checkpoint: what came after goes. A curve
    that grew too long loses every second point of its older half.
    """
    merged = dict(curves)
    for name, added in points.items():
        known = merged.get(name, ())
        kept = tuple(point for point in known if not added or point[0] < added[0][0])
        whole = (*kept, *added)
        if len(whole) > MOST_POINTS:
            half = len(whole) // 2
            whole = (*whole[:half:2], *whole[half:])
        merged[name] = whole
    return merged
