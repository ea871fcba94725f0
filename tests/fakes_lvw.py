"""A world of coloured blobs and a network that finds them, for everything about visual words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backend.contract.explainers import ExplainerShelf
from models.loader import LoadedModel
from models.training.data import DataSource, set_of_arrays
from models.training.job import TrainingJob
from models.training.lvw import read_recipe
from tests.fakes_models import as_loaded

SIDE, CELL = 32, 4
COLOURS = ((230, 30, 30), (30, 230, 30))
CLASSES = ("red", "green")


class BlobNet(nn.Module):
    """Answers red or green by the mean of its last map, so that Grad-CAM is the class activation map."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 6, CELL, stride=CELL), nn.BatchNorm2d(6), nn.ReLU())
        self.fc = nn.Linear(6, 2)
        torch.manual_seed(0)
        weight = torch.randn(6, 3, CELL, CELL) * 0.02
        for channel, colour in enumerate((0, 1)):
            weight[channel] = -1.0 / CELL**2
            weight[channel, colour] = 2.0 / CELL**2
        weight[2], weight[3] = 1 / (3 * CELL**2), -1 / (3 * CELL**2)  # bright and dark places, which the answer ignores
        with torch.no_grad():
            self.body[0].weight.copy_(weight)
            self.body[0].bias.zero_()
            self.body[0].bias[2], self.body[0].bias[3] = -0.5, 0.2
            self.fc.weight.zero_()
            self.fc.weight[0, 0] = self.fc.weight[1, 1] = 60.0
            self.fc.bias.zero_()

    def forward_features(self, pictures: Tensor) -> Tensor:
        answer: Tensor = self.body(pictures)
        return answer

    def forward(self, pictures: Tensor) -> Tensor:
        answer: Tensor = self.fc(self.forward_features(pictures).mean((2, 3)))
        return answer


def blob_model(name: str = "blobs") -> LoadedModel:
    """Returns the network as a loaded model of 32 x 32 pixels and a grid of 8 x 8."""
    return as_loaded(BlobNet(), input_size=(SIDE, SIDE), classes=CLASSES, name=name)


def blob_picture(
    colour: int, seed: int, *, side: int = SIDE, has_stripe: bool = False
) -> tuple[NDArray[np.uint8], tuple[int, int, int, int]]:
    """Returns a grey picture with one blob of 3 x 3 cells, and the blob's box (left, top, right, bottom).

    A stripe at the lower edge tells the class as well, by brightness, which the network does not look at.
    """
    random = np.random.default_rng([seed, colour])
    pixels = random.integers(70, 110, (side, side, 1), dtype=np.uint8).repeat(3, axis=2)
    top, left = (int(at) * CELL for at in random.integers(0, side // CELL - 2, 2))
    box = (left, top, left + 3 * CELL, top + 3 * CELL)
    if has_stripe:
        pixels[-CELL:] = 230 if colour else 15
    pixels[box[1] : box[3], box[0] : box[2]] = COLOURS[colour]
    return pixels, box


def blob_source(count: int = 48, *, test: int = 16, has_stripe: bool = False) -> DataSource:
    """Returns pictures to learn from and a test part of other pictures."""

    def drawn(first: int, number: int):  # type: ignore[no-untyped-def]
        labels = [place % 2 for place in range(number)]
        pictures = [blob_picture(label, first + i, has_stripe=has_stripe)[0] for i, label in enumerate(labels)]
        return set_of_arrays(pictures, labels, CLASSES)

    return DataSource("blobs", "Blobs.", train=drawn(0, count), test=drawn(10_000, test) if test else None)


TINY = {
    "words_per_class": 3,
    "depth": 8,
    "k": 2,
    "warm_epochs": 3,
    "joint_epochs": 3,
    "projections": (4,),
    "last_passes": 4,
    "lr_last": 1e-2,
    "batch_size": 16,
    "classifier_init": "zero",
    "validation": 0.2,
}


def blob_job(
    folder: Path, *, base: LoadedModel | None = None, source: DataSource | None = None, **changes: object
) -> TrainingJob:
    """Returns a training that takes a second or two."""
    return TrainingJob(
        id="blobs",
        base=base or blob_model(),
        data=source or blob_source(),
        recipe=read_recipe("standard", **{**TINY, **changes}),
        folder=folder / "work",
        shelf=ExplainerShelf(folder / "shelf", builtin=None),
    )
