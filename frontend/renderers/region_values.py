"""The look of what each region of a picture adds: numbered regions with signed values, and what backs them."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Encoding, Layer, Manifest, Region, Scalar
from frontend.components.bars import strip
from frontend.components.panel import panel
from frontend.renderers.parts import cautions, details, layer_choice, layer_list, reading
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, fetch_whole, viewer_spec

TOKEN_VALUES, CLASS_VALUES = "token_phi", "class_phi"
"""Arrays [T, regions] of values for every token of the caption, or for several classes: painted in the browser."""
SOFT = "scores"
"""Array [regions, h, w] of the soft maps that the regions were cut from."""
SPANS = "spans"
"""Table (kind, text, first, last): words and phrases as ranges of tokens; the end is exclusive."""
CLASSES = "classes"
HIDDEN = "hidden"
"""Table with one row: the caption of the picture with everything hidden."""
MOST_BUTTONS = 1
"""More soft maps than this stand in a list."""


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the map of contributions; regions, words and classes are one choice away, without a new pass."""
    layers = sorted(drawable(manifest), key=_place)
    viewer = viewer_spec(
        manifest, addresses, layers=layers, badge=manifest.texts.badge, look=look, numbered=labelled(layers) is not None
    )
    fetch_whole(manifest, addresses, viewer, SOFT)
    if manifest.partial:
        viewer["badge"] = manifest.texts.badge or viewer["badge"]
        return Rendering(viewer=viewer, reading=reading(manifest))
    soft = [layer for layer in layers if layer.encoding is Encoding.SEQUENTIAL]
    buttons = [layer for layer in layers if layer not in soft] + (soft if len(soft) <= MOST_BUTTONS else [])
    listed = soft if len(soft) > MOST_BUTTONS else []
    chips = [layer_choice(manifest, buttons, viewer["active"]), layer_list(manifest, listed, viewer["active"])]
    row = html.Div([part for part in chips if part is not None], className="v-panel-choices")
    name = f"Regions of {manifest.method_title.split(':')[0]}"
    facts = region_facts(manifest, addresses, layers)
    return Rendering(
        viewer=viewer,
        strip=_strip(manifest),
        reading=reading(manifest),
        cautions=cautions(manifest),
        controls=html.Div([row, panel("region_values", facts, label=name)], className="v-controls"),
        details=details(manifest, share=addresses.share),
    )


def labelled(layers: list[Layer]) -> Layer | None:
    """Returns the layer that says which pixel belongs to which region."""
    return next((layer for layer in layers if layer.encoding is Encoding.LABELS), None)


def region_facts(manifest: Manifest, addresses: Addresses, layers: list[Layer]) -> dict[str, Any]:
    """Returns all that the panel shows and paints."""
    partition = labelled(layers)
    main = next((layer for layer in layers if layer.encoding is Encoding.SIGNED), None)
    return {
        "run": manifest.run_key,
        "unit": main.unit if main else "",
        "labels": partition.name if partition else "",
        "main": main.name if main else "",
        "regions": [_region(region) for region in manifest.regions],
        "full": manifest.scalars.get("v_full"),
        "empty": manifest.scalars.get("v_empty"),
        "sum": manifest.scalars.get("sum", manifest.scalars.get("delta")),
        "filling": manifest.scalars.get("hidden", "black"),
        "hidden": _hidden(manifest),
        "caption": manifest.caption,
        "target": manifest.target_label,
        "rows": _rows(manifest, addresses),
    }


def _place(layer: Layer) -> int:
    order = {Encoding.SIGNED: 0, Encoding.LABELS: 1}
    return order.get(layer.encoding, 2) + (0 if layer.role == "main" else 3)


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


def _hidden(manifest: Manifest) -> str | None:
    table = next((table for table in manifest.tables if table.name == HIDDEN), None)
    if table is None or not table.rows:
        return None
    return next((str(value) for value in table.rows[0] if isinstance(value, str)), None)


def _rows(manifest: Manifest, addresses: Addresses) -> dict[str, Any] | None:
    """Returns where values for words or classes are, and what can be chosen among them; ``None`` without any."""
    tables = {table.name: [_record(table, row) for row in table.rows] for table in manifest.tables}
    if TOKEN_VALUES in manifest.arrays and tables.get(SPANS):
        array, kind, unit = TOKEN_VALUES, "words", "nats"
        choices = [{key: row.get(key) for key in ("kind", "text", "first", "last")} for row in tables[SPANS]]
    elif CLASS_VALUES in manifest.arrays and tables.get(CLASSES):
        array, kind, unit = CLASS_VALUES, "classes", ""
        choices = [
            {"kind": "class", "text": row.get("label"), "first": at, "last": at + 1, "full": row.get("full")}
            | {"empty": row.get("empty"), "class": row.get("class")}
            for at, row in enumerate(tables[CLASSES])
        ]
    else:
        return None
    return {"url": addresses.array(manifest.arrays[array].digest), "kind": kind, "unit": unit, "choices": choices}


def _record(table: Any, row: tuple[Scalar, ...]) -> dict[str, Scalar]:
    return {column.key: value for column, value in zip(table.columns, row, strict=False)}


def _strip(manifest: Manifest) -> Component | None:
    full, empty = manifest.scalars.get("v_full"), manifest.scalars.get("v_empty")
    if not isinstance(full, int | float) or not isinstance(empty, int | float):
        return None
    if not (0 <= full <= 1 and 0 <= empty <= 1):
        return None
    return strip([("Whole picture", float(full), True), ("All hidden", float(empty), False)])
