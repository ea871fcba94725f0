"""Class names as people read them: folder-like names (``crested-tam``, ``red_kite``) become words in all that is shown.

Only what is drawn changes. Manifests, ids, files and the command line keep the names that the model has.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from backend.contract.results import Manifest, Scalar
from frontend.components.words import class_name

NAMED_COLUMNS = ("class", "label", "name", "source_class", "own")
"""Keys of columns and region values that hold the name of a class."""


def legible(manifest: Manifest) -> Manifest:
    """Returns the manifest with its class names as words, in labels, titles, tables and sentences alike."""
    names = sorted({name for name in _names(manifest) if class_name(name) != name}, key=len, reverse=True)
    if not names:
        return manifest
    pattern = re.compile(r"(?<![\w-])(?:" + "|".join(map(re.escape, names)) + r")(?![\w-])")

    def say(text: str) -> str:
        return pattern.sub(lambda found: class_name(found.group()), text)

    return manifest.model_copy(update=_rewritten(manifest, say))


def _names(manifest: Manifest) -> Iterable[str]:
    if manifest.target_label:
        yield manifest.target_label
    yield from (item.label for item in manifest.classes)
    yield from (
        str(value)
        for region in manifest.regions
        for key, value in region.values.items()
        if key in NAMED_COLUMNS and isinstance(value, str)
    )
    for table in manifest.tables:
        places = [place for place, column in enumerate(table.columns) if column.key in NAMED_COLUMNS]
        yield from (str(row[place]) for row in table.rows for place in places if isinstance(row[place], str))


def _rewritten(manifest: Manifest, say: Callable[[str], str]) -> dict[str, Any]:
    def value(one: Scalar) -> Scalar:
        return say(one) if isinstance(one, str) else one

    texts = manifest.texts
    return {
        "target_label": say(manifest.target_label) if manifest.target_label else manifest.target_label,
        "classes": tuple(item.model_copy(update={"label": say(item.label)}) for item in manifest.classes),
        "layers": tuple(
            layer.model_copy(update={"title": say(layer.title), "ends": (say(layer.ends[0]), say(layer.ends[1]))})
            for layer in manifest.layers
        ),
        "regions": tuple(
            region.model_copy(
                update={
                    "label": say(region.label),
                    "values": {key: value(one) for key, one in region.values.items()},
                }
            )
            for region in manifest.regions
        ),
        "tables": tuple(
            table.model_copy(
                update={"title": say(table.title), "rows": tuple(tuple(map(value, row)) for row in table.rows)}
            )
            for table in manifest.tables
        ),
        "scalars": {key: value(one) for key, one in manifest.scalars.items()},
        "texts": texts.model_copy(
            update={
                "reading": say(texts.reading),
                "cautions": tuple(map(say, texts.cautions)),
                "notes": tuple(map(say, texts.notes)),
            }
        ),
    }
