"""What scores masked pictures by class: the explained class and the best five, from the same passes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from workers.engine import Engine
from workers.requests import Request

if TYPE_CHECKING:
    from workers.methods._shap_game import Round

Floats = NDArray[np.float64]
KEPT_CLASSES = 5
MOVED_PROBABILITY = 1e-4
"""If the first step moves the probability by less than this, the answer does not depend on what is visible."""


class ClassAsker:
    """Scores masked pictures.

    Args:
        engine: Composes and runs batches.
        x: ``[3, Hm, Wm]``, the intact picture, normalised, on the device.
        target: Class to explain; ``None``: the model's own answer.
        value: ``probability`` or ``logit``.
        on_batch: Told before each request.

    Attributes:
        target: Class that is explained.
        classes: Kept classes, the best first; the target is among them.
        probabilities: Of the kept classes on the intact picture.

    Raises:
        ProblemError: ``target_unknown`` if there is no such class.
    """

    def __init__(
        self, engine: Engine, x: Tensor, *, target: int | None, value: str, on_batch: Callable[[], None]
    ) -> None:
        self._engine = engine
        self._is_logit = value == "logit"
        self._on_batch = on_batch
        logits = engine.forward(x[None]).double()
        count = int(logits.shape[1])
        if target is not None and not 0 <= target < count:
            raise ProblemError(ProblemCode.TARGET_UNKNOWN, f"The model has the classes 0 to {count - 1}, not {target}.")
        chances = _probabilities(logits)[0]
        best = chances.argsort(descending=True, stable=True).tolist()
        self.target: int = best[0] if target is None else target
        kept = best[:KEPT_CLASSES]
        self.classes: list[int] = kept if self.target in kept else [*kept, self.target]
        self.probabilities: list[float] = [float(chances[index]) for index in self.classes]
        self._columns = [self.target, *(index for index in self.classes if index != self.target)]
        self.full: tuple[Floats, int] = (self._values(logits)[0].cpu().numpy(), -1)

    @property
    def n_games(self) -> int:
        """One game for each kept class, the target's first, and one for the target's probability."""
        return len(self._columns) + 1

    def column(self, index: int) -> int:
        """Returns the game of a kept class."""
        return self._columns.index(index)

    def ask(self, request: Request) -> tuple[Floats, Sequence[int]]:
        """Returns values ``[n, T]`` of masked pictures."""
        self._on_batch()
        scored = [one.scores for one in self._engine.masked_scores([request], score=self._values)]
        values: Floats = torch.cat(scored).double().cpu().numpy()
        return values, [-1] * len(values)

    def is_unmoved(self, game: Round) -> bool:
        """Returns whether nothing tried so far moved the target's probability."""
        chances = np.stack(game.rows)[:, -1]
        return bool(np.ptp(chances) < MOVED_PROBABILITY)

    def _values(self, logits: Tensor) -> Tensor:
        logits = logits.double()
        chances = _probabilities(logits)
        shown = logits if self._is_logit else chances
        return torch.cat([shown[:, self._columns], chances[:, self.target, None]], dim=1)


def _probabilities(logits: Tensor) -> Tensor:
    """Returns softmax over the classes; a network with a single output answers yes or no."""
    return logits.sigmoid() if logits.shape[1] == 1 else logits.softmax(dim=1)
