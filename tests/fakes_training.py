"""A training that takes moments: it counts, tells every step, and goes on from its checkpoint."""

from __future__ import annotations

from pathlib import Path

import torch
from pydantic import BaseModel, ConfigDict, Field
from safetensors.torch import save_file

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelCard, ModelKind, Preset
from models.training.checkpoints import Checkpoints, generator
from models.training.job import FINISH, STOP, Announcer, TrainingJob, TrainingKind, TrainingStopped


class TinyRecipe(BaseModel):
    """Settings of the tiny training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    epochs: int = Field(default=3, ge=1, le=1000, title="Epochs", description="How often it counts.")
    hold: str = Field(default="", title="Hold", description="File that is waited for after the first checkpoint.")
    fail: bool = Field(default=False, title="Fail", description="Whether it fails.")
    seed: int = Field(default=0, ge=0, title="Seed", description="Of the random numbers.")


def run(job: TrainingJob) -> Path:
    """Adds up random numbers, one for each epoch, and publishes the sum."""
    recipe: TinyRecipe = job.recipe
    data = job.data.split(0.25, recipe.seed)
    kept = Checkpoints(
        job.checkpoints, recipe=recipe.model_dump(mode="json"), data=data.digest, base=job.base.weights_digest
    )
    state = kept.load() or {"epoch": 0, "sum": torch.zeros(3), "starts": 0}
    state["starts"] += 1
    announcer = Announcer(job.emit, total=recipe.epochs, done=state["epoch"])
    if recipe.fail:
        raise ProblemError(ProblemCode.DATA_UNUSABLE, "The tiny training was asked to fail.")
    while state["epoch"] < recipe.epochs:
        announcer.enter("counting", epoch=state["epoch"], epochs=recipe.epochs)
        state["sum"] = state["sum"] + torch.rand(3, generator=generator(recipe.seed, state["epoch"]))
        state["epoch"] += 1
        kept.save(state)
        announcer.step()
        announcer.point(state["epoch"], loss=1.0 / state["epoch"], accuracy=1 - 1.0 / state["epoch"])
        wish = _wait(job, recipe.hold) if recipe.hold else job.cancelled()
        if wish == STOP:
            raise TrainingStopped
        if wish == FINISH:
            break
    announcer.show({"sum.png": b"\x89PNG\r\n\x1a\n"})
    return _publish(job, state, data.describe())


def _wait(job: TrainingJob, hold: str) -> str | None:
    import time

    while not Path(hold).exists():
        wish = job.cancelled()
        if wish is not None:
            return wish
        time.sleep(0.02)
    return job.cancelled()


def _publish(job: TrainingJob, state: dict[str, object], data: dict[str, object]) -> Path:
    folder = job.shelf.temporary()
    total = state["sum"]
    assert isinstance(total, torch.Tensor)
    save_file({"sum": total}, folder / "sum.safetensors")
    (folder / "words").mkdir()
    (folder / "words" / "0000-0.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    content = {
        "method": KIND.name,
        "id": f"tiny-{job.id}"[:60],
        "title": job.title or "Tiny",
        "created": 1.0,
        "base": {
            "name": job.base.name,
            "weights_digest": job.base.weights_digest,
            "preprocessing": job.base.card.preprocessing,
        },
        "classes": list(job.data.classes),
        "data": data,
        "recipe": job.recipe.model_dump(mode="json"),
        "metrics": {"accuracy": 0.5, "epochs": state["epoch"], "starts": state["starts"]},
    }
    return job.shelf.publish(folder, content).folder


def supports(card: ModelCard) -> str | None:
    """Classifiers only."""
    return None if card.kind is ModelKind.CLASSIFIER else "This model has no classes."


KIND = TrainingKind(
    name="tiny",
    title="Tiny training",
    summary="Counts.",
    recipe=TinyRecipe,
    run=run,
    supports=supports,
    presets=(Preset(name="standard", title="Standard", params={}), Preset(name="two", title="", params={"epochs": 2})),
    pictures={"two": 60},
)
