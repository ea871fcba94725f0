"""Where the regions of a game come from: features, a grid, colours, another result, or somebody's hand."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Encoding
from workers.method import Context, MapArray, Stored
from workers.methods._shap_params import NAVE, GameParams
from workers.methods._shap_view import OUTSIDE, View, sample
from workers.methods.nave import Nave
from workers.methods.nave import Params as NaveParams
from workers.regions import RegionMap, factor_regions, given_regions, grid_regions, label_regions, slic_regions

MOST_POLYGONS = 24
POINT = re.compile(r"^\s*(-?\d+(?:\.\d+)?)\s*,\s*(-?\d+(?:\.\d+)?)\s*$")


@dataclass(frozen=True, eq=False)
class Cut:
    """The regions of one game.

    Args:
        regions: A partition of the viewed rectangle.
        rest: Region that only holds what a shared map does not cover, if there is one.
        frame: Rectangle of the picture that ``regions.scores`` cover.
        shared: The result that the regions were taken from, when it has values of its own.
        notes: What was merged, left out or replaced.
    """

    regions: RegionMap
    rest: int | None = None
    frame: Box | None = None
    shared: Stored | None = None
    notes: tuple[str, ...] = ()


def make_cut(context: Context, view: View, params: GameParams, features: Callable[[], Tensor] | None = None) -> Cut:
    """Returns the regions that the settings ask for.

    Args:
        context: Of the run.
        view: What the model sees.
        params: Settings.
        features: Gives ``[C, h, w]`` over the whole input, for factor regions.

    Raises:
        ProblemError: ``params_invalid`` or ``result_gone``.
    """
    kind = str(getattr(params, "regions"))  # noqa: B009 - declared by the two classes that are used
    if kind == "grid":
        return Cut(_checked(lambda: grid_regions(params.rows, params.cols, view.size)))
    if kind == "shared" or (kind == NAVE and params.region_source):
        return _shared(context, view, params.region_source or "")
    if kind == "drawn":
        return Cut(_drawn(view, params.drawn))
    if kind == NAVE:
        return _own_nave(context, view, params.k)
    if kind == "factors" and features is not None:
        return _factors(features(), view, params.k, context.seed)
    return Cut(_checked(lambda: slic_regions(view.picture, params.k)))


def _factors(features: Tensor, view: View, k: int, seed: int) -> Cut:
    if view.frame == view.seen:
        regions = factor_regions(features, k, view.size, seed=seed)
        return Cut(regions, frame=view.frame, notes=regions.notes)
    # A padded input: the features cover more than the picture, so the partition is cut to what is seen.
    frame, scale = view.frame, view.scale
    size = max(1, round((frame.bottom - frame.top) * scale)), max(1, round((frame.right - frame.left) * scale))
    whole = factor_regions(features, k, size, seed=seed)
    labels = sample(whole.labels, frame, view.seen, view.size)
    present, compact = np.unique(labels, return_inverse=True)
    regions = given_regions(compact.reshape(labels.shape), source=whole.source)
    scores = None if whole.scores is None else whole.scores[present]
    return Cut(replace(regions, scores=scores, notes=whole.notes), frame=frame, notes=whole.notes)


def _own_nave(context: Context, view: View, k: int) -> Cut:
    """Returns the groups that the network represents alike, found anew; superpixels where it keeps no grid."""
    method = Nave()
    if method.supports(context.model.card) is not None:
        regions = slic_regions(view.picture, k)
        return Cut(regions, notes=("This network keeps no grid of places, so superpixels were used.", *regions.notes))
    asked = replace(
        context,
        pictures=context.pictures[:1],
        params=NaveParams(n_clusters=k, nested=False, floors=()),
        progress=lambda *_args, **_named: None,
        partial=lambda _result: None,
    )
    found = method.explain(asked)
    return _from_stored(Stored(found.arrays, found.layers, found.regions), view, "groups of the network's features")


def _shared(context: Context, view: View, key: str) -> Cut:
    stored = context.fetch(key)
    if "phi" not in stored.arrays or "labels" not in stored.arrays:
        return _from_stored(stored, view, "regions of another result")
    array = stored.arrays["labels"]
    labels = view.from_picture(array.data.astype(np.int64), array.frame or view.seen)
    count = len(stored.arrays["phi"].data)
    rest = count if bool((labels == OUTSIDE).any()) else None
    whole = np.where(labels == OUTSIDE, count, labels)
    present, compact = np.unique(whole, return_inverse=True)
    if len(present) < count + (rest is not None):
        # Some regions lie outside what this model sees: what is left is a partition of its own.
        regions = given_regions(compact.reshape(labels.shape), source="regions of another result")
        note = "This model sees less of the picture, so regions of the other result are missing or cut."
        return Cut(regions, rest=None if rest is None else len(present) - 1, notes=(note,))
    regions = given_regions(whole, source="regions of another result")
    return Cut(regions, rest=rest, shared=stored)


def _from_stored(stored: Stored, view: View, source: str) -> Cut:
    array = _label_map(stored)
    if array is None:
        raise _invalid("The result given as region_source holds no label map.")
    width, height = view.full_size
    frame = array.frame
    if frame is None and array.data.shape == (height, width):
        frame = Box(0.0, 0.0, float(width), float(height))
    if frame is None:
        shape = " x ".join(map(str, array.data.shape))
        raise _invalid(f"Regions of {shape} do not fit the picture of {height} x {width} pixels.")
    labels = view.from_picture(array.data.astype(np.int64), frame)
    regions = label_regions(labels, view.picture, source=source)
    return Cut(regions, notes=regions.notes)


def _label_map(stored: Stored) -> MapArray | None:
    for layer in stored.layers:
        if layer.encoding == Encoding.LABELS and layer.array in stored.arrays and layer.picture == 0:
            array = stored.arrays[layer.array]
            return array if layer.index is None else MapArray(array.data[layer.index], array.frame)
    flat = [item for item in stored.arrays.values() if item.data.ndim == 2 and item.data.dtype.kind in "iu"]
    return flat[0] if flat else None


def _drawn(view: View, text: str) -> RegionMap:
    """Returns drawn polygons as regions, later ones on top; everything else is one more."""
    polygons = read_polygons(text)
    width, height = view.size[1], view.size[0]
    across = width / (view.seen.right - view.seen.left)
    down = height / (view.seen.bottom - view.seen.top)
    labels: NDArray[np.int64] = np.full(view.size, OUTSIDE, np.int64)
    for index, points in enumerate(polygons):
        mask = Image.new("1", (width, height))
        moved = [((x - view.seen.left) * across, (y - view.seen.top) * down) for x, y in points]
        ImageDraw.Draw(mask).polygon(moved, fill=1)
        labels[np.asarray(mask)] = index
    if (labels == OUTSIDE).all():
        raise _invalid("None of the drawn regions lies in what the model sees.")
    return label_regions(labels, view.picture, source="drawn by hand", smallest=0.0)


def read_polygons(text: str) -> list[list[tuple[float, float]]]:
    """Returns the polygons of ``x,y x,y x,y; x,y x,y x,y``.

    Raises:
        ProblemError: ``params_invalid``, naming what cannot be read.
    """
    polygons = []
    for part in filter(str.strip, re.split(r"[;\n]", text)):
        matches = [POINT.match(point) for point in part.split()]
        points = [(float(match[1]), float(match[2])) for match in matches if match]
        if len(points) < 3 or len(points) != len(matches):
            raise _invalid(f"A drawn region is at least three points 'x,y x,y x,y', not '{part.strip()[:60]}'.")
        polygons.append(points)
    if not 1 <= len(polygons) < MOST_POLYGONS:
        raise _invalid(f"Between 1 and {MOST_POLYGONS - 1} regions can be drawn, not {len(polygons)}.")
    return polygons


def _checked(make: Callable[[], RegionMap]) -> RegionMap:
    try:
        return make()
    except ValueError as error:
        raise _invalid(f"The picture cannot be cut like this: {error}.") from error


def _invalid(message: str) -> ProblemError:
    return ProblemError(ProblemCode.PARAMS_INVALID, message)
