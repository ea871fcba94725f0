"""The look of a prediction: the picture and the model's strongest classes, or its caption."""

from __future__ import annotations

from typing import Any

from dash import html

from backend.contract.results import Manifest
from frontend.components.bars import labelled_bar
from frontend.renderers.parts import reading
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, viewer_spec


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the classes as bars, best first; a captioner shows its caption."""
    viewer = viewer_spec(manifest, addresses, layers=[], look=look)
    bars = [labelled_bar(item.label, item.score, strong=place == 0) for place, item in enumerate(manifest.classes)]
    words = html.P(f"“{manifest.caption}”", className="v-reading") if manifest.caption else reading(manifest)
    return Rendering(viewer=viewer, reading=words, strip=html.Div(bars, className="v-classes") if bars else None)
