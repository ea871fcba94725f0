"""What is said about explainers and trainings: names of figures, states, dates."""

from __future__ import annotations

import time
from typing import Any

from backend.contract.schemas import ExplainerCard
from backend.contract.trainings import TrainingProgress, TrainingState, TrainingView, Wish
from frontend.components.words import number, percent, plural, seconds

FIGURES = {
    "accuracy": "Right answers",
    "base_accuracy": "Right answers, model",
    "agreement": "Same answer as the model",
    "iou": "Same place as the model",
    "validation_accuracy": "Right answers",
    "distinct_words": "Different words",
    "loss": "Loss",
}
"""Figures that have a name for people; the others are called as the training calls them."""
FLOORS = {
    "iou_gaussian": "middle of the picture",
    "iou_other": "another picture's map",
    "iou_chance": "chance",
}
"""What an overlap is worth nothing without."""
STATES = {
    TrainingState.QUEUED: "Waiting",
    TrainingState.RUNNING: "Running",
    TrainingState.STOPPED: "Stopped",
    TrainingState.DONE: "Done",
    TrainingState.FAILED: "Failed",
}


def figure_name(name: str) -> str:
    """Returns what a figure is called."""
    return FIGURES.get(name) or FLOORS.get(name) or name.replace("_", " ").capitalize()


def figure_value(name: str, value: Any) -> str:
    """Returns a figure as people read it: accuracies as per cent, overlaps with two decimals."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    if "accuracy" in name or "agreement" in name:
        return percent(float(value), 1)
    if isinstance(value, int) or float(value).is_integer():
        return f"{int(value):,}"
    return number(float(value), 2 if abs(value) >= 0.1 or value == 0 else 4)


def day(moment: float) -> str:
    """Returns a date: "23 November 2026"."""
    return time.strftime("%d %B %Y", time.gmtime(moment)).lstrip("0")


def facts(card: ExplainerCard) -> str:
    """Returns data, classes and date of an explainer in one line."""
    return ", ".join(
        [
            *([f"learned from {card.data}"] if card.data else []),
            plural(card.class_count, "class", "classes"),
            day(card.created),
        ]
    )


def address_of(card: ExplainerCard) -> str:
    """Returns the name of an explainer in the page's own addresses."""
    return f"{card.method}/{card.base_digest}/{card.id}"


def state_words(view: TrainingView) -> str:
    """Returns how a training stands, in a few words."""
    if view.state is TrainingState.RUNNING and view.wish is Wish.STOP:
        return "Stopping"
    if view.state is TrainingState.RUNNING and view.wish is Wish.FINISH:
        return "Finishing"
    if view.state is TrainingState.QUEUED and view.position is not None:
        return "Waiting, next in line" if view.position == 0 else f"Waiting, {view.position} before it"
    if view.state is TrainingState.RUNNING and view.progress and view.progress.stage:
        return stage_words(view.progress)
    return STATES[view.state]


def stage_words(progress: TrainingProgress) -> str:
    """Returns the stage and its epoch: "Training, epoch 3 of 31"."""
    stage = progress.stage[:1].upper() + progress.stage[1:]
    if progress.epoch is None or progress.epochs is None:
        return stage
    return f"{stage}, epoch {progress.epoch} of {progress.epochs}"


def left_words(progress: TrainingProgress | None) -> str:
    """Returns the time left: "4 min left"; empty when it is not known."""
    if progress is None or progress.seconds_left is None:
        return ""
    return f"{seconds(progress.seconds_left)} left"


def share_done(progress: TrainingProgress | None) -> float:
    """Returns how much of a training is done, 0-1."""
    return min(1.0, progress.done / progress.total) if progress is not None and progress.total else 0.0
