"""One renderer for each kind of result.

A renderer is a pure function ``(manifest, addresses, look) -> Rendering``. The registry is closed: a new method
needs no renderer, a new *kind* of result needs one file here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from backend.contract.pictures import picture_count
from backend.contract.results import Manifest, ResultKind
from frontend.renderers import (
    agreement,
    curves,
    label_map,
    prediction,
    ranked_maps,
    region_values,
    scalar_map,
    visual_words,
)
from frontend.renderers.legible import legible
from frontend.renderers.pictures import picture_strip, with_pictures
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses

Renderer = Callable[[Manifest, Addresses, dict[str, Any]], Rendering]

RENDERERS: dict[ResultKind, Renderer] = {
    ResultKind.SCALAR_MAP: scalar_map.render,
    ResultKind.LABEL_MAP: label_map.render,
    ResultKind.RANKED_MAPS: ranked_maps.render,
    ResultKind.PREDICTION: prediction.render,
    ResultKind.REGION_VALUES: region_values.render,
    ResultKind.VISUAL_WORDS: visual_words.render,
    ResultKind.CURVES: curves.render,
    ResultKind.AGREEMENT: agreement.render,
}


def render(manifest: Manifest, addresses: Addresses | None = None, look: dict[str, Any] | None = None) -> Rendering:
    """Returns what a result looks like.

    Args:
        manifest: A finished or partial result.
        addresses: Where its arrays are fetched; default: the API.
        look: What somebody chose before (layer, number of groups), as a share keeps it.
    """
    addresses, look, manifest = addresses or Addresses(), look or {}, legible(manifest)
    drawn = RENDERERS[manifest.kind](manifest, addresses, look)
    if manifest.partial or picture_count(manifest) == 1:
        return drawn
    viewer = with_pictures(manifest, addresses, drawn.viewer, look)
    return replace(drawn, viewer=viewer, pictures=picture_strip(manifest, addresses, look))
