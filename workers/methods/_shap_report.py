"""Writes what a game found as arrays, layers, a region table and numbers; what both methods have in common."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from backend.contract.results import ClassScore, Column, Encoding, Layer, Region, Scalar, Table, Texts
from models.preprocessing import Preprocessing
from workers.method import MapArray, Result
from workers.methods._shap_curves import Curves, score
from workers.methods._shap_cuts import Cut
from workers.methods._shap_filling import filling_pixels
from workers.methods._shap_game import Outcome, Round
from workers.methods._shap_params import FILLINGS
from workers.methods._shap_robust import Robustness
from workers.methods._shap_view import View, sample

Floats = NDArray[np.float64]

LEAST_DELTA = 0.02
"""Below this, shares of the total effect say nothing and are left out."""
LEAST_RANGE = 0.01
FEW = 3
DRAWN_SIDE = 192
"""Longest side in pixels of maps that only repeat region values for one word, class or filling."""
MOST_EXACT = 53
SIGNED_ENDS = ("moves it away (-)", "supports it (+)")


@dataclass(frozen=True, eq=False)
class Found:
    """Everything known at one moment of a run.

    Args:
        stage: ``regions``, ``preview``, ``refined`` or ``final``.
        outcome: Of the main game; ``None`` before it began.
        curves: Check curves, if they were drawn.
        robustness: The game with all fillings, if asked for.
        is_complete: Whether this is the stored result.
    """

    stage: str
    outcome: Outcome | None = None
    curves: Curves | None = None
    robustness: Robustness | None = None
    is_complete: bool = False


class Report(ABC):
    """Draws results of one run.

    Args:
        view: What the model sees.
        cut: The regions.
        game: The main game.
        preprocessing: Of the model, to draw the filling.
        unit: Of the values: ``cosine``, ``probability`` or ``logit``.

    Attributes:
        limits: What is true of every such map.
        notes: What was chosen or replaced on the way.
    """

    limits: ClassVar[Sequence[str]] = ()

    def __init__(self, view: View, cut: Cut, game: Round, preprocessing: Preprocessing, unit: str) -> None:
        self.view = view
        self.cut = cut
        self.game = game
        self.unit = unit
        self.shown_unit = "closeness" if unit == "cosine" else unit
        self.notes: list[str] = list(cut.notes)
        self._labels = cut.regions.labels
        height, width = view.size
        shrink = min(1.0, DRAWN_SIDE / max(height, width))
        small = max(1, round(height * shrink)), max(1, round(width * shrink))
        self._small = sample(self._labels, view.seen, view.seen, small)
        self._filling = filling_pixels(game, preprocessing)

    def result(self, found: Found) -> Result:
        """Returns everything that is known."""
        arrays, layers = self._regions_drawn()
        scalars: dict[str, Scalar] = {"stage": found.stage, **self._scalars(found)}
        tables: list[Table] = []
        if found.outcome is not None:
            self._add_values(found, arrays, layers)
            self._add_details(found, arrays, tables, scalars)
        if found.robustness is not None:
            self._add_robustness(found.robustness, arrays, layers, tables, scalars)
        return Result(
            arrays=arrays,
            layers=layers,
            regions=self._regions(found.outcome),
            region_columns=self.columns(),
            tables=tables,
            classes=self.classes(),
            caption=self.caption(),
            scalars=scalars,
            texts=Texts(
                reading=self.reading(found),
                badge=_badge(found),
                cautions=tuple(self.cautions(found)),
                notes=tuple(dict.fromkeys((*self.notes, *self.limits))),
            ),
            target=self.target(),
            seen=self.view.seen,
        )

    # What differs between captions and classes

    @abstractmethod
    def columns(self) -> Sequence[Column]:
        """Returns the headings of the region table."""

    @abstractmethod
    def region_words(self, only: int | None, without: int | None) -> dict[str, Scalar]:
        """Returns what the model says of a region alone and without it, by the numbers of the captions."""

    @abstractmethod
    def reading(self, found: Found) -> str:
        """Returns one or two sentences for people."""

    @abstractmethod
    def cautions(self, found: Found) -> list[str]:
        """Returns what must be read with the values."""

    @abstractmethod
    def _add_details(
        self,
        found: Found,
        arrays: dict[str, MapArray],
        tables: list[Table],
        scalars: dict[str, Scalar],
    ) -> None:
        """Adds words, classes, captions and settings."""

    def hidden_words(self, game: Round) -> str | None:  # noqa: ARG002 - captions have them
        """Returns what the model says of the fully hidden picture."""
        return None

    def classes(self) -> Sequence[ClassScore]:
        """Returns the kept classes."""
        return ()

    def caption(self) -> str | None:
        """Returns the caption of the intact picture."""
        return None

    def target(self) -> int | None:
        """Returns the explained class."""
        return None

    # What they share

    def paint(self, name: str, values: Floats, arrays: dict[str, MapArray]) -> None:
        """Adds ``[n, h, w]``, values ``[n, M0]`` painted onto the regions at a small size."""
        arrays[name] = MapArray(values.astype(np.float32)[:, self._small], self.view.seen)

    def signed(self, name: str, title: str, array: str, *, most: float, unit: str, index: int | None = None) -> Layer:
        """Returns a signed layer whose colours are symmetric about 0."""
        limit = max(most, LEAST_RANGE)
        return Layer(
            name=name,
            title=title,
            array=array,
            index=index,
            encoding=Encoding.SIGNED,
            range=(-limit, limit),
            ends=SIGNED_ENDS,
            unit=unit,
            smooth=False,
            role="main" if index is None else "detail",
        )

    def share(self, outcome: Outcome, region: int) -> float | None:
        """Returns a region's part of the total effect, ``None`` where that is too small to be divided."""
        delta = float(outcome.delta[0])
        return float(outcome.phi[region, 0]) / delta if abs(delta) >= LEAST_DELTA else None

    def top(self, outcome: Outcome) -> int:
        """Returns the region with the largest value."""
        return int(np.argmax(outcome.phi[:, 0]))

    def alone(self, outcome: Outcome, region: int) -> tuple[list[int], list[int]]:
        """Returns the coalitions "only this region" and "all but this one" as players."""
        ids = list(outcome.round.players.ids)
        if region not in ids:
            return [], list(range(len(ids)))
        player = ids.index(region)
        return [player], [other for other in range(len(ids)) if other != player]

    def warnings(self, found: Found) -> list[str]:
        """Returns what the checks say against the values, if anything."""
        said = []
        curves, robust = found.curves, found.robustness
        if found.outcome is not None and _is_flat(found.outcome):
            said.append(
                "Every region counts about the same: the answer breaks down whichever region is hidden, so the holes "
                "themselves may do it. Try another filling."
            )
        if curves is not None and self.game.players.count > 1 and score(curves.deletion) > score(curves.random_order):
            said.append("Hiding the regions in the order of their values does no more than hiding them in any order.")
        verdict = None if robust is None else robust.verdict()
        if verdict in ("unstable", "partly"):
            words = "changes" if verdict == "unstable" else "partly changes"
            said.append(f"The order of the regions {words} with the filling of hidden places; see the other fillings.")
        return said

    def _regions_drawn(self) -> tuple[dict[str, MapArray], list[Layer]]:
        seen, regions = self.view.seen, self.cut.regions
        arrays = {
            "labels": MapArray(self._labels.astype(np.int16), seen),
            "filling": MapArray(self._filling, self.view.frame),
        }
        layers = [
            Layer(
                name="regions",
                title="Regions",
                array="labels",
                encoding=Encoding.LABELS,
                ends=("Numbered parts of the picture; their colours have no meaning", ""),
                smooth=False,
            )
        ]
        if regions.scores is not None and self.cut.frame is not None:
            arrays["scores"] = MapArray(regions.scores, self.cut.frame)
            layers += [
                Layer(
                    name=f"factor {index + 1}",
                    title=f"Soft factor of region {index + 1}",
                    array="scores",
                    index=index,
                    encoding=Encoding.SEQUENTIAL,
                    ends=("absent", "strong"),
                    role="detail",
                )
                for index in range(len(regions.scores))
            ]
        layers.append(
            Layer(
                name="hidden",
                title="What hidden regions show",
                array="filling",
                encoding=Encoding.RGB,
                smooth=False,
                role="detail",
            )
        )
        return arrays, layers

    def _add_values(self, found: Found, arrays: dict[str, MapArray], layers: list[Layer]) -> None:
        outcome = found.outcome
        assert outcome is not None
        phi = outcome.phi[:, 0]
        arrays["contribution"] = MapArray(phi.astype(np.float32)[self._labels], self.view.seen)
        layers.insert(
            0,
            self.signed(
                "contribution", "Contribution", "contribution", most=float(np.abs(phi).max()), unit=self.shown_unit
            ),
        )
        first, last = self._first_and_last(outcome)
        numbers = {"phi": phi, "first_in": first, "last_in": last}
        if outcome.std_error is not None:
            numbers["std_error"] = outcome.std_error[:, 0]
        if found.is_complete:
            numbers["values"] = outcome.table[:, 0]
            arrays["coalitions"] = MapArray(np.packbits(outcome.coalitions, axis=1))
            arrays["players"] = MapArray(np.array(outcome.round.players.ids, np.int32))
        if found.curves is not None:
            numbers |= {
                "deletion": found.curves.deletion,
                "insertion": found.curves.insertion,
                "random_order": found.curves.random_order,
            }
        arrays |= {name: MapArray(values, precise=True) for name, values in numbers.items()}

    def _first_and_last(self, outcome: Outcome) -> tuple[Floats, Floats]:
        game, count = outcome.round, len(outcome.phi)
        first, last = np.zeros(count), np.zeros(count)
        for region in game.players.ids:
            only, without = self.alone(outcome, region)
            alone, rest = game.value(only), game.value(without)
            if alone is not None and rest is not None:
                first[region] = alone[0] - outcome.empty[0]
                last[region] = outcome.full[0] - rest[0]
        return first, last

    def _regions(self, outcome: Outcome | None) -> list[Region]:
        partition = self.cut.regions
        first, last = self._first_and_last(outcome) if outcome is not None else (None, None)
        rows = []
        for index in range(partition.count):
            values: dict[str, Scalar] = {"flags": "rest" if index == self.cut.rest else self.game.players.flags[index]}
            if outcome is not None and first is not None and last is not None:
                values |= self._region_values(outcome, index)
                values |= {"first_in": float(first[index]), "last_in": float(last[index])}
            rows.append(
                Region(
                    id=index,
                    label="rest" if index == self.cut.rest else f"region {index + 1}",
                    score=None if outcome is None else float(outcome.phi[index, 0]),
                    area=float(partition.area[index]),
                    box=self.view.box(partition.boxes[index]),
                    colour=index,
                    layer="regions",
                    values=values,
                )
            )
        return rows

    def _region_values(self, outcome: Outcome, region: int) -> dict[str, Scalar]:
        game = outcome.round
        only, without = self.alone(outcome, region)
        alone, rest = game.value(only), game.value(without)
        error = outcome.std_error
        return {
            "share": self.share(outcome, region),
            "std_error": None if error is None else float(error[region, 0]),
            "only_value": None if alone is None else float(alone[0]),
            "without_value": None if rest is None else float(rest[0]),
            **self.region_words(game.caption(only), game.caption(without)),
        }

    def _scalars(self, found: Found) -> dict[str, Scalar]:
        outcome, players = found.outcome, self.game.players.count
        scalars: dict[str, Scalar] = {
            "regions": self.cut.regions.count,
            "players": players,
            "regions_from": self.cut.regions.source,
            "region_hash": self.cut.regions.digest,
            "hidden": self.game.filling,
            "unit": self.unit,
            "coalitions_possible": 2**players if players <= MOST_EXACT else str(2**players),
        }
        if outcome is None:
            return scalars
        total = float(outcome.phi[:, 0].sum())
        curves = found.curves
        return scalars | {
            "v_full": float(outcome.full[0]),
            "v_empty": float(outcome.empty[0]),
            "delta": float(outcome.delta[0]),
            "sum_phi": total,
            "efficiency_gap": abs(total - float(outcome.delta[0])),
            "evaluations": outcome.evaluations,
            "exact": outcome.exact,
            "early_stop": bool(outcome.stopped),
            "stopped": outcome.stopped,
            "deletion_score": None if curves is None else score(curves.deletion),
            "insertion_score": None if curves is None else score(curves.insertion),
            "random_score": None if curves is None else score(curves.random_order),
        }

    def _add_robustness(
        self,
        robust: Robustness,
        arrays: dict[str, MapArray],
        layers: list[Layer],
        tables: list[Table],
        scalars: dict[str, Scalar],
    ) -> None:
        values = robust.values()
        arrays["robust_phi"] = MapArray(values, precise=True)
        self.paint("robust_maps", values, arrays)
        most = float(np.abs(values).max())
        for index, name in enumerate(FILLINGS):
            if name in robust.outcomes:
                title = f"Hidden regions: {name}"
                layers.append(
                    self.signed(f"filling {name}", title, "robust_maps", most=most, unit=self.shown_unit, index=index)
                )
        labels = [region.label for region in self._regions(None)]
        tables += robust.tables(labels, self.hidden_words, lambda outcome: labels[self.top(outcome)])
        scalars |= robust.scalars()


def _is_flat(outcome: Outcome) -> bool:
    """Returns whether at least four regions differ by less than half of what each would get of an equal share."""
    values = outcome.phi[list(outcome.round.players.ids), 0]
    return len(values) > FEW and float(np.ptp(values)) < abs(float(outcome.delta[0])) / len(values) / 2


def _badge(found: Found) -> str:
    outcome = found.outcome
    if outcome is None:
        return "regions only"
    if found.stage == "preview":
        return "preview"
    if outcome.exact:
        return "exact"
    players = outcome.round.players.count
    possible = f"{2**players:,}" if players <= 20 else f"2^{players}"
    return f"sampled, {outcome.evaluations:,} of {possible}"
