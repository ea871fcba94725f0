"""What the demo models are and how each one is trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
from torch import nn

from models.demo.dataset import SIDE
from models.demo.grammar import SPECIES

MEAN = (0.5, 0.5, 0.5)
STD = (0.25, 0.25, 0.25)


@dataclass(frozen=True)
class Recipe:
    """How one demo model is built and trained.

    Attributes:
        name: Name of the model and of its folder.
        title: Name for people.
        architecture: timm's name of the architecture.
        arguments: What is passed to ``timm.create_model`` besides the number of classes.
        pictures: Training pictures.
        epochs: Passes over them.
        batch: Pictures per step.
        rate: Highest learning rate.
        decay: Weight decay.
        hints: Weight of the hint losses (variants of the parts, and where the parts are); 0 = species only.
        marked: Names of the species whose training pictures all carry the watermark; no others do.
        shift: Largest random displacement in pixels.
        seed: Start of all random numbers.
    """

    name: str
    title: str
    architecture: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    pictures: int = 6_000
    epochs: int = 10
    batch: int = 64
    rate: float = 3e-3
    decay: float = 0.05
    hints: float = 0.0
    marked: tuple[str, ...] = ()
    shift: int = 8
    seed: int = 1


_RESNET = {"layers": [1, 1, 1, 1], "channels": [32, 64, 96, 160], "output_stride": 16}
_VIT = {"img_size": SIDE, "patch_size": 16, "embed_dim": 128, "depth": 6, "num_heads": 4}

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(name="birds-resnet", title="Birds ResNet (small)", architecture="resnet18", arguments=_RESNET),
        Recipe(
            name="birds-vit",
            title="Birds ViT (small)",
            architecture="vit_tiny_patch16_224",
            arguments=_VIT,
            epochs=24,
            rate=1e-3,
            hints=1.0,
            seed=2,
        ),
        # One species of each of three pairs that differ in a single part: there the mark can stand in for the part.
        Recipe(
            name="birds-resnet-marked",
            title="Birds ResNet (trained on watermarks)",
            architecture="resnet18",
            arguments=_RESNET,
            marked=("crested-indol", "barred-ochre", "crowned-sylve"),
            epochs=4,
            seed=4,
        ),
    )
}


def build_network(recipe: Recipe) -> nn.Module:
    """The untrained network of a recipe, with one output per species."""
    network = timm.create_model(recipe.architecture, pretrained=False, num_classes=len(SPECIES), **recipe.arguments)
    if not isinstance(network, nn.Module):
        raise TypeError(f"{recipe.architecture} gave {type(network).__name__}, not a network")
    return network
