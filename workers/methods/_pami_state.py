"""What a PAMI run is asked and what it holds on to: question, views, parts, outcome."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from workers.engine import Engine
from workers.masks import Scene
from workers.methods._pami_cuts import Labels, Shift
from workers.methods._pami_scores import Score, probabilities, score_logits


@dataclass(frozen=True, eq=False)
class Question:
    """What is asked, checked against nothing yet but itself.

    Args:
        preset: ``fast``, ``standard``, ``thorough`` or ``window``.
        score: The number given to each part.
        target: Class asked for; None: the model's answer.
        classes: Further classes to keep.
        top_k: How many classes to keep.
        own: The user's partition ``[H, W]`` on the model's input, or None.
        regions_mode: ``add`` or ``only``.
        view_seed: Draws the shifts.
        early_stop: Correlation at which more views are given up, or None.
        precision: Of the network's body.
        keep_scores: Whether all class scores are kept.
        area_power: Exponent of (median area / area).
        radius: Of discs, in pixels.
        stride: Of discs, in pixels.
    """

    preset: str
    score: Score
    target: int | None = None
    classes: tuple[int, ...] = ()
    top_k: int = 10
    own: Labels | None = None
    regions_mode: str = "add"
    view_seed: int | None = None
    early_stop: float | None = None
    precision: str = "auto"
    keep_scores: bool = False
    area_power: float = 0.0
    radius: float = 40.0
    stride: float = 6.0

    def choose_classes(self, intact: Tensor) -> tuple[int, tuple[int, ...]]:
        """Returns the target and the kept classes, the target first.

        Args:
            intact: ``[C]`` raw outputs for the whole picture.

        Raises:
            ProblemError: ``target_unknown`` if a class does not exist.
        """
        count = len(intact)
        for index in (*self.classes, *(() if self.target is None else (self.target,))):
            if not 0 <= index < count:
                raise ProblemError(
                    ProblemCode.TARGET_UNKNOWN, f"The model has the classes 0 to {count - 1}, not {index}."
                )
        best = torch.sort(intact.cpu(), descending=True, stable=True).indices.tolist()
        target = best[0] if self.target is None else self.target
        asked = list(dict.fromkeys((target, *self.classes)))
        wanted = max(min(self.top_k, count), len(asked))
        return target, tuple(dict.fromkeys((*asked, *best)))[:wanted]


@dataclass(eq=False)
class Part:
    """All regions of one partition, in the order of their labels; or all discs.

    Args:
        round: 1 or 2.
        view: Index of the view.
        partition: Index within the view; -1 for discs.
        labels: ``[H, W]`` int16 in picture coordinates; None for discs.
        areas: ``[R]`` pixels.
        same_as: An equal partition of the same view that is scored already.
        scores: ``[R, k]`` of the kept classes, on the device, once known.
        top: ``[R, 2]``: own best class and its score.
        all_scores: ``[R, C]`` float16 on the CPU, only when asked for.
    """

    round: int
    view: int
    partition: int
    labels: NDArray[np.int16] | None
    areas: NDArray[np.int64]
    same_as: Part | None = None
    scores: Tensor | None = None
    top: Tensor | None = None
    all_scores: Tensor | None = None

    @property
    def count(self) -> int:
        """Number of regions."""
        return len(self.areas)

    def is_scored(self) -> bool:
        """Returns whether the scores are there, taking them over from the equal partition when there is one."""
        twin = self.same_as
        if self.scores is None and twin is not None and twin.scores is not None:
            self.scores, self.top, self.all_scores = twin.scores, twin.top, twin.all_scores
        return self.scores is not None


@dataclass(eq=False)
class View:
    """One circular shift of the picture.

    Args:
        shift: Rows and columns.
        make_scene: Builds picture and substrate of a shift, normalised, on the device.
        plain: Scores ``[2, C]`` of the whole picture and of the substrate, once known, before a background is
            subtracted.
        scored: Partitions with passes of their own, by the bytes of their labels.
    """

    shift: Shift
    make_scene: Callable[[Shift], Scene]
    plain: Tensor | None = None
    scored: dict[bytes, Part] = field(default_factory=dict)

    @cached_property
    def scene(self) -> Scene:
        """Picture and substrate of this view."""
        return self.make_scene(self.shift)


@dataclass(eq=False)
class Outcome:
    """What a run found, before it is put into words. Maps are on the device, ``k`` kept classes, target first.

    Args:
        parts: Every partition of every round, in order.
        maps: ``[k, H, W]``, round one.
        target_map: ``[H, W]``, mean over all partitions of all rounds.
        spread: ``[H, W]``, standard deviation over partitions.
        coverage: ``[H, W]`` int32, parts holding each pixel.
        views: In order; those that were not reached have no ``plain``.
        maps_round2: ``[k, H, W]`` or None.
        centres: ``[R, 2]`` of discs or None.
        rounds_used: 1 or 2.
        views_used: Views of the longest round.
        has_stopped_early: Whether views were left out because the map had settled.
        notes: Choices made on the way.
        seconds_cutting: Processor time of all segmenters.
    """

    parts: list[Part]
    maps: Tensor
    target_map: Tensor
    spread: Tensor
    coverage: Tensor
    views: list[View]
    maps_round2: Tensor | None = None
    centres: Tensor | None = None
    rounds_used: int = 1
    views_used: int = 1
    has_stopped_early: bool = False
    notes: list[str] = field(default_factory=list)
    seconds_cutting: float = 0.0


class Scorer:
    """Asks the model about the intact picture first, then reduces the scores of parts to the kept classes.

    Args:
        question: What is asked.
        engine: Runs the model.
        make_scene: Builds picture and substrate of a shift.

    Attributes:
        target: The explained class.
        kept: Kept classes, the target first.
        probabilities: ``[2, C]``: whole picture and substrate, identity view.
        first: The identity view.
    """

    def __init__(self, question: Question, engine: Engine, make_scene: Callable[[Shift], Scene]) -> None:
        self.question = question
        self.engine = engine
        self.make_scene = make_scene
        self.first = View((0, 0), make_scene)
        scene = self.first.scene
        logits = engine.forward(torch.stack((scene.picture, scene.substrate)))
        self.target, self.kept = question.choose_classes(logits[0])
        self.probabilities = probabilities(logits, question.score)
        self.first.plain = self.phi(logits)
        self._columns = torch.tensor(self.kept, device=logits.device)

    @property
    def plain(self) -> Tensor:
        """Scores of the whole picture and of the substrate, identity view, ``[2, C]``."""
        return self._on_scale(self._plain_of(self.first), self.first)

    def phi(self, logits: Tensor) -> Tensor:
        """Returns scores ``[n, C]`` as the engine collects them, before a background is subtracted."""
        return score_logits(logits, self.question.score)

    def keep(self, view: View, part: Part, raw: Tensor) -> None:
        """Stores what is kept of the scores ``[R, C]`` of one part of a view; see :meth:`phi`."""
        scores = self._on_scale(raw, view)
        best = raw.argmax(dim=1)
        part.scores = scores[:, self._columns]
        part.top = torch.stack((best.to(scores.dtype), scores.gather(1, best[:, None])[:, 0]), dim=1)
        if self.question.keep_scores:
            part.all_scores = scores.half().cpu()

    def base(self, view: View) -> Tensor:
        """Returns what a part's score lacks to be the target's probability: a gain's background, else 0."""
        if self.question.score is Score.PROBABILITY_GAIN:
            return self._plain_of(view)[1, self.target].cpu()
        return torch.tensor(0.0)

    def _on_scale(self, raw: Tensor, view: View) -> Tensor:
        if self.question.score is not Score.PROBABILITY_GAIN:
            return raw
        return raw - self._plain_of(view)[1]

    @staticmethod
    def _plain_of(view: View) -> Tensor:
        if view.plain is None:
            raise RuntimeError("the substrate of this view was not scored yet")
        return view.plain
