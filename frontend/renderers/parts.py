"""Pieces that several renderers share: the reading, the fold with tables and notes, a choice of layers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component
from numpy.typing import NDArray

from backend.contract.pictures import picture_count
from backend.contract.results import Layer, Manifest, Region, ResultKind
from frontend import ids
from frontend.components.curve import curve
from frontend.components.icons import icon
from frontend.components.tables import data_table, region_table
from frontend.components.words import scalar
from frontend.renderers.legible import legible
from frontend.renderers.panel_details import NEEDED, tabs_of

LONG_STACK = 4
CURVE = "granularity"
"""Name of the table (kind, x, y) that is drawn as a curve."""
PROPORTIONS = "proportions"
"""Name of the table (picture, then one share for each group) that stands with the pictures of a result."""
REGION_TITLES = {
    ResultKind.LABEL_MAP: "Groups",
    ResultKind.SCALAR_MAP: "Best parts",
    ResultKind.RANKED_MAPS: "Groups by strength",
}


def reading(manifest: Manifest) -> Component:
    """Returns the reading; the target's name in it is set off."""
    # A number and its unit stay on one line.
    text = manifest.texts.reading.replace(" %", "\u00a0%")
    label = manifest.target_label
    if label and label in text:
        before, after = text.split(label, 1)
        return html.P([before, html.Strong(label), after], className="v-reading")
    return html.P(text, className="v-reading")


def cautions(manifest: Manifest) -> Component | None:
    """Returns the cautions of this very map, each with its icon."""
    texts = manifest.texts.cautions
    lines = [html.P([icon("warning", size=14), html.Span(text)], className="v-caution") for text in texts]
    return html.Div(lines) if lines else None


def limits(manifest: Manifest, given: Sequence[str] | None = None) -> Component | None:
    """Returns what such a map can never say, one click away.

    Args:
        manifest: The result.
        given: The sentences; by default the cautions of the result.
    """
    texts = manifest.texts.cautions if given is None else given
    if not texts:
        return None
    lines = html.Ul([html.Li(text) for text in texts], className="v-limits")
    return html.Details([html.Summary("What this map cannot say"), lines], className="v-fold")


def layer_choice(manifest: Manifest, layers: list[Layer], active: str) -> Component | None:
    """Returns buttons for the layers of a result; ``None`` when there is nothing to choose."""
    if len(layers) < 2:
        return None
    buttons = [
        html.Button(
            layer.title,
            className="v-chip" + (" is-on" if layer.name == active else ""),
            **{
                "data-action": "layer",
                "data-run": manifest.run_key,
                "data-layer": layer.name,
                "aria-pressed": "true" if layer.name == active else "false",
            },
        )
        for layer in layers
    ]
    return html.Div(buttons, className="v-chips", role="group", **{"aria-label": "Layer shown"})


def split_layers(layers: list[Layer]) -> tuple[list[Layer], list[Layer]]:
    """Returns the layers for buttons and those for a list: long stacks (all cuts of a picture) are a list."""
    stacks: dict[str, int] = {}
    for layer in layers:
        stacks[layer.array] = stacks.get(layer.array, 0) + 1
    listed = [layer for layer in layers if stacks[layer.array] >= LONG_STACK]
    return [layer for layer in layers if layer not in listed], listed


def layer_list(manifest: Manifest, layers: list[Layer], active: str) -> Component | None:
    """Returns a quiet list of many layers; ``None`` when there are none."""
    if not layers:
        return None
    data = [{"value": layer.name, "label": layer.title} for layer in layers]
    shown = active if any(layer.name == active for layer in layers) else None
    return layer_select(manifest, "layer", "More layers", data, shown)


def layer_select(manifest: Manifest, kind: str, label: str, data: list[dict[str, str]], value: str | None) -> Component:
    """Returns a quiet select that shows one of many layers (classes, say) without computing anything."""
    control = dmc.Select(
        id=ids.panel_control(kind, manifest.run_key),
        label=label,
        data=data,
        value=value,
        size="xs",
        variant="unstyled",
        placeholder="none",
        allowDeselect=False,
        rightSection=icon("chevron", size=12),
        rightSectionWidth=16,
        rightSectionPointerEvents="none",
        className="v-quiet-select v-inline-select",
        comboboxProps={"shadow": "sm", "width": 240, "position": "bottom-start"},
    )
    return html.Div(control, **{"data-options": "|".join(item["value"] for item in data)})


def details(manifest: Manifest, *, share: str = "") -> Component:
    """Returns the line that unfolds tables and notes; they are drawn when somebody opens it.

    Every entry of a table is a component of the page, and every component makes every change of the page slower.

    Args:
        manifest: The result.
        share: Id of the share it belongs to; empty for live results.
    """
    return html.Details(
        [
            html.Summary("Details", id=ids.details_head(manifest.run_key, share)),
            html.Div(id=ids.details_body(manifest.run_key, share), className="v-details-body"),
        ],
        className="v-fold v-details",
        **{"data-testid": "details"},
    )


def details_body(manifest: Manifest, arrays: Mapping[str, NDArray[Any]] | None = None) -> list[Component]:
    """Returns what is folded below a map: regions, tables, notes, how it was made.

    Args:
        manifest: The result.
        arrays: Its small arrays that are drawn as curves (see :data:`frontend.renderers.panel_details.NEEDED`).
    """
    manifest = legible(manifest)
    if manifest.kind in NEEDED:
        return [*tabs_of(manifest, arrays or {}), making(manifest)]
    parts: list[Component] = []
    if manifest.regions:
        title = REGION_TITLES.get(manifest.kind, "Regions")
        ranked = manifest.kind is ResultKind.RANKED_MAPS
        parts.append(
            region_table(
                _without_double_score(manifest),
                manifest.region_columns,
                manifest.run_key,
                title=title,
                palette="parts" if ranked else "groups",
                layers=_single_layers(manifest) if ranked else None,
            )
        )
    shown_above = {PROPORTIONS} if picture_count(manifest) > 1 else set()
    for table in manifest.tables:
        if table.name in shown_above:
            continue
        if table.name == CURVE:
            parts.append(html.Div([html.P(table.title, className="v-table-title"), curve(table)]))
        else:
            parts.append(data_table(table))
    parts += [html.P(note, className="v-note") for note in manifest.texts.notes]
    parts.append(making(manifest))
    return parts


def _without_double_score(manifest: Manifest) -> list[Region]:
    """Returns the regions without the score where a column with a name of its own says the same."""
    keys = [column.key for column in manifest.region_columns]
    is_double = any(all(region.values.get(key) == region.score for region in manifest.regions) for key in keys)
    return [region.model_copy(update={"score": None}) if is_double else region for region in manifest.regions]


def _single_layers(manifest: Manifest) -> dict[int, str]:
    """Returns for each ranked part the layer that shows it alone: the one with its title."""
    names = {layer.title: layer.name for layer in manifest.layers if layer.array in manifest.arrays}
    return {region.id: names[region.label] for region in manifest.regions if region.label in names}


def making(manifest: Manifest) -> Component:
    """Returns how a map was made, in one line, and its native resolution."""
    facts = [
        f"{scalar(manifest.passes)} {'pass' if manifest.passes == 1 else 'passes'}",
        f"{manifest.seconds:.1f} s on {manifest.device or 'cpu'}",
        manifest.dtype,
    ]
    main = next((layer for layer in manifest.layers if layer.array in manifest.arrays), None)
    if main is not None:
        shape = manifest.arrays[main.array].shape
        rows, columns = (shape[0], shape[1]) if main.encoding == "rgb" else (shape[-2], shape[-1])
        facts.insert(0, f"Map of {rows} × {columns} values")
    return html.P(", ".join(facts) + ".", className="v-note v-making")
