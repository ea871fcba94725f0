"""The look of learned words: which ones a picture has, where, what each adds to a class, whether both agree."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Encoding, Layer, Manifest, Region, Scalar
from frontend.components.answers import Answer, both_answers
from frontend.components.panel import panel
from frontend.components.words import class_name, number, percent
from frontend.renderers.parts import cautions, details, limits, reading
from frontend.renderers.rendering import Rendering
from frontend.renderers.spec import Addresses, drawable, fetch_whole, viewer_spec

STACK, IDS = "word_maps", "word_ids"
"""Arrays [M, h, w] of similarity per cell, and [M] of the words they belong to."""
FETCHED = (STACK, IDS, "scores", "word_cells", "contributions", "contribution_classes", "word_boxes")
"""Arrays from which the panel makes every class, list and word in the browser."""
CROPS = "crops"
"""Array [N, h, w, 3] of small pictures, and the table (crop, word, kind, class, distance) that says what they show."""
CLASSES = "classes"
PREFIX = "word "
"""Name of a word's layer: prefix and number."""


def render(manifest: Manifest, addresses: Addresses, look: dict[str, Any]) -> Rendering:
    """Returns the picture with its words; class, list and word change without a new pass."""
    layers = drawable(manifest)
    viewer = viewer_spec(manifest, addresses, layers=layers, badge=manifest.texts.badge, look=look)
    fetch_whole(manifest, addresses, viewer, STACK)
    viewer["regions"] = [region for region in viewer["regions"] if region["id"] >= 0]
    if manifest.partial:
        return Rendering(viewer=viewer, reading=reading(manifest))
    facts = {**word_facts(manifest, addresses, layers, viewer["active"]), "shown": look.get("layer") or ""}
    name = f"Words of {manifest.method_title.split(':')[0]}"
    return Rendering(
        viewer=viewer,
        strip=_answers(manifest),
        reading=reading(manifest),
        cautions=cautions(manifest),
        controls=html.Div(
            [part for part in (_fidelity(manifest), panel("visual_words", facts, label=name)) if part is not None],
            className="v-controls",
        ),
        details=html.Div(
            [
                fold
                for fold in (limits(manifest, manifest.texts.notes), details(manifest, share=addresses.share))
                if fold
            ],
            className="v-folds",
        ),
    )


def word_facts(manifest: Manifest, addresses: Addresses, layers: list[Layer], active: str) -> dict[str, Any]:
    """Returns all that the panel shows: what is known of each word, and where the arrays and crops are."""
    arrays = manifest.arrays
    tables = {
        table.name: [
            {column.key: value for column, value in zip(table.columns, row, strict=False)} for row in table.rows
        ]
        for table in manifest.tables
    }
    crops = addresses.array(arrays[CROPS].digest) if CROPS in arrays else ""
    frame = next((array.frame for name, array in arrays.items() if name == STACK), None)
    words = [region for region in manifest.regions if region.id >= 0]
    return {
        "run": manifest.run_key,
        "words": manifest.scalars.get("words"),
        "target": _target(manifest, tables.get(CLASSES, [])),
        "model": manifest.model_title,
        "frame": list(frame) if frame else None,
        "arrays": {name: addresses.array(arrays[name].digest) for name in FETCHED if name in arrays},
        "known": [_word(region) for region in words],
        "length": max((_rank(region) for region in words), default=10),
        "crops": [_crop(row, f"{crops}/image?index={row.get('crop')}") for row in tables.get(CROPS, [])]
        if crops
        else [],
        "classes": _classes(manifest, tables.get(CLASSES, [])),
        "layers": [
            {"name": layer.name, "title": layer.title, "signed": layer.encoding is Encoding.SIGNED}
            for layer in layers
            if not layer.name.startswith(PREFIX)
        ],
        "active": active,
    }


def _target(manifest: Manifest, rows: list[dict[str, Scalar]]) -> Scalar:
    """Returns the explained class under the number that the word book has for it; the model may count differently."""
    named = [row.get("class") for row in rows if row.get("name") == manifest.target_label]
    return named[0] if named else manifest.target


def _rank(region: Region) -> int:
    ranks = [region.values.get(key) for key in ("similar_rank", "decide_rank")]
    return max((int(rank) for rank in ranks if isinstance(rank, int | float)), default=0)


def _word(region: Region) -> dict[str, Any]:
    keys = ("source_class", "source_picture", "shared_usage", "shared_neighbours", "shared_weight", "flags")
    return {
        "id": region.id,
        "label": region.label,
        "box": list(region.box),
        **{key: region.values.get(key) for key in keys},
    }


def _crop(row: dict[str, Scalar], url: str) -> dict[str, Any]:
    return {
        "word": row.get("word"),
        "kind": row.get("kind"),
        "class": class_name(str(row.get("class") or "")),
        "distance": row.get("distance"),
        "url": url,
    }


def _classes(manifest: Manifest, rows: list[dict[str, Scalar]]) -> list[dict[str, Any]]:
    named = [
        {"index": row.get("class", row.get("index")), "label": row.get("name", row.get("label"))}
        | {key: row.get(key) for key in ("logit", "probability", "base_probability")}
        for row in rows
    ]
    return named or [{"index": item.index, "label": item.label, "probability": item.score} for item in manifest.classes]


def _answers(manifest: Manifest) -> Component | None:
    given = manifest.scalars
    answers = (
        Answer("Word book", given.get("answer"), given.get("probability"), own=True),
        Answer("Model", given.get("base_answer"), given.get("base_probability")),
    )
    return both_answers(answers, given.get("agree"))


def _fidelity(manifest: Manifest) -> Component | None:
    """Returns the two measured fidelities in one sentence; the overlap never without its floors."""
    given = manifest.scalars
    agreement, overlap = given.get("book_agreement"), given.get("book_iou")
    parts = []
    if isinstance(agreement, int | float):
        parts.append(f"gives the same answer as {manifest.model_title} on {percent(agreement)} of test pictures")
    if isinstance(overlap, int | float):
        floors = [
            f"{words} {number(float(value))}"
            for words, value in (
                ("Gaussian", given.get("book_iou_gaussian")),
                ("other picture", given.get("book_iou_other")),
                ("chance", given.get("book_iou_chance")),
            )
            if isinstance(value, int | float)
        ]
        beside = f" ({', '.join(floors)})" if floors else ""
        parts.append(f"looks at the same half of the picture with IoU {number(float(overlap))}{beside}")
    if not parts:
        return None
    sentence = f"This word book {' and '.join(parts)}.".replace(" %", "\u00a0%")
    return html.P(sentence, className="v-note v-fidelity", **{"data-testid": "fidelity"})
