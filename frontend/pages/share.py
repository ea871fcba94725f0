"""A share: the pinned maps, read only, with the same viewer; nothing is recomputed and no worker is needed."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.problems import ProblemCode, make_problem
from backend.contract.results import Manifest
from backend.contract.schemas import PictureRecord
from frontend.api import ROOT, ApiError
from frontend.components.icons import icon
from frontend.components.picture_panel import picture_panel
from frontend.components.viewer_cell import CellView, viewer_cell
from frontend.components.words import class_name, number, plural, size
from frontend.pages import Page, Visit
from frontend.renderers.spec import Addresses

PREFIX = "/s/"


async def layout(visit: Visit) -> Component:
    """Returns the share's page; a share that is gone is a problem that the shell shows."""
    share_id = visit.path.removeprefix(PREFIX).strip("/")
    share = await _find(visit, share_id)
    recipe = await visit.api.get(f"/shares/{share_id}/recipe.json")
    manifests = [Manifest.model_validate(item) for item in share["manifests"]]
    pictures = {item["id"]: PictureRecord.model_validate(item) for item in share["pictures"]}
    looks = share.get("looks") or {}
    return html.Div(
        [
            _head(share, manifests),
            html.Div(
                [
                    html.Div(_rows(manifests, share_id, looks), className="v-share-maps"),
                    _side(share, manifests, pictures, recipe),
                ],
                className="v-share-body",
            ),
        ],
        className="v-share-page",
        **{"data-share": share_id, "data-looks": json.dumps(looks), "data-testid": "share-page"},
    )


async def _find(visit: Visit, share_id: str) -> dict[str, Any]:
    try:
        return await visit.api.share(share_id)
    except ApiError as error:
        if error.problem.code is not ProblemCode.REQUEST_INVALID:
            raise
        # A link that lost its end on the way; its reader never wrote a request.
        message = "This link is not complete. Copy the whole address once more."
        raise ApiError(make_problem(ProblemCode.SHARE_GONE, message)) from error


def day(moment: float) -> str:
    """Returns a date in words: "14 March 2026"."""
    date = datetime.fromtimestamp(moment, UTC)
    return f"{date.day} {date:%B %Y}"


def summary(share: dict[str, Any], manifests: list[Manifest]) -> str:
    """Returns number of maps, models, date and expiry in one sentence."""
    models = len({manifest.model for manifest in manifests})
    words = f"{plural(len(manifests), 'map')}, {plural(models, 'model')}, pinned on {day(share['created'])}."
    return f"{words} Opens until {day(share['expires'])}." if share.get("expires") else words


def _head(share: dict[str, Any], manifests: list[Manifest]) -> Component:
    words = html.Div(
        [
            html.H1(share["title"] or "Untitled maps", className="v-title"),
            html.P(summary(share, manifests), className="v-text"),
        ]
    )
    buttons = html.Div(
        [
            html.Button(
                [icon("link"), html.Span("Copy link", **{"data-words": ""})],
                className="v-button",
                **{"data-action": "copy-link"},
            ),
            html.Button(
                ["Open in Vitrine", icon("arrow")],
                className="v-button v-button-filled",
                **{"data-action": "share-continue", "data-testid": "open-in-vitrine"},
            ),
        ],
        className="v-actions",
    )
    return html.Header([words, buttons], className="v-share-head")


def _rows(manifests: list[Manifest], share_id: str, looks: dict[str, Any]) -> list[Component]:
    rows: dict[tuple[str, str], list[Manifest]] = {}
    for manifest in manifests:
        rows.setdefault((manifest.model, manifest.image_ids[0]), []).append(manifest)
    addresses = Addresses.of_share(share_id)
    columns = {"data-columns": str(min(3, max((len(row) for row in rows.values()), default=1)))}
    return [_row(row, addresses, looks.get("runs") or {}, columns) for row in rows.values()]


def _row(row: list[Manifest], addresses: Addresses, looks: dict[str, Any], columns: dict[str, str]) -> Component:
    first = row[0]
    target = next((manifest for manifest in row if manifest.target_label), None)
    chip = [html.Span(_target_words(target), className="v-chip is-target is-still")] if target else []
    head = html.Div(
        [
            html.H2(first.model_title),
            *([html.Code(first.model)] if first.model != first.model_title else []),
            html.Div(className="v-grow"),
            *chip,
        ],
        className="v-row-head",
    )
    cells = [
        html.Div(_cell(manifest, addresses, looks.get(manifest.run_key) or {}), className="v-cell-box")
        for manifest in row
    ]
    return html.Section([head, html.Div(cells, className="v-cells", **columns)], className="v-row")


def _cell(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Component:
    width, height = manifest.picture_size
    view = CellView(
        model=manifest.model,
        model_title=manifest.model_title,
        method=manifest.method,
        method_title=manifest.method_title.split(":")[0],
        picture={"url": addresses.picture(manifest.image_ids[0]), "width": width, "height": height},
        key=manifest.run_key,
        state="done",
        manifest=manifest,
        look=look,
        addresses=addresses,
        named=True,
    )
    return viewer_cell(view)


def _target_words(manifest: Manifest) -> str:
    score = next((item.score for item in manifest.classes if item.index == manifest.target), None)
    label = class_name(manifest.target_label or "")
    return label if score is None else f"{label} {number(score)}"


def _side(
    share: dict[str, Any], manifests: list[Manifest], pictures: dict[str, PictureRecord], recipe: Any
) -> Component:
    addresses = Addresses.of_share(share["id"])
    panels = [picture_panel(record, None, url=addresses.picture(record.id)) for record in pictures.values()]
    parts = [
        html.Section(
            [html.H2("Picture"), *panels]
            if len(panels) == 1
            else [html.H2("Pictures"), html.Div(panels, className="v-side-pictures")]
        ),
        _recipe(recipe, manifests),
        _downloads(share),
        html.P("Pinned results stay as they were, also when the model is gone.", className="v-note v-side-end"),
        _owner(share),
        html.P(id="share-problem", className="v-note", role="alert"),
    ]
    return html.Aside(parts, className="v-share-side", **{"aria-label": "How these maps were made"})


def _recipe(recipe: Any, manifests: list[Manifest]) -> Component:
    copy = html.Button(
        html.Span("Copy JSON", **{"data-words": ""}), className="v-plain v-link", **{"data-action": "copy-recipe"}
    )
    head = html.Div([html.H2("Recipe"), copy], className="v-section-head")
    text = json.dumps(recipe, indent=2, ensure_ascii=False)
    return html.Section(
        [
            head,
            html.Pre(text, tabIndex="0", **{"aria-label": "Recipe"}),
            html.P(versions(manifests), className="v-note"),
        ]
    )


def versions(manifests: list[Manifest]) -> str:
    """Returns the libraries, precision and seeds behind the maps in one line."""
    if not manifests:
        return ""
    known = manifests[0].versions
    named = [f"{name} {known[name].split('+')[0]}" for name in ("timm", "torch") if name in known]
    seeds = sorted({manifest.seed for manifest in manifests})
    return ", ".join([*named, manifests[0].dtype, f"seed {', '.join(str(seed) for seed in seeds)}"])


def _downloads(share: dict[str, Any]) -> Component:
    base = f"{ROOT}/shares/{share['id']}"
    total = (share.get("sizes") or {}).get("total")
    return html.Section(
        [
            html.H2("Downloads"),
            _download(
                f"{base}/bundle.zip", "Evidence bundle", "arrays, pictures, manifest", size(total) if total else ""
            ),
            _download(f"{base}/recipe.json", "Recipe", "JSON, to make the maps again", ""),
            _download(f"{base}/preview.png", "Preview", "one picture of the maps", ""),
        ]
    )


def _download(url: str, title: str, hint: str, bytes_words: str) -> Component:
    words = html.Span([html.Span(title), html.Span(hint, className="v-note")], className="v-download-words")
    return html.A(
        [icon("download"), words, html.Span(bytes_words, className="v-note")],
        href=url,
        download="",
        className="v-download",
    )


def _owner(share: dict[str, Any]) -> Component:
    expiry = f"Opens until {day(share['expires'])}." if share.get("expires") else "It does not expire."
    button = html.Button(
        [icon("trash"), "Delete this share"],
        className="v-button v-button-small",
        **{"data-action": "share-delete", "data-testid": "share-delete"},
    )
    return html.Section(
        [html.H2("You made this share"), html.P(expiry, className="v-text"), button],
        id="share-owner",
        hidden=True,
        className="v-owner",
    )


PAGE = Page(path=PREFIX, title="Shared maps", layout=layout, reduced=True)
