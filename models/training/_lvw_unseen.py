"""Measuring a finished book on other pictures, and on classes that it has never seen (Vitrine's own protocol).

``U1`` retrains nothing: does the book still look where the model looks? ``U2`` keeps trunk, add-on and words and
trains new class weights alone: do the words suffice for classes they were not made from? "Unseen" means unseen by the
book and by the base's fine-tuning; the pretraining of the trunk may have seen them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as functional
from torch import Tensor

from models import taps
from models.heads.lvw import VisualWordNetwork, similarity
from models.heads.spatial_trunk import SpatialTrunk
from models.loader import LoadedModel
from models.training._lvw_artifact import OpenBook, load_network
from models.training._lvw_attention import Attention, base_attention
from models.training._lvw_evidence import Measure, evidence, match_classes
from models.training._lvw_job import square
from models.training._lvw_parts import Part, Store, read_part
from models.training.checkpoints import generator
from models.training.data import DataSource, PictureSet
from models.twins import exact_float32

PASSES, RATE, L1 = 200, 1e-2, 1e-4
BATCH = 32


class SeenClassError(ValueError):
    """A class that was to be unseen is in the word book."""


@dataclass(frozen=True, eq=False)
class Examiner:
    """Measures one book.

    Args:
        opened: The book.
        base: Its base model.
        store: Room for pictures.
        measure: Turns evidence into figures.
        check_stopped: Raises when nobody waits any longer.
    """

    opened: OpenBook
    base: LoadedModel
    store: Store
    measure: Measure
    check_stopped: Callable[[], None] = lambda: None

    def fidelity(self, pictures: PictureSet, class_map: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Returns both fidelities on labelled pictures, with the mark of mirrored pictures.

        Args:
            pictures: Labelled with classes of the book; others are left out.
            class_map: Names in the book by names of the base, where they differ.

        Raises:
            ValueError: If no class of the pictures is in the book.
        """
        to_book = match_classes(pictures.classes, self.opened.classes)
        chosen = (to_book[torch.from_numpy(pictures.labels)] >= 0).nonzero()[:, 0].numpy()
        if not len(chosen):
            raise ValueError(f"no class of these pictures is in the word book ({', '.join(self.opened.classes)})")
        kept = pictures.select(chosen)
        part = self._part(kept, to_book[torch.from_numpy(kept.labels)])
        turned = self._attention(part, mirrored=True)
        return self._measured(self._network(), part, self._attention(part), turned, class_map)

    def unseen(self, source: DataSource, *, level: str, allow_seen: bool = False, seed: int = 0) -> dict[str, Any]:
        """Returns the figures of the protocol ``u1`` or ``u2`` on classes that are not in the book.

        Measured on the source's test part, else on a tenth that is held back. ``iou`` and its floors are those of
        ``u1``; ``u2`` adds ``accuracy`` and, trained in the same way, ``accuracy_features`` (a linear layer on the
        base's pooled features), ``accuracy_random`` (random training cells in place of the words) and
        ``accuracy_majority``.

        Args:
            source: Pictures of the unseen classes.
            level: ``u1`` or ``u2``.
            allow_seen: Whether classes of the book may be among them.
            seed: Of the order of training and of the random cells.

        Raises:
            SeenClassError: If a class is in the book and that was not allowed.
            ValueError: For another level.
        """
        if level not in ("u1", "u2"):
            raise ValueError(f"the protocols are u1 and u2, not {level!r}")
        seen = sorted(set(source.classes) & set(self.opened.classes))
        if seen and not allow_seen:
            raise SeenClassError(f"the word book knows {', '.join(seen)}; allow seen classes to measure all the same")
        data = source.split(0.1, seed)
        held = data.validation if source.test is None else source.test
        part = self._part(held, torch.from_numpy(held.labels))
        network = self._network()
        figures = self._measured(network, part, self._attention(part), None, {})
        overlaps = {name: value for name, value in figures.items() if name.startswith(("iou", "curves", "constant"))}
        told: dict[str, Any] = {"protocol": level, "classes": list(source.classes), "pictures": len(held), **overlaps}
        if level == "u1":
            return told
        train = self._part(data.train, torch.from_numpy(data.train.labels))
        return told | self._relearned(network, train, part, len(source.classes), seed)

    def _relearned(
        self, network: VisualWordNetwork, train: Part, held: Part, class_count: int, seed: int
    ) -> dict[str, Any]:
        with torch.no_grad(), taps.evaluation_mode(network), exact_float32():
            cells = self._map(network.cells, train), self._map(network.cells, held)
            words = network.words.detach().cpu()
            random = _random_cells(cells[0], len(words), seed)
            base = SpatialTrunk.of(square(self.base), trainable=False)
            pooled = self._map(base, train).mean((2, 3)), self._map(base, held).mean((2, 3))
        sides = {
            "accuracy": (_scores(cells[0], words), _scores(cells[1], words)),
            "accuracy_features": pooled,
            "accuracy_random": (_scores(cells[0], random), _scores(cells[1], random)),
        }
        found = {
            name: _accuracy(fit_weights(inputs, train.labels, class_count, seed=seed), tested, held.labels)
            for name, (inputs, tested) in sides.items()
        }
        majority = int(torch.bincount(train.labels, minlength=class_count).argmax())
        return found | {"accuracy_majority": float((held.labels == majority).double().mean())}

    def _network(self) -> VisualWordNetwork:
        return load_network(self.opened, square(self.base))

    def _part(self, pictures: PictureSet, labels: Tensor) -> Part:
        return read_part(
            pictures.load,
            range(len(pictures)),
            labels.tolist(),
            preprocessing=square(self.base).preprocessing,
            store=self.store,
            check_stopped=self.check_stopped,
        )

    def _attention(self, part: Part, *, mirrored: bool = False) -> Attention:
        batches = part.batches(BATCH, mirrored=mirrored)
        return base_attention(square(self.base), batches, None, on_batch=lambda _count: self.check_stopped())

    def _measured(
        self,
        network: VisualWordNetwork,
        part: Part,
        attention: Attention,
        mirrored: Attention | None,
        class_map: Mapping[str, str] | None,
    ) -> dict[str, Any]:
        classes = match_classes(self.base.class_names, self.opened.classes, class_map)
        batches = evidence(
            network, part, attention, k=self.opened.k, classes=classes, mirrored=mirrored, batch_size=BATCH,
            on_pictures=lambda _count: self.check_stopped(),
        )  # fmt: skip
        return self.measure(batches)

    def _map(self, module: Callable[[Tensor], Tensor], part: Part) -> Tensor:
        return torch.cat(list(self._mapped(module, part)))

    def _mapped(self, module: Callable[[Tensor], Tensor], part: Part) -> Iterator[Tensor]:
        for pictures, _ in part.batches(BATCH):
            self.check_stopped()
            yield module(pictures.to(self.base.device)).float().cpu()


def fit_weights(inputs: Tensor, labels: Tensor, class_count: int, *, seed: int) -> Tensor:
    """Returns class weights ``[C, n]`` trained from 0 on inputs ``[N, n]``: 200 passes, with a little L1."""
    weights = torch.zeros(class_count, inputs.shape[1], dtype=inputs.dtype, requires_grad=True)
    optimiser = torch.optim.Adam([weights], lr=RATE)
    for number in range(PASSES):
        order = torch.randperm(len(inputs), generator=generator(seed, "unseen", number))
        for chosen in torch.split(order, BATCH):
            entropy = functional.cross_entropy(functional.linear(inputs[chosen], weights), labels[chosen])
            optimiser.zero_grad(set_to_none=True)
            (entropy + L1 * weights.abs().sum()).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
    return weights.detach()


def _scores(cells: Tensor, words: Tensor) -> Tensor:
    """Returns scores ``[N, n]`` of words ``[n, D]`` on cells ``[N, D, h, w]``, word by word as differences."""
    least = [(cells - word[:, None, None]).square().sum(1).flatten(1).amin(1) for word in words]
    return similarity(torch.stack(least, dim=1))


def _random_cells(cells: Tensor, count: int, seed: int) -> Tensor:
    flat = cells.permute(0, 2, 3, 1).reshape(-1, cells.shape[1])
    chosen = torch.randperm(len(flat), generator=generator(seed, "random cells"))[:count]
    return flat[chosen]


def _accuracy(weights: Tensor, inputs: Tensor, labels: Tensor) -> float:
    return float((functional.linear(inputs, weights).argmax(1) == labels).double().mean())
