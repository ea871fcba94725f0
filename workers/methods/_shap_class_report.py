"""Writes what a game over class scores found, and how it compares with another result on the same regions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend.contract.results import ClassScore, Column, Scalar, Table
from workers.method import Context, MapArray
from workers.methods._shap_classes import ClassAsker
from workers.methods._shap_compare import compare
from workers.methods._shap_cuts import Cut
from workers.methods._shap_game import UNMOVED, Outcome, Round
from workers.methods._shap_report import LEAST_DELTA, Found, Report
from workers.methods._shap_view import View

Floats = NDArray[np.float64]

LIMITS = (
    "Hiding is artificial: pictures with holes are not what the model has learnt from. Look at the value with "
    "everything hidden, and repeat the game with other fillings.",
    "Nothing finer than a region can be seen, and another cut gives other numbers.",
    "A negative value means that on average the class gains when the region is hidden.",
)
COLUMNS = (
    Column(key="share", title="Share", digits=2, hint="Of the total effect; empty where that is nearly zero."),
    Column(key="std_error", title="Error", digits=3, hint="Standard error; 0 when every coalition was tried."),
    Column(key="only_value", title="Only this", digits=3, hint="The class when only this region is seen."),
    Column(key="without_value", title="Without this", digits=3, hint="The class when only this region is hidden."),
    Column(key="first_in", title="First in", digits=3, hint="What showing it alone adds to showing nothing."),
    Column(key="last_in", title="Last in", digits=3, hint="What hiding it alone takes away."),
    Column(key="flags", title="Note"),
)


class ClassReport(Report):
    """Draws results of a class's game.

    Args:
        context: Of the run.
        asker: Its scores.
        view: What the model sees.
        cut: The regions.
        game: The main game.
        unit: ``probability`` or ``logit``.
    """

    limits = LIMITS

    def __init__(self, context: Context, asker: ClassAsker, *, view: View, cut: Cut, game: Round, unit: str) -> None:
        super().__init__(view, cut, game, context.model.preprocessing, unit)
        self._context = context
        self._asker = asker

    def columns(self) -> Sequence[Column]:
        return COLUMNS

    def region_words(self, only: int | None, without: int | None) -> dict[str, Scalar]:  # noqa: ARG002 - no captions
        return {}

    def classes(self) -> Sequence[ClassScore]:
        asker = self._asker
        return [
            ClassScore(index=index, label=self._name(index), score=chance)
            for index, chance in zip(asker.classes, asker.probabilities, strict=True)
        ]

    def target(self) -> int:
        return self._asker.target

    def reading(self, found: Found) -> str:
        outcome, name = found.outcome, self._name(self._asker.target)
        if outcome is None:
            return f"Regions are hidden, a few at a time, to see what '{name}' rests on."
        if outcome.stopped == UNMOVED or not outcome.round.players.count:
            return (
                f"The probability of '{name}' did not change in any of the {outcome.evaluations} pictures tried: it "
                "does not depend on what is visible."
            )
        delta = float(outcome.delta[0])
        if abs(delta) < LEAST_DELTA:
            return f"Hiding everything hardly changes '{name}'; the values below say little."
        top = self.top(outcome)
        only, without = (outcome.round.value(members) for members in self.alone(outcome, top))
        share = self.share(outcome, top)
        part = f"{share:.0%}".replace("%", " %") if share is not None else "all"
        where = "what the other result does not cover" if top == self.cut.rest else f"region {top + 1}"
        alone, rest = (f"{values[0]:.2f}" if values is not None else "-" for values in (only, without))
        return (
            f"'{name}' ({outcome.full[0]:.2f}) rests mostly on {where} ({part} of the total effect {delta:.2f}); seen "
            f"alone it gives {alone}, without it {rest}, with everything hidden {outcome.empty[0]:.2f}."
        )

    def cautions(self, found: Found) -> list[str]:
        outcome = found.outcome
        said: list[str] = []
        if outcome is not None and outcome.stopped != UNMOVED:
            if abs(float(outcome.delta[0])) < LEAST_DELTA:
                said.append("The fully hidden picture gives the class nearly the same value, perhaps by chance.")
            elif float(outcome.delta[0]) < 0:
                said.append("The class has a higher value with everything hidden than on the picture itself.")
            said += self.warnings(found)
        return said

    def _add_details(
        self,
        found: Found,
        arrays: dict[str, MapArray],
        tables: list[Table],
        scalars: dict[str, Scalar],
    ) -> None:
        outcome = found.outcome
        assert outcome is not None
        scalars |= {
            "answer": self._name(self._asker.target),
            "value": self._context.params.value,
            "passes": self._context.engine.passes,
            "seconds": self._context.engine.seconds,
        }
        self._add_classes(outcome, arrays, tables)
        if found.is_complete and self._context.params.region_source:
            comparison = compare(outcome, self.cut, hidden=self.game.filling)
            tables += comparison.tables()
            scalars |= comparison.scalars()

    def _add_classes(self, outcome: Outcome, arrays: dict[str, MapArray], tables: list[Table]) -> None:
        columns = [self._asker.column(index) for index in self._asker.classes]
        arrays["class_phi"] = MapArray(outcome.phi[:, columns].T, precise=True)
        heads = (
            Column(key="class", title="Class"),
            Column(key="name", title="Name"),
            Column(key="full", title="Seen", digits=3),
            Column(key="empty", title="Everything hidden", digits=3),
        )
        rows = tuple(
            (index, self._name(index), float(outcome.full[column]), float(outcome.empty[column]))
            for index, column in zip(self._asker.classes, columns, strict=True)
        )
        tables.append(Table(name="classes", title="Best classes", columns=heads, rows=rows))

    def _name(self, index: int) -> str:
        names = self._context.model.class_names
        return names[index] if index < len(names) else f"class {index}"
