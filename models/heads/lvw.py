"""LVW: a network that answers by learned visual words, its losses, and the projection of words onto real patches.

Source: Xiao, Ding, Liu, "Learnable Visual Words for Interpretable Image Recognition", 2022, arXiv 2205.10724;
distances, similarity and projection after Chen et al., "This Looks Like That", 2019, arXiv 1806.10574.
Deviations: words may start without a class (``zero``), evaluation computes distances as differences (the
expanded form leaves noise at zero), and evaluation keeps batch statistics frozen everywhere, so that a word
stays the patch it was taken from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from models.heads.spatial_trunk import SpatialTrunk
from models.loader import LoadedModel
from models.taps import evaluation_mode

EPS = 1e-4
MAP_EPS = 1e-5
CHUNK_BYTES = 256 * 2**20


@dataclass(frozen=True, eq=False)
class WordOutput:
    """What the network says about a batch; iterating yields logits, distances and scores.

    Attributes:
        logits: ``[B, C]``.
        distances: ``[B, P, h, w]``, squared, >= 0.
        scores: ``[B, P]``, best similarity of each word, 0 to 9.2103.
        classifier: ``[C, P]``, the weight of each word for each class (the parameter itself).
    """

    logits: Tensor
    distances: Tensor
    scores: Tensor
    classifier: Tensor | None = None

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.logits, self.distances, self.scores))


@dataclass(frozen=True)
class LossWeights:
    """Weights of the terms of :func:`lvw_loss`, and the number of words that are aligned per picture."""

    cross_entropy: float = 1.0
    cluster: float = 0.8
    l1: float = 1e-4
    alignment: float = 10.0
    k: int = 10


@dataclass(frozen=True, eq=False)
class LossTerms:
    """``total`` is weighted; the other terms are not (scalars; ``alignment`` is 0 without attention)."""

    total: Tensor
    cross_entropy: Tensor
    cluster: Tensor
    l1: Tensor
    alignment: Tensor


@dataclass(frozen=True, eq=False)
class Projection:
    """Where each word was moved to.

    Attributes:
        source_index: ``[P]`` int64, running number of the picture in the loader's order.
        source_label: ``[P]`` int64, its label.
        cell: ``[P, 2]`` int64, row and column on the grid.
        distance: ``[P]``, squared distance before the move.
        distinct: Number of different cells among them.
    """

    source_index: Tensor
    source_label: Tensor
    cell: Tensor
    distance: Tensor
    distinct: int


def similarity(distance_sq: Tensor) -> Tensor:
    """Returns ``log((d + 1) / (d + 1e-4))`` of squared distances of any shape: 9.2103 at 0, falling, > 0."""
    return torch.log1p(distance_sq) - torch.log(distance_sq + EPS)


class VisualWordNetwork(nn.Module):
    """Reads a picture as a list of word scores; the class scores are their weighted sums.

    Args:
        trunk: Any module ``[B, 3, S, S] -> [B, F, h, w]``.
        trunk_channels: F.
        class_count: C.
        word_count: P.
        depth: Length D of a word.
        classifier_init: ``nominal``: word p starts at +1 for class ``floor(p C / P)`` and -0.5 elsewhere; ``zero``.

    Raises:
        ValueError: If a size is below 1, or ``nominal`` is asked for with fewer words than classes.
    """

    def __init__(
        self,
        trunk: nn.Module,
        *,
        trunk_channels: int,
        class_count: int,
        word_count: int,
        depth: int = 128,
        classifier_init: Literal["nominal", "zero"] = "nominal",
    ) -> None:
        super().__init__()
        if min(trunk_channels, class_count, word_count, depth) < 1:
            raise ValueError("channels, classes, words and depth are at least 1")
        self.trunk = trunk
        convolutions = nn.Conv2d(trunk_channels, depth, 1), nn.Conv2d(depth, depth, 1)
        for layer in convolutions:
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            nn.init.constant_(layer.bias, 0.0)  # type: ignore[arg-type]
        self.add_on = nn.Sequential(convolutions[0], nn.ReLU(), convolutions[1], nn.Sigmoid())
        self.words = nn.Parameter(torch.rand(word_count, depth))
        self.classifier = nn.Linear(word_count, class_count, bias=False)
        with torch.no_grad():
            self.classifier.weight.copy_(_start_weights(class_count, word_count, classifier_init))

    @classmethod
    def for_base(
        cls,
        model: LoadedModel,
        *,
        class_count: int,
        word_count: int,
        depth: int = 128,
        classifier_init: Literal["nominal", "zero"] = "nominal",
        train_trunk: bool = True,
        trunk_of: LoadedModel | None = None,
    ) -> VisualWordNetwork:
        """Returns an untrained network on the trunk of a base model, on the base's device.

        Args:
            model: The base; never changed.
            class_count: C.
            word_count: P.
            depth: D.
            classifier_init: Start of the classifier.
            train_trunk: ``True``: the trunk is a copy of its own; ``False``: it is the base's own, frozen.
            trunk_of: Another model whose trunk is copied instead (the family's published weights).

        Raises:
            ValueError: If the base keeps no map of at least four cells.
        """
        trunk = SpatialTrunk.of(trunk_of or model, trainable=train_trunk)
        network = cls(
            trunk,
            trunk_channels=trunk.shape(trunk_of or model)[0],
            class_count=class_count,
            word_count=word_count,
            depth=depth,
            classifier_init=classifier_init,
        )
        return network.to(model.device)

    def cells(self, pictures: Tensor) -> Tensor:
        """Returns cells ``[B, D, h, w]`` in 0-1 of pictures ``[B, 3, S, S]``."""
        return self._add_on(self.trunk(pictures))

    def forward(self, pictures: Tensor) -> WordOutput:
        """Returns logits, distances and scores of pictures ``[B, 3, S, S]``."""
        return self.from_cells(self.cells(pictures))

    def from_features(self, features: Tensor) -> WordOutput:
        """Returns the same from the trunk's map ``[B, F, h, w]``."""
        return self.from_cells(self._add_on(features))

    def from_cells(self, cells: Tensor) -> WordOutput:
        """Returns the same from cells ``[B, D, h, w]``; in float32 (float64 stays), without autocast."""
        with torch.autocast(device_type=cells.device.type, enabled=False):
            exact = cells if cells.dtype == torch.float64 else cells.float()
            distances = self._expanded(exact) if self.training else self._differences(exact)
            scores = similarity(distances.flatten(2).amin(2))
            logits = functional.linear(scores, self.classifier.weight.to(scores.dtype))
            return WordOutput(logits, distances, scores, self.classifier.weight)

    def _add_on(self, features: Tensor) -> Tensor:
        cells: Tensor = self.add_on(features)
        return cells

    def _expanded(self, cells: Tensor) -> Tensor:
        """One matrix product: fast, with noise of about 1e-5 near zero."""
        cross = torch.einsum("bdhw,pd->bphw", cells, self.words)
        own = cells.square().sum(1, keepdim=True) + self.words.square().sum(1)[None, :, None, None]
        return (own - 2 * cross).clamp_min(0)

    def _differences(self, cells: Tensor) -> Tensor:
        """Exact at zero; chunked over words."""
        per_word = cells.numel() * cells.element_size()
        step = max(1, CHUNK_BYTES // max(per_word, 1))
        parts = [
            (cells[:, None] - some[None, :, :, None, None]).square().sum(2) for some in torch.split(self.words, step)
        ]
        return torch.cat(parts, dim=1)


def integrated_map(similarity_maps: Tensor, scores: Tensor, k: int, size: int) -> Tensor:
    """Returns the pixelwise maximum over the k best words' maps, divided by its own maximum.

    Only the chosen maps are enlarged (bilinear, corners aligned); used inside the loss, never drawn.

    Args:
        similarity_maps: ``[B, P, h, w]``.
        scores: ``[B, P]``; ties go to the lower word.
        k: Words per picture; more than P means all.
        size: Side of the result in pixels.

    Returns:
        ``[B, size, size]``, 0-1.
    """
    maps = _best_maps(similarity_maps, scores, k)
    peak = functional.interpolate(maps, size=(size, size), mode="bilinear", align_corners=True).amax(1)
    return peak / (peak.amax((1, 2), keepdim=True) + MAP_EPS)


def attention_view(similarity_maps: Tensor, scores: Tensor, k: int, size: int) -> Tensor:
    """Returns the overlap map that is drawn and measured: the pixelwise maximum over the k best words' maps, 0-1.

    Unlike :func:`integrated_map` it keeps cell centres where they are (bicubic, half-pixel) and uses its whole range
    (min-max; a constant map becomes zeros). Relative to its own range, so not comparable between pictures.

    Args:
        similarity_maps: ``[B, P, h, w]``.
        scores: ``[B, P]``; ties go to the lower word.
        k: Words per picture; more than P means all.
        size: Side of the result in pixels.

    Returns:
        ``[B, size, size]``.
    """
    peak = enlarged(_best_maps(similarity_maps, scores, k), size).amax(1)
    low, high = peak.amin((1, 2), keepdim=True), peak.amax((1, 2), keepdim=True)
    return (peak - low) / torch.where(high > low, high - low, 1)


def enlarged(maps: Tensor, size: int) -> Tensor:
    """Returns maps ``[B, n, h, w]`` as ``[B, n, size, size]``, bicubic between cell centres (half-pixel)."""
    return functional.interpolate(maps, size=(size, size), mode="bicubic", align_corners=False)


def _best_maps(similarity_maps: Tensor, scores: Tensor, k: int) -> Tensor:
    """Returns the maps ``[B, min(k, P), h, w]`` of the words with the highest scores; ties go to the lower word."""
    chosen = torch.argsort(scores, dim=1, descending=True, stable=True)[:, : min(k, scores.shape[1])]
    return similarity_maps.gather(1, chosen[:, :, None, None].expand(-1, -1, *similarity_maps.shape[2:]))


def alignment_loss(similarity_maps: Tensor, scores: Tensor, attention: Tensor, k: int = 10) -> Tensor:
    """Returns the mean squared error (scalar, unweighted) between the integrated map and ``attention`` ``[B, S, S]``.

    Raises:
        ValueError: If the attention is not ``[B, S, S]``.
    """
    if attention.ndim != 3 or attention.shape[1] != attention.shape[2] or len(attention) != len(scores):
        raise ValueError(f"attention is [{len(scores)}, S, S], not {list(attention.shape)}")
    seen = integrated_map(similarity_maps, scores, k, attention.shape[-1])
    return functional.mse_loss(seen, attention.to(seen.dtype))


def lvw_loss(output: WordOutput, labels: Tensor, attention: Tensor | None, weights: LossWeights) -> LossTerms:
    """Returns the terms of the training loss.

    Args:
        output: From the network, with its classifier.
        labels: ``[B]`` int64, ``0 .. C - 1``.
        attention: ``[B, S, S]`` in 0-1, or ``None`` to leave alignment out.
        weights: Of the terms.

    Raises:
        ValueError: If labels are outside their range or the output lacks its classifier.
    """
    if output.classifier is None:
        raise ValueError("the loss needs the classifier of the output")
    if labels.ndim != 1 or len(labels) != len(output.logits):
        raise ValueError(f"labels are [{len(output.logits)}], not {list(labels.shape)}")
    if bool(((labels < 0) | (labels >= output.logits.shape[1])).any()):
        raise ValueError(f"labels lie in 0 .. {output.logits.shape[1] - 1}")
    entropy = functional.cross_entropy(output.logits, labels)
    cluster = output.distances.flatten(1).amin(1).mean()
    l1 = output.classifier.abs().sum()
    aligned = output.logits.new_zeros(())
    if attention is not None and weights.alignment != 0:
        aligned = alignment_loss(similarity(output.distances), output.scores, attention, weights.k)
    total = weights.cross_entropy * entropy + weights.cluster * cluster + weights.l1 * l1 + weights.alignment * aligned
    return LossTerms(total, entropy, cluster, l1, aligned)


@torch.no_grad()
def project_words(network: VisualWordNetwork, loader: Iterable[Sequence[Tensor]]) -> Projection:
    """Moves every word onto its nearest cell of all pictures, in place, and returns where that was.

    Runs in evaluation mode (restored afterwards); on equal distances the first picture wins, then the first cell in row
    order. The search ends before any word moves.

    Args:
        network: Its ``words`` are overwritten.
        loader: Yields ``(pictures, labels, ...)`` in a fixed order; extras are ignored.

    Raises:
        ValueError: If the loader yields no picture.
    """

    def cells() -> Iterator[tuple[Tensor, Tensor]]:
        for batch in loader:
            with torch.autocast(device_type=network.words.device.type, enabled=False):
                yield network.cells(batch[0].to(network.words.device)), batch[1]

    return project_onto(network, cells())


@torch.no_grad()
def project_onto(network: VisualWordNetwork, batches: Iterable[tuple[Tensor, Tensor]]) -> Projection:
    """Does the same as :func:`project_words` from cells ``[B, D, h, w]`` that were computed before, with labels."""
    with evaluation_mode(network):
        best = _nearest_cells(network, batches)
    if best is None:
        raise ValueError("projection needs at least one picture")
    distance, index, label, cell, vector = best
    network.words.copy_(vector)
    places = {(int(i), int(r), int(c)) for i, (r, c) in zip(index, cell, strict=True)}
    return Projection(index, label, cell, distance, len(places))


def _nearest_cells(
    network: VisualWordNetwork, batches: Iterable[tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None:
    best: tuple[Tensor, Tensor, Tensor, Tensor, Tensor] | None = None
    seen = 0
    for found_cells, labels in batches:
        cells = found_cells if found_cells.dtype == torch.float64 else found_cells.float()
        distance, picture, cell, vector = _nearest_in_batch(network, cells.to(network.words.device))
        index, label = picture + seen, labels.to(picture.device)[picture]
        seen += len(cells)
        if best is None:
            best = (distance, index, label, cell, vector)
            continue
        closer = distance < best[0]
        columns = (distance, index, label, cell, vector)
        best = tuple(  # type: ignore[assignment]
            torch.where(closer.reshape(-1, *[1] * (new.ndim - 1)), new, old)
            for new, old in zip(columns, best, strict=True)
        )
    return best


def _nearest_in_batch(network: VisualWordNetwork, cells: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    distances = network.from_cells(cells).distances.transpose(0, 1).flatten(1)  # [P, B h w]
    least = distances.amin(1, keepdim=True)
    positions = torch.arange(distances.shape[1], device=distances.device)
    first = torch.where(distances == least, positions, distances.shape[1]).amin(1)
    height, width = cells.shape[2:]
    picture, place = first // (height * width), first % (height * width)
    cell = torch.stack([place // width, place % width], dim=1)
    return least[:, 0], picture, cell, cells[picture, :, cell[:, 0], cell[:, 1]]


def _start_weights(class_count: int, word_count: int, kind: str) -> Tensor:
    if kind == "zero":
        return torch.zeros(class_count, word_count)
    if kind != "nominal":
        raise ValueError(f"classifier_init is nominal or zero, not {kind!r}")
    if word_count < class_count:
        raise ValueError(
            f"{word_count} words cannot stand for {class_count} classes; use more words or classifier_init='zero'"
        )
    owner = torch.arange(word_count) * class_count // word_count
    weights = torch.full((class_count, word_count), -0.5)
    weights[owner, torch.arange(word_count)] = 1.0
    return weights
