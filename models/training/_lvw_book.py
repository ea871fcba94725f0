"""What is known of every word of a trained book: where it comes from, what resembles it, who uses it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from models import taps
from models.heads.lvw import Projection, VisualWordNetwork
from models.heads.word_places import nearest_cells
from models.twins import exact_float32

NEIGHBOURS = 12
USED_FROM = 0.25
NEIGHBOURS_FROM = 2


@dataclass(frozen=True, eq=False)
class WordBook:
    """The global view of a word book; every index of a picture is a place in the training part.

    Attributes:
        source_index: ``[P]`` picture each word was taken from.
        source_label: ``[P]`` its class.
        source_cell: ``[P, 2]`` row and column.
        neighbours: ``[P, n]`` nearest training pictures, nearest first (n = 12, or all there are).
        neighbour_distance: ``[P, n]`` squared distance of each one's best cell.
        neighbour_cell: ``[P, n, 2]`` that cell.
        neighbour_label: ``[P, n]`` its class.
        histogram: ``[P, C]`` classes of the neighbours, counts.
        entropy: ``[P]`` of that histogram, bits.
        prevalence: ``[P]`` share of training pictures that have the word among their k, 0-1.
        usage: ``[C, P]`` the same within each class.
        weights: ``[C, P]`` class weights.
        duplicate_of: ``[P]`` the lowest word with the same source cell; itself when there is no lower one.
    """

    source_index: Tensor
    source_label: Tensor
    source_cell: Tensor
    neighbours: Tensor
    neighbour_distance: Tensor
    neighbour_cell: Tensor
    neighbour_label: Tensor
    histogram: Tensor
    entropy: Tensor
    prevalence: Tensor
    usage: Tensor
    weights: Tensor
    duplicate_of: Tensor

    def shared(self, word: int) -> tuple[list[int], list[int], list[int]]:
        """Returns the classes that share a word: by usage, by neighbours, by weight."""
        by = (
            self.usage[:, word] >= USED_FROM,
            self.histogram[word] >= NEIGHBOURS_FROM,
            self.weights[:, word] > 0,
        )
        return tuple(found.nonzero()[:, 0].tolist() for found in by)  # type: ignore[return-value]

    def flags(self, word: int) -> str:
        """Returns what is odd about a word, in words."""
        said = ["never used"] if float(self.prevalence[word]) == 0 else []
        if int(self.duplicate_of[word]) != word:
            said.append(f"same patch as word {int(self.duplicate_of[word])}")
        return ", ".join(said)

    def tensors(self) -> dict[str, Tensor]:
        """Returns everything by name, as it is stored."""
        return dict(vars(self))


@torch.no_grad()
def make_book(
    network: VisualWordNetwork,
    cells: Tensor,
    labels: Tensor,
    projection: Projection,
    *,
    k: int,
    class_count: int,
    batch_size: int = 32,
    check_stopped: Callable[[], None] = lambda: None,
) -> WordBook:
    """Returns the book from the cells ``[N, D, h, w]`` of the training part as it is (not mirrored).

    Args:
        network: Projected, with its last layer trained.
        cells: Of every training picture.
        labels: ``[N]``.
        projection: Where the words come from.
        k: Words per picture that count as present.
        class_count: C.
        batch_size: Pictures per step.
        check_stopped: Raises when the job is no longer wanted.
    """
    found = _read_all(network, cells, k, batch_size, check_stopped)
    distance, places, present = found
    count = min(NEIGHBOURS, len(labels))
    order = torch.argsort(distance, dim=0, stable=True)[:count].T
    words = torch.arange(len(order))[:, None]
    neighbour_label = labels[order]
    histogram = torch.zeros(len(order), class_count, dtype=torch.int64)
    histogram.scatter_add_(1, neighbour_label, torch.ones_like(neighbour_label))
    of_class = torch.nn.functional.one_hot(labels, class_count).float()
    usage = (of_class.T @ present.float()) / of_class.sum(0)[:, None].clamp_min(1)
    return WordBook(
        source_index=projection.source_index.cpu(),
        source_label=projection.source_label.cpu(),
        source_cell=projection.cell.cpu(),
        neighbours=order,
        neighbour_distance=distance.T[words, order],
        neighbour_cell=places.transpose(0, 1)[words, order],
        neighbour_label=neighbour_label,
        histogram=histogram,
        entropy=_entropy(histogram),
        prevalence=present.float().mean(0),
        usage=usage,
        weights=network.classifier.weight.detach().cpu().clone(),
        duplicate_of=_lowest_twin(projection),
    )


def _read_all(
    network: VisualWordNetwork, cells: Tensor, k: int, batch_size: int, check_stopped: Callable[[], None]
) -> tuple[Tensor, Tensor, Tensor]:
    """Returns for every picture and word the least distance ``[N, P]``, its cell, and whether it is among the k."""
    least, places, present = [], [], []
    with taps.evaluation_mode(network), exact_float32():
        for some in torch.split(cells, batch_size):
            check_stopped()
            output = network.from_cells(some.to(network.words.device))
            distance, place = nearest_cells(output.distances.cpu())
            scores = output.scores.cpu()
            chosen = torch.argsort(scores, dim=1, descending=True, stable=True)[:, :k]
            least.append(distance)
            places.append(place)
            present.append(torch.zeros_like(scores, dtype=torch.bool).scatter_(1, chosen, True))
    return torch.cat(least), torch.cat(places), torch.cat(present)


def _entropy(histogram: Tensor) -> Tensor:
    share = histogram.float() / histogram.sum(1, keepdim=True).clamp_min(1)
    return (share * torch.where(share > 0, 1 / share.clamp_min(1e-9), 1).log2()).sum(1)


def _lowest_twin(projection: Projection) -> Tensor:
    first: dict[tuple[int, int, int], int] = {}
    keys = [
        (int(index), int(row), int(column))
        for index, (row, column) in zip(projection.source_index, projection.cell, strict=True)
    ]
    return torch.tensor([first.setdefault(key, word) for word, key in enumerate(keys)])
