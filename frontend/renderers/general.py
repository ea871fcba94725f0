"""The look of any result that has no renderer of its own: its layers, its regions, its words."""

from __future__ import annotations

from typing import Any

from dash import html

from backend.contract.results import Manifest
from frontend.renderers.parts import cautions, details, layer_choice, reading
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, viewer_spec


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns a plain look: every layer can be chosen, regions can be picked."""
    layers = drawable(manifest)
    viewer = viewer_spec(manifest, addresses, layers=layers, badge=manifest.texts.badge, look=look)
    choice = layer_choice(manifest, layers, viewer["active"])
    return Rendering(
        viewer=viewer,
        reading=reading(manifest),
        cautions=cautions(manifest),
        controls=html.Div(choice, className="v-controls") if choice is not None and not manifest.partial else None,
        details=None if manifest.partial else details(manifest, share=addresses.share),
    )
