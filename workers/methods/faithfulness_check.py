"""The check of a map: does removing its places first hurt more, and showing them first help more, than chance?"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Column, Layer, ResultKind, Scalar, Table, Texts
from backend.contract.schemas import ModelCard
from models.preprocessing import Prepared
from workers.faithfulness import (
    FaithfulnessCurves,
    centred_gaussian,
    deletion_insertion,
    edge_saliency,
    random_saliency,
)
from workers.method import Context, MapArray, Method, Result, Stored
from workers.methods._faithfulness_conventions import CONVENTIONS, FaithfulnessCheckParams, background
from workers.methods._reference_map import no_classes
from workers.methods._stored_maps import choose_layer, resampled, values_of

REFERENCE_SIZE = (224, 224)
FLOORS = ("random", "centre", "edges")
TITLES = {"map": "This map", "random": "Random", "centre": "Middle of the picture", "edges": "Edges"}
COLUMNS = (
    Column(key="name", title="Order of places"),
    Column(key="deletion", title="Removed first", digits=3, hint="Area under the score, 0-1; lower is better."),
    Column(key="insertion", title="Shown first", digits=3, hint="Area under the score, 0-1; higher is better."),
)


class FaithfulnessCheck(Method):
    """Removes the places of a map from the picture, strongest first, and shows them, strongest first.

    If a map is right about what the model uses, the score falls early when its places vanish and rises early when they
    appear. The same is done in random order, from the middle of the picture outwards and along the edges of the
    picture: a map that does no better says little about the model.
    """

    name = "faithfulness_check"
    title = "Check against chance"
    question = "Does this map beat chance?"
    summary = "Removes and shows the places of a map in its order, beside three orders that know nothing."
    version = 1
    place = 200
    role = "check"
    result_kind = ResultKind.CURVES
    has_seed = True
    source = "Petsiuk, Das, Saenko: RISE. BMVC 2018, arXiv 1806.07421 (deletion and insertion)"
    Params = FaithfulnessCheckParams

    def supports(self, model: ModelCard) -> str | None:
        return no_classes(model)

    def cost(self, model: ModelCard, params: Any) -> int:
        height, width = model.input_size or REFERENCE_SIZE
        steps = CONVENTIONS[params.convention].steps_for(height * width, params.steps)
        return 1 + 2 * (steps + 1) * (1 + len(FLOORS))

    def explain(self, context: Context) -> Result:
        """Returns curves of the probability (0-1) over the share of places, for the map and three floors.

        Arrays: ``fractions [S + 1]``, ``deletion`` and ``insertion [4, S + 1]``: the map, random, middle, edges.

        Cost: one pass, and two per step and order.

        Raises:
            ProblemError: ``params_invalid`` when the result has no such map, or it belongs to another picture or model;
                ``result_gone`` when it is no longer kept.
        """
        params: FaithfulnessCheckParams = context.params
        stored = context.fetch(params.result)
        _validate_same_question(context, stored)
        layer = choose_layer(stored, params.layer)
        prepared = context.model.preprocessing.prepare(context.picture.pixels)
        saliency = _on_input(stored, layer, prepared)
        runner = _Runner(context, prepared, _target(layer, stored))
        orders = {"map": saliency, **_floors(context, prepared, saliency)}
        curves = {name: runner.curves(order) for name, order in orders.items()}
        return _result(runner, layer, curves)


class _Runner:
    """Scores pictures of one class under one convention."""

    def __init__(self, context: Context, prepared: Prepared, target: int | None) -> None:
        self._context = context
        self._convention = CONVENTIONS[context.params.convention]
        normalise = context.model.preprocessing.normalise
        self._picture = normalise(prepared.pixels.unsqueeze(0))[0]
        self._backgrounds = tuple(
            background(name, prepared.pixels, normalise)
            for name in (self._convention.deletion, self._convention.insertion)
        )
        intact = torch.softmax(context.engine.forward(self._picture[None])[0].double(), 0).cpu()
        if target is not None and target >= len(intact):
            raise ProblemError(ProblemCode.PARAMS_INVALID, "The map speaks of a class that this model does not have.")
        self.target = int(intact.argmax()) if target is None else target
        self.intact = float(intact[self.target])
        names = context.model.class_names
        self.label = names[self.target] if self.target < len(names) else f"class {self.target}"

    @property
    def convention(self) -> str:
        """What was decided, in words."""
        chosen = self._convention
        return f"removed places show {chosen.deletion}, places appear on {chosen.insertion}, ranked by {chosen.ranking}"

    def curves(self, saliency: Tensor) -> FaithfulnessCurves:
        """Returns deletion and insertion along an order ``[h, w]``."""
        params: FaithfulnessCheckParams = self._context.params
        positions = saliency.numel() if self._convention.ranking == "cell" else self._picture[0].numel()
        return deletion_insertion(
            self._score,
            self._picture,
            saliency,
            substrate=(self._backgrounds[0], self._backgrounds[1]),
            steps=self._convention.steps_for(positions, params.steps),
            ranking=self._convention.ranking,
            batch_size=self._context.engine.batch_size,
        )

    def _score(self, pictures: Tensor) -> Tensor:
        logits = self._context.engine.forward(pictures)
        return torch.softmax(logits.double(), 1)[:, self.target].cpu()


def _validate_same_question(context: Context, stored: Stored) -> None:
    if stored.model not in ("", context.model.name):
        raise ProblemError(ProblemCode.PARAMS_INVALID, "The map was made with another model.")
    if stored.image_ids and context.picture.record.id not in stored.image_ids:
        raise ProblemError(ProblemCode.PARAMS_INVALID, "The map was made for another picture.")


def _target(layer: Layer, stored: Stored) -> int | None:
    return layer.target if layer.target is not None else stored.target


def _on_input(stored: Stored, layer: Layer, prepared: Prepared) -> Tensor:
    """Returns the map on the network's input ``[h, w]`` float32: its own grid where it covers exactly that."""
    values, frame = values_of(stored, layer)
    if frame is None or np.allclose(frame, prepared.frame, atol=0.51):
        return values
    return resampled(values, frame, prepared.frame, (int(prepared.pixels.shape[1]), int(prepared.pixels.shape[2])))


def _floors(context: Context, prepared: Prepared, saliency: Tensor) -> dict[str, Tensor]:
    """Returns orders that know nothing of the model, on the map's own grid."""
    size = (int(saliency.shape[0]), int(saliency.shape[1]))
    edges = functional.adaptive_avg_pool2d(edge_saliency(prepared.pixels)[None], size)[0]
    return {
        "random": random_saliency(size, context.seed),
        "centre": centred_gaussian(size),
        "edges": edges,
    }


def _result(runner: _Runner, layer: Layer, curves: dict[str, FaithfulnessCurves]) -> Result:
    own = curves["map"]
    floors = [curves[name] for name in FLOORS]
    beaten = [name for name in FLOORS if _margin(own) > _margin(curves[name])]
    scalars: dict[str, Scalar] = {
        "p_intact": runner.intact,
        "deletion": own.deletion_auc,
        "insertion": own.insertion_auc,
        "deletion_random": curves["random"].deletion_auc,
        "insertion_random": curves["random"].insertion_auc,
        "deletion_floors": float(np.mean([each.deletion_auc for each in floors])),
        "insertion_floors": float(np.mean([each.insertion_auc for each in floors])),
        "half_gone": _crossing(own),
        "half_gone_random": _crossing(curves["random"]),
        "beats_random": "random" in beaten,
        "beats_all": len(beaten) == len(FLOORS),
        "layer": layer.name,
        "convention": runner.convention,
    }
    rows = tuple((TITLES[name], each.deletion_auc, each.insertion_auc) for name, each in curves.items())
    return Result(
        arrays={
            "fractions": MapArray(own.fractions.cpu().numpy()),
            "deletion": MapArray(_stack([each.deletion for each in curves.values()])),
            "insertion": MapArray(_stack([each.insertion for each in curves.values()])),
        },
        tables=(
            Table(name="orders", title="Beside orders that know nothing", columns=COLUMNS, rows=rows),
            _curve_table(curves),
        ),
        scalars=scalars,
        texts=Texts(
            reading=_reading(runner, own, curves["random"]),
            badge=_badge(beaten),
            notes=(f"Convention: {runner.convention}. Score: probability of {runner.label}.",),
        ),
        target=runner.target,
    )


def _curve_table(curves: dict[str, FaithfulnessCurves]) -> Table:
    """Returns share, then deletion and insertion of each order: what the strip draws without fetching arrays."""
    columns = [Column(key="share", title="Share changed", digits=3)]
    values = [next(iter(curves.values())).fractions]
    for name, each in curves.items():
        columns += [
            Column(key=f"deletion_{name}", title=f"{TITLES[name]}, removed", digits=3),
            Column(key=f"insertion_{name}", title=f"{TITLES[name]}, shown", digits=3),
        ]
        values += [each.deletion, each.insertion]
    rows = torch.stack([value.double().cpu() for value in values], 1).mul(1e5).round().div(1e5)
    return Table(name="curves", title="Curves", columns=tuple(columns), rows=tuple(map(tuple, rows.tolist())))


def _stack(curves: list[Tensor]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return torch.stack(curves).float().cpu().numpy()


def _margin(curves: FaithfulnessCurves) -> float:
    return curves.insertion_auc - curves.deletion_auc


def _crossing(curves: FaithfulnessCurves) -> float | None:
    """Returns the share of places after which the score first fell to half of the intact one; None if it never did."""
    below = torch.nonzero(curves.deletion <= curves.deletion[0] / 2)
    return float(curves.fractions[below[0, 0]]) if len(below) else None


def _badge(beaten: list[str]) -> str:
    if "random" not in beaten:
        return "no better than random"
    return "beats chance" if len(beaten) == len(FLOORS) else "beats random only"


def _reading(runner: _Runner, own: FaithfulnessCurves, random: FaithfulnessCurves) -> str:
    half, chance = _crossing(own), _crossing(random)
    by_chance = "never does" if chance is None else f"does so after {chance:.0%}"
    if half is None:
        end = float(own.deletion[-1])
        return (
            f"{runner.label} never falls to half, whatever is removed: a picture that shows only the background keeps "
            f"{end:.2f}."
        )
    return f"{runner.label} falls to half after {half:.0%} of the picture is removed; a random order {by_chance}."
