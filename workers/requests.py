"""What is asked of the engine, and how requests share batches."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workers.masks import Masks, Scene


@dataclass(frozen=True, eq=False)
class Request:
    """Masked pictures to score: one scene, one family of masks.

    Args:
        scene: Picture and substrate, from :meth:`workers.engine.Engine.scene`.
        masks: Which pixels stay visible, one mask per pass.
        key: Whatever the caller wants back with the scores.
    """

    scene: Scene
    masks: Masks
    key: Any = None


@dataclass(frozen=True, eq=False)
class Scored:
    """The answer to one request: ``scores`` is ``[masks.count, C]`` float32 on the device."""

    request: Request
    scores: Tensor


@dataclass(frozen=True, eq=False)
class Piece:
    """Masks ``start`` to ``stop`` (exclusive) of one request, inside a batch."""

    request: Request
    start: int
    stop: int

    @property
    def count(self) -> int:
        """Number of masks."""
        return self.stop - self.start


Batch = Sequence[Piece]


def rows_of(batch: Batch) -> int:
    """Returns the number of masked pictures in a batch."""
    return sum(piece.count for piece in batch)


def take_rows(batch: Batch, start: int, stop: int) -> list[Piece]:
    """Returns the pieces that make up rows ``start`` to ``stop`` (exclusive) of a batch."""
    found: list[Piece] = []
    row = 0
    for piece in batch:
        first, last = max(start - row, 0), min(stop - row, piece.count)
        if first < last:
            found.append(Piece(piece.request, piece.start + first, piece.start + last))
        row += piece.count
    return found


def fill_batches(requests: Iterable[Request | None], size: Callable[[], int]) -> Iterator[list[Piece]]:
    """Yields batches of exactly ``size()`` rows from requests in order; the last one may be smaller.

    Args:
        requests: ``None`` ends the batch at hand early. Requests without masks are passed over.
        size: Asked at the start of every batch, because batches may shrink on the way.
    """
    batch: list[Piece] = []
    room = size()
    for request in requests:
        if request is None and batch:
            yield batch
            batch, room = [], size()
        start = 0
        while request is not None and start < request.masks.count:
            stop = min(request.masks.count, start + room)
            batch.append(Piece(request, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield batch
                batch, room = [], size()
    if batch:
        yield batch


@dataclass
class Answers:
    """Collects the scores of requests that are spread over batches, in order."""

    _open: deque[tuple[Request, list[Tensor]]] = field(default_factory=deque)

    def add(self, batch: Batch, scores: Tensor) -> list[Scored]:
        """Returns the requests that these scores ``[rows, C]`` complete."""
        for piece, part in zip(batch, torch.split(scores, [piece.count for piece in batch]), strict=True):
            if not self._open or self._open[-1][0] is not piece.request:
                self._open.append((piece.request, []))
            self._open[-1][1].append(part)
        done: list[Scored] = []
        while self._open and sum(len(part) for part in self._open[0][1]) == self._open[0][0].masks.count:
            request, parts = self._open.popleft()
            done.append(Scored(request, torch.cat(parts)))
        return done
