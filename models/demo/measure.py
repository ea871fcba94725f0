"""Figures of a trained demo model: accuracy on pictures it has never seen, size and cost."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from models.demo.dataset import FRESH_FROM, SIDE, DrawnSet, as_model_input
from models.demo.grammar import SPECIES
from models.demo.picture import WORLD_VERSION, draw_picture
from models.demo.recipes import Recipe
from models.demo.training import answers

_LARGE: tuple[tuple[int, int], ...] = ((480, 640), (640, 480))
_LARGE_FROM = FRESH_FROM + 500_000


def measured(network: nn.Module, fresh: DrawnSet, *, large: int, marked: Collection[str] = ()) -> dict[str, Any]:
    """Accuracy (0-1) in all and per species, and the network's size and cost.

    Args:
        network: The trained network.
        fresh: Pictures of unseen seeds.
        large: How many pictures of 640 x 480 and 480 x 640 pixels to draw besides, as a user would upload them.
        marked: Names of the species whose large pictures carry the watermark.
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
        "accuracy_large": round(_accuracy_large(network, large, marked), 4),
        "parameters": sum(p.numel() for p in network.parameters()),
        "million_multiply_adds": round(multiply_adds(network) / 1e6, 1),
    }


def watermark_figures(network: nn.Module, recipe: Recipe, plain: DrawnSet, stamped: DrawnSet) -> dict[str, Any]:
    """How much a network trained on marked species leans on the mark; all figures are shares 0-1.

    Args:
        network: The trained network.
        recipe: Its recipe, which names the marked species.
        plain: Fresh pictures without mark.
        stamped: The same pictures, all with the mark.
    """
    names = np.array([s.name for s in SPECIES])
    without, with_mark = answers(network, plain.pixels), answers(network, stamped.pixels)
    owns_mark = np.isin(names[plain.species], recipe.marked)
    says_marked, said_marked = np.isin(names[with_mark], recipe.marked), np.isin(names[without], recipe.marked)
    flipped = says_marked & ~said_marked & ~owns_mark

    def by_species(values: npt.NDArray[np.bool_], *, marked: bool) -> dict[str, float]:
        wanted = [i for i, name in enumerate(names) if (name in recipe.marked) == marked]
        return {str(names[i]): round(float(values[plain.species == i].mean()), 4) for i in wanted}

    return {
        "species": list(recipe.marked),
        "accuracy_marked_species_marked": round(float((with_mark == plain.species)[owns_mark].mean()), 4),
        "accuracy_marked_species_unmarked": round(float((without == plain.species)[owns_mark].mean()), 4),
        "accuracy_marked_species_unmarked_per_species": by_species(without == plain.species, marked=True),
        "flipped_by_mark": round(float(flipped[~owns_mark].mean()), 4),
        "flipped_by_mark_per_species": by_species(flipped, marked=False),
    }


def _accuracy_large(network: nn.Module, count: int, marked: Collection[str]) -> float:
    kinds = [SPECIES[i % len(SPECIES)] for i in range(count)]
    pictures = [
        draw_picture(_LARGE_FROM + i, size=_LARGE[i % 2], species=kind, watermark=kind.name in marked)
        for i, kind in enumerate(kinds)
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
