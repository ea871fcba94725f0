"""Puts a PAMI run into arrays, layers, regions, scalars and a class table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.results import Box, ClassScore, Column, Encoding, Layer, Region, Scalar, Table
from workers.method import MapArray, Result
from workers.methods import _pami_cuts as cuts
from workers.methods import _pami_parts as parts
from workers.methods._pami_paint import find_peak
from workers.methods._pami_parts import BestPart, PartTable, known
from workers.methods._pami_scores import Score
from workers.methods._pami_state import Outcome, Part, Scorer
from workers.methods._pami_texts import UNITS, Findings, write_texts

ENDS = ("not enough alone", "enough alone")
GAIN_ENDS = ("less than the background", "more than the background")
COLUMNS = (
    Column(key="above", title="Above background", digits=2, hint="Score minus what the background alone scores."),
    Column(key="own_class", title="Own answer", hint="What the model answers when it sees this part alone."),
    Column(key="own_score", title="Its score", digits=2),
    Column(key="source", title="Cut", hint="What cut the picture here."),
    Column(key="view", title="Shift", hint="Rows and columns by which the picture was shifted before cutting."),
    Column(key="round", title="Round"),
    Column(key="wraps", title="Wraps", hint="Whether the part crosses the picture's edge; the box shows one side."),
)


@dataclass(frozen=True, eq=False)
class Reporter:
    """Knows where the maps lie on the picture and what the classes are called.

    Args:
        scorer: Knows target, kept classes and the answers for picture and background.
        frame: Rectangle of the picture that the model's input covers.
        seen: The same, clipped to the picture.
        class_names: All names; may be empty.
        substrate: Name of the background.
    """

    scorer: Scorer
    frame: Box
    seen: Box
    class_names: tuple[str, ...]
    substrate: str

    def label(self, index: int) -> str:
        """Returns the name of a class."""
        return self.class_names[index] if index < len(self.class_names) else f"class {index}"

    def classes(self) -> list[ClassScore]:
        """Returns the kept classes with their scores on the intact picture, best first."""
        scores = self.scorer.plain[0].cpu()
        found = [ClassScore(index=i, label=self.label(i), score=float(scores[i])) for i in self.scorer.kept]
        return sorted(found, key=lambda item: -item.score)

    def plain_scalars(self) -> dict[str, Scalar]:
        """Returns the target's probability for the whole picture and for the background alone."""
        intact, hidden = self.scorer.probabilities[:, self.scorer.target].tolist()
        return {"p_intact": intact, "p_substrate": hidden}

    def partial(self, heat: Tensor | None, *, shape: tuple[int, int]) -> Result:
        """Returns an intermediate result: the answers for picture and background, and the map so far.

        Args:
            heat: ``[H, W]`` of the target over complete partitions; None before there is one.
            shape: Height and width of the model's input.
        """
        arrays = {"scores_intact": MapArray(self.scorer.plain[0].cpu().numpy())}
        layers: tuple[Layer, ...] = ()
        if heat is not None:
            values = heat.to(torch.float16).cpu().numpy()
            arrays["target_map"] = MapArray(values.reshape(shape), self.frame)
            layers = (self._target_layer(),)
        return Result(
            arrays=arrays,
            layers=layers,
            classes=self.classes(),
            scalars=self.plain_scalars(),
            target=self.scorer.target,
        )

    def result(self, outcome: Outcome) -> Result:
        """Returns the final result."""
        question = self.scorer.question
        table = parts.list_parts(outcome)
        best = parts.best_parts(outcome, table, radius=question.radius)
        arrays = self._arrays(outcome, table, best)
        scalars = self._scalars(outcome, table)
        findings = Findings(
            target=self.label(self.scorer.target),
            score=question.score,
            substrate=self.substrate,
            scalars=scalars,
            best=float(table.scores.max()),
            is_weighted=question.area_power > 0,
            has_fallen_back=self.scorer.engine.fell_back,
            notes=tuple(outcome.notes),
        )
        return Result(
            arrays=arrays,
            layers=self._layers(outcome),
            regions=self._regions(outcome, table, best, arrays["best_parts"].data),
            region_columns=COLUMNS,
            tables=(self._class_table(outcome),),
            classes=self.classes(),
            scalars=scalars,
            texts=write_texts(findings),
            target=self.scorer.target,
        )

    def _arrays(self, outcome: Outcome, table: PartTable, best: list[BestPart]) -> dict[str, MapArray]:
        size = (int(outcome.target_map.shape[0]), int(outcome.target_map.shape[1]))
        maps: dict[str, NDArray[Any]] = {
            "target_map": _numbers(outcome.target_map),
            "maps": _numbers(outcome.maps),
            "spread": _numbers(outcome.spread),
            "coverage": outcome.coverage.cpu().numpy().astype(np.int32),
            "best_parts": parts.draw_best(best, size),
        }
        if outcome.maps_round2 is not None:
            maps["maps_round2"] = _numbers(outcome.maps_round2)
        shown = _identity_cuts(outcome)
        if shown:
            maps["partition_labels"] = np.stack([_labels(part) for part in shown])
            maps["partition_scores"] = np.stack([_painted(part) for part in shown])
        lists: dict[str, NDArray[Any]] = {
            "region_scores": torch.cat([known(part.scores) for part in outcome.parts]).cpu().numpy(),
            "region_index": table.index,
            "region_top": torch.cat([known(part.top) for part in outcome.parts]).cpu().numpy(),
            "kept_classes": np.array(self.scorer.kept, np.int32),
            "scores_intact": self.scorer.plain[0].cpu().numpy(),
            "scores_substrate": self.scorer.plain[1].cpu().numpy(),
        }
        if outcome.centres is not None:
            lists["centres"] = outcome.centres.numpy()
        if self.scorer.question.keep_scores:
            lists["all_scores"] = torch.cat([known(part.all_scores) for part in outcome.parts]).numpy()
            if outcome.centres is None:
                maps["all_labels"] = np.stack([_labels(part) for part in outcome.parts])
        framed = {name: MapArray(data, self.frame) for name, data in maps.items()}
        return framed | {name: MapArray(data) for name, data in lists.items()}

    def _target_layer(self) -> Layer:
        return self._map_layer("target_map", self.label(self.scorer.target), "target_map", target=self.scorer.target)

    def _map_layer(
        self,
        name: str,
        title: str,
        array: str,
        *,
        index: int | None = None,
        target: int | None = None,
        role: str = "main",
    ) -> Layer:
        score = self.scorer.question.score
        is_gain = score is Score.PROBABILITY_GAIN
        return Layer(
            name=name,
            title=title,
            array=array,
            index=index,
            encoding=Encoding.SIGNED if is_gain else Encoding.SEQUENTIAL,
            range=score.range if self.scorer.question.area_power == 0 else None,
            ends=GAIN_ENDS if is_gain else ENDS,
            unit=UNITS[score],
            target=target,
            role=role,
        )

    def _layers(self, outcome: Outcome) -> list[Layer]:
        kept = enumerate(self.scorer.kept)
        classes = [
            self._map_layer(f"class_{index}", self.label(index), "maps", index=at, target=index) for at, index in kept
        ]
        layers = [self._target_layer(), *classes]
        if outcome.maps_round2 is not None:
            layers.append(self._map_layer("round_2", "Second round", "maps_round2", index=0, role="detail"))
        spread = Layer(
            name="spread",
            title="Spread",
            array="spread",
            encoding=Encoding.SEQUENTIAL,
            ends=("parts agree", "parts disagree"),
            unit=UNITS[self.scorer.question.score],
            role="detail",
        )
        best = Layer(
            name="best_parts",
            title="Best parts",
            array="best_parts",
            encoding=Encoding.LABELS,
            ends=("one colour: one part, smaller parts on top", ""),
            smooth=False,
            role="detail",
        )
        return [*layers, spread, best, *self._cut_layers(outcome)]

    def _cut_layers(self, outcome: Outcome) -> list[Layer]:
        """Returns one layer per cut of the unshifted picture, its parts filled with their scores."""
        layers = []
        for at, part in enumerate(_identity_cuts(outcome)):
            title = f"Cut {at + 1}: {_source(part).title}, {part.count} parts"
            layer = self._map_layer(f"cut_{at + 1}", title, "partition_scores", index=at, role="detail")
            layers.append(layer.model_copy(update={"smooth": False, "range": self.scorer.question.score.range}))
        return layers

    def _scalars(self, outcome: Outcome, table: PartTable) -> dict[str, Scalar]:
        question, engine = self.scorer.question, self.scorer.engine
        heat = outcome.target_map
        row, column, ties = find_peak(heat)
        left, top, right, bottom = self._to_picture((row, column, row + 1, column + 1))
        return {
            **self.plain_scalars(),
            "map_max": float(heat.max()),
            "map_min": float(heat.min()),
            "map_range": float(heat.max() - heat.min()),
            "peak_x": (left + right) / 2,
            "peak_y": (top + bottom) / 2,
            "peak_ties": ties,
            "smallest_sufficient_area": self._sufficient(outcome, table),
            "area_rank_correlation": parts.area_rank_correlation(table),
            "regions": len(table.scores),
            "passes": engine.passes,
            "views_used": outcome.views_used,
            "rounds_used": outcome.rounds_used,
            "stopped_early": outcome.has_stopped_early,
            "seconds_segmentation": outcome.seconds_cutting,
            "seconds_forward": engine.seconds,
            "area_power": question.area_power,
        }

    def _sufficient(self, outcome: Outcome, table: PartTable) -> float | None:
        if not self.scorer.question.score.knows_probability:
            return None
        views = [outcome.parts[owner].view for owner in table.owner.tolist()]
        per_view = [float(self.scorer.base(view)) if view.plain is not None else 0.0 for view in outcome.views]
        bases = np.array(per_view, np.float32)[views]
        half = float(self.scorer.probabilities[0, self.scorer.target]) / 2
        area = parts.smallest_sufficient_area(table, half, bases=bases)
        return None if area is None else area / outcome.target_map.numel()

    def _regions(
        self, outcome: Outcome, table: PartTable, best: list[BestPart], drawn: NDArray[np.generic]
    ) -> list[Region]:
        visible = set(np.unique(drawn).tolist())
        tops = torch.cat([known(part.top) for part in outcome.parts]).cpu()
        regions = []
        for rank, item in enumerate(best):
            view = outcome.views[item.part.view]
            score = float(table.scores[item.row])
            background = float(known(view.plain)[1, self.scorer.target])
            top_class, top_score = tops[item.row].tolist()
            values: dict[str, Scalar] = {
                "above": score + float(self.scorer.base(view)) - background,
                "own_class": self.label(int(top_class)),
                "own_score": top_score,
                "source": _source(item.part).title,
                "view": "none" if view.shift == (0, 0) else f"{view.shift[0]:+d}, {view.shift[1]:+d} px",
                "round": item.part.round,
                "wraps": item.wraps,
            }
            regions.append(
                Region(
                    id=rank,
                    label=f"Part {rank + 1}",
                    score=score,
                    area=float(item.mask.mean()),
                    box=self._to_picture(item.box),
                    colour=rank,
                    layer="best_parts" if rank in visible else None,
                    values=values,
                )
            )
        return regions

    def _class_table(self, outcome: Outcome) -> Table:
        columns = (
            Column(key="class", title="Class"),
            Column(key="intact", title="Whole picture", digits=2),
            Column(key="substrate", title="Background", digits=2),
            Column(key="maximum", title="Map maximum", digits=2),
            Column(key="where", title="Where", hint="Pixels from the left and from the top of the picture."),
        )
        plain = self.scorer.plain.cpu()
        rows: list[tuple[Scalar, ...]] = []
        for at, index in enumerate(self.scorer.kept):
            row, column, ties = find_peak(outcome.maps[at])
            left, top, right, bottom = self._to_picture((row, column, row + 1, column + 1))
            where = f"{(left + right) / 2:.0f}, {(top + bottom) / 2:.0f}" + (f" ({ties} tie)" if ties > 1 else "")
            scores = (float(plain[0, index]), float(plain[1, index]), float(outcome.maps[at].max()))
            rows.append((self.label(index), *scores, where))
        return Table(name="classes", title="Classes", columns=columns, rows=tuple(rows))

    def _to_picture(self, box: tuple[int, int, int, int]) -> Box:
        """Returns (top, left, bottom, right) in input pixels as a box of the picture, clipped to what was seen."""
        height, width = self._input_size()
        across, down = (self.frame.right - self.frame.left) / width, (self.frame.bottom - self.frame.top) / height
        top, left, bottom, right = box
        whole = Box(
            self.frame.left + left * across,
            self.frame.top + top * down,
            self.frame.left + right * across,
            self.frame.top + bottom * down,
        )
        clipped = Box(
            max(whole.left, self.seen.left),
            max(whole.top, self.seen.top),
            min(whole.right, self.seen.right),
            min(whole.bottom, self.seen.bottom),
        )
        is_empty = clipped.left >= clipped.right or clipped.top >= clipped.bottom
        return whole if is_empty else clipped

    def _input_size(self) -> tuple[int, int]:
        picture = self.scorer.first.scene.picture
        return int(picture.shape[1]), int(picture.shape[2])


def _identity_cuts(outcome: Outcome) -> list[Part]:
    return [part for part in outcome.parts if part.round == 1 and part.view == 0 and part.labels is not None]


def _labels(part: Part) -> NDArray[np.int16]:
    assert part.labels is not None
    return part.labels


def _painted(part: Part) -> NDArray[np.float16]:
    return known(part.scores)[:, 0].half().cpu().numpy()[_labels(part)]


def _numbers(values: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(values.float().cpu().numpy())


def _source(part: Part) -> cuts.Source:
    if part.partition < 0:
        return cuts.Source("disc", 0)
    return cuts.SOURCES[part.partition] if part.partition < cuts.OWN else cuts.Source("own", 0)
