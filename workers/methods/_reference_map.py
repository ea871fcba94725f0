"""What the reference methods share: whom they ask about, how their maps become results, and one honest sentence.

A reference map is a map of a class, in whatever unit its method has. Its reading is measured, not derived: the tenth of
the picture that the map marks is hidden, beside the tenth that maps of chance mark on the same grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import ClassScore, Encoding, Layer, Scalar, Texts
from backend.contract.schemas import ModelCard, ModelKind
from models.preprocessing import Prepared
from workers.agreement import top_mask
from workers.engine import is_out_of_memory
from workers.faithfulness import random_saliency
from workers.masks import Scene
from workers.method import Context, MapArray, Result
from workers.requests import Request
from workers.substrates import make_substrate

T = TypeVar("T")

HIDDEN_SHARE = 0.1
CHANCE_MAPS = 4
CHECK_PASSES = 1 + CHANCE_MAPS
LARGEST_CHANCE_GRID = 14
"""A map of chance is drawn on the map's own grid, at most this fine: single pixels hidden by a blur change nothing."""


@dataclass(frozen=True, eq=False)
class Asked:
    """A picture and the classes that are explained.

    Attributes:
        prepared: The picture as the network sees it, 0-1.
        pictures: ``[1, 3, H, W]`` normalised float32, on the device.
        classes: Explained classes with their probabilities; the target first.
        target: Index of the target.
        logits: ``[C]`` float32 on the intact picture.
    """

    prepared: Prepared
    pictures: Tensor
    classes: tuple[ClassScore, ...]
    target: int
    logits: Tensor

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the network's input in pixels."""
        return int(self.pictures.shape[-2]), int(self.pictures.shape[-1])

    @property
    def indices(self) -> list[int]:
        """Indices of the explained classes, the target first."""
        return [item.index for item in self.classes]


@dataclass(frozen=True, eq=False)
class _Stack:
    """Masks that are there already: ``[n, H, W]`` bool, on the device."""

    masks: Tensor

    @property
    def count(self) -> int:
        return len(self.masks)

    def visible(self, start: int, stop: int) -> Tensor:
        return self.masks[start:stop]


@dataclass(frozen=True)
class Drawn:
    """How a map is drawn and named.

    Attributes:
        what: What a value means, for the legend's unit.
        ends: Words at the low and the high end.
        encoding: Sequential for unsigned values, signed else.
        limits: Natural range; ``None``: the map's own.
    """

    what: str
    ends: tuple[str, str]
    encoding: Encoding = Encoding.SEQUENTIAL
    limits: tuple[float, float] | None = None


def no_classes(model: ModelCard) -> str | None:
    """Returns why a model has no class to explain, or ``None``."""
    if model.kind == ModelKind.CAPTIONER:
        return "This model writes text; this method needs class scores."
    if model.kind == ModelKind.ENCODER or (model.described and not model.class_count):
        return "This encoder has no class scores."
    return None


def ask(context: Context, *, classes: int = 1) -> Asked:
    """Returns the picture with its target and the most likely other classes.

    Cost: one pass.

    Raises:
        ProblemError: ``params_invalid`` for a class that the model does not have.
    """
    preprocessing = context.model.preprocessing
    prepared = preprocessing.prepare(context.picture.pixels)
    pictures = preprocessing.normalise(prepared.pixels.unsqueeze(0)).to(context.model.device)
    logits = context.engine.forward(pictures)[0]
    probabilities = torch.softmax(logits.double(), dim=0).cpu()
    count = len(probabilities)
    target = int(probabilities.argmax()) if context.target is None else context.target
    if not 0 <= target < count:
        raise ProblemError(
            ProblemCode.PARAMS_INVALID, f"There is no class {target}; this model knows {count}, from 0 to {count - 1}."
        )
    best = torch.topk(probabilities, min(classes, count)).indices.tolist()
    kept = [target, *(index for index in best if index != target)][:classes]
    names = context.model.class_names
    scores = tuple(
        ClassScore(
            index=index,
            label=names[index] if index < len(names) else f"class {index}",
            score=float(probabilities[index]),
        )
        for index in kept
    )
    return Asked(prepared, pictures, scores, target, logits)


def in_smaller_batches(run: Callable[[int], T], batch: int) -> T:
    """Returns what ``run(batch size)`` returns; when memory runs out it is run again with half as many pictures."""
    while True:
        try:
            return run(batch)
        except Exception as error:
            if not is_out_of_memory(error) or batch == 1:
                raise
        batch //= 2  # outside the handler, so that the failed batch is no longer held by its traceback


def hidden_tenth(context: Context, asked: Asked, saliency: Tensor) -> tuple[float, float]:
    """Returns the target's probability without the map's strongest tenth, and without a tenth marked by chance.

    Hidden places show the blurred picture. The second number is the mean over four maps of chance on the same grid.

    Args:
        context: Of the run.
        asked: From :func:`ask`.
        saliency: ``[h, w]``; enlarged between cell centres to the input's size.

    Cost: five passes.
    """
    substrate = make_substrate("blur", asked.prepared.pixels)
    scene: Scene = context.engine.scene(asked.prepared.pixels, substrate)
    height, width = saliency.shape
    grid = (min(height, LARGEST_CHANCE_GRID), min(width, LARGEST_CHANCE_GRID))
    maps = [saliency.float().cpu(), *(random_saliency(grid, context.seed + number) for number in range(CHANCE_MAPS))]
    pixels = asked.size[0] * asked.size[1]
    hidden = torch.stack(
        [top_mask(_enlarged(each, asked.size).flatten(), round(HIDDEN_SHARE * pixels)) for each in maps]
    )
    masks = ~hidden.reshape(-1, *asked.size).to(context.model.device)

    def score(logits: Tensor) -> Tensor:
        return torch.softmax(logits, dim=1)[:, asked.target : asked.target + 1]

    (scored,) = context.engine.masked_scores([Request(scene, _Stack(masks))], score=score)
    values = scored.scores[:, 0].double().cpu()
    return float(values[0]), float(values[1:].mean())


def map_result(
    context: Context,
    asked: Asked,
    maps: Tensor,
    drawn: Drawn,
    *,
    texts: Texts | None = None,
    scalars: dict[str, Scalar] | None = None,
    saliency: Tensor | None = None,
) -> Result:
    """Returns the finished result, after its tenth was hidden.

    Args:
        context: Of the run.
        asked: From :func:`ask`.
        maps: ``[K, h, w]``, one per class of ``asked`` in that order.
        drawn: How they are drawn.
        texts: Notes and cautions; the reading is put in front.
        scalars: Further numbers.
        saliency: ``[h, w]`` by which places are ranked; ``None``: the target's map.

    Cost: five passes.
    """
    texts = texts or Texts()
    ranked = maps[0] if saliency is None else saliency
    is_flat = bool(ranked.max() - ranked.min() <= 0)
    numbers: dict[str, Scalar] = {"p_intact": asked.classes[0].score, **(scalars or {})}
    if is_flat:
        reading = "The map is the same everywhere: this method finds no place that matters more than another."
    else:
        hidden, chance = hidden_tenth(context, asked, ranked)
        numbers |= {"p_without_tenth": hidden, "p_without_chance_tenth": chance}
        reading = _reading(asked.classes[0], hidden, chance)
    return Result(
        arrays={"maps": MapArray(maps.float().cpu().numpy().astype(np.float32), asked.prepared.frame)},
        layers=layers(asked, drawn, count=len(maps)),
        classes=asked.classes,
        scalars=numbers,
        texts=texts.model_copy(update={"reading": f"{reading} {texts.reading}".strip()}),
        target=asked.target,
    )


def partial_result(asked: Asked, maps: Tensor, drawn: Drawn) -> Result:
    """Returns a result to look at while the run goes on; ``maps`` as in :func:`map_result`."""
    return Result(
        arrays={"maps": MapArray(maps.float().cpu().numpy().astype(np.float32), asked.prepared.frame)},
        layers=layers(asked, drawn, count=len(maps)),
        classes=asked.classes,
        target=asked.target,
    )


def layers(asked: Asked, drawn: Drawn, *, count: int) -> Sequence[Layer]:
    """Returns one layer per class."""
    return [
        Layer(
            name=f"class {item.index}",
            title=item.label,
            array="maps",
            index=position,
            encoding=drawn.encoding,
            range=drawn.limits,
            ends=drawn.ends,
            unit=drawn.what,
            target=item.index,
            role="main" if position == 0 else "detail",
        )
        for position, item in enumerate(asked.classes[:count])
    ]


def _enlarged(values: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(values.shape) == size:
        return values
    return functional.interpolate(values[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def _reading(item: ClassScore, hidden: float, chance: float) -> str:
    verb = "lowers" if hidden < item.score - 0.005 else "raises" if hidden > item.score + 0.005 else "leaves"
    change = f"from {item.score:.2f} to {hidden:.2f}" if verb != "leaves" else f"at {hidden:.2f}"
    sentence = f"Hiding the tenth that this map marks {verb} {item.label} {change}; a tenth marked by chance gives"
    sentence = f"{sentence} {chance:.2f}."
    return sentence if hidden < chance else f"{sentence} Here the map does no better than chance."
