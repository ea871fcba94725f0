"""Reads one picture with the word network and the base model."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backend.contract.explainers import ExplainerRecord
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box
from models.grad_cam import grad_cam, to_pixels
from models.heads.lvw import VisualWordNetwork, attention_view, similarity
from models.heads.word_places import nearest_cells
from models.preprocessing import Preprocessing
from models.training._lvw_evidence import match_classes
from models.training._lvw_fidelity import gaussian, iou_curve
from models.training._lvw_job import square
from models.training.lvw import OpenBook, load_network, open_book
from models.twins import exact_float32
from workers.faithfulness import attention_iou
from workers.method import Context

_networks: WeakKeyDictionary[nn.Module, dict[str, VisualWordNetwork]] = WeakKeyDictionary()
"""Word networks with a trunk of their own, by base network; they leave with their base."""


@dataclass(frozen=True, eq=False)
class Reading:
    """A picture as the word network sees it; everything on the CPU.

    Attributes:
        opened: The word book.
        maps: ``[P, h, w]`` similarity, 0-9.2103.
        scores: ``[P]``.
        distances: ``[P]`` least squared distances.
        cells: ``[P, 2]`` row and column of each word's best place.
        weights: ``[C, P]``.
        logits: ``[C]``.
        view: ``[S, S]`` overlap map, 0-1.
        target: Class of the book that is explained.
        contrast: Class of the book it is compared with, or ``None``.
        to_book: ``[C of the base]`` the book's class of each class of the base, -1 without one.
        base_names: Classes of the base.
        frame: Rectangle of the picture that the input covers.
        seen: The same, clipped to the picture.
        preprocessing: Square, of both networks.
        picture: ``[H, W, 3]`` uint8.
    """

    opened: OpenBook
    maps: Tensor
    scores: Tensor
    distances: Tensor
    cells: Tensor
    weights: Tensor
    logits: Tensor
    view: Tensor
    target: int
    contrast: int | None
    to_book: Tensor
    base_names: tuple[str, ...]
    frame: Box
    seen: Box
    preprocessing: Preprocessing
    picture: NDArray[np.uint8]

    @property
    def answer(self) -> int:
        """The word network's class."""
        return int(self.logits.argmax())

    @property
    def contributions(self) -> Tensor:
        """``[C, P]`` in logits; each row sums to its class's logit."""
        return self.weights * self.scores

    def base_class(self, index: int) -> int | None:
        """Returns the base's class with the name of a class of the book."""
        found = (self.to_book == index).nonzero()
        return int(found[0]) if len(found) else None


@dataclass(frozen=True, eq=False)
class BaseAttention:
    """Where the base looks, and how well the word network's overlap map agrees.

    Attributes:
        grid: ``[h', w']`` in 0-1.
        is_constant: Whether there is nothing to compare with.
        curve: ``[19]`` overlap at the percentiles 5 to 95.
        gaussian: ``[19]`` the same for a Gaussian around the middle.
        iou: At the percentile asked for.
        gaussian_iou: Likewise.
        logits: ``[C of the base]``.
    """

    grid: Tensor
    is_constant: bool
    curve: Tensor
    gaussian: Tensor
    iou: float
    gaussian_iou: float
    logits: Tensor


@torch.no_grad()
def read_words(context: Context, record: ExplainerRecord) -> Reading:
    """Returns the picture as the word network sees it.

    Raises:
        ProblemError: When the book does not fit, gives no numbers, or lacks the class asked for.
    """
    opened = open_book(record)
    model = square(context.model)
    network = _network(opened, context)
    prepared = model.preprocessing.prepare(context.picture.pixels)
    batch = model.preprocessing.normalise(prepared.pixels[None]).to(model.device, model.dtype)
    with exact_float32():
        output = network(batch)
    if not bool(output.logits.isfinite().all()):
        raise ProblemError(ProblemCode.NOT_FINITE, "The word network answers with values that are not numbers.")
    maps = similarity(output.distances)
    distances, cells = nearest_cells(output.distances)
    to_book = match_classes(model.class_names, opened.classes)
    logits = output.logits[0].float().cpu()
    return Reading(
        opened=opened,
        maps=maps[0].float().cpu(),
        scores=output.scores[0].float().cpu(),
        distances=distances[0].float().cpu(),
        cells=cells[0].cpu(),
        weights=network.classifier.weight.detach().float().cpu(),
        logits=logits,
        view=attention_view(maps, output.scores, opened.k, batch.shape[-1])[0].float().cpu(),
        target=_asked(context.target, to_book, opened, context) if context.target is not None else int(logits.argmax()),
        contrast=_compared(context.params.contrast, opened),
        to_book=to_book,
        base_names=model.class_names,
        frame=prepared.frame,
        seen=prepared.seen,
        preprocessing=model.preprocessing,
        picture=context.picture.pixels,
    )


def read_attention(context: Context, reading: Reading) -> BaseAttention:
    """Returns where the base looks at the same input, with the overlap."""
    model = square(context.model)
    prepared = model.preprocessing.prepare(context.picture.pixels)
    found = grad_cam(model, model.preprocessing.normalise(prepared.pixels[None]))
    size = reading.view.shape[-1]
    seen, view, middle = to_pixels(found.maps.cpu(), size), reading.view[None], gaussian(size)[None]
    percentile = float(context.params.percentile)
    return BaseAttention(
        grid=found.maps[0].cpu(),
        is_constant=bool(found.maps.amax() <= 0),
        curve=iou_curve(view, seen)[0],
        gaussian=iou_curve(middle, seen)[0],
        iou=float(attention_iou(view, seen, percentile)[0]),
        gaussian_iou=float(attention_iou(middle, seen, percentile)[0]),
        logits=found.logits[0].cpu(),
    )


def _network(opened: OpenBook, context: Context) -> VisualWordNetwork:
    """Returns the word network, kept while its base is in memory where it has a trunk of its own."""
    key = str(opened.record.folder)
    known = _networks.get(context.model.network, {})
    if key in known:
        return known[key]
    network = load_network(opened, square(context.model))
    if not _is_on_base(network, context.model.network):
        _networks.setdefault(context.model.network, {})[key] = network
    return network


def _is_on_base(network: VisualWordNetwork, base: nn.Module) -> bool:
    return any(module is base for module in network.trunk.modules())


def _asked(target: int, to_book: Tensor, opened: OpenBook, context: Context) -> int:
    found = int(to_book[target]) if target < len(to_book) else -1
    if found >= 0:
        return found
    names = context.model.class_names
    name = names[target] if target < len(names) else f"class {target}"
    raise ProblemError(
        ProblemCode.TARGET_UNKNOWN, f"The word book does not know {name}. Its classes: {', '.join(opened.classes)}."
    )


def _compared(contrast: int | None, opened: OpenBook) -> int | None:
    if contrast is not None and contrast >= len(opened.classes):
        listed = ", ".join(f"{index} {name}" for index, name in enumerate(opened.classes))
        raise ProblemError(
            ProblemCode.TARGET_UNKNOWN, f"The word book has no class {contrast} to compare with. It has: {listed}."
        )
    return contrast
