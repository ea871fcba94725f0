"""Learning from the base model's own answers, for pictures without classes of their own."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch

from models.training._lvw_attention import Attention
from models.training._lvw_parts import Part
from models.training.data import PictureSet

LEAST_PICTURES = 10

Parts = dict[str, Part]


def taught(
    base_names: Sequence[str], parts: Parts, attention: dict[str, Attention], sets: dict[str, PictureSet]
) -> tuple[tuple[str, ...], Parts, dict[str, Attention], dict[str, PictureSet]]:
    """Returns class names and everything else with the base's answers as labels.

    Classes that the base answers for fewer than ten training pictures are dropped, with their pictures.

    Args:
        base_names: Classes of the base.
        parts: By name (``train``, ``validation``, perhaps ``test``).
        attention: Of the base, for each part.
        sets: The pictures of each part.

    Raises:
        ValueError: If fewer than two classes are left.
    """
    won = torch.bincount(attention["train"].predicted, minlength=len(base_names))
    kept = (won >= LEAST_PICTURES).nonzero()[:, 0].tolist()
    if len(kept) < 2:
        raise ValueError(
            f"the base answers with {len(kept)} classes for at least {LEAST_PICTURES} pictures; 2 are needed"
        )
    label = torch.full((len(base_names),), -1)
    label[kept] = torch.arange(len(kept))
    new_parts: Parts = {}
    new_attention: dict[str, Attention] = {}
    new_sets: dict[str, PictureSet] = {}
    for name, part in parts.items():
        labels = label[attention[name].predicted]
        chosen = (labels >= 0).nonzero()[:, 0]
        new_parts[name] = dataclasses.replace(
            part, pixels=part.pixels[chosen], labels=labels[chosen], index=tuple(part.index[i] for i in chosen.tolist())
        )
        seen = attention[name]
        new_attention[name] = Attention(seen.grid[chosen], seen.predicted[chosen], seen.probability[chosen])
        new_sets[name] = sets[name].select(np.asarray(chosen))
    return tuple(base_names[index] for index in kept), new_parts, new_attention, new_sets
