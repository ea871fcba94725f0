"""Still pages with finished cells as the renderers draw them: real components and assets, made arrays, no API."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from dash.development.base_component import Component
from numpy.typing import NDArray
from PIL import Image

from backend.contract.results import Manifest
from frontend.components.viewer_cell import CellView, viewer_cell
from frontend.renderers.parts import details_body
from frontend.renderers.spec import Addresses
from tests.e2e.viewer_harness import ASSETS, POLICY, Harness

SCRIPTS = tuple(
    path.name
    for path in sorted(ASSETS.glob("*.js"))
    if path.name.startswith(("looks", "overlay_", "panel_", "shell", "tables"))
)
STYLES = ("icons.css", "style.css", "viewer.css", "inspect.css", "pictures.css", "panels.css")
# Inline styles of the real page are allowed by its policy; here too.
PAGE_POLICY = POLICY.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'")
VOID = {"img", "br", "input"}


def to_html(tree: Any) -> str:
    """Returns the HTML of a tree of plain components; those of a library become plain boxes."""
    if tree is None or tree is False:
        return ""
    if isinstance(tree, list | tuple):
        return "".join(map(to_html, tree))
    if not isinstance(tree, Component):
        return html.escape(str(tree), quote=False)
    data = tree.to_plotly_json()
    props = dict(data["props"])
    if data["namespace"] != "dash_html_components":
        return f'<div class="is-foreign">{to_html(data["props"].get("children"))}</div>'
    tag = data["type"].lower()
    children = props.pop("children", None)
    attributes = "".join(_attribute(name, value) for name, value in props.items())
    return f"<{tag}{attributes}>" + ("" if tag in VOID else f"{to_html(children)}</{tag}>")


def _attribute(name: str, value: Any) -> str:
    if value is None or value is False:
        return ""
    names = {"className": "class", "tabIndex": "tabindex", "colSpan": "colspan"}
    if name == "style":
        value = ";".join(f"{_kebab(key)}:{one}" for key, one in value.items())
    if isinstance(value, dict):
        value = str(sorted(value.items()))
    return f' {names.get(name, name)}="{html.escape("" if value is True else str(value))}"'


def _kebab(name: str) -> str:
    return name if name.startswith("--") else "".join(f"-{one.lower()}" if one.isupper() else one for one in name)


def store(harness: Harness, manifest: Manifest, arrays: dict[str, NDArray[Any]], picture: NDArray[np.uint8]) -> None:
    """Puts the arrays and the picture of a result where its addresses lead."""
    (harness.folder / "artifacts").mkdir(exist_ok=True)
    for name, reference in manifest.arrays.items():
        with (harness.folder / "artifacts" / reference.digest).open("wb") as file:
            np.save(file, arrays[name])
    Image.fromarray(picture).save(harness.folder / f"{manifest.image_ids[0]}.png")
    crops = arrays.get("crops")
    for place, crop in enumerate([] if crops is None else crops):
        Image.fromarray(crop).save(harness.folder / f"crop-{place}.png")


def cell_page(
    harness: Harness,
    name: str,
    manifests: Sequence[Manifest],
    *,
    width: int,
    theme: str = "light",
    folded: bool = False,
    look: dict[str, Any] | None = None,
) -> str:
    """Writes a page with one finished cell for each result, side by side; returns its address.

    Args:
        harness: The server.
        name: Of the page.
        manifests: The results; their arrays were stored.
        width: Of a cell, in CSS pixels.
        theme: light or dark.
        folded: Whether the tables below the map are drawn too.
        look: What was chosen before.
    """
    addresses = Addresses(base="", pictures="/{id}.png")
    boxes = []
    for place, manifest in enumerate(manifests):
        view = CellView(
            model=manifest.model,
            model_title=manifest.model_title,
            method=f"{manifest.method}{place}",
            method_title=manifest.method_title,
            picture={"url": addresses.picture(manifest.image_ids[0]), "width": 1, "height": 1},
            key=manifest.run_key,
            state="done",
            manifest=manifest,
            look=look or {},
            addresses=addresses,
        )
        tables = f'<div class="v-details-body">{to_html(details_body(manifest))}</div>' if folded else ""
        text = to_html(viewer_cell(view)) + tables
        if "crops" in manifest.arrays:
            digest = manifest.arrays["crops"].digest
            for crop in range(manifest.arrays["crops"].shape[0] - 1, -1, -1):
                text = text.replace(f"/artifacts/{digest}/image?index={crop}&quot;", f"/crop-{crop}.png&quot;")
        boxes.append(f'<div class="v-cell-box">{text}</div>')
    sheet = f".grid {{ grid-template-columns: repeat({len(manifests)}, {width}px); align-items: start; }}"
    (harness.folder / f"{name}.css").write_text(sheet, encoding="utf-8")
    styles = "".join(f'<link rel="stylesheet" href="/assets/{one}">' for one in STYLES)
    scripts = "".join(f'<script src="/assets/{one}"></script>' for one in SCRIPTS)
    page = (
        f'<!doctype html><html lang="en" data-mantine-color-scheme="{theme}"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{PAGE_POLICY}"><title>{name}</title>{styles}'
        f'<link rel="stylesheet" href="/harness.css"><link rel="stylesheet" href="/{name}.css"></head>'
        f'<body><p id="announcer" role="status"></p><main class="grid v-cells">{"".join(boxes)}</main>'
        f"{scripts}</body></html>"
    )
    (harness.folder / f"{name}.html").write_text(page, encoding="utf-8")
    return f"{harness.url}/{name}.html"
