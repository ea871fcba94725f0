"""How PAMI runs over overlapping discs instead of partitions."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from workers.masks import DiscMasks
from workers.methods._pami_paint import WindowPainter, disc_areas, scoring_order, window_centres
from workers.methods._pami_rounds import Progress, ShowMap
from workers.methods._pami_state import Outcome, Part, Scorer
from workers.requests import Request

DISCS_PER_REQUEST = 64


class WindowRun:
    """Scores discs, every fourth one first, so that early maps cover the whole picture.

    Args:
        scorer: Knows target and kept classes.
        size: Height and width of the model's input in pixels.
        on_progress: Told ``(done, total, stage)`` in passes.
        on_map: Offered the map after each chunk of discs; NaN where no disc was scored yet.
    """

    def __init__(self, scorer: Scorer, size: tuple[int, int], *, on_progress: Progress, on_map: ShowMap) -> None:
        self._scorer = scorer
        self._size = size
        self._on_progress = on_progress
        self._on_map = on_map
        self._device = scorer.engine.model.device
        question = scorer.question
        self._radius = question.radius
        self._centres = window_centres(size, question.radius, question.stride)
        self._order = scoring_order(self._centres, question.stride)

    def run(self) -> Outcome:
        """Returns maps and scores of all discs."""
        painter = WindowPainter(self._radius, self._size)
        chunks: list[Part] = []
        total = len(self._centres) + 2
        question, first = self._scorer.question, self._scorer.first
        for answer in self._scorer.engine.masked_scores(
            self._requests(), score=self._scorer.phi, precision=question.precision
        ):
            chunk = Part(1, 0, -1, None, np.zeros(len(answer.scores), np.int64))
            self._scorer.keep(first, chunk, answer.scores)
            chunks.append(chunk)
            painter.add(answer.request.key, _known(chunk.scores))
            self._on_map(lambda: painter.mean()[0])
            self._on_progress(self._scorer.engine.passes, total, "discs")
        return self._finish(painter, chunks)

    def _requests(self) -> Iterator[Request]:
        for chosen in torch.split(self._order, DISCS_PER_REQUEST):
            centres = self._centres[chosen]
            masks = DiscMasks(centres.to(self._device), self._radius, self._size)
            yield Request(self._scorer.first.scene, masks, key=centres)

    def _finish(self, painter: WindowPainter, chunks: list[Part]) -> Outcome:
        coverage = painter.count.cpu()
        uncovered = int((coverage == 0).sum())
        if uncovered:
            raise ValueError(f"{uncovered} pixels lie in no disc")
        part = Part(1, 0, -1, None, disc_areas(self._centres, self._radius, self._size).numpy())
        part.scores = self._in_order([_known(chunk.scores) for chunk in chunks])
        part.top = self._in_order([_known(chunk.top) for chunk in chunks])
        if self._scorer.question.keep_scores:
            part.all_scores = self._in_order([_known(chunk.all_scores) for chunk in chunks])
        maps = painter.mean()
        return Outcome(
            parts=[part],
            maps=maps,
            target_map=maps[0],
            spread=disc_spread(self._centres, self._radius, part.scores[:, 0], self._size),
            coverage=coverage,
            views=[self._scorer.first],
            centres=self._centres,
        )

    def _in_order(self, chunks: list[Tensor]) -> Tensor:
        """Returns rows that were scored in :func:`scoring_order` in the order of the centres."""
        rows = torch.cat(chunks)
        sorted_rows = torch.empty_like(rows)
        sorted_rows[self._order.to(rows.device)] = rows
        return sorted_rows


def _known(values: Tensor | None) -> Tensor:
    if values is None:
        raise RuntimeError("these discs were not scored yet")
    return values


def disc_spread(centres: Tensor, radius: float, scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns the standard deviation over the discs that hold each pixel, ``[H, W]`` float32.

    Args:
        centres: ``[R, 2]``.
        radius: In pixels.
        scores: ``[R]``.
        size: Height and width in pixels.
    """
    centred = scores.cpu().double() - scores.cpu().double().mean()
    painter = WindowPainter(radius, size)
    painter.add(centres.cpu(), torch.stack((centred, centred.square()), dim=1))
    moments = painter.mean()
    variance = moments[1] - moments[0].square()
    return variance.clamp(min=0).sqrt().float()
