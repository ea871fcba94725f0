"""The look of maps in order of rank: all in one picture first, each alone one click away, how much each one holds."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Manifest
from frontend.components.bars import paired_strip
from frontend.renderers.parts import cautions, details, layer_choice, layer_list, reading, split_layers
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, viewer_spec

IMPORTANCE = "importance"
"""Key of the column, 0-1, whose bars stand under the map."""
MOST_BARS = 4
"""The strip has two lines of two; further ranks stand in the table."""


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the composite; its parts are one choice away, without a new pass."""
    layers = drawable(manifest)
    viewer = viewer_spec(manifest, addresses, layers=layers, badge=manifest.texts.badge, look=look)
    if manifest.partial:
        return Rendering(viewer=viewer, reading=reading(manifest))
    main = [layer for layer in layers if layer.role == "main"]
    buttons, listed = split_layers([layer for layer in layers if layer.role != "main"])
    active = viewer["active"]
    parts = (layer_choice(manifest, [*main, *buttons], active), layer_list(manifest, listed, active))
    controls = [part for part in parts if part is not None]
    return Rendering(
        viewer=viewer,
        reading=reading(manifest),
        controls=html.Div(controls, className="v-controls") if controls else None,
        cautions=cautions(manifest),
        strip=_strip(manifest),
        details=details(manifest, share=addresses.share),
    )


def _strip(manifest: Manifest) -> Component | None:
    rows = []
    for region in manifest.regions[:MOST_BARS]:
        value = region.values.get(IMPORTANCE, region.score)
        if isinstance(value, int | float):
            rows.append((region.label, float(value), region.id, region.colour))
    return paired_strip(rows) if rows else None
