"""The look of a partition: groups without order, a slider for their number, layers, and what chance would give."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from backend.contract.results import Layer, Manifest
from frontend import ids
from frontend.components.bars import strip
from frontend.components.words import percent
from frontend.renderers.parts import details, layer_choice, limits, reading
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, viewer_spec

LUT, COLOUR, EXPLAINED = "nested_lut", "nested_colour", "nested_explained"
BASE = "nested_base"
"""Arrays of a nested result: a base map and the tables that merge its groups, one step for each number of groups."""


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the groups; their number slides without any computation when the result is nested."""
    layers = drawable(manifest)
    nested = nested_tables(manifest, addresses, layers)
    viewer = viewer_spec(manifest, addresses, layers=layers, nested=nested, badge=manifest.texts.badge, look=look)
    if manifest.partial:
        return Rendering(viewer=viewer, reading=reading(manifest))
    base = nested["base"] if nested else ""
    offered = [layer for layer in layers if layer.name != base]
    parts = [
        _groups(manifest, addresses, viewer) if nested else None,
        layer_choice(manifest, offered, viewer["active"]),
    ]
    controls = [part for part in parts if part is not None]
    return Rendering(
        viewer=viewer,
        reading=reading(manifest),
        controls=html.Div(controls, className="v-controls") if controls else None,
        strip=_strip(manifest),
        details=html.Div(
            [part for part in (limits(manifest), details(manifest, share=addresses.share)) if part is not None],
            className="v-folds",
        ),
    )


def nested_tables(manifest: Manifest, addresses: Addresses, layers: list[Layer]) -> dict[str, Any] | None:
    """Returns where the granularity tables are, or ``None`` when the result has none."""
    base = next((layer.name for layer in layers if layer.array.startswith(BASE)), None)
    if base is None or LUT not in manifest.arrays or COLOUR not in manifest.arrays:
        return None
    lut, colour = manifest.arrays[LUT], manifest.arrays[COLOUR]
    explained = manifest.arrays.get(EXPLAINED)
    most = int(lut.shape[0])
    return {
        "base": base,
        "lut_url": addresses.array(lut.digest),
        "colour_url": addresses.array(colour.digest),
        "words_url": addresses.array(explained.digest) if explained else "",
        "k": min(exact_groups(manifest), most),
    }


def exact_groups(manifest: Manifest) -> int:
    """Returns the number of groups that the map itself was made with."""
    for key in ("n_effective", "k"):
        value = manifest.scalars.get(key)
        if isinstance(value, int) and not isinstance(value, bool):
            return value
    return max(1, len(manifest.regions))


def _groups(manifest: Manifest, addresses: Addresses, viewer: dict[str, Any]) -> Component:
    exact = exact_groups(manifest)
    nested = viewer["nested"]
    most = int(manifest.arrays[LUT].shape[0])
    explained = manifest.arrays.get(EXPLAINED)
    main = next((layer["name"] for layer in viewer["layers"] if layer["name"] != nested["base"]), nested["base"])
    share = manifest.scalars.get("explained")
    words = f"exact, explains {percent(float(share))}" if isinstance(share, int | float) else "exact"
    info = {
        "data-exact": str(exact),
        "data-layer": main,
        "data-share": "" if share is None else str(share),
        "data-explained": addresses.array(explained.digest) if explained else "",
    }
    return html.Div(
        [
            html.Div(
                [
                    html.Span("Groups"),
                    html.B(str(exact), className="v-groups-count"),
                    html.Span(words, className="v-note v-groups-words"),
                ],
                className="v-groups-head",
            ),
            dmc.Slider(
                id=ids.panel_control("groups", manifest.run_key),
                min=1,
                max=most,
                step=1,
                value=min(exact, most),
                size=4,
                thumbSize=14,
                label=None,
                updatemode="drag",
                thumbLabel="Number of groups",
            ),
        ],
        className="v-groups",
        **{"data-testid": "groups-slider", "data-run": manifest.run_key, **info},
    )


def _strip(manifest: Manifest) -> Component | None:
    own = manifest.scalars.get("explained")
    if not isinstance(own, int | float):
        return None
    rows = [("Explained", float(own), True)]
    floor = next(
        (
            (key, value)
            for key, value in manifest.scalars.items()
            if key.startswith(("explained_", "floor_")) and isinstance(value, int | float)
        ),
        None,
    )
    if floor is not None:
        rows.append((_floor_words(floor[0]), float(floor[1]), False))
    return strip(rows)


def _floor_words(key: str) -> str:
    name = key.removeprefix("explained_").removeprefix("floor_").removesuffix("_explained")
    return {"rgb": "Colour alone", "rgb_xy": "Colour and place", "grid": "Plain grid", "random": "Untrained"}.get(
        name, name
    )
