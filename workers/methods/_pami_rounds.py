"""How PAMI runs over partitions: cut beside the forward passes, score in batches, paint what is complete, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.masks import LabelMasks, PlainMasks
from workers.methods import _pami_cuts as cuts
from workers.methods._pami_paint import Accumulator, second_round_picture
from workers.methods._pami_pool import Cutter
from workers.methods._pami_state import Outcome, Part, Scorer, View
from workers.methods._pami_watch import PassEstimate, StopWatch
from workers.requests import Request

Progress = Callable[[int, int, str], None]
ShowMap = Callable[[Callable[[], Tensor]], None]
"""Offered the target's map over complete partitions; calls for it when it is worth showing."""


class PartitionRun:
    """Scores the partitions of all views, in one or two rounds.

    Args:
        scorer: Knows target and kept classes.
        picture: ``[H, W, 3]`` uint8 as the network sees it.
        on_progress: Told ``(done, total, stage)`` in passes.
        on_map: Offered the map whenever it is complete enough to be shown.
        check_cancelled: Raises when the run is no longer wanted.
    """

    def __init__(
        self,
        scorer: Scorer,
        picture: NDArray[np.uint8],
        *,
        on_progress: Progress,
        on_map: ShowMap,
        check_cancelled: Callable[[], None],
    ) -> None:
        question = scorer.question
        self.size = (picture.shape[0], picture.shape[1])
        self.device = scorer.engine.model.device
        self.scorer = scorer
        shifts = cuts.list_views(self.size, question.preset, seed=question.view_seed)
        self.views = [scorer.first, *(View(shift, scorer.make_scene) for shift in shifts[1:])]
        self.indices = list(cuts.partition_indices(question.own is not None, question.regions_mode))
        self.rounds = 2 if question.preset == "thorough" else 1
        self.estimate = PassEstimate(len(self.views), self.indices, self.rounds)
        self.total = Accumulator(self.size, 1, self.device)
        self.on_map = on_map
        self._picture = picture
        self._on_progress = on_progress
        self._check_cancelled = check_cancelled

    def run(self) -> Outcome:
        """Returns maps and scores of all rounds."""
        notes: list[str] = []
        with Cutter(check_cancelled=self._check_cancelled) as cutter:
            rounds = [_Round(self, 1, self._picture, cutter)]
            rounds[0].run()
            if self.rounds == 2:
                guide, note = self._second_guide(rounds[0])
                if guide is not None:
                    rounds.append(_Round(self, 2, guide, cutter))
                    rounds[1].run()
                else:
                    notes.append(note)
                    self.estimate.rounds = 1
        self.tell("parts", is_last=True)
        return Outcome(
            parts=[part for each in rounds for part in each.parts],
            maps=rounds[0].accumulator.maps(),
            maps_round2=rounds[1].accumulator.maps() if len(rounds) > 1 else None,
            target_map=self.total.target_map(),
            spread=self.total.spread(),
            coverage=torch.full(self.size, self.total.count, dtype=torch.int32),
            views=self.views,
            rounds_used=len(rounds),
            views_used=max(each.views_done for each in rounds),
            has_stopped_early=any(each.views_done < len(self.views) for each in rounds),
            notes=notes,
            seconds_cutting=cutter.seconds,
        )

    def tell(self, stage: str, *, is_last: bool = False) -> None:
        """Reports progress in passes."""
        done = self.scorer.engine.passes
        self._on_progress(done, done if is_last else max(done, self.estimate.total()), stage)

    def _second_guide(self, first: _Round) -> tuple[NDArray[np.uint8] | None, str]:
        """Returns what the segmenters see in the second round, or None and why there is none."""
        if self.indices == [cuts.OWN]:
            return None, "Second round skipped: with your regions alone there is nothing to cut anew."
        heat = second_round_picture(first.accumulator.target_map().cpu())
        if heat is None:
            return None, "Second round skipped: the first map is flat."
        return heat.numpy(), ""


class _Round:
    """One round over all views; the segmenters see ``guide``, the model always sees the picture."""

    def __init__(self, run: PartitionRun, number: int, guide: NDArray[np.uint8], cutter: Cutter) -> None:
        self.accumulator = Accumulator(run.size, len(run.scorer.kept), run.device)
        self.parts: list[Part] = []
        self.views_done = 0
        self._run = run
        self._number = number
        self._guide = guide
        self._cutter = cutter
        self._pending: deque[Part] = deque()
        self._watch = StopWatch(run.scorer.question.early_stop, run.size)
        self._is_settled = False

    def run(self) -> None:
        """Scores and paints every view, or as many as it takes until the map has settled."""
        scorer = self._run.scorer
        for index, view in enumerate(self._run.views):
            wanted = [partition for partition in self._run.indices if cuts.GRIDS <= partition < cuts.OWN]
            self._cutter.submit(cuts.roll(self._guide, view.shift), index, wanted)
        precision = "fp32" if scorer.engine.fell_back else scorer.question.precision
        for answer in scorer.engine.masked_scores(self._requests(), score=scorer.phi, precision=precision):
            self._take(answer.request.key, answer.scores)
            self._paint()
            self._tell()
        self._paint()
        self._cutter.drop()

    def _requests(self) -> Iterator[Request | None]:
        for index, view in enumerate(self._run.views):
            if self._is_settled:
                return
            if view.plain is None:
                yield Request(view.scene, PlainMasks(self._run.size, self._run.device), key=view)
            for partition in self._run.indices:
                request = self._make_part(index, partition)
                if request is not None:
                    yield request
                if index == 0 and partition == cuts.GRIDS - 1:
                    yield None  # the grids are there at once: answered before anything waits for the segmenters
            if self._run.scorer.question.early_stop is not None:
                yield None
                self._paint()

    def _make_part(self, index: int, partition: int) -> Request | None:
        """Notes one partition; returns the request for its scores unless they are known without passes."""
        view = self._run.views[index]
        labels = self._cut(view, index, partition)
        identity = labels.tobytes()
        in_picture = cuts.roll(labels, (-view.shift[0], -view.shift[1]))
        part = Part(self._number, index, partition, in_picture, np.bincount(labels.ravel()).astype(np.int64))
        part.same_as = view.scored.get(identity)
        self.parts.append(part)
        self._pending.append(part)
        self._run.estimate.add(self._number, index, partition, identity, part.count)
        if part.same_as is not None or part.count == 1:
            return None
        view.scored[identity] = part
        on_device = torch.from_numpy(labels).to(self._run.device)
        return Request(view.scene, LabelMasks(on_device, part.count), key=part)

    def _cut(self, view: View, index: int, partition: int) -> NDArray[np.int16]:
        own = self._run.scorer.question.own
        if partition == cuts.OWN and own is not None:
            return cuts.roll(own.astype(np.int16), view.shift)
        if partition < cuts.GRIDS:
            return cuts.cut(self._guide, partition).astype(np.int16)
        return self._cutter.take(index, partition)

    def _take(self, key: Part | View, scores: Tensor) -> None:
        if isinstance(key, View):
            key.plain = scores
        else:
            self._run.scorer.keep(self._run.views[key.view], key, scores)

    def _paint(self) -> None:
        """Paints, in order, every partition whose scores are known."""
        while self._pending and self._is_ready(self._pending[0]):
            part = self._pending.popleft()
            assert part.labels is not None
            assert part.scores is not None
            labels = torch.from_numpy(part.labels).to(self._run.device)
            self.accumulator.add(labels, part.scores)
            self._run.total.add(labels, part.scores[:, :1])
            is_view_done = self.accumulator.count % len(self._run.indices) == 0
            if is_view_done:
                self.views_done += 1
                self._is_settled = self._watch.is_settled(self.accumulator.target_map())
            if is_view_done or (self._number == 1 and part.view == 0):
                self._run.on_map(self._run.total.target_map)

    def _is_ready(self, part: Part) -> bool:
        view = self._run.views[part.view]
        if part.count == 1 and part.scores is None and view.plain is not None:
            self._run.scorer.keep(view, part, view.plain[:1])  # one region is the whole picture
        return part.is_scored()

    def _tell(self) -> None:
        for index, partition, labels in self._cutter.newly_done():
            self._run.estimate.add(self._number, index, partition, labels.tobytes(), int(labels.max()) + 1)
        self._run.tell(f"round {self._number} of 2" if self._run.rounds == 2 else "parts")
