"""What tests of runs need: a picture in a store, an own model on disk, a method with known answers."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field
from safetensors.torch import save_file

from backend.contract.artifacts import ArtifactStore
from backend.contract.keys import picture_id
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, ClassScore, Encoding, Layer, ResultKind, Texts
from backend.contract.schemas import ModelCard, PictureRecord, Preset
from models.loader import LoadedModel
from workers.method import Context, MapArray, Method, Params, Result

TINY_ARCHITECTURE = "test_resnet"
TINY_CLASSES = ("left", "right", "nowhere")


def make_pixels(width: int = 40, height: int = 24, *, seed: int = 0) -> NDArray[np.uint8]:
    """Returns ``[height, width, 3]`` uint8 noise."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def to_png(pixels: NDArray[np.uint8]) -> bytes:
    """Returns the pixels as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def put_picture(store: ArtifactStore, pixels: NDArray[np.uint8]) -> PictureRecord:
    """Stores a picture and returns its record."""
    record = PictureRecord(id=picture_id(pixels), width=pixels.shape[1], height=pixels.shape[0], name="noise.png")
    store.put_picture(record, to_png(pixels))
    return record


def make_own_model(folder: Path, *, classes: tuple[str, ...] = TINY_CLASSES, seed: int = 0) -> Path:
    """Writes a model directory with random weights in the format of own models and returns it."""
    torch.manual_seed(seed)
    network = timm.create_model(TINY_ARCHITECTURE, num_classes=len(classes))
    folder.mkdir(parents=True)
    save_file(network.state_dict(), folder / "weights.safetensors")
    listed = ", ".join(f'"{name}"' for name in classes)
    (folder / "model.toml").write_text(
        f'title = "Tiny"\narchitecture = "{TINY_ARCHITECTURE}"\nclasses = [{listed}]\n'
        "[preprocessing]\ninput_size = [64, 64]\ncrop_pct = 1.0\n",
        encoding="utf-8",
    )
    return folder


class OneModelLoader:
    """Stands in for the loader where a network with known answers is needed."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self.device = model.device

    def load(self, name: str) -> LoadedModel:
        if name != self.model.name:
            raise ProblemError(ProblemCode.MODEL_UNKNOWN, f"There is no model {name!r}.")
        return self.model

    def describe(self, name: str) -> ModelCard:
        return self.load(name).card


class StepsParams(Params):
    """Settings of the counting method."""

    steps: int = Field(default=4, ge=1, title="Steps", description="Passes to make.")
    strength: float = Field(default=1.0, ge=0.0, title="Strength", description="Value of the map.")


class Counting(Method):
    """Makes one pass for each step and draws a map of one value; for tests.

    Args:
        explain: What to do instead.
    """

    name = "counting"
    title = "Counting"
    question = "How far can it count?"
    summary = "Counts passes."
    result_kind = ResultKind.SCALAR_MAP
    has_target = True
    has_seed = True
    Params = StepsParams
    presets = (Preset(name="long", title="Long", params={"steps": 9}),)

    def __init__(self, explain: Callable[[Context], Result] | None = None) -> None:
        self._explain = explain

    def supports(self, model: ModelCard) -> str | None:
        return "It cannot be counted." if model.name == "uncountable" else None

    def remedy(self, model: ModelCard) -> str:
        return "Choose a countable one." if model.name == "uncountable" else ""

    def cost(self, model: ModelCard, params: Any) -> int:
        return int(params.steps)

    def explain(self, context: Context) -> Result:
        if self._explain is not None:
            return self._explain(context)
        prepared = context.model.preprocessing.prepare(context.picture.pixels)
        picture = context.model.preprocessing.normalise(prepared.pixels.unsqueeze(0))
        for step in range(context.params.steps):
            context.engine.forward(picture)
            context.progress(step + 1, context.params.steps, stage="counting")
            context.partial(make_map_result(context, value=(step + 1) / context.params.steps))
        return make_map_result(context, value=context.params.strength)


def make_map_result(context: Context, *, value: float = 1.0, shape: tuple[int, int] = (3, 5)) -> Result:
    """Returns a result with one map that has the same value everywhere and covers what the model saw."""
    record = context.picture.record
    frame = context.model.preprocessing.frame(record.width, record.height)
    return Result(
        arrays={"map": MapArray(np.full(shape, value, dtype=np.float32), frame=Box(*frame))},
        layers=(Layer(name="map", title="Map", array="map", encoding=Encoding.SEQUENTIAL, ends=("low", "high")),),
        classes=(ClassScore(index=0, label="first", score=0.5),),
        scalars={"value": value},
        texts=Texts(reading=f"Everything has the value {value:g}."),
    )
