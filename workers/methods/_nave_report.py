"""Writes what was found as arrays, layers, regions, tables and sentences; grows while the run goes on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from backend.contract.results import Box, Column, Encoding, Layer, Region, Scalar, Table, Texts
from backend.contract.schemas import BlockCard
from workers.method import MapArray, Result
from workers.methods._nave_features import _shares, _weights
from workers.methods._nave_grouping import Grouper, Grouping
from workers.methods._nave_maps import boundary_share, count_components, size_entropy
from workers.methods._nave_nested import WardTables, palette_order
from workers.methods._nave_source import Sheet

LEGEND = "Same colour: represented alike. Colours have no order and no meaning of their own."
CAUTIONS = (
    "Groups describe the encoder, not the answer: they do not say what a prediction rests on, and have no names.",
    "The number of groups is your choice. K-means returns that many groups even on noise: compare with the floors.",
    "Only directions count, so one group may hold strong and weak activations together.",
)
REGION_COLUMNS = (
    Column(key="cells", title="Cells"),
    Column(key="components", title="Parts", hint="Connected parts of the group, across edges."),
    Column(
        key="mean_margin", title="Firmness", digits=2, hint="0: on a border between groups, 1: far from all others."
    ),
    Column(
        key="frame_share", title="Share of the border", digits=2, hint="Part of the picture's border cells it holds."
    ),
)
FLOOR_TITLES = {
    "random": "Untrained network",
    "grid": "Plain grid",
    "rgb": "Colour alone",
    "rgb_xy": "Colour and place",
}


class Report:
    """Collects the result of one run.

    Args:
        sheets: One per picture.
        blocks: Kept blocks, finest first.
        weighting: Of the blocks.
        model_title: For sentences.
    """

    def __init__(self, sheets: Sequence[Sheet], blocks: Sequence[BlockCard], weighting: str, model_title: str) -> None:
        self.sheets = list(sheets)
        self.blocks = list(blocks)
        self.weights = _weights([block.channels for block in blocks], "paper" if weighting == "paper" else "equal")
        self.model_title = model_title
        self.arrays: dict[str, MapArray] = {}
        self.layers: list[Layer] = []
        self.regions: list[Region] = []
        self.tables: dict[str, Table] = {}
        self.scalars: dict[str, Scalar] = {}
        self.notes: list[str] = []
        self.sentences: list[str] = []

    def result(self) -> Result:
        """Returns everything so far."""
        order = ("groups", "blocks", "granularity", "layers", "floors", "likeness", "proportions")
        return Result(
            arrays=dict(self.arrays),
            layers=tuple(sorted(self.layers, key=self._depth)),
            regions=tuple(self.regions),
            region_columns=REGION_COLUMNS,
            tables=tuple(self.tables[name] for name in order if name in self.tables),
            scalars=dict(self.scalars),
            texts=Texts(reading=" ".join(self.sentences), cautions=CAUTIONS, notes=tuple(filter(None, self.notes))),
            seen=self.sheets[0].view.frame,
        )

    def _depth(self, layer: Layer) -> tuple[int, int]:
        """Single blocks stand from shallow to deep, though the deepest is found first; all else stays in place."""
        if not layer.name.startswith("layer/"):
            return (1 if layer.name.startswith("floor/") else -1, 0)
        return (0, -self.layers.index(layer))

    def add_labels(self, name: str, title: str, labels: NDArray[np.int64], place: int, *, role: str = "main") -> None:
        """Adds a label map ``[H, W]`` of one picture as an array and a layer of the same name."""
        key = f"{name}_{place:03d}"
        self.arrays[key] = MapArray(labels.astype(np.int16), self.sheets[place].view.frame)
        self.layers.append(
            Layer(
                name=key,
                title=title if place == 0 else f"{title}, picture {place + 1}",
                array=key,
                encoding=Encoding.LABELS,
                ends=(LEGEND, ""),
                smooth=False,
                role=role if place == 0 else "detail",
                picture=place,
            )
        )

    def add_margin(self, margin: NDArray[np.float32], place: int) -> None:
        """Adds how firmly each place ``[H, W]`` belongs to its group."""
        key = f"margin_{place:03d}"
        self.arrays[key] = MapArray(margin, self.sheets[place].view.frame)
        self.layers.append(
            Layer(
                name=key,
                title="Firmness" if place == 0 else f"Firmness, picture {place + 1}",
                array=key,
                encoding=Encoding.SEQUENTIAL,
                range=(0.0, 1.0),
                ends=("on a border between groups", "far from all other groups"),
                smooth=False,
                role="detail",
                picture=place,
            )
        )

    def add_blocks(self) -> None:
        """Adds the table of the kept blocks."""
        rows = tuple(
            (block.name, f"{block.grid[0]} x {block.grid[1]}", block.channels, weight, share)
            for block, weight, share in zip(self.blocks, self.weights, _shares(self.weights), strict=True)
        )
        columns = (
            Column(key="block", title="Block"),
            Column(key="grid", title="Grid"),
            Column(key="channels", title="Channels"),
            Column(key="weight", title="Weight", digits=3),
            Column(key="share", title="Share", digits=3, hint="Part of the largest squared distance that it can hold."),
        )
        self.tables["blocks"] = Table(name="blocks", title="Blocks", columns=columns, rows=rows)

    def add_regions(
        self, maps: Sequence[NDArray[np.int64]], firmness: Sequence[NDArray[np.float32]], cohesion: NDArray[np.float64]
    ) -> None:
        """Adds one region per group, in the first picture that has it."""
        colours = palette_order(len(cohesion))
        for group, colour in enumerate(colours[: len(cohesion)]):
            place = next(place for place, labels in enumerate(maps) if (labels == group).any())
            mask = maps[place] == group
            self.regions.append(
                Region(
                    id=group,
                    label=f"group {group + 1}" if place == 0 else f"group {group + 1}, picture {place + 1}",
                    score=float(cohesion[group]),
                    area=float(mask.sum() / (maps[place] >= 0).sum()),
                    box=_tight_box(mask, self.sheets[place]),
                    colour=colour,
                    layer=f"labels_{place:03d}",
                    values={
                        "cells": int(mask.sum()),
                        "components": count_components(mask),
                        "mean_margin": float(firmness[place][mask].mean()),
                        "frame_share": _frame_share(mask, maps[place] >= 0),
                    },
                )
            )

    def add_nested(self, tables: WardTables, colours: NDArray[np.uint8], exact: Grouping) -> None:
        """Adds the tables of the granularity slider."""
        self.arrays["nested_lut"] = MapArray(tables.lut)
        self.arrays["nested_colour"] = MapArray(colours)
        self.arrays["nested_explained"] = MapArray(tables.explained)
        rows: list[tuple[Scalar, ...]] = [("nested", k + 1, float(share)) for k, share in enumerate(tables.explained)]
        rows.append(("exact", exact.n_effective, exact.explained))
        columns = (
            Column(key="kind", title="Kind"),
            Column(key="groups", title="Groups"),
            Column(
                key="explained", title="Explained", digits=3, hint="Share of the variation that the groups account for."
            ),
        )
        self.tables["granularity"] = Table(
            name="granularity", title="Groups against explained share", columns=columns, rows=tuple(rows)
        )

    def add_likeness(self, grouping: Grouping, count: int) -> None:
        """Adds the cosines between centroids, ``[K, K]``; 0 where a centroid is zero or missing."""
        units = torch.nn.functional.normalize(grouping.centroids.double(), dim=1)
        cosines = np.zeros((count, count), dtype=np.float32)
        found = (units @ units.T).clamp(-1, 1).cpu().numpy()
        cosines[: len(found), : len(found)] = found
        self.arrays["centroid_cosine"] = MapArray(cosines)
        columns = [Column(key="group", title="Group")]
        columns += [Column(key=f"group_{k + 1}", title=str(k + 1), digits=2) for k in range(len(found))]
        rows = tuple((f"group {k + 1}", *(float(value) for value in row)) for k, row in enumerate(found))
        self.tables["likeness"] = Table(
            name="likeness", title="Likeness of groups (cosine)", columns=tuple(columns), rows=rows
        )

    def add_proportions(self, maps: Sequence[NDArray[np.int64]], count: int) -> None:
        """Adds which part of each picture each group covers, ``[M, K]``."""
        table = np.zeros((len(maps), count), dtype=np.float32)
        for place, labels in enumerate(maps):
            known = labels[labels >= 0]
            table[place] = np.bincount(known, minlength=count)[:count] / len(known)
        self.arrays["proportions"] = MapArray(table)
        columns = [Column(key="picture", title="Picture")]
        columns += [Column(key=f"group_{k + 1}", title=f"Group {k + 1}", digits=2) for k in range(count)]
        rows = tuple((place + 1, *(float(value) for value in row)) for place, row in enumerate(table))
        self.tables["proportions"] = Table(
            name="proportions", title="Share of each picture", columns=tuple(columns), rows=rows
        )

    def add_scalars(self, grouper: Grouper, grouping: Grouping, maps: Sequence[NDArray[np.int64]], k: int) -> None:
        """Adds the numbers of the main map."""
        source, found = grouper.source, grouping.clustering
        known = np.concatenate([labels[labels >= 0] for labels in maps])
        self.scalars |= {
            "k": k,
            "n_effective": grouping.n_effective,
            "inertia": found.inertia,
            "explained": grouping.explained,
            "iterations": found.iterations,
            "converged": found.converged,
            "n_positions": source.n_rows,
            "n_columns": source.n_original_columns,
            "n_columns_compressed": source.n_columns,
            "n_zero_vectors": source.n_zero_vectors,
            "size_entropy": size_entropy(known, k),
            "boundary_share": boundary_share(maps[0]),
            "approximate": grouping.approximate,
        }

    def read(self, grouping: Grouping, *, n_pictures: int) -> None:
        """Starts the sentences with what the map shows."""
        names = join_words([block.name for block in self.blocks])
        groups = "one group" if grouping.n_effective == 1 else f"{grouping.n_effective} groups"
        what = "this picture" if n_pictures == 1 else f"these {n_pictures} pictures"
        largest = float(np.bincount(grouping.labels).max() / len(grouping.labels))
        verb = "accounts" if grouping.n_effective == 1 else "account"
        self.sentences = [
            f"At {names}, {self.model_title} splits {what} into {groups} that {verb} for "
            f"{percent(grouping.explained)} of the variation; the largest covers {percent(largest)}."
        ]
        if grouping.explained == 0.0 and grouping.n_effective == 1:
            self.sentences = [f"At {names}, nothing varies: {self.model_title} represents all of {what} alike."]


def percent(share: float) -> str:
    """Returns a share as a whole percentage for people."""
    return f"{round(100 * share)} %"


def join_words(words: Sequence[str]) -> str:
    """Returns words as ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _tight_box(mask: NDArray[np.bool_], sheet: Sheet) -> Box:
    """Smallest rectangle of the picture around some cells, clipped to the picture."""
    frame, (width, height) = sheet.view.frame, sheet.view.picture_size
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    down = (frame.bottom - frame.top) / mask.shape[0]
    across = (frame.right - frame.left) / mask.shape[1]
    return Box(
        left=max(0.0, frame.left + across * float(columns[0])),
        top=max(0.0, frame.top + down * float(rows[0])),
        right=min(float(width), frame.left + across * float(columns[-1] + 1)),
        bottom=min(float(height), frame.top + down * float(rows[-1] + 1)),
    )


def _frame_share(mask: NDArray[np.bool_], inside: NDArray[np.bool_]) -> float:
    """Part of the border cells of what is inside (a rectangle) that a mask holds."""
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    border = inside.copy()
    border[rows[0] + 1 : rows[-1], columns[0] + 1 : columns[-1]] = False
    return float((mask & border).sum() / border.sum())
