"""Training a classifier that reads nothing but ranked feature groups: coarse first, then fine, taught by the first.

A training that was interrupted goes on from its last checkpoint; on a CPU the result is the same bit for bit as
without the interruption. Test pictures are never opened here: what is chosen is chosen on a part of the training data.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelCard, ModelKind, Preset
from models.explainers import ExplainerShelf
from models.heads.br_npa import UPSCALED_STAGES
from models.loader import LoadedModel
from models.training._br_npa_head import cache_vectors as _cache_vectors
from models.training._br_npa_loss import distillation_loss
from models.training._br_npa_recipe import PRESETS, BrNpaRecipe, preset
from models.training._br_npa_run import Plan, Run
from models.training._br_npa_stage import Stage as _Stage
from models.training.checkpoints import Checkpoints as _Checkpoint
from models.training.data import TrainingData
from models.training.data import split as _split
from models.training.job import Cancelled, Emit, TrainingJob, TrainingKind, TrainingStopped

__all__ = [
    "KIND",
    "PRESETS",
    "BrNpaRecipe",
    "BrNpaTraining",
    "TrainingStopped",
    "_Checkpoint",
    "_Stage",
    "_cache_vectors",
    "_fit_epochs",
    "_split",
    "distillation_loss",
    "preset",
]

METHOD = "br_npa"
RESERVE = 0.85
"""Share of the time that epochs may fill; the rest is for measuring, and for a machine that has other work."""


class BrNpaTraining:
    """Trains an explainer of one base model.

    Args:
        recipe: How.
        shelf: Where the explainer is published; ``None``: in ``explainers`` below the job's folder.
        title: For people.
        measures: Functions for measuring the finished explainer, by name (``deletion_insertion``, ``sparsity``).
        clock: Seconds; only differences count.
    """

    def __init__(
        self,
        recipe: BrNpaRecipe | None = None,
        *,
        shelf: ExplainerShelf | None = None,
        title: str = "",
        measures: Mapping[str, Callable[..., Any]] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.recipe = recipe or BrNpaRecipe()
        self.shelf = shelf
        self.title = title
        self.measures = measures or {}
        self.clock = clock

    def run(
        self,
        data: TrainingData,
        base: LoadedModel,
        folder: Path,
        emit: Emit = lambda _event: None,
        cancelled: Cancelled = lambda: None,
    ) -> Path:
        """Returns the folder of the finished explainer; goes on from the checkpoints in ``folder`` if there are any.

        Args:
            data: Pictures to learn from and to choose by.
            base: The model to explain; it stays as it is.
            folder: Of this job, for checkpoints and caches.
            emit: Told of progress, of the scores of each epoch, and of pictures.
            cancelled: Answers ``None``, ``stop`` (leave a checkpoint and no explainer) or ``finish`` (keep the best
                epoch so far and publish it).

        Raises:
            TrainingStopped: After ``stop``.
            ProblemError: When the base has no such trunk, a checkpoint belongs to another training, numbers are no
                longer finite, or not even one picture fits into memory.
        """
        reason = supports(base.card)
        if reason is not None or not _has_stages(base):
            raise ProblemError(ProblemCode.NOT_SUPPORTED, reason or _no_stages())
        return Run(
            recipe=self.recipe,
            data=data,
            base=base,
            folder=folder,
            shelf=self.shelf or ExplainerShelf(folder / "explainers", builtin=None),
            emit=emit,
            cancelled=cancelled,
            clock=self.clock,
            fit=_fit_epochs,
            measures=self.measures,
            title=self.title,
            method=METHOD,
        ).run()


def supports(card: ModelCard) -> str | None:
    """Returns ``None`` when an explainer can be trained for a model, else the reason in one sentence."""
    if card.kind != ModelKind.CLASSIFIER:
        return "Only classifiers can get a classifier that reads feature groups."
    stages = {block.name.partition(".")[0] for block in card.blocks}
    if card.blocks and not stages >= set(UPSCALED_STAGES):
        return _no_stages()
    if min(card.input_size or (32, 32)) < 32:
        return "This model's pictures are too small for groups of features."
    return None


def _fit_epochs(recipe: BrNpaRecipe, per_epoch: tuple[float, float], budget_s: float) -> Plan:
    """Returns how many epochs of both stages fit into a time, cut in proportion, at least one each.

    Args:
        recipe: What was asked for.
        per_epoch: Seconds of one epoch of the first and of the second stage; 0 for a stage that is left out.
        budget_s: Seconds for both.

    Returns:
        The plan; with the scope ``head`` when not even one epoch of each fits.
    """
    wanted = (recipe.epochs_teacher, recipe.epochs_student if recipe.has_student else 0)
    needed = sum(epochs * seconds for epochs, seconds in zip(wanted, per_epoch, strict=True))
    least = sum(seconds for epochs, seconds in zip(wanted, per_epoch, strict=True) if epochs)
    room = budget_s * RESERVE
    if needed <= room:
        return Plan(recipe.scope, *wanted)
    if least > room:
        return Plan("head", 0, recipe.epochs_student)
    cut = [max(1, math.floor(epochs * room / needed)) if epochs else 0 for epochs in wanted]
    return Plan(recipe.scope, cut[0], cut[1])


def _has_stages(base: LoadedModel) -> bool:
    return base.source is not None and all(
        isinstance(getattr(base.network, stage, None), torch.nn.Sequential) for stage in UPSCALED_STAGES
    )


def _no_stages() -> str:
    return "Training needs a residual network with the stages layer3 and layer4; here only the groups themselves work."


def _run_job(job: TrainingJob) -> Path:
    recipe: BrNpaRecipe = job.recipe
    training = BrNpaTraining(recipe, shelf=job.shelf, title=job.title, measures=job.measures)
    data = job.data.split(recipe.validation_fraction, recipe.seed)
    return training.run(data, job.base, job.folder, job.emit, job.cancelled)


KIND = TrainingKind(
    name=METHOD,
    title="BR-NPA: a classifier of feature groups",
    summary="A second classifier that sees only a few ranked groups of features, so that its answer splits exactly.",
    recipe=BrNpaRecipe,
    run=_run_job,
    supports=supports,
    presets=(
        Preset(name="standard", title="Standard", hint="20 + 20 epochs, finer maps by dilation.", params={}),
        Preset(
            name="demo",
            title="Demo",
            hint="For the built-in birds: at most 18 minutes on two cores.",
            params=PRESETS["demo"],
        ),
        Preset(
            name="head",
            title="Head only",
            hint="On the base model's own features; minutes on a CPU.",
            params=PRESETS["head"],
        ),
        Preset(
            name="paper",
            title="As published",
            hint="448 px, stride 1, 50 + 50 epochs; a GPU for hours.",
            params=PRESETS["paper"],
        ),
    ),
    pictures={"standard": 6_000, "demo": 2_500, "head": 2_000, "paper": 6_000},
    preset_for={True: "standard", False: "demo"},
)
