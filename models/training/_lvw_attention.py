"""Where the base model looks at each picture of a data set, computed once and kept."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.grad_cam import cam_layer, grad_cam, to_pixels
from models.loader import LoadedModel

CODE_VERSION = 1
CHUNK_BATCHES = 50


@dataclass(frozen=True, eq=False)
class Attention:
    """Grad-CAM of the base model's own answer for every picture.

    Attributes:
        grid: ``[N, h', w']`` float32 in 0-1 on the base's own grid; zeros where the map is constant.
        predicted: ``[N]`` int64, the base's answer.
        probability: ``[N]`` float32, its probability.
    """

    grid: Tensor
    predicted: Tensor
    probability: Tensor

    @property
    def empty(self) -> Tensor:
        """Which maps are constant, ``[N]`` bool."""
        return self.grid.flatten(1).amax(1) <= 0

    def at(self, chosen: slice | Tensor, size: int) -> Tensor:
        """Returns maps ``[B, size, size]`` in 0-1."""
        return to_pixels(self.grid[chosen], size)


def attention_key(model: LoadedModel, data_digest: str, *details: object) -> str:
    """Returns the name of the cache that fits model, preprocessing, pictures and layer."""
    parts = (model.weights_digest, model.preprocessing.describe(), data_digest, cam_layer(model).name, CODE_VERSION)
    return hashlib.sha256("\n".join(str(part) for part in (*parts, *details)).encode()).hexdigest()[:32]


def base_attention(
    model: LoadedModel,
    loader: Iterable[Sequence[Tensor]],
    cache: Path | None,
    *,
    on_batch: Callable[[int], None] = lambda _pictures: None,
) -> Attention:
    """Returns the base's attention for all pictures of a loader, going on where an earlier call was interrupted.

    Args:
        model: The base.
        loader: Yields ``(pictures [B, 3, S, S] normalised, ...)`` in a fixed order. One that can be entered anywhere
            (``loader[number]``) does not read again what is already known.
        cache: Folder of its own for this model and these pictures (:func:`attention_key`); ``None``: keep nothing.
            Written every 50 batches.
        on_batch: Told after each batch how many pictures it held; may raise to stop.

    Raises:
        ValueError: If there is no picture, or a map lies outside 0-1 (checked once on reading).
    """
    chunks = _read(cache) if cache is not None else []
    done = sum(int(chunk["batches"]) for chunk in chunks)
    fresh: list[dict[str, Tensor]] = []
    for batch in _from(loader, done):
        found = grad_cam(model, batch[0])
        probability = found.logits.softmax(1).gather(1, found.targets[:, None])[:, 0]
        fresh.append(
            {"grid": found.maps.cpu(), "predicted": found.targets.cpu(), "probability": probability.float().cpu()}
        )
        if cache is not None and len(fresh) == CHUNK_BATCHES:
            chunks.append(_written(cache, len(chunks), fresh))
            fresh = []
        on_batch(len(batch[0]))
    if fresh:
        chunks.append(_written(cache, len(chunks), fresh) if cache is not None else _joined(fresh))
    if not chunks:
        raise ValueError("attention needs at least one picture")
    whole = {name: torch.cat([chunk[name] for chunk in chunks]) for name in ("grid", "predicted", "probability")}
    if not bool(((whole["grid"] >= 0) & (whole["grid"] <= 1)).all()):
        raise ValueError("a stored attention map lies outside 0 to 1")
    return Attention(whole["grid"], whole["predicted"], whole["probability"])


@runtime_checkable
class _Enterable(Protocol):
    """A loader that can be entered anywhere."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> Sequence[Tensor]: ...


def _from(loader: Iterable[Sequence[Tensor]], done: int) -> Iterator[Sequence[Tensor]]:
    if isinstance(loader, _Enterable):
        return (loader[number] for number in range(done, len(loader)))
    return islice(loader, done, None)


def _joined(batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    whole = {name: torch.cat([batch[name] for batch in batches]) for name in batches[0]}
    return {**whole, "batches": torch.tensor(len(batches))}


def _written(cache: Path, number: int, batches: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Writes a chunk so that it is either complete or not there, and returns it."""
    chunk = _joined(batches)
    cache.mkdir(parents=True, exist_ok=True)
    partial = cache / f"chunk-{number:05d}.partial"
    save_file({name: tensor.contiguous() for name, tensor in chunk.items()}, partial)
    partial.replace(cache / f"chunk-{number:05d}.safetensors")
    return chunk


def _read(cache: Path) -> list[dict[str, Tensor]]:
    """Returns the chunks up to the first that is missing, damaged or not full (the last of an earlier, shorter run)."""
    chunks: list[dict[str, Tensor]] = []
    while True:
        path = cache / f"chunk-{len(chunks):05d}.safetensors"
        try:
            chunks.append(dict(load_file(path)))
        except (OSError, SafetensorError):
            return chunks
