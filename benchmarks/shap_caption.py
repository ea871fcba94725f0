"""Does a caption's explanation point at what the words speak of? Drawn pictures, whose parts are known, say.

Run ``python -m benchmarks.shap_caption [--model birds-captioner] [--pictures 120]``. For every picture the values of
regions are computed three times: with the true parts as regions (beak, crest, rest of the bird, perch, background),
with the whole bird as one of three, and with the regions that the captioner's own features give. Counted is how often
the region with the largest value is the one that the words speak of, beside a region drawn by lot. Printed as well:
batches against one picture at a time.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from backend.contract.results import Box, Encoding, Layer
from backend.contract.schemas import PictureRecord
from models.catalogue import ModelCatalogue
from models.demo.dataset import FRESH_FROM
from models.demo.picture import DrawnPicture, draw_picture
from models.loader import LoadedModel, ModelLoader
from workers.engine import Engine
from workers.method import Context, MapArray, Picture, Result, Stored
from workers.methods.shap_caption import CaptionParams, ShapCaption

FIRST_SEED = FRESH_FROM + 700_000
"""Pictures from here on were seen by nobody: neither in training nor in any other measurement."""
PARTS, WHOLE = ("perch", "bird", "beak", "crest"), ("perch", "bird")
"""Later ones lie on top: with PARTS, the bird is what beak and crest leave of it."""
KEY = "parts of the drawing"
BATCH = 64


@dataclass
class Count:
    """How often the largest region was the right one, and how often a region by lot would have been.

    Attributes:
        hits: One per picture, 1 or 0.
        chance: One per picture, the share of regions that would have been right.
        effect: One per picture, what all regions together add.
    """

    hits: list[float] = field(default_factory=list)
    chance: list[float] = field(default_factory=list)
    effect: list[float] = field(default_factory=list)


def main() -> None:
    """Prints tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="birds-captioner")
    parser.add_argument("--pictures", type=int, default=120)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--hidden", nargs="+", default=["black", "mean"], choices=("black", "mean", "blur"))
    parser.add_argument("--no-speed", action="store_true", help="leave out the comparison of speeds")
    arguments = parser.parse_args()
    model = ModelLoader(ModelCatalogue(None), device=arguments.device).load(arguments.model)
    print(f"{model.card.title} on {model.device}, {torch.get_num_threads()} threads")
    for hidden in arguments.hidden:
        counts: dict[tuple[str, str], Count] = defaultdict(Count)
        started = time.perf_counter()
        drawings = (draw_picture(FIRST_SEED + index) for index in range(arguments.pictures))
        right = sum(measure(model, drawn, hidden, counts) for drawn in drawings)
        seconds = time.perf_counter() - started
        print(f"filling {hidden}: {arguments.pictures} pictures, {right} captions exactly right, {seconds:.0f} s")
        print_counts(counts)
    if not arguments.no_speed:
        print_speed(model)


def measure(model: LoadedModel, drawn: DrawnPicture, hidden: str, counts: dict[tuple[str, str], Count]) -> bool:
    """Counts one picture; returns whether its caption was right. Only pictures with a right caption count."""
    labels, names = true_parts(drawn, PARTS)
    shared: dict[str, object] = {"regions": "shared", "region_source": KEY, "hidden": hidden, "batch_size": BATCH}
    result = explain(model, drawn.pixels, labels=labels, **shared)
    if result.caption != drawn.caption:
        return False
    places = {name: frozenset({index}) for index, name in enumerate(names)}
    add_counts(counts, "true parts", result, drawn, places)
    labels, names = true_parts(drawn, WHOLE)
    result = explain(model, drawn.pixels, labels=labels, **shared)
    places = {name: frozenset({index}) for index, name in enumerate(names)}
    add_counts(counts, "whole bird", result, drawn, {**places, "all of the bird": places["bird"]})
    own = explain(model, drawn.pixels, regions="factors", k=6, hidden=hidden, batch_size=BATCH)
    add_counts(counts, "own features", own, drawn, held_by(own, drawn))
    return True


def true_parts(drawn: DrawnPicture, parts: tuple[str, ...]) -> tuple[NDArray[np.int16], list[str]]:
    """Returns the drawing's parts as labels ``[H, W]`` and their names, the background first."""
    labels = np.zeros(drawn.pixels.shape[:2], np.int16)
    names = ["background"]
    for name in parts:
        mask = drawn.masks[name]
        if mask.any():
            labels[mask] = len(names)
            names.append(name)
    return labels, names


def held_by(result: Result, drawn: DrawnPicture) -> Mapping[str, frozenset[int]]:
    """Returns which region holds most of each part."""
    labels = result.arrays["labels"].data.astype(np.int64)
    held = {}
    for name in PARTS:
        mask = drawn.masks[name]
        if mask.any():
            held[name] = frozenset({int(np.bincount(labels[mask]).argmax())})
    return {**held, "all of the bird": held["bird"]}


def add_counts(
    counts: dict[tuple[str, str], Count],
    cut: str,
    result: Result,
    drawn: DrawnPicture,
    places: Mapping[str, frozenset[int]],
) -> None:
    """Adds one picture: the whole caption, and every word or phrase whose part is known."""
    phi = np.asarray(result.arrays["phi"].data, np.float64)
    if "all of the bird" in places:
        count_one(counts[cut, "whole caption: the bird"], phi, places["all of the bird"])
    for kind in ("word", "phrase"):
        spans = next(table for table in result.tables if table.name == f"{kind}s")
        values = np.asarray(result.arrays[f"{kind}_phi"].data, np.float64)
        for row, numbers in zip(spans.rows, values, strict=True):
            for title, part in spoken_of(kind, str(row[0]), drawn):
                if part in places:
                    count_one(counts[cut, title], numbers, places[part])


def spoken_of(kind: str, text: str, drawn: DrawnPicture) -> list[tuple[str, str]]:
    """Returns under which titles a word or phrase is counted, and the part that it speaks of."""
    species, perch = drawn.species, str(drawn.perch)
    words = text.split()
    if kind == "phrase":
        if "beak" in words:
            return [("phrase of the beak", "beak")]
        if "crest" in words:
            return [("phrase of the crest", "crest")]
        return [("phrase of the perch", "perch")] if perch in words else []
    if text == str(species.plumage):
        return [("colour: the bird", "bird")]
    if text == str(species.beak):
        return [("shape of the beak", "beak")]
    if text == str(species.crest):
        return [("shape of the crest", "crest")]
    if text == "beak":
        return [("word 'beak'", "beak")]
    if text == perch:
        return [("perch word", "perch"), *([("word 'branch'", "perch")] if text == "branch" else [])]
    return []


def count_one(count: Count, values: NDArray[np.float64], right: frozenset[int]) -> None:
    """Adds one picture to a count."""
    count.hits.append(float(int(values.argmax()) in right))
    count.chance.append(len(right) / len(values))
    count.effect.append(float(values.sum()))


def print_counts(counts: Mapping[tuple[str, str], Count]) -> None:
    """Prints how often the largest region was right, beside chance."""
    print(f"{'regions':<14} {'words':<26} {'pictures':>8} {'right':>7} {'by lot':>7} {'effect':>7}")
    for (cut, title), count in sorted(counts.items()):
        hits, chance, effect = (float(np.mean(values)) for values in (count.hits, count.chance, count.effect))
        print(f"{cut:<14} {title:<26} {len(count.hits):>8} {hits:>7.2f} {chance:>7.2f} {effect:>7.2f}")


def print_speed(model: LoadedModel, pictures: int = 3) -> None:
    """Prints captions per second in batches and one at a time, the same games, in turns."""
    seconds: dict[int | None, list[float]] = {None: [], 1: []}
    cells = {"regions": "grid", "rows": 2, "cols": 4}
    explain(model, draw_picture(FIRST_SEED).pixels, **cells)
    for index in range(pictures):
        pixels = draw_picture(FIRST_SEED + index).pixels
        for batch_size, times in seconds.items():
            started = time.perf_counter()
            result = explain(model, pixels, **cells, batch_size=batch_size)
            times.append((time.perf_counter() - started) / float(result.scalars["passes"] or 1))
    batched, single = (float(np.median(times)) for times in seconds.values())
    print(f"captions per second: {1 / batched:.0f} in batches, {1 / single:.0f} one at a time")
    print(f"ratio {single / batched:.1f}")


def explain(
    model: LoadedModel, pixels: NDArray[np.uint8], *, labels: NDArray[np.int16] | None = None, **params: object
) -> Result:
    """Runs the method as a worker would, with words; ``labels`` are the regions of a result to be shared."""
    height, width = pixels.shape[:2]
    layer = Layer(name="regions", title="", array="labels", encoding=Encoding.LABELS, smooth=False)

    def fetch(_key: str) -> Stored:
        assert labels is not None
        count = int(labels.max()) + 1
        arrays = {"labels": MapArray(labels, Box(0, 0, width, height)), "phi": MapArray(np.zeros(count))}
        return Stored(arrays, (layer,), ())

    context = Context(
        pictures=[Picture(PictureRecord(id="0" * 64, width=width, height=height), pixels)],
        model=model,
        engine=Engine(model, check_cancelled=lambda: None),
        params=CaptionParams.model_validate({"token_view": True, **params}),
        target=None,
        seed=0,
        progress=lambda *_args, **_named: None,
        partial=lambda _result: None,
        check_cancelled=lambda: None,
        fetch=fetch,
        load_model=lambda _name: model,
    )
    return ShapCaption().explain(context)


if __name__ == "__main__":
    main()
