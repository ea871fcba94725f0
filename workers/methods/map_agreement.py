"""Where maps agree: every map as ranks on one grid, their consensus, and how far each pair goes together."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Column, Encoding, Layer, ResultKind, Scalar, Table, Texts
from backend.contract.schemas import ModelCard
from workers.agreement import average_ranks, rank_correlation, top_overlap
from workers.method import Context, MapArray, Method, Params, Result, Stored
from workers.methods._stored_maps import choose_layer, resampled, values_of

LONGER_SIDE = 112
PAIR_COLUMNS = (
    Column(key="a", title="Map"),
    Column(key="b", title="Other map"),
    Column(key="rank_correlation", title="Rank correlation", digits=2, hint="1: same order of places; 0: none."),
    Column(key="overlap", title="Overlap", digits=2, hint="Of the top shares: intersection over union, 0-1."),
)
MAP_COLUMNS = (
    Column(key="number", title="No."),
    Column(key="method", title="Method"),
    Column(key="model", title="Model"),
    Column(key="layer", title="Map"),
)


class MapAgreementParams(Params):
    """Which maps."""

    results: tuple[str, ...] = Field(
        default=(), title="Results", description="Keys of two to 24 finished runs on one picture.", max_length=24
    )
    layers: tuple[str, ...] = Field(
        default=(), title="Layers", description="One name for each result; empty: the map shown first.", max_length=24
    )
    share: float = Field(default=0.1, ge=0.01, le=0.5, title="Top share", description="For the overlap of two maps.")


class MapAgreement(Method):
    """Lays maps of one picture over each other: where they agree, where not, and how far each pair goes together.

    Maps of different methods have different units, so each is turned into ranks first: 0 for its lowest place, 1 for
    its highest. The consensus is the mean rank of a place, the disagreement its spread over the maps. Agreement does
    not make a map right: methods that share a mistake agree as well.
    """

    name = "map_agreement"
    title = "Agreement"
    question = "Where do the maps disagree?"
    summary = "Rank correlation and overlap of every pair, consensus and disagreement."
    version = 1
    place = 210
    role = "comparison"
    result_kind = ResultKind.AGREEMENT
    Params = MapAgreementParams

    def supports(self, model: ModelCard) -> str | None:  # noqa: ARG002 - it reads results, whatever made them
        return None

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - no pass is made
        return 0

    def explain(self, context: Context) -> Result:
        """Returns ranks ``[n, h, w]``, consensus and disagreement ``[h, w]``, and a table of pairs.

        Cost: no pass.

        Raises:
            ProblemError: ``params_invalid`` or ``result_gone``.
        """
        params: MapAgreementParams = context.params
        if len(params.results) < 2 or (params.layers and len(params.layers) != len(params.results)):
            raise ProblemError(
                ProblemCode.PARAMS_INVALID, "Name at least two results, and a layer for each or for none."
            )
        found = [context.fetch(key) for key in params.results]
        _validate_picture(context, found)
        names = params.layers or ("",) * len(found)
        layers = [choose_layer(stored, name) for stored, name in zip(found, names, strict=True)]
        frame = _shared_frame(context, found, layers)
        size = _grid(frame)
        maps = []
        for number, (stored, layer) in enumerate(zip(found, layers, strict=True), start=1):
            context.check_cancelled()
            values, own = values_of(stored, layer)
            maps.append(resampled(values, own or frame, frame, size))
            context.progress(number, len(found), "reading maps")
        return _result(found, layers, maps, frame, params.share)


def to_ranks(values: Tensor) -> Tensor:
    """Returns the rank of each place, 0 (lowest) to 1 (highest), average ranks on ties; a flat map is 0.5."""
    return ((average_ranks(values) - 1) / max(1, values.numel() - 1)).float()


def _validate_picture(context: Context, found: list[Stored]) -> None:
    for stored in found:
        if stored.image_ids and context.picture.record.id != stored.image_ids[0]:
            raise ProblemError(ProblemCode.PARAMS_INVALID, "Only maps of the same picture can be compared.")


def _shared_frame(context: Context, found: list[Stored], layers: list[Layer]) -> Box:
    """Returns the part of the picture that every map covers.

    Raises:
        ProblemError: ``params_invalid`` when there is none.
    """
    record = context.picture.record
    left, top, right, bottom = 0.0, 0.0, float(record.width), float(record.height)
    for stored, layer in zip(found, layers, strict=True):
        frame = stored.arrays[layer.array].frame
        if frame is not None:
            left, top = max(left, frame.left), max(top, frame.top)
            right, bottom = min(right, frame.right), min(bottom, frame.bottom)
    if right - left < 1 or bottom - top < 1:
        raise ProblemError(ProblemCode.PARAMS_INVALID, "The maps cover no common part of the picture.")
    return Box(left, top, right, bottom)


def _grid(frame: Box) -> tuple[int, int]:
    """Returns height and width of the common grid in cells; its cells are as good as square."""
    width, height = frame.right - frame.left, frame.bottom - frame.top
    cell = max(width, height) / LONGER_SIDE
    return max(2, round(height / cell)), max(2, round(width / cell))


def _result(found: list[Stored], layers: list[Layer], maps: list[Tensor], frame: Box, share: float) -> Result:
    ranks = torch.stack([to_ranks(each) for each in maps])
    titles = [_title(stored, layer) for stored, layer in zip(found, layers, strict=True)]
    pairs = [
        (a, b, _number(rank_correlation(maps[a], maps[b])), float(top_overlap(maps[a], maps[b], share)))
        for a in range(len(maps))
        for b in range(a)
    ]
    known = [pair for pair in pairs if pair[2] is not None]
    pair_rows: tuple[tuple[Scalar, ...], ...] = tuple(
        (a + 1, b + 1, correlation, overlap) for a, b, correlation, overlap in pairs
    )
    map_rows: tuple[tuple[Scalar, ...], ...] = tuple(
        (number, stored.titles[0], stored.titles[1], layer.title)
        for number, (stored, layer) in enumerate(zip(found, layers, strict=True), start=1)
    )
    return Result(
        arrays={
            "ranks": MapArray(ranks.numpy().astype(np.float32), frame),
            "consensus": MapArray(ranks.mean(0).numpy().astype(np.float32), frame),
            "spread": MapArray(ranks.std(0, correction=0).numpy().astype(np.float32), frame),
        },
        layers=_layers(titles),
        tables=(
            Table(name="pairs", title="Agreement of every pair", columns=PAIR_COLUMNS, rows=pair_rows),
            Table(name="maps", title="Maps", columns=MAP_COLUMNS, rows=map_rows),
        ),
        scalars={"maps": len(maps), "share": share, "mean_correlation": _mean([pair[2] for pair in known])},
        texts=Texts(reading=_reading(titles, known)),
    )


def _layers(titles: list[str]) -> list[Layer]:
    shared = {"encoding": Encoding.SEQUENTIAL, "range": (0.0, 1.0), "unit": "rank"}
    own = [
        Layer(
            name=f"map {number}",
            title=title,
            array="ranks",
            index=number - 1,
            ends=("lowest place", "highest place"),
            role="detail",
            **shared,
        )
        for number, title in enumerate(titles, start=1)
    ]
    consensus = Layer(
        name="consensus", title="Consensus", array="consensus", ends=("low in all maps", "high in all maps"), **shared
    )
    spread = Layer(
        name="spread",
        title="Disagreement",
        array="spread",
        encoding=Encoding.SEQUENTIAL,
        ends=("maps agree", "maps differ"),
        unit="spread of ranks",
        role="detail",
    )
    return [consensus, spread, *own]


def _title(stored: Stored, layer: Layer) -> str:
    method, model = stored.titles
    return f"{method.split(':')[0]}, {model}" if method else layer.title


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value


def _mean(values: list[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return float(np.mean(numbers)) if numbers else None


def _reading(titles: list[str], known: list[tuple[int, int, float | None, float]]) -> str:
    if not known:
        return "One of the maps is the same everywhere, so there is no order to compare."
    ordered = sorted(known, key=lambda pair: pair[2] or 0.0)
    least, most = ordered[0], ordered[-1]

    def words(pair: tuple[int, int, float | None, float]) -> str:
        return f"{titles[pair[1]]} and {titles[pair[0]]} ({pair[2]:.2f})"

    if len(known) == 1:
        return f"Rank correlation of {words(least)}."
    return f"Most alike: {words(most)}. Least alike: {words(least)}."
