"""Features for ranked groups: the model's own last map, and a denser one where it says exactly the same."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box
from models.layout import Layout
from models.loader import LoadedModel
from models.twins import dilated_twin, exact_float32
from workers.engine import Engine
from workers.method import Context

EXACT = 1e-4
"""Largest difference, relative to the largest feature, for which a denser map counts as the model's own."""
HOPELESS = 100 * EXACT
"""From this difference on it is the network that differs, not the picture at hand: no other picture is tried."""
STRIDES = (8, 16)
_refused: set[tuple[str, int, tuple[int, int]]] = set()
"""Weights, strides and input sizes whose denser map was measured and far off; spares hopeless attempts."""


@dataclass(frozen=True, eq=False)
class Features:
    """The last spatial map of a network for one picture.

    Attributes:
        map: ``[C, H, W]`` float32.
        frame: Rectangle of the picture that the grid covers.
        logits: ``[K]`` of the unmodified model at its own input size, or ``None`` for encoders.
        stride: Pixels of the input per cell.
        error: Measured difference of a denser map, relative to the largest feature; ``None`` without one.
        is_tokens: Whether the cells are tokens of a transformer.
        passes: Forward passes spent.
        cautions: Sentences for people.
        notes: Choices made on the way.
    """

    map: Tensor
    frame: Box
    logits: Tensor | None
    stride: float
    error: float | None = None
    is_tokens: bool = False
    passes: int = 1
    cautions: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def native_features(context: Context) -> Features:
    """Returns features and logits of the unmodified model; for another input size from one further pass."""
    model = context.model
    block = model.layout.blocks[-1]
    prepared = model.preprocessing.prepare(context.picture.pixels)
    with exact_float32():
        logits, found = context.engine.capture(model.preprocessing.normalise(prepared.pixels[None]), [block.name])
    features = Features(
        map=found[block.name][0],
        frame=prepared.frame,
        logits=None if logits is None else logits[0],
        stride=model.preprocessing.input_size[0] / found[block.name].shape[2],
        is_tokens=block.layout == "tokens",
    )
    size = context.params.input_size
    if size is None or (size, size) == model.preprocessing.input_size:
        return features
    if features.is_tokens:
        return dataclasses.replace(features, notes=("A transformer keeps its own input size.",))
    resized = _resized(model, size)
    prepared = resized.preprocessing.prepare(context.picture.pixels)
    with exact_float32():
        _, found = context.engine.capture(resized.preprocessing.normalise(prepared.pixels[None]), [block.name])
    stride = size / found[block.name].shape[2]
    return dataclasses.replace(features, map=found[block.name][0], frame=prepared.frame, stride=stride, passes=2)


def sharpened(context: Context, native: Features) -> Features:
    """Returns the densest features that agree with the native ones, down to the native ones themselves."""
    choice: Literal["auto", "native", "dense"] = context.params.resolution
    if native.is_tokens or choice == "native":
        return native
    tried = native
    size = context.params.input_size
    input_size = context.model.preprocessing.input_size if size is None else (size, size)
    for stride in STRIDES[:1] if choice == "dense" else STRIDES:
        verdict = context.model.weights_digest, stride, input_size
        if stride >= native.stride or (choice == "auto" and verdict in _refused):
            continue
        dense = _dense(context, tried, stride)
        if dense is None:
            continue
        tried = dataclasses.replace(tried, passes=dense.passes)
        if dense.error is not None and dense.error <= EXACT:
            return dense
        if choice == "dense":
            error = "of another size" if dense.error is None else f"off by {dense.error:.1%} of the largest feature"
            return dataclasses.replace(dense, cautions=(f"This dense map is approximate: {error} where both exist.",))
        if dense.error is None or dense.error > HOPELESS:
            _refused.add(verdict)
    note = "A finer grid would not say what the model says, so the model's own grid is shown."
    return dataclasses.replace(tried, cautions=(note,))


def _dense(context: Context, native: Features, stride: int) -> Features | None:
    """Returns the twin's features with their measured error; ``None`` where there is no twin or no memory for it."""
    twin = dilated_twin(context.model, stride)
    if twin is None:
        return None
    size = context.params.input_size
    if size is not None:
        twin = _resized(twin, size)
    engine = Engine(twin, check_cancelled=context.check_cancelled)
    prepared = twin.preprocessing.prepare(context.picture.pixels)
    block = twin.layout.blocks[-1]
    ratio = round(native.stride / stride)
    finer = dataclasses.replace(block, grid=(block.grid[0] * ratio, block.grid[1] * ratio))
    twin = dataclasses.replace(twin, layout=Layout(blocks=(finer,)))
    engine.model = twin
    try:
        with exact_float32():
            _, found = engine.capture(twin.preprocessing.normalise(prepared.pixels[None]), [block.name])
    except ProblemError as error:
        if error.code is ProblemCode.OUT_OF_MEMORY:
            return None
        raise
    context.engine.passes += engine.passes
    dense = found[block.name][0]
    return dataclasses.replace(
        native,
        map=dense,
        frame=prepared.frame,
        stride=twin.preprocessing.input_size[0] / dense.shape[1],
        error=_difference(dense, native.map, ratio),
        passes=native.passes + engine.passes,
    )


def _difference(dense: Tensor, native: Tensor, ratio: int) -> float | None:
    """Returns the largest difference on the places both have, over the largest feature; ``None`` if grids differ."""
    common = dense[:, ::ratio, ::ratio]
    if common.shape != native.shape:
        return None
    return float((common - native).abs().max() / native.abs().max().clamp_min(torch.finfo(torch.float32).tiny))


def _resized(model: LoadedModel, size: int) -> LoadedModel:
    return dataclasses.replace(model, preprocessing=dataclasses.replace(model.preprocessing, input_size=(size, size)))
