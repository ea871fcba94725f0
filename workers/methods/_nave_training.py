"""What training changes: two models' maps of the same pictures, beside each other, the parts, and what chance gives."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.results import Box, Column, Scalar, Table
from workers.methods._nave_floors import colour_features, grid_floor
from workers.methods._nave_kmeans import Clustering, _inertia, cluster
from workers.methods._nave_maps import _adjusted_rand, _components, match_labels, size_entropy
from workers.methods._nave_prepared import prepare
from workers.methods._nave_source import Sheet

Labels = NDArray[np.int64]

PART_SCORES = ("ari", "group IoU (oracle)", "component IoU (oracle)")


@dataclass(frozen=True, eq=False)
class Encoding:
    """What one model made of one picture.

    Args:
        features: ``[N, D]``, one row per grouped cell of the sheet.
        sheet: Its grid and geometry.
    """

    features: Tensor
    sheet: Sheet

    def paint(self, labels: Tensor) -> Labels:
        """Returns labels per row as a map ``[H, W]``."""
        return self.sheet.paint(labels.cpu().numpy(), -1).astype(np.int64)


@dataclass(frozen=True, eq=False)
class StudyPicture:
    """One picture of a study.

    Args:
        models: Of the first and of the second model.
        untrained: The same pair for networks with random weights, once per seed; may be empty.
        parts: ``[H, W]`` numbers of known parts at picture pixels, below 0 where there is none; or ``None``.
    """

    models: tuple[Encoding, Encoding]
    untrained: Sequence[tuple[Encoding, Encoding]] = ()
    parts: Labels | None = None


def training_table(
    pictures: Sequence[StudyPicture], *, k_values: Sequence[int] = (5, 10, 20), seed: int = 0, n_init: int = 4
) -> Table:
    """Returns, per model and number of groups, means over pictures of all scores, floors, and what lies above them.

    Args:
        pictures: At least one.
        k_values: Numbers of groups.
        seed: Of k-means.
        n_init: Restarts.
    """
    if not pictures:
        raise ValueError("a study needs at least one picture")
    has_parts = all(picture.parts is not None for picture in pictures)
    rows: list[dict[str, Scalar]] = []
    for k in k_values:
        scored = [_score_picture(picture, k, seed=seed, n_init=n_init, has_parts=has_parts) for picture in pictures]
        for model in (0, 1):
            found = [pair[model] for pair in scored]
            means = {name: float(np.mean([row[name] for row in found if name in row])) for name in found[0]}
            rows.append({"model": model + 1, "k": k, **means, **_lifts(means)})
    names = list(rows[0])
    columns = tuple(Column(key=name, title=name, digits=None if name in ("model", "k") else 3) for name in names)
    table = tuple(tuple(row.get(name) for name in names) for row in rows)
    return Table(name="training", title="What training changes", columns=columns, rows=table)


def _score_picture(
    picture: StudyPicture, k: int, *, seed: int, n_init: int, has_parts: bool
) -> tuple[dict[str, float], dict[str, float]]:
    found = [cluster(encoding.features, k, seed=seed, n_init=n_init) for encoding in picture.models]
    maps = [encoding.paint(single.labels) for encoding, single in zip(picture.models, found, strict=True)]
    frames = [encoding.sheet.view.frame for encoding in picture.models]
    between = on_common_area((maps[0], frames[0]), (maps[1], frames[1]))
    ari = _adjusted_rand(between[0], between[1])
    scored = []
    for model, encoding in enumerate(picture.models):
        candidates = {"map": maps[model]} | _floor_maps(picture, model, found[model], seed=seed, n_init=n_init)
        row = {"ARI between models": ari, "size entropy": size_entropy(found[model].labels.cpu().numpy(), k)}
        for name, labels in candidates.items():
            ending = "" if name == "map" else f", {name}"
            row[f"explained{ending}"] = _explained_by(encoding.features, labels[encoding.sheet.inside])
            if has_parts and picture.parts is not None:
                drawn = _at_pixels(labels, frames[model], between[2])
                scores = part_scores(drawn, _cut(picture.parts, between[2], drawn.shape))
                row |= {f"parts {score}{ending}": value for score, value in scores.items()}
        scored.append(row)
    return scored[0], scored[1]


def _floor_maps(picture: StudyPicture, model: int, found: Clustering, *, seed: int, n_init: int) -> dict[str, Labels]:
    """The floors of one map, on its grid and with as many groups."""
    encoding, k = picture.models[model], found.n_effective
    floors: dict[str, Labels] = {}
    grid = grid_floor(encoding.sheet.inside, k)
    if grid is not None:
        floors["grid"] = grid
    for name, weight in (("rgb", None), ("rgb_xy", 0.5)):
        colours = colour_features([encoding.sheet], weight)
        floors[name] = encoding.paint(cluster(colours, k, seed=seed, n_init=n_init).labels)
    for number, pair in enumerate(picture.untrained):
        floors[f"random {number}"] = pair[model].paint(
            cluster(pair[model].features, k, seed=seed, n_init=n_init).labels
        )
    return floors


def _lifts(means: Mapping[str, float]) -> dict[str, float]:
    """What lies above the best floor, for each score that has floors."""
    lifts = {}
    for name in ("explained", *(f"parts {score}" for score in PART_SCORES)):
        floors = [value for key, value in means.items() if key.startswith(f"{name}, ")]
        if name in means and floors:
            lifts[f"{name} above floor"] = above_floor(means[name], floors)
    return lifts


def _explained_by(features: Tensor, labels: Labels) -> float:
    """Share of the variation of the features that a partition accounts for."""
    numbers = torch.from_numpy(np.unique(labels, return_inverse=True)[1].reshape(-1)).to(features.device)
    count = int(numbers.max()) + 1
    members = torch.zeros(count, len(numbers), dtype=torch.float64, device=features.device)
    members.scatter_(0, numbers[None], 1.0)
    means = members @ features.double() / members.sum(dim=1, keepdim=True)
    return prepare(features).explained(_inertia(features, means, numbers))


def _cut(parts: Labels, area: Box, shape: tuple[int, ...]) -> Labels:
    """The part map on an area, which may reach beyond the picture."""
    whole = np.full(shape, -1, dtype=np.int64)
    top, left = int(area.top), int(area.left)
    rows = np.arange(top, top + shape[0])
    columns = np.arange(left, left + shape[1])
    is_row, is_column = (rows >= 0) & (rows < parts.shape[0]), (columns >= 0) & (columns < parts.shape[1])
    whole[np.ix_(is_row, is_column)] = parts[np.ix_(rows[is_row], columns[is_column])]
    return whole


def on_common_area(first: tuple[Labels, Box], second: tuple[Labels, Box]) -> tuple[Labels, Labels, Box]:
    """Returns both maps at the picture's pixels, on the area that both models see, with matched numbers.

    Args:
        first: Labels ``[H, W]`` and the rectangle of the picture that they cover.
        second: Of the other model.

    Returns:
        Two maps ``[h, w]`` of equal shape, one value per pixel whose centre lies in both rectangles, and that area.

    Raises:
        ValueError: If the two rectangles do not meet.
    """
    one, two = first[1], second[1]
    left, top = math.ceil(max(one.left, two.left) - 0.5), math.ceil(max(one.top, two.top) - 0.5)
    right, bottom = math.ceil(min(one.right, two.right) - 0.5), math.ceil(min(one.bottom, two.bottom) - 0.5)
    if left >= right or top >= bottom:
        raise ValueError("the two models see no common part of the picture")
    area = Box(left, top, right, bottom)
    drawn = [_at_pixels(labels, frame, area) for labels, frame in (first, second)]
    matched = match_labels(torch.from_numpy(drawn[0]), torch.from_numpy(drawn[1])).numpy()
    return drawn[0], matched, area


def _at_pixels(labels: Labels, frame: Box, area: Box) -> Labels:
    """Each pixel takes the cell that holds its centre."""
    rows = _cells(area.top, area.bottom, frame.top, frame.bottom, labels.shape[0])
    columns = _cells(area.left, area.right, frame.left, frame.right, labels.shape[1])
    drawn: Labels = labels[rows[:, None], columns[None, :]]
    return drawn


def _cells(start: float, stop: float, low: float, high: float, count: int) -> NDArray[np.int64]:
    centres = np.arange(start, stop) + 0.5
    cells: NDArray[np.int64] = np.floor((centres - low) * count / (high - low)).astype(np.int64).clip(0, count - 1)
    return cells


def part_scores(labels: Labels, parts: Labels) -> dict[str, float]:
    """Returns how well a map finds the known parts of a picture.

    Args:
        labels: ``[H, W]`` at input pixels.
        parts: ``[H, W]``, number of the part, below 0 where there is none.

    Returns:
        ``ari``: adjusted Rand index with the part map where parts are known (not an oracle);
        ``group IoU (oracle)`` and ``component IoU (oracle)``: for each part the best IoU of any group, or of any
        large component, averaged over parts. 0 when there are no parts.

    Raises:
        ValueError: If the shapes differ.
    """
    if labels.shape != parts.shape:
        raise ValueError(f"labels and parts have one shape, not {labels.shape} and {parts.shape}")
    masks = [parts == number for number in np.unique(parts[parts >= 0]).tolist()]
    groups = [labels == number for number in np.unique(labels[labels >= 0]).tolist()]
    return {
        "ari": _adjusted_rand(labels, parts),
        "group IoU (oracle)": _best_iou(masks, groups),
        "component IoU (oracle)": _best_iou(masks, _components(labels)),
    }


def _best_iou(parts: Sequence[NDArray[np.bool_]], candidates: Sequence[NDArray[np.bool_]]) -> float:
    if not parts or not candidates:
        return 0.0
    return float(np.mean([max(iou(part, candidate) for candidate in candidates) for part in parts]))


def iou(one: NDArray[np.bool_], two: NDArray[np.bool_]) -> float:
    """Returns intersection over union of two masks; 0 when both are empty."""
    union = int((one | two).sum())
    return int((one & two).sum()) / union if union else 0.0


def above_floor(score: float, floors: Sequence[float]) -> float:
    """Returns ``(score - best floor) / (1 - best floor)``: 0 like the best floor, 1 perfect; 0 when a floor is 1."""
    best = max(floors, default=0.0)
    return (score - best) / (1 - best) if best < 1 else 0.0


def compare_maps(
    first: Sequence[tuple[Labels, Box]],
    second: Sequence[tuple[Labels, Box]],
    *,
    n_clusters: int,
    parts: Sequence[Labels] | None = None,
) -> dict[str, float]:
    """Returns means over pictures of what tells two models' maps apart.

    Args:
        first: Labels and frame per picture, of one model.
        second: Of the other model, same pictures.
        n_clusters: K of both.
        parts: Part maps at picture pixels, when known.

    Returns:
        ``size_entropy_1``, ``size_entropy_2``, ``ari`` between the models and, with part maps, the scores of
        :func:`part_scores` with ``_1`` or ``_2`` behind them.
    """
    if not len(first) or len(first) != len(second):
        raise ValueError("both models have maps of the same pictures, at least one")
    rows: list[dict[str, float]] = []
    for place, (one, two) in enumerate(zip(first, second, strict=True)):
        left, right, area = on_common_area(one, two)
        row = {"ari": _adjusted_rand(left, right)}
        for number, drawn in ((1, left), (2, right)):
            row[f"size_entropy_{number}"] = size_entropy(drawn, n_clusters)
            if parts is not None:
                cut = _cut(parts[place], area, drawn.shape)
                row |= {f"{name}_{number}": score for name, score in part_scores(drawn, cut).items()}
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
