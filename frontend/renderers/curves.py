"""The look of a check: its curves beside those of orders that know nothing; it draws no map of its own."""

from __future__ import annotations

from typing import Any

from backend.contract.results import Manifest
from frontend.components.trust import trust_strip
from frontend.renderers.parts import reading
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, bare_spec


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:  # noqa: ARG001 - part of the contract
    """Returns the picture without a map, and the strip."""
    width, height = manifest.picture_size
    picture = {"url": addresses.picture(manifest.image_ids[0]), "width": width, "height": height}
    seen = list(manifest.seen) if manifest.seen else None
    title = f"{manifest.method_title}, {manifest.model_title}"
    strip = None if manifest.partial or not manifest.tables else trust_strip(manifest)
    viewer = {**bare_spec(title=title, picture=picture, seen=seen, group=""), "run": manifest.run_key}
    return Rendering(viewer=viewer, reading=reading(manifest), strip=strip)
