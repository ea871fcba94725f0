"""The evidence of one run as plain files: numbers, maps on the picture, regions, and the code that makes them again."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterator, Sequence

from PIL import Image

from backend.contract.artifacts import npy_to_array
from backend.contract.pictures import layers_of, picture_count, size_of
from backend.contract.results import Manifest
from backend.contract.snippet import make_snippet
from backend.overlay import draw_overlay, fit_picture
from backend.preview import take_layer

LARGEST_SIDE = 2048


def run_files(
    manifest: Manifest, fetch: Callable[[str], bytes], *, picture: Callable[[int], bytes], picture_paths: Sequence[str]
) -> Iterator[tuple[str, bytes]]:
    """Yields name and bytes of every file of one run.

    Args:
        manifest: Of the run.
        fetch: Returns the ``.npy`` bytes of a digest.
        picture: Returns the PNG of one of the run's pictures, by its place in the question.
        picture_paths: Where these pictures will lie, seen from the folder of these files.
    """
    for name, ref in sorted(manifest.arrays.items()):
        yield f"{to_file_name(name)}.npy", fetch(ref.digest)
    yield from _maps(manifest, fetch, picture)
    if manifest.regions:
        yield "regions.csv", _to_csv(manifest)
    yield "run.json", (manifest.model_dump_json(indent=2) + "\n").encode()
    yield "snippet.py", make_snippet(manifest, pictures=picture_paths).encode()


def to_file_name(text: str) -> str:
    """Returns a text fit to be a file name on every system."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text).strip("-.")[:80] or "unnamed"


def _maps(
    manifest: Manifest, fetch: Callable[[str], bytes], picture: Callable[[int], bytes]
) -> Iterator[tuple[str, bytes]]:
    for place in range(picture_count(manifest)):
        layers = [layer for layer in layers_of(manifest, place) if manifest.arrays[layer.array].frame is not None]
        if not layers:
            continue
        width, height = size_of(manifest, place)
        scale = min(1.0, LARGEST_SIDE / max(width, height))
        pixels = fit_picture(picture(place), max(1, round(width * scale)), max(1, round(height * scale)))
        for layer in layers:
            array = take_layer(npy_to_array(fetch(manifest.arrays[layer.array].digest)), layer)
            buffer = io.BytesIO()
            Image.fromarray(draw_overlay(pixels, manifest, layer, array)).save(buffer, format="PNG", compress_level=4)
            yield f"{to_file_name(layer.name)}.png", buffer.getvalue()


def _to_csv(manifest: Manifest) -> bytes:
    further = [column.key for column in manifest.region_columns]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["id", "label", "layer", "score", "area", "left", "top", "right", "bottom", *further])
    for region in manifest.regions:
        known = [region.id, region.label, region.layer, region.score, region.area, *region.box]
        writer.writerow([*known, *(region.values.get(key) for key in further)])
    return text.getvalue().encode()
