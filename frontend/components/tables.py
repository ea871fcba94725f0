"""Small tables: numbers right, no zebra, bars where a column is a score."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Column, Region, Scalar, Table
from frontend.components.words import scalar

REGION_COLUMNS = (
    Column(key="score", title="Score", digits=2),
    Column(key="area", title="Area", unit="%", digits=1),
)
LEAST_SORTED = 3
"""Tables with fewer rows need no sorting."""
LONG_TEXT = 26
"""Longer entries break into lines."""
PART_COLOURS = 3
"""Ranked maps after the third have no colour in the composite."""


def data_table(table: Table) -> Component:
    """Returns a table of a result."""
    rows = [
        html.Tr([_entry(value, column) for value, column in zip(row, table.columns, strict=False)])
        for row in table.rows
    ]
    return _table(table.title, table.columns, rows)


def region_table(
    regions: Sequence[Region],
    columns: Sequence[Column],
    run: str,
    *,
    title: str,
    palette: str = "groups",
    layers: Mapping[int, str] | None = None,
) -> Component:
    """Returns the regions of a result; choosing one lights it up in every cell that has it.

    Args:
        regions: Of the result.
        columns: Their further columns.
        run: Key of the result.
        title: Above the table.
        palette: What their colours mean, see :func:`group_swatch`.
        layers: Layer that shows a region alone, by the region's id, where there is one.
    """
    has_score = any(region.score is not None for region in regions)
    fixed = [column for column in REGION_COLUMNS if column.key != "score" or has_score]
    shown = [column for column in columns if column.key not in {item.key for item in fixed}]
    heads = [Column(key="region", title="Region"), *fixed, *shown]
    rows = []
    for region in regions:
        if region.id < 0:
            rows.append(_rest_row(region, (*fixed, *shown)))
            continue
        values = {**region.values, "score": region.score, "area": region.area}
        cells = [_entry(values.get(column.key), column) for column in (*fixed, *shown)]
        rows.append(
            html.Tr([html.Th(_pick(region, run, palette, (layers or {}).get(region.id, "")), scope="row"), *cells])
        )
    return _table(title, heads, rows)


def _rest_row(region: Region, columns: Sequence[Column]) -> Component:
    """Returns the last row of a table: all that has no row of its own, which nobody can choose on the map."""
    cells = [_entry(region.values.get(column.key), column) for column in columns]
    return html.Tr([html.Th(region.label, scope="row"), *cells], className="is-rest")


def group_swatch(group: int, colour: int | None, *, palette: str = "groups") -> Component | None:
    """Returns the colour of a group; a colour that makes it comparable with another map lies over its own.

    Args:
        group: Number of the group, from 0.
        colour: Its place in the palette; ``None``: it has no colour.
        palette: ``groups``, or ``parts`` for the three colours of ranked maps.
    """
    if colour is None or (palette == "parts" and colour >= PART_COLOURS):
        return None
    over = f"var(--v-group-{group})"
    style = {"backgroundImage": f"linear-gradient({over}, {over})"} if palette == "groups" else None
    return html.I(className="v-swatch", style=style, **{"data-colour": str(colour), "data-palette": palette})


def _pick(region: Region, run: str, palette: str, layer: str) -> Component:
    swatch = group_swatch(region.id, region.colour, palette=palette)
    action = {"data-action": "region", "data-run": run, "data-region": str(region.id), "aria-pressed": "false"}
    if layer:
        action["data-layer"] = layer
    return html.Button([swatch, region.label], className="v-plain v-region", **action)


def _table(title: str, columns: Sequence[Column], rows: list[Component]) -> Component:
    first = rows[0].children if rows else []
    sides = [getattr(entry, "className", None) for entry in first] + [None] * len(columns)
    sortable = len(rows) >= LEAST_SORTED
    heads = [
        html.Th(
            _sorter(column, place) if sortable else _head_words(column),
            scope="col",
            title=column.hint or None,
            className=side,
        )
        for place, (column, side) in enumerate(zip(columns, sides, strict=False))
    ]
    box = html.Div(
        html.Table([html.Caption(title), html.Thead(html.Tr(heads)), html.Tbody(rows)], className="v-table"),
        className="v-table-box",
        tabIndex="0",
        role="region",
        **{"aria-label": title},
    )
    # The frame says so when the table is wider than its place (tables.js).
    return html.Div(box, className="v-table-frame")


def _sorter(column: Column, place: int) -> Component:
    action = {"data-action": "sort", "data-place": str(place)}
    return html.Button(_head_words(column), className="v-plain v-sort", **action)


def _head_words(column: Column) -> str:
    return column.title if column.unit in ("", "%") else f"{column.title}, {column.unit}"


def _entry(value: Scalar, column: Column) -> Component:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    words = scalar(value, column)
    if is_number:
        return html.Td(words, className="is-number", **{"data-value": repr(value)})
    return html.Td(words, className="is-text" if len(words) > LONG_TEXT else None)
