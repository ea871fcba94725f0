"""What a word network and its base say about the same pictures, batch by batch, for whoever measures the two."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from models import taps
from models.heads.lvw import VisualWordNetwork, attention_view, similarity
from models.training._lvw_attention import Attention
from models.training._lvw_parts import Part
from models.twins import exact_float32


@dataclass(frozen=True, eq=False)
class Evidence:
    """A batch of pictures as both networks see them.

    Attributes:
        view: ``[B, S, S]`` in 0-1, overlap map of the word network.
        attention: ``[B, S, S]`` in 0-1, attention of the base.
        other: ``[B, S, S]``, the base's attention for another picture of the same part.
        mirrored: ``[B, S, S]``, its attention for the mirrored picture, mirrored back; ``None``: not measured.
        constant: ``[B]`` bool, pictures whose attention is constant.
        answers: ``[B]`` the word network's class.
        base_answers: ``[B]`` the base's class among the book's; -1 where it has no namesake.
        labels: ``[B]``.
    """

    view: Tensor
    attention: Tensor
    other: Tensor
    mirrored: Tensor | None
    constant: Tensor
    answers: Tensor
    base_answers: Tensor
    labels: Tensor


Measure = Callable[[Iterable[Evidence]], dict[str, Any]]
"""Turns evidence into figures; passed in, because measuring belongs to the workers."""


@torch.no_grad()
def evidence(
    network: VisualWordNetwork,
    part: Part,
    attention: Attention,
    *,
    k: int,
    classes: Tensor,
    mirrored: Attention | None = None,
    cells: Tensor | None = None,
    batch_size: int = 32,
    on_pictures: Callable[[int], None] = lambda _count: None,
) -> Iterator[Evidence]:
    """Yields the evidence of a part, batch by batch.

    Args:
        network: The word network; it runs in evaluation mode.
        part: Pictures and labels.
        attention: Of the base, for these pictures.
        k: Words per picture in the overlap map.
        classes: ``[C of the base]`` the book's class of each class of the base, -1 without one.
        mirrored: Of the base, for the mirrored pictures.
        cells: ``[N, D, h, w]`` if they are known already.
        batch_size: Pictures per batch.
        on_pictures: Told how many pictures went through the network.
    """
    device, size = network.words.device, part.size
    others = derangement(len(part))
    with taps.evaluation_mode(network), exact_float32():
        for start in range(0, len(part), batch_size):
            chosen = slice(start, min(start + batch_size, len(part)))
            if cells is None:
                output = network(part.pictures(chosen).to(device))
                on_pictures(chosen.stop - chosen.start)
            else:
                output = network.from_cells(cells[chosen].to(device))
            view = attention_view(similarity(output.distances), output.scores, k, size).cpu()
            yield Evidence(
                view=view,
                attention=attention.at(chosen, size),
                other=attention.at(others[chosen], size),
                mirrored=None if mirrored is None else mirrored.at(chosen, size).flip(-1),
                constant=attention.empty[chosen],
                answers=output.logits.argmax(1).cpu(),
                base_answers=classes[attention.predicted[chosen]],
                labels=part.labels[chosen],
            )


def match_classes(
    base_names: Sequence[str], book_names: Sequence[str], class_map: Mapping[str, str] | None = None
) -> Tensor:
    """Returns the book's class for each class of the base ``[C]`` int64, -1 where none has its name.

    Args:
        base_names: Classes of the base.
        book_names: Classes of the data.
        class_map: Names in the data by names of the base, where they differ.
    """
    position = {name: index for index, name in enumerate(book_names)}
    wanted = [(class_map or {}).get(name, name) for name in base_names]
    return torch.tensor([position.get(name, -1) for name in wanted], dtype=torch.int64)


def derangement(count: int, seed: int = 0) -> Tensor:
    """Returns for each of ``count`` pictures another one, ``[count]``; seeded (one picture alone gets itself)."""
    order = np.random.default_rng(seed).permutation(count)
    other = np.empty(count, np.int64)
    other[order] = np.roll(order, 1)
    return torch.from_numpy(other)
