"""What is folded below the maps of regions with values and of learned words: tabs with tables and curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dash_mantine_components as dmc
import numpy as np
from dash import html
from dash.development.base_component import Component
from numpy.typing import NDArray

from backend.contract.results import Manifest, ResultKind
from frontend.components.lines import Line, lines
from frontend.components.tables import data_table, region_table
from frontend.components.words import number

Arrays = Mapping[str, NDArray[Any]]
Tab = tuple[str, list[Component]]

NEEDED = {
    ResultKind.REGION_VALUES: ("deletion", "insertion", "random_order"),
    ResultKind.VISUAL_WORDS: ("iou_curve", "iou_floors"),
}
"""Small arrays that are drawn as curves."""
SHOWN_IN_PANEL = {
    ResultKind.REGION_VALUES: {"tokens", "agreement"},
    ResultKind.VISUAL_WORDS: {"crops"},
}
STABLE, PARTLY = 0.8, 0.5
"""Least correlation of the values under two fillings that is called stable, and partly stable."""
ROBUSTNESS = {"robustness", "robust_captions"}
"""Tables about other fillings; their correlations stand in a sentence."""
PAIRS = (("black", "mean"), ("black", "blur"), ("mean", "blur"))
FLOOR_NAMES = ("chance", "centred Gaussian", "mean of test pictures")


def tabs_of(manifest: Manifest, arrays: Arrays) -> list[Component]:
    """Returns the tabs of such a result; tabs without content are left out."""
    made = _region_tabs(manifest, arrays) if manifest.kind is ResultKind.REGION_VALUES else _word_tabs(manifest, arrays)
    shown = [(name, parts) for name, parts in made if parts]
    if not shown:
        return []
    heads = [dmc.TabsTab(name, value=name) for name, _ in shown]
    bodies = [dmc.TabsPanel(html.Div(parts, className="v-tab-body"), value=name) for name, parts in shown]
    return [
        dmc.Tabs(
            [dmc.TabsList(heads, **{"aria-label": "Details"}), *bodies],
            value=shown[0][0],
            keepMounted=False,
            className="v-detail-tabs",
        )
    ]


def _region_tabs(manifest: Manifest, arrays: Arrays) -> list[Tab]:
    return [
        ("Regions", _table_of_regions(manifest, "Regions")),
        ("Robustness", _robustness(manifest)),
        ("Check", _check(manifest, arrays)),
        ("Captions", _tables(manifest, {"captions"})),
        ("Words", _tables(manifest, {"words", "phrases"})),
        ("More", _tables(manifest, _others(manifest, {"captions", "words", "phrases", *ROBUSTNESS}))),
    ]


def _word_tabs(manifest: Manifest, arrays: Arrays) -> list[Tab]:
    return [
        ("Words", _table_of_regions(manifest, "Words")),
        ("Overlap", _overlap(arrays)),
        ("Classes", _tables(manifest, {"classes"})),
        ("More", _tables(manifest, _others(manifest, {"classes"}))),
    ]


def _others(manifest: Manifest, named: set[str]) -> set[str]:
    hidden = SHOWN_IN_PANEL[manifest.kind] | named
    return {table.name for table in manifest.tables} - hidden


def _tables(manifest: Manifest, names: set[str]) -> list[Component]:
    return [data_table(table) for table in manifest.tables if table.name in names and table.rows]


def _table_of_regions(manifest: Manifest, title: str) -> list[Component]:
    if not manifest.regions:
        return []
    keys = {column.key for column in manifest.region_columns}
    is_double = any(
        all(region.values.get(key) == region.score for region in manifest.regions if region.id >= 0) for key in keys
    )
    regions = [region.model_copy(update={"score": None}) if is_double else region for region in manifest.regions]
    return [region_table(regions, manifest.region_columns, manifest.run_key, title=title)]


def _robustness(manifest: Manifest) -> list[Component]:
    correlations = {
        pair: value
        for pair in PAIRS
        if isinstance(value := manifest.scalars.get(f"spearman_{pair[0]}_{pair[1]}"), int | float)
    }
    tables = _tables(manifest, ROBUSTNESS)
    if not correlations:
        return tables
    least = min(correlations.values())
    verdict = "stable" if least >= STABLE else "partly stable" if least >= PARTLY else "unstable"
    words = ", ".join(f"{one} and {other} {number(value)}" for (one, other), value in correlations.items())
    sentence = f"The order of the regions is {verdict} when other fillings hide them (rank correlation: {words})."
    return [html.P(sentence, className="v-note"), *tables]


def _check(manifest: Manifest, arrays: Arrays) -> list[Component]:
    curves = []
    for name, title in (("deletion", "Hide, strongest first"), ("insertion", "Show, strongest first")):
        if name in arrays:
            values = _numbers(arrays[name])
            curves.append(Line(title, list(range(len(values))), values))
    if not curves:
        return []
    if "random_order" in arrays:
        values = _numbers(arrays["random_order"])
        curves.append(Line("Hide in random order", list(range(len(values))), values, floor=True))
    scores = [
        f"{title} {number(float(value))}"
        for key, title in (
            ("deletion_score", "hiding"),
            ("insertion_score", "showing"),
            ("random_score", "random order"),
        )
        if isinstance(value := manifest.scalars.get(key), int | float)
    ]
    unit = "Closeness to the caption" if manifest.caption else "Value of the picture"
    chart = lines(curves, along="Regions hidden or shown", upward=unit, label="Value while regions are hidden or shown")
    note = html.P(f"Mean height: {', '.join(scores)}. Hiding should fall faster than random order.", className="v-note")
    return [chart, *([note] if scores else [])]


def _overlap(arrays: Arrays) -> list[Component]:
    if "iou_curve" not in arrays:
        return []
    curve = np.asarray(arrays["iou_curve"], dtype=np.float64)
    percentiles = [float(value) for value in curve[:, 0]]
    drawn = [Line("this picture", percentiles, _numbers(curve[:, 1]))]
    if "iou_floors" in arrays:
        floors = np.asarray(arrays["iou_floors"], dtype=np.float64)
        for place in range(min(floors.shape[1], len(FLOOR_NAMES))):
            drawn.append(Line(FLOOR_NAMES[place], percentiles, _numbers(floors[:, place]), floor=True))
    note = "How much the strongest part of the words' overlap map and of the model's attention share, for every cut."
    return [
        lines(drawn, along="Cut, percentile", upward="IoU", label="Overlap of words and attention for every cut"),
        html.P(note, className="v-note"),
    ]


def _numbers(values: NDArray[Any]) -> list[float | None]:
    return [float(value) if np.isfinite(value) else None for value in np.asarray(values, dtype=np.float64).ravel()]
