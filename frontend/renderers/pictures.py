"""Results over several pictures: what the viewer needs to show each of them, and the strip that switches."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.pictures import family, group_colours, is_shared, layers_of, picture_count, seen_of, size_of
from backend.contract.results import Encoding, Layer, Manifest, Table
from frontend.components.tables import group_swatch
from frontend.components.words import percent
from frontend.renderers.parts import PROPORTIONS
from frontend.renderers.spec import Addresses, layer_spec, main_first, region_spec

OPEN_UP_TO = 6
"""A table with more pictures is folded at first."""


def with_pictures(
    manifest: Manifest, addresses: Addresses, viewer: dict[str, Any], look: dict[str, Any]
) -> dict[str, Any]:
    """Returns a viewer's description that can show every picture of the result; the look says which one comes first.

    Layers that are alike on all pictures get one name, so that what was chosen stays chosen from picture to picture.
    """
    parts = [_part(manifest, addresses, place, viewer) for place in range(picture_count(manifest))]
    place = shown_picture(manifest, look)
    names = [layer["name"] for layer in parts[place]["layers"]]
    active = viewer["active"] if viewer["active"] in names else next(iter(names), "")
    return {**viewer, **parts[place], "active": active, "pictures": parts, "shared": is_shared(manifest)}


def shown_picture(manifest: Manifest, look: dict[str, Any]) -> int:
    """Returns the place of the picture that is shown."""
    place = look.get("picture") or 0
    return int(place) if 0 <= int(place) < picture_count(manifest) else 0


def picture_strip(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Component:
    """Returns small pictures to switch between, and which share of each the groups cover."""
    shown = shown_picture(manifest, look)
    buttons = [
        html.Button(
            [html.Img(src=addresses.picture(image_id, max_side=96), alt=""), html.Span(str(place + 1))],
            className="v-picture" + (" is-on" if place == shown else ""),
            **{
                "data-action": "show-picture",
                "data-run": manifest.run_key,
                "data-place": str(place),
                "aria-pressed": "true" if place == shown else "false",
                "aria-label": f"Picture {place + 1}",
            },
        )
        for place, image_id in enumerate(manifest.image_ids[: picture_count(manifest)])
    ]
    strip = html.Div(buttons, className="v-picture-strip", role="group", **{"aria-label": "Picture shown"})
    table = next((table for table in manifest.tables if table.name == PROPORTIONS), None)
    return html.Div([strip, _proportions(manifest, table)] if table else [strip], className="v-pictures")


def _part(manifest: Manifest, addresses: Addresses, place: int, viewer: dict[str, Any]) -> dict[str, Any]:
    twins = {family(layer): layer for layer in layers_of(manifest, 0)}
    layers = main_first(layers_of(manifest, place))
    names = {layer.name: twins.get(family(layer), layer).name for layer in layers}
    width, height = size_of(manifest, place)
    seen = seen_of(manifest, place)
    nested = viewer["nested"] if viewer["nested"] and viewer["nested"]["base"] in names.values() else None
    regions = [region for region in manifest.regions if region.layer in names or (place == 0 and not region.layer)]
    return {
        "picture": {"url": addresses.picture(manifest.image_ids[place]), "width": width, "height": height},
        "seen": list(seen) if seen else None,
        "layers": [_layer(manifest, addresses, layer, twins.get(family(layer), layer)) for layer in layers],
        "regions": [{**region_spec(region), "layer": names.get(region.layer or "")} for region in regions],
        "nested": nested,
    }


def _layer(manifest: Manifest, addresses: Addresses, layer: Layer, twin: Layer) -> dict[str, Any]:
    spec = {**layer_spec(manifest, addresses, layer), "name": twin.name, "title": twin.title, "role": twin.role}
    if layer.encoding is Encoding.LABELS and layer.picture:
        # The regions lie on the first picture that has them; here their colours are known by number.
        spec["colours"] = [list(pair) for pair in sorted(group_colours(manifest, layer).items())]
    return spec


def _proportions(manifest: Manifest, table: Table) -> Component:
    colours = {region.id: region.colour for region in manifest.regions}
    heads = [html.Th(_group_head(group, colours.get(group)), scope="col") for group in range(len(table.columns) - 1)]
    rows = [
        html.Tr(
            [html.Th(str(row[0]), scope="row"), *(html.Td(_share(value), className="is-number") for value in row[1:])]
        )
        for row in table.rows
    ]
    head = html.Thead(html.Tr([html.Th("Picture", scope="col"), *heads]))
    box = html.Div(
        html.Table([head, html.Tbody(rows)], className="v-table v-proportions"),
        className="v-table-box",
        tabIndex="0",
        role="region",
        **{"aria-label": table.title},
    )
    return html.Details([html.Summary(table.title), box], className="v-fold", open=len(rows) <= OPEN_UP_TO)


def _group_head(group: int, colour: int | None) -> list[Component | str]:
    swatch = group_swatch(group, colour)
    return [*([swatch] if swatch is not None else []), str(group + 1)]


def _share(value: Any) -> str:
    return percent(float(value)) if isinstance(value, int | float) else "–"
