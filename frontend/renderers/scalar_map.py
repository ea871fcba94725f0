"""The look of one number per place: a class to show, a class to compare it with, other layers, best parts."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Layer, Manifest
from frontend.components.bars import strip
from frontend.renderers.parts import cautions, details, layer_choice, layer_list, layer_select, reading, split_layers
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, viewer_spec

NOTHING = "-"
"""Value of "compare with" that compares with nothing."""
COUNTERPARTS = (("p_intact", "Whole picture", True), ("p_substrate", "Background alone", False))
"""Scalars that say what the picture and its replacement score: shown under the map when a result has both."""


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the map of the target; other classes and layers are one choice away, without a new pass."""
    layers = drawable(manifest)
    viewer = viewer_spec(manifest, addresses, layers=layers, badge=manifest.texts.badge, look=look)
    if manifest.partial:
        return Rendering(viewer=viewer, reading=reading(manifest))
    classes = class_layers(layers)
    buttons, listed = split_layers([layer for layer in layers if layer not in classes])
    active = viewer["active"]
    offered = [layer for layer in classes if layer.name == active][:1] + buttons
    controls = [
        part
        for part in (
            _class_choice(manifest, classes, active),
            layer_choice(manifest, offered, active),
            layer_list(manifest, listed, active),
        )
        if part is not None
    ]
    return Rendering(
        viewer=viewer,
        reading=reading(manifest),
        controls=html.Div(controls, className="v-controls") if controls else None,
        cautions=cautions(manifest),
        strip=_strip(manifest),
        details=details(manifest, share=addresses.share),
    )


def class_layers(layers: list[Layer]) -> list[Layer]:
    """Returns the layers that show the same thing for several classes; empty when there is only one class."""
    stacks: dict[str, list[Layer]] = {}
    for layer in layers:
        if layer.target is not None and layer.index is not None:
            stacks.setdefault(layer.array, []).append(layer)
    best = max(stacks.values(), key=len, default=[])
    return best if len(best) > 1 else []


def _class_choice(manifest: Manifest, classes: list[Layer], active: str) -> Component | None:
    if not classes:
        return None
    labels = {item.index: item.label for item in manifest.classes}
    scores = {item.index: item.score for item in manifest.classes}
    data = []
    for layer in classes:
        label = labels.get(layer.target or 0, layer.title)
        score = scores.get(layer.target or 0)
        data.append({"value": layer.name, "label": label if score is None else f"{label} {score:.2f}"})
    shown = (
        active
        if any(layer.name == active for layer in classes)
        else next((x.name for x in classes if x.target == manifest.target), classes[0].name)
    )
    return html.Div(
        [
            layer_select(manifest, "class", "Class", data, shown),
            layer_select(manifest, "minus", "Compare with", [{"value": NOTHING, "label": "nothing"}, *data], NOTHING),
        ],
        className="v-control-pair",
    )


def _strip(manifest: Manifest) -> Component | None:
    rows = []
    for key, label, own in COUNTERPARTS:
        value = manifest.scalars.get(key)
        if isinstance(value, int | float):
            rows.append((label, float(value), own))
    return strip(rows) if len(rows) == len(COUNTERPARTS) else None
