"""One run of NAVE, step by step: forward, groups, slider, layers, floors; after each step a partial result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Column, Table
from backend.contract.schemas import BlockCard
from workers.engine import Engine
from workers.method import Context, Picture, Result
from workers.methods._nave_blocks import (
    BlockCache,
    Kept,
    choose_blocks,
    choose_norm,
    evenly_spaced,
    is_plain,
    usable_blocks,
)
from workers.methods._nave_floors import RANDOM_FLOOR_SEEDS, colour_features, grid_floor, untrained
from workers.methods._nave_grouping import Grouper, Grouping
from workers.methods._nave_kmeans import _inertia, cluster
from workers.methods._nave_maps import _adjusted_rand, match_labels, resample_labels
from workers.methods._nave_nested import _align_colours, _ward_tables, palette_order
from workers.methods._nave_params import Params
from workers.methods._nave_report import FLOOR_TITLES, Report, percent
from workers.methods._nave_source import Source, make_sheets
from workers.methods._nave_take import NATIVE_FALLBACK, Taker, View, model_view, native_view, takes_any_size

Labels = NDArray[np.int64]
FLOOR_ORDER = ("rgb", "rgb_xy", "grid", "random")
MIB = 1024**2


class Run:
    """Everything that belongs to one question.

    Args:
        context: Of the run.
        cache: Activations of earlier runs.
    """

    def __init__(self, context: Context, cache: BlockCache) -> None:
        self.context = context
        self.params: Params = context.params
        self.model = context.model
        self.cache = cache
        self.is_joint = self.params.joint and len(context.pictures) > 1
        self.pictures = list(context.pictures) if self.is_joint else list(context.pictures[:1])
        self.norm = choose_norm(self.model, self.params.final_norm)
        self.blocks = choose_blocks(self.model.card, self.params.preset, self.params.blocks)
        every = usable_blocks(self.model.card)
        self.layer_blocks = evenly_spaced(every, self.params.layers_max) if self.params.layers else []
        self.taker = Taker(self.model, context.engine, cache, self.norm, on_batch=self._step)
        self.views, self.is_native = self._make_views()
        self._done = 0
        self._total = 0
        self._stage = "reading the picture"

    def answer(self) -> Result:
        """Returns the result of the whole run."""
        self._plan()
        taken = self._take(self._wanted())
        self.blocks = [
            block.model_copy(update={"grid": tuple(taken[0][block.name].maps.shape[1:])}) for block in self.blocks
        ]
        upsample = self._upsample()
        sheets = make_sheets(self._rows(taken, self.blocks), self.views, upsample=upsample)
        self.report = Report(sheets, self.blocks, self.params.weighting, self.model.card.title)
        self.report.notes += self._notes(upsample)
        self._group()
        if self.params.nested:
            self._nest()
        self._layers(taken)
        for name in (name for name in FLOOR_ORDER if name in self.params.floors):
            self._floor(name)
        self._others()
        return self.report.result()

    def _plan(self) -> None:
        floors = self.params.floors
        forwards = self.taker.n_batches(self.pictures, self.views, self._wanted())
        if "random" in floors:
            forwards += len(RANDOM_FLOOR_SEEDS) * (1 + len(self.pictures) // max(1, self.context.engine.batch_size))
        clusterings = 1 + int(self.params.nested) + len(self.layer_blocks) + len(set(floors) - {"grid", "random"})
        clusterings += len(RANDOM_FLOOR_SEEDS) if "random" in floors else 0
        others = 0 if self.is_joint else len(self.context.pictures) - 1
        self._total = forwards + clusterings + 2 * others

    def _step(self, stage: str | None = None) -> None:
        self._done += 1
        self._stage = stage or self._stage
        self.context.progress(self._done, max(self._total, self._done), stage=self._stage)

    def _publish(self, stage: str) -> None:
        self._step(stage)
        self.context.partial(self.report.result())
        self.context.check_cancelled()

    # What is looked at

    def _make_views(self) -> tuple[list[View], bool]:
        if self.params.input_mode == "native" and takes_any_size(self.model):
            side = self.params.max_side
            return [native_view(self.model, picture, max_side=side) for picture in self.pictures], True
        return [model_view(self.model, picture) for picture in self.pictures], False

    def _wanted(self) -> list[BlockCard]:
        wanted = {block.name: block for block in (*self.blocks, *self.layer_blocks)}
        return list(wanted.values())

    def _take(self, blocks: Sequence[BlockCard]) -> list[dict[str, Kept]]:
        try:
            taken = self.taker.take(self.pictures, self.views, blocks)
        except (AssertionError, RuntimeError, ValueError):
            if not self.is_native:
                raise
            # Some networks refuse other sizes only while they run; the model's own size always works.
            self.is_native = False
            self.views = [model_view(self.model, picture) for picture in self.pictures]
            taken = self.taker.take(self.pictures, self.views, blocks)
        return [dict(zip([block.name for block in blocks], row, strict=True)) for row in taken]

    def _rows(self, taken: Sequence[dict[str, Kept]], blocks: Sequence[BlockCard]) -> list[list[Kept]]:
        return [[row[block.name] for block in blocks] for row in taken]

    def _upsample(self) -> int:
        return self.params.token_upsample if any(block.layout == "tokens" for block in self.blocks) else 1

    def _notes(self, upsample: int) -> list[str]:
        params, notes = self.params, [self.norm.note]
        if params.preset == "multi_depth" and is_plain(usable_blocks(self.model.card)):
            notes.append("The choice of three depths is Vitrine's own, not the published one.")
        if params.input_mode == "native" and not self.is_native:
            notes.append(NATIVE_FALLBACK)
        if params.token_upsample > upsample:
            notes.append("Only grids of tokens are refined; this model has none.")
        if len({block.channels for block in self.blocks}) == 1 and len(self.blocks) > 1:
            notes.append("All blocks have the same width, so both weightings coincide.")
        if params.joint and not self.is_joint:
            notes.append("Shared groups need at least two pictures.")
        if len(self.context.pictures) > 1 and not self.is_joint:
            notes.append("Each picture was grouped alone: colours compare only inside one picture.")
        return notes

    # What is computed

    def _source(self, rows: Sequence[Sequence[Kept]], *, upsample: int = 1) -> Source:
        sheets = make_sheets(rows, self.views, upsample=upsample)
        return Source(sheets, self.params.weighting, ceiling_bytes=self.params.max_feature_mb * MIB)

    def _grouper(self, source: Source) -> Grouper:
        return Grouper(
            source,
            seed=self.context.seed,
            n_init=self.params.n_init,
            max_iter=self.params.max_iter,
            refine_passes=self.params.refine_passes,
            check_cancelled=self.context.check_cancelled,
        )

    def _group(self) -> None:
        report, k = self.report, self.params.n_clusters
        source = Source(report.sheets, self.params.weighting, ceiling_bytes=self.params.max_feature_mb * MIB)
        self.grouper = self._grouper(source)
        self.main = self.grouper.group(k)
        self.maps = self._paint(source, self.main.labels)
        report.add_blocks()
        for place, labels in enumerate(self.maps):
            report.add_labels("labels", "Groups", labels, place)
        report.read(self.main, n_pictures=len(self.pictures))
        report.add_scalars(self.grouper, self.main, self.maps, k)
        if self.main.approximate:
            report.notes.append(
                "The features do not fit into the memory that is allowed, so groups were found in two levels and only "
                "the last assignment is exact."
            )
        self._step("grouping")
        self.context.partial(report.result())
        margins = source.split(self.grouper.margins(self.main))
        painted = [sheet.paint(margin, 0.0) for sheet, margin in zip(report.sheets, margins, strict=True)]
        firmness = [margin.astype(np.float32) for margin in painted]
        for place, margin in enumerate(firmness):
            report.add_margin(margin, place)
        report.add_regions(self.maps, firmness, self.grouper.cohesion(self.main))
        report.add_likeness(self.main, k)
        if self.is_joint:
            report.add_proportions(self.maps, k)

    def _paint(self, source: Source, labels: Labels) -> list[Labels]:
        parts = source.split(labels)
        return [sheet.paint(part, -1).astype(np.int64) for sheet, part in zip(source.sheets, parts, strict=True)]

    def _nest(self) -> None:
        base = self.grouper.group(self.params.nested_max)
        labels = base.labels
        means, sizes = self.grouper.means(labels)
        first = np.unique(labels, return_index=True)[1]
        total = 0.0 if self.grouper.explained_by(labels) == 0.0 else self.grouper.total
        inertia = self._inertia_of(labels, means)
        tables = _ward_tables(
            means.cpu().numpy(), sizes.cpu().numpy().astype(np.int64), first, inertia=inertia, total=total
        )
        row = min(self.main.n_effective, len(tables.lut)) - 1
        matched = match_labels(
            torch.from_numpy(self.main.labels), torch.from_numpy(tables.lut[row][labels].astype(np.int64))
        )
        partners = {
            int(tables.appearance[row][labels[place]]): int(matched[place])
            for place in first
            if int(matched[place]) < self.main.n_effective
        }
        colours = palette_order(self.main.n_effective)
        for place, single in enumerate(self._paint(self.grouper.source, labels)):
            self.report.add_labels("nested_base", "Nested groups", single, place)
        self.report.add_nested(tables, _align_colours(tables.appearance, partners, colours), self.main)
        self._publish("nested groups")

    def _inertia_of(self, labels: Labels, means: torch.Tensor) -> float:
        numbers = torch.from_numpy(labels).to(self.grouper.source.device)
        total, start = 0.0, 0
        for part in self.grouper.source.parts():
            total += _inertia(part, means, numbers[start : start + len(part)])
            start += len(part)
        return total

    def _layers(self, taken: Sequence[dict[str, Kept]]) -> None:
        rows: list[tuple[str, float, int, float | None]] = []
        deeper: list[Labels] | None = None
        for block in reversed(self.layer_blocks):
            source = self._source(self._rows(taken, [block]))
            found = self._grouper(source).group(self.params.n_clusters)
            maps = self._paint(source, found.labels)
            likeness = None
            if deeper is not None:
                carried = [resample_labels(one, two.shape) for one, two in zip(deeper, maps, strict=True)]
                likeness = _adjusted_rand(_flat(carried), _flat(maps))
                maps = _match_all(carried, maps)
            deeper = maps
            for place, labels in enumerate(maps):
                self.report.add_labels(f"layer/{block.name}", f"Block {block.name}", labels, place, role="detail")
            rows.append((block.name, found.explained, found.n_effective, likeness))
            self.report.tables["layers"] = _layer_table(rows)
            self._publish(f"block {block.name}")

    # What it must beat

    def _floor(self, name: str) -> None:
        if name == "random":
            self._random_floor()
            return
        maps = self._grid_maps() if name == "grid" else self._colour_maps(name)
        if maps is None:
            self.report.notes.append("The grid has too few cells for a plain grid with as many groups.")
            return
        explained = self.grouper.explained_by(_flat(maps))
        self.report.scalars[f"explained_{name}"] = explained
        self._add_floor(name, maps, explained, explained, explained)
        words = {"grid": f"A plain grid of {self.main.n_effective} cells accounts for {percent(explained)}."}
        words["rgb"] = f"Colour alone, grouped the same way, accounts for {percent(explained)}."
        self.report.sentences += [words[name]] if name in words else []
        self._publish(f"floor: {FLOOR_TITLES[name].lower()}")

    def _grid_maps(self) -> list[Labels] | None:
        maps = [grid_floor(sheet.inside, self.main.n_effective) for sheet in self.report.sheets]
        found = [labels for labels in maps if labels is not None]
        return found if len(found) == len(maps) else None

    def _colour_maps(self, name: str) -> list[Labels]:
        features = colour_features(self.report.sheets, self.params.xy_weight if name == "rgb_xy" else None)
        params, k = self.params, self.main.n_effective
        self.context.check_cancelled()
        found = cluster(features, k, seed=self.context.seed, n_init=params.n_init, max_iter=params.max_iter)
        return self._paint(self.grouper.source, found.labels.numpy())

    def _random_floor(self) -> None:
        shares: list[float] = []
        for seed in RANDOM_FLOOR_SEEDS:
            try:
                maps = self._random_maps(seed)
            except ProblemError as problem:
                if problem.code != ProblemCode.NOT_FINITE:
                    raise
                self.report.notes.append("The untrained network gives values that are not finite; it is left out.")
                return
            shares.append(self.grouper.explained_by(_flat(maps)))
            if seed == RANDOM_FLOOR_SEEDS[0]:
                first = maps
            self._step("floor: untrained network")
        mean = float(np.mean(shares))
        self.report.scalars["explained_random"] = mean
        self._add_floor("random", first, mean, min(shares), max(shares))
        self.report.sentences.append(f"The same network untrained accounts for {percent(mean)}.")
        self.context.partial(self.report.result())

    def _random_maps(self, seed: int) -> list[Labels]:
        self.context.check_cancelled()
        stranger = replace(self.model, weights_digest=f"untrained {seed} {self.model.weights_digest}")
        taker = Taker(stranger, self.context.engine, self.cache, self.norm, on_batch=self._step)
        if taker.n_batches(self.pictures, self.views, self.blocks):
            stranger = replace(stranger, network=untrained(self.model.network, seed))
            engine = Engine(stranger, check_cancelled=self.context.check_cancelled)
            taker = Taker(stranger, engine, self.cache, self.norm, on_batch=self._step)
            taken = taker.take(self.pictures, self.views, self.blocks)
            self.context.engine.passes += engine.passes
        else:
            taken = taker.take(self.pictures, self.views, self.blocks)
        source = self._source(taken, upsample=self._upsample())
        found = self._grouper(source).group(self.main.n_effective)
        return self._paint(source, found.labels)

    def _add_floor(self, name: str, maps: Sequence[Labels], mean: float, low: float, high: float) -> None:
        for place, labels in enumerate(maps):
            self.report.add_labels(
                f"floor/{name}", f"Floor: {FLOOR_TITLES[name].lower()}", labels, place, role="detail"
            )
        columns = (
            Column(key="floor", title="Floor"),
            Column(
                key="explained", title="Explained", digits=3, hint="Share of the model's variation it accounts for."
            ),
            Column(key="lowest", title="Lowest", digits=3),
            Column(key="highest", title="Highest", digits=3),
        )
        before = self.report.tables.get("floors")
        rows = before.rows if before else (("this map", self.main.explained, self.main.explained, self.main.explained),)
        row = (FLOOR_TITLES[name], mean, low, high)
        self.report.tables["floors"] = Table(name="floors", title="Floors", columns=columns, rows=(*rows, row))

    def _others(self) -> None:
        """Groups further pictures each by itself, when groups are not shared."""
        others: Sequence[Picture] = () if self.is_joint else self.context.pictures[1:]
        for place, picture in enumerate(others, start=1):
            self.context.check_cancelled()
            self.pictures = [picture]
            self.views, self.is_native = self._make_views()
            rows = self._rows(self._take(self.blocks), self.blocks)
            source = self._source(rows, upsample=self._upsample())
            found = self._grouper(source).group(self.params.n_clusters)
            self.report.sheets += source.sheets
            self.report.add_labels("labels", "Groups", self._paint(source, found.labels)[0], place)
            margins = self._grouper(source).margins(found)
            self.report.add_margin(source.sheets[0].paint(margins, 0.0).astype(np.float32), place)
            self._publish(f"picture {place + 1}")


def _flat(maps: Sequence[Labels]) -> Labels:
    """Labels of all grouped cells of all pictures, in order."""
    joined: Labels = np.concatenate([labels[labels >= 0] for labels in maps])
    return joined


def _match_all(reference: Sequence[Labels], other: Sequence[Labels]) -> list[Labels]:
    """Renumbers the maps of several pictures together."""
    joined = [np.concatenate([labels.reshape(-1) for labels in maps]) for maps in (reference, other)]
    matched = match_labels(torch.from_numpy(joined[0]), torch.from_numpy(joined[1])).numpy()
    cuts = np.cumsum([labels.size for labels in other])[:-1]
    return [part.reshape(labels.shape) for part, labels in zip(np.split(matched, cuts), other, strict=True)]


def _layer_table(rows: Sequence[tuple[str, float, int, float | None]]) -> Table:
    columns = (
        Column(key="block", title="Block"),
        Column(key="explained", title="Explained", digits=3),
        Column(key="groups", title="Groups"),
        Column(
            key="likeness",
            title="Likeness to the next deeper",
            digits=2,
            hint="Adjusted Rand index: 1 the same, 0 chance.",
        ),
    )
    return Table(name="layers", title="Layer by layer", columns=columns, rows=tuple(reversed(rows)))


__all__ = ["Grouping", "Run"]
