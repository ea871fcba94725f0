"""Training a word book for a base model: warm, joint and projection stages, then the book and its files.

Interrupted trainings go on from their last checkpoint; on a CPU the result is the same bit for bit as without the
interruption.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelCard, ModelKind, Preset
from models.heads.spatial_trunk import LEAST_CELLS
from models.training._lvw_artifact import OpenBook, load_network, open_book
from models.training._lvw_attention import Attention, base_attention
from models.training._lvw_book import WordBook
from models.training._lvw_evidence import Evidence, Measure
from models.training._lvw_fidelity import fidelity, headline
from models.training._lvw_job import Training
from models.training._lvw_parts import Store
from models.training._lvw_recipe import PRESETS, LvwRecipe, read_recipe
from models.training._lvw_stages import TrainingFault
from models.training._lvw_unseen import Examiner, SeenClassError
from models.training.job import Cancelled, Emit, Examination, TrainingJob, TrainingKind, TrainingStopped

__all__ = [
    "KIND",
    "PRESETS",
    "Attention",
    "Evidence",
    "Examiner",
    "LvwRecipe",
    "OpenBook",
    "SeenClassError",
    "TrainingFault",
    "TrainingStopped",
    "WordBook",
    "base_attention",
    "fidelity",
    "headline",
    "load_network",
    "open_book",
    "read_recipe",
    "train",
]

CACHE_BYTES = 2 * 2**30


def train(
    spec: TrainingJob, *, emit: Emit | None = None, cancelled: Cancelled | None = None, measure: Measure = fidelity
) -> Path:
    """Returns the folder of the published word book.

    Args:
        spec: The base model, the pictures, the recipe (:class:`LvwRecipe`), folders and shelf.
        emit: Told what happens, in place of the job's own.
        cancelled: Asked between batches, in place of the job's own: ``stop`` leaves a checkpoint and no book,
            ``finish`` projects at the end of the current epoch and publishes what there is.
        measure: Turns evidence of both networks into figures.

    Raises:
        TrainingStopped: After ``stop``.
        TrainingFault: When the loss is no longer finite; the last checkpoint is kept.
        ValueError: When the base has no usable map, or words and classes do not go together.
        ProblemError: When pictures or a checkpoint cannot be used, or published weights are not on this machine.
    """
    training = Training(spec, KIND.name, emit=emit or spec.emit, cancelled=cancelled or spec.cancelled, measure=measure)
    return training.run()


def run(job: TrainingJob) -> Path:
    """Does the same for the queue and the command line; what a person must read leaves as a ``ProblemError``."""
    try:
        return train(job)
    except TrainingFault as error:
        raise ProblemError(ProblemCode.NOT_FINITE, str(error)) from error
    except ValueError as error:
        raise ProblemError(ProblemCode.PARAMS_INVALID, f"This word book cannot be trained: {error}.") from error


def evaluate(question: Examination) -> dict[str, Any]:
    """Returns the figures of a finished book, on classes that it knows or on new ones.

    Raises:
        ProblemError: When pictures and protocol do not go together.
    """
    pictures = question.source.train if question.source.test is None else question.source.test
    with tempfile.TemporaryDirectory() as folder:
        examiner = Examiner(open_book(question.record), question.base, Store(Path(folder), CACHE_BYTES), fidelity)
        try:
            if question.unseen is None:
                return examiner.fidelity(pictures, question.class_map)
            return examiner.unseen(question.source, level=question.unseen, allow_seen=question.allow_seen)
        except ValueError as error:
            raise ProblemError(ProblemCode.PARAMS_INVALID, f"This cannot be measured: {error}.") from error


def supports(card: ModelCard) -> str | None:
    """Returns why no word book can be trained for a model, or ``None``."""
    if card.kind == ModelKind.CAPTIONER:
        return "This model writes text; a word book needs class scores."
    if card.kind != ModelKind.CLASSIFIER:
        return "This model has no class scores."
    if not card.blocks or card.blocks[-1].grid[0] * card.blocks[-1].grid[1] < LEAST_CELLS:
        return "This network keeps no spatial map of at least four cells."
    return None


_TITLES = {
    "standard": ("Standard", "31 epochs; the trunk is trained too. For a GPU."),
    "published_length": ("Published length", "201 epochs, as in the published schedule."),
    "frozen": ("Frozen trunk", "Words live on the model's own features; everything on caches. For processors."),
    "demo": ("Demo", "For the built-in world: under 20 minutes on two cores."),
}
KIND = TrainingKind(
    name="lvw",
    title="Word book",
    summary="Some hundred visual words, shared by all classes, that give the model's answers and look where it looks.",
    recipe=LvwRecipe,
    run=run,
    evaluate=evaluate,
    supports=supports,
    presets=tuple(
        Preset(name=name, title=_TITLES[name][0], hint=_TITLES[name][1], params=dict(changes))
        for name, changes in PRESETS.items()
    ),
    pictures={"demo": 1200},
    preset_for={True: "standard", False: "frozen"},
)
