"""What a renderer returns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dash.development.base_component import Component


@dataclass(frozen=True, eq=False)
class Rendering:
    """The look of one result.

    Attributes:
        viewer: What the canvas viewer draws (see :mod:`frontend.renderers.spec`).
        pictures: What switches between several pictures, with what they have in common; may be missing.
        controls: What changes the map without computing anything (class, groups, layers); may be missing.
        cautions: What must be read with the map; may be missing.
        strip: The map's own number against its counterpart; may be missing.
        reading: One or two sentences.
        details: Tables and notes, folded below; may be missing.
    """

    viewer: dict[str, Any]
    reading: Component
    pictures: Component | None = None
    controls: Component | None = None
    cautions: Component | None = None
    strip: Component | None = None
    details: Component | None = None
