"""The look of what each region of a picture adds: numbered regions with signed values, and what backs them."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Encoding, Layer, Manifest, Region, Scalar, Table
from frontend.components.bars import strip
from frontend.components.panel import panel
from frontend.renderers.parts import cautions, details, layer_choice, layer_list, limits, reading
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, fetch_whole, viewer_spec

SOFT = "scores"
"""Array [regions, h, w] of the soft maps that the regions were cut from."""
CLASSES = "classes"
"""Table (class, name, full, empty) of the rows of ``class_phi`` [classes, regions]."""
LEVELS = (("phrase", "phrases"), ("word", "words"), ("token", "tokens"))
"""Parts of a caption, with the table (text, ...) of them; values are in ``<part>_phi`` [parts, regions]."""
REPEATED = tuple(f"{name}_maps" for name in ("token", "word", "phrase", "class"))
"""Stacks that say once more what the panel paints from the values; the viewer does without them."""
FILLING = Encoding.RGB
"""A picture among the layers is what hidden regions show."""


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the map of contributions; regions, words and classes are one choice away, without a new pass."""
    layers = sorted((layer for layer in drawable(manifest) if layer.array not in REPEATED), key=_place)
    viewer = viewer_spec(
        manifest, addresses, layers=layers, badge=manifest.texts.badge, look=look, numbered=labelled(layers) is not None
    )
    fetch_whole(manifest, addresses, viewer, SOFT)
    if manifest.partial:
        viewer["badge"] = manifest.texts.badge or viewer["badge"]
        return Rendering(viewer=viewer, reading=reading(manifest))
    main = [layer for layer in layers if layer.role == "main" or layer is labelled(layers)]
    listed = [layer for layer in layers if layer not in main]
    chips = [layer_choice(manifest, main, viewer["active"]), layer_list(manifest, listed, viewer["active"])]
    row = html.Div([part for part in chips if part is not None], className="v-panel-choices")
    name = f"Regions of {manifest.method_title.split(':')[0]}"
    facts = {**region_facts(manifest, addresses, layers), "shown": look.get("layer") or ""}
    folds = [limits(manifest, manifest.texts.notes), details(manifest, share=addresses.share)]
    return Rendering(
        viewer=viewer,
        strip=_strip(manifest),
        reading=reading(manifest),
        cautions=cautions(manifest),
        controls=html.Div([row, panel("region_values", facts, label=name)], className="v-controls"),
        details=html.Div([fold for fold in folds if fold is not None], className="v-folds"),
    )


def labelled(layers: list[Layer]) -> Layer | None:
    """Returns the layer that says which pixel belongs to which region."""
    return next((layer for layer in layers if layer.encoding is Encoding.LABELS), None)


def region_facts(manifest: Manifest, addresses: Addresses, layers: list[Layer]) -> dict[str, Any]:
    """Returns all that the panel shows and paints."""
    partition = labelled(layers)
    main = next((layer for layer in layers if layer.encoding is Encoding.SIGNED), None)
    filling = next((layer for layer in layers if layer.encoding is FILLING), None)
    given = manifest.scalars
    return {
        "run": manifest.run_key,
        "unit": main.unit if main else "",
        "labels": partition.name if partition else "",
        "main": main.name if main else "",
        "filling": filling.name if filling else "",
        "regions": [_region(region) for region in manifest.regions],
        "full": given.get("v_full"),
        "empty": given.get("v_empty"),
        "hidden": given.get("caption_hidden"),
        "caption": manifest.caption,
        "target": manifest.target,
        "name": manifest.target_label,
        "levels": _levels(manifest, addresses),
    }


def _place(layer: Layer) -> int:
    order = {Encoding.SIGNED: 0, Encoding.LABELS: 1, Encoding.SEQUENTIAL: 2}
    return order.get(layer.encoding, 3) + (0 if layer.role == "main" else 4)


def _region(region: Region) -> dict[str, Any]:
    def get(key: str) -> Scalar:
        return region.values.get(key)

    return {
        "id": region.id,
        "label": region.label,
        "value": region.score,
        "error": get("std_error"),
        "share": get("share"),
        "area": region.area,
        "flags": get("flags") or "",
        "only": {"caption": get("only_caption"), "value": get("only_value")},
        "without": {"caption": get("without_caption"), "value": get("without_value")},
    }


def _levels(manifest: Manifest, addresses: Addresses) -> list[dict[str, Any]]:
    """Returns what else can be explained: parts of the caption, or further classes, and where their values are."""
    tables = {table.name: [_record(table, row) for row in table.rows] for table in manifest.tables}
    found = []
    for kind, table in (*LEVELS, ("class", CLASSES)):
        array = manifest.arrays.get(f"{kind}_phi")
        rows = tables.get(table, [])
        if array is None or not rows:
            continue
        choices = [
            {"text": row.get("text", row.get("name")), "class": row.get("class")}
            | {"full": row.get("full"), "empty": row.get("empty")}
            for row in rows
        ]
        unit = "" if kind == "class" else "nats"
        found.append({"kind": kind, "unit": unit, "url": addresses.array(array.digest), "choices": choices})
    # Words are what people read; tokens only stand in for them.
    return [level for level in found if level["kind"] != "token" or len(found) == 1]


def _record(table: Table, row: tuple[Scalar, ...]) -> dict[str, Scalar]:
    return {column.key: value for column, value in zip(table.columns, row, strict=False)}


def _strip(manifest: Manifest) -> Component | None:
    full, empty = manifest.scalars.get("v_full"), manifest.scalars.get("v_empty")
    if not isinstance(full, int | float) or not isinstance(empty, int | float):
        return None
    if not (0 <= full <= 1 and 0 <= empty <= 1):
        return None
    return strip([("Whole picture", float(full), True), ("All hidden", float(empty), False)])
