"""One run, step by step: regions, preview, refined values, checks, other fillings; after each a partial result."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from workers.masks import Scene
from workers.method import Context, Result
from workers.methods._shap_curves import Curves, draw_curves
from workers.methods._shap_cuts import Cut
from workers.methods._shap_game import UNMOVED, Asker, Outcome, Round, Rules, find_players, play
from workers.methods._shap_params import FILLINGS, GameParams
from workers.methods._shap_report import Found, Report
from workers.methods._shap_robust import Robustness
from workers.methods._shap_view import View, filling, make_view
from workers.shapley_plan import EXACT_PLAYERS, SAMPLED_PAIRS


class Ticker:
    """Tells how far a run is, in masked pictures.

    Args:
        context: Of the run.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self.total = 1
        self.stage = "looking at the whole picture"

    def tick(self) -> None:
        """Tells of the passes so far."""
        passes = self._context.engine.passes
        self._context.progress(passes, max(self.total, passes + 1), stage=self.stage)

    def end(self) -> None:
        """Tells that nothing is left to do."""
        total = max(1, self._context.engine.passes)
        self._context.progress(total, total, stage="done")


class Stage:
    """The picture on the model's device, and what hides it.

    Args:
        context: Of the run.
    """

    def __init__(self, context: Context) -> None:
        preprocessing = context.model.preprocessing
        self.view: View = make_view(context.picture, preprocessing)
        self._preprocessing = preprocessing
        self.x: Tensor = preprocessing.normalise(self.view.pixels.float()).to(context.model.device).contiguous()
        covered = self.view.to_model(np.zeros(self.view.size, np.int32)) >= 0
        self._inside = torch.from_numpy(covered).to(context.model.device)

    def round(self, name: str, cut: Cut, asker: Asker) -> Round:
        """Returns the game with one filling."""
        mean, std = self._preprocessing.mean, self._preprocessing.std
        hidden = filling(name, self.x, mean=mean, std=std, inside=self._inside)
        scene = Scene(self.x, hidden.contiguous())
        labels = self.view.to_model(cut.regions.labels)
        return Round(name, scene, find_players(labels, cut.regions.count, scene), asker)


def run(
    context: Context,
    stage: Stage,
    ticker: Ticker,
    *,
    cut: Cut,
    asker: Asker,
    is_unmoved: Callable[[Round], bool],
    make_report: Callable[[Round], Report],
) -> Result:
    """Returns the result of a whole run.

    Args:
        context: Of the run.
        stage: Picture and fillings.
        ticker: Tells how far it is.
        cut: The regions.
        asker: Gives values.
        is_unmoved: Whether nothing in the first step changed the answer.
        make_report: Draws results of the main game.
    """
    params: GameParams = context.params
    game = stage.round(params.hidden, cut, asker)
    report = make_report(game)
    rules = Rules(params.budget, params.tolerance, context.seed, is_unmoved)
    passes = _coalitions(game, params)
    ticker.total = 3 * passes - 2 if params.robustness else passes
    ticker.stage = "hiding regions"
    context.partial(report.result(Found("regions")))

    def show(outcome: Outcome, is_first: bool) -> None:
        context.partial(report.result(Found("preview" if is_first else "refined", outcome)))

    outcome = play(game, rules, show)
    curves = _curves(outcome, params)
    context.partial(report.result(Found("final", outcome, curves)))
    robustness = None
    if params.robustness:
        outcomes: dict[str, Outcome] = {params.hidden: outcome}
        for name in (name for name in FILLINGS if name != params.hidden):
            context.check_cancelled()
            ticker.stage = f"hiding regions, filling {name}"
            outcomes[name] = play(stage.round(name, cut, asker), rules, lambda _outcome, _is_first: None)
            robustness = Robustness(dict(outcomes))
            context.partial(report.result(Found("final", outcome, curves, robustness)))
    ticker.end()
    return report.result(Found("final", outcome, curves, robustness, is_complete=True))


def _curves(outcome: Outcome, params: GameParams) -> Curves | None:
    if params.curves == "off" or (outcome.stopped == UNMOVED and not outcome.exact):
        return None
    return draw_curves(outcome) if outcome.exact or params.curves == "on" else None


def _coalitions(game: Round, params: GameParams) -> int:
    """Returns the most coalitions of a game, the empty and the full one included."""
    count = game.players.count
    sampled = 2 * count + 2 * SAMPLED_PAIRS if params.budget is None else params.budget
    if params.budget is None and count <= EXACT_PLAYERS:
        return int(2**count)
    return int(min(2**count, sampled))
