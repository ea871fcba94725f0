"""Figures of a trained demo model: accuracy on pictures it has never seen, size and cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.demo.dataset import FRESH_FROM, SIDE, DrawnSet, as_model_input
from models.demo.grammar import SPECIES
from models.demo.picture import WORLD_VERSION, draw_picture
from models.demo.training import answers

_LARGE: tuple[tuple[int, int], ...] = ((480, 640), (640, 480))
_LARGE_FROM = FRESH_FROM + 500_000


def measured(network: nn.Module, fresh: DrawnSet, *, large: int) -> dict[str, Any]:
    """Accuracy (0-1) in all and per species, and the network's size and cost.

    Args:
        network: The trained network.
        fresh: Pictures of unseen seeds.
        large: How many pictures of 640 x 480 and 480 x 640 pixels to draw besides, as a user would upload them.
    """
    right = answers(network, fresh.pixels) == fresh.species
    per_species = {s.name: round(float(right[fresh.species == i].mean()), 4) for i, s in enumerate(SPECIES)}
    return {
        "world_version": WORLD_VERSION,
        "fresh_pictures": len(fresh),
        "first_fresh_seed": FRESH_FROM,
        "accuracy": round(float(right.mean()), 4),
        "accuracy_per_species": per_species,
        "large_pictures": large,
        "accuracy_large": round(_accuracy_large(network, large), 4),
        "parameters": sum(p.numel() for p in network.parameters()),
        "million_multiply_adds": round(multiply_adds(network) / 1e6, 1),
    }


def _accuracy_large(network: nn.Module, count: int) -> float:
    pictures = [
        draw_picture(_LARGE_FROM + i, size=_LARGE[i % 2], species=SPECIES[i % len(SPECIES)]) for i in range(count)
    ]
    found = answers(network, np.stack([as_model_input(picture) for picture in pictures]))
    return float(np.mean([SPECIES[i] is picture.species for i, picture in zip(found, pictures, strict=True)]))


def multiply_adds(network: nn.Module) -> int:
    """Multiplications with addition in the convolutions and linear layers for one picture."""
    total = 0

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        weight = layer.weight
        assert isinstance(weight, Tensor)
        places = output.shape[2:].numel() if isinstance(layer, nn.Conv2d) else output.shape[1:-1].numel()
        total += weight.numel() * places

    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    try:
        with torch.inference_mode():
            network(torch.zeros(1, 3, SIDE, SIDE))
    finally:
        for handle in handles:
            handle.remove()
    return total
