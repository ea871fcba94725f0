"""Small loaded models and run contexts with known answers, for the engine and the methods that mask."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backend.contract.schemas import ModelCard, ModelKind, PictureRecord
from models.architectures import Layout
from models.loader import LoadedModel
from models.preprocessing import Preprocessing
from workers.engine import Engine
from workers.method import Context, Picture, Result, Stored


class Constant(nn.Module):
    """Answers every picture with the same logits."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits), requires_grad=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.logits.expand(len(pictures), -1)


class Additive(nn.Module):
    """Adds up the red channel times a weight per pixel: class 0 gets the sum, class 1 its negative."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights, requires_grad=False)

    def forward(self, pictures: Tensor) -> Tensor:
        total = (pictures[:, 0].to(self.weights) * self.weights).sum(dim=(1, 2))
        return torch.stack((total, -total), dim=1)


class Counted(nn.Module):
    """Passes on to another network and remembers every batch it was given."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.batches: list[Tensor] = []

    def forward(self, pictures: Tensor) -> Tensor:
        self.batches.append(pictures.clone())
        output: Tensor = self.inner(pictures)
        return output


def make_network(*, classes: int = 4, seed: int = 0) -> nn.Sequential:
    """Returns a small random convolutional network with clearly differing answers."""
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
    )
    with torch.no_grad():
        network[-1].weight.mul_(12)
    return network.eval().requires_grad_(False)


def make_model(
    network: nn.Module,
    *,
    size: tuple[int, int] = (32, 32),
    classes: int = 2,
    kind: ModelKind = ModelKind.CLASSIFIER,
    mean: tuple[float, ...] = (0.0, 0.0, 0.0),
    std: tuple[float, ...] = (1.0, 1.0, 1.0),
    class_names: tuple[str, ...] = (),
) -> LoadedModel:
    """Returns a network as the loader would hand it out, on the CPU; the picture is squashed to the input."""
    card = ModelCard(
        name="tiny",
        title="Tiny",
        kind=kind,
        source="demo",
        described=True,
        input_size=size,
        weights="0" * 64,
        class_count=classes if kind == ModelKind.CLASSIFIER else None,
    )
    return LoadedModel(
        card=card,
        network=network,
        device=torch.device("cpu"),
        dtype=torch.float32,
        preprocessing=Preprocessing(input_size=size, mean=mean, std=std, crop_pct=1.0, crop_mode="squash"),
        class_names=class_names,
        weights_digest="0" * 64,
        size_bytes=0,
        layout=Layout(),
    )


def make_picture(pixels: NDArray[np.uint8]) -> Picture:
    """Returns a canonical picture."""
    record = PictureRecord(id="a" * 64, width=pixels.shape[1], height=pixels.shape[0])
    return Picture(record=record, pixels=pixels)


def noise_picture(size: tuple[int, int] = (32, 32), *, seed: int = 0) -> NDArray[np.uint8]:
    """Returns a picture of soft blobs, which segmenters cut into parts of many shapes."""
    generator = np.random.default_rng(seed)
    coarse = generator.integers(0, 256, (6, 6, 3)).astype(np.float64)
    rows = np.linspace(0, 5, size[0]).round().astype(int)
    columns = np.linspace(0, 5, size[1]).round().astype(int)
    blobs = coarse[rows][:, columns] * 0.8 + generator.integers(0, 50, (*size, 3))
    return blobs.clip(0, 255).astype(np.uint8)


@dataclass
class Recorded:
    """What a run reported on the way."""

    progress: list[tuple[int, int, str]] = field(default_factory=list)
    partials: list[Result] = field(default_factory=list)
    checks: int = 0


def make_context(
    model: LoadedModel,
    pixels: NDArray[np.uint8],
    params: Any,
    *,
    target: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    on_check: Callable[[int], None] = lambda _count: None,
    stored: dict[str, Stored] | None = None,
) -> tuple[Context, Recorded]:
    """Returns a context for one run, and where its reports are collected."""
    recorded = Recorded()

    def check() -> None:
        recorded.checks += 1
        on_check(recorded.checks)

    def load_model(_name: str) -> LoadedModel:
        return model

    context = Context(
        pictures=[make_picture(pixels)],
        model=model,
        engine=Engine(model, check_cancelled=check, batch_size=batch_size),
        params=params,
        target=target,
        seed=seed,
        progress=lambda done, total, stage="": recorded.progress.append((done, total, stage)),
        partial=recorded.partials.append,
        check_cancelled=check,
        fetch=lambda key: (stored or {})[key],
        load_model=load_model,
    )
    return context, recorded
