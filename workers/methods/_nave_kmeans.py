"""K-means whose answer depends on data and seed alone: fixed seeding, repaired empty groups, canonical numbering."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.methods._nave_prepared import Prepared, chunks, full_precision, prepare, sum_of_squares
from workers.methods._nave_space import Space

ITERATIONS_BETWEEN_TESTS = 8
"""On a GPU convergence is tested this rarely: every test waits for the device. A converged state is a fixed point."""
WORK_VALUES = 1 << 26
"""Most values of one ``[restarts, K, N]`` temporary; more restarts are run in turns."""
SAME_INERTIA = 1e-9


@dataclass(frozen=True, eq=False)
class Clustering:
    """Groups of rows in canonical order: by descending size, ties by first member.

    Attributes:
        labels: ``[N]`` int64, 0 to ``n_effective`` - 1.
        centroids: ``[K, D]``, dtype of the features; rows from ``n_effective`` on are zero padding.
        inertia: Sum of squared distances of the rows to their centroids.
        n_effective: Number of groups with members.
        iterations: Lloyd steps of the restart that was kept.
        converged: Whether it stopped by itself.
    """

    labels: Tensor
    centroids: Tensor
    inertia: float
    n_effective: int
    iterations: int = 0
    converged: bool = True


def cluster(features: Tensor, n_clusters: int, *, seed: int = 0, n_init: int = 4, max_iter: int = 300) -> Clustering:
    """Returns the best of several k-means runs; plain Euclidean distances.

    Args:
        features: ``[N, D]``, finite real numbers.
        n_clusters: K, at least 1; more than there are distinct rows is allowed.
        seed: Seed of the starting rows; not negative.
        n_init: Restarts; restart r starts alike whatever their number.
        max_iter: Most Lloyd steps per restart.

    Returns:
        The run with the lowest inertia, on the device of the features.

    Raises:
        ValueError: If the features are not a finite, non-empty ``[N, D]``, a count is below 1 or the seed negative.
    """
    _validate(features, n_clusters=n_clusters, n_init=n_init, max_iter=max_iter, seed=seed)
    return _fit(prepare(features), n_clusters, seed=seed, n_init=n_init, max_iter=max_iter)


def _fit(prepared: Prepared, n_clusters: int, *, seed: int, n_init: int, max_iter: int) -> Clustering:
    """``cluster`` on prepared features."""
    with full_precision():
        indices = _seed(prepared, n_clusters, seed=seed, n_init=n_init)
        return _descend_all(prepared, indices, n_clusters=n_clusters, max_iter=max_iter)


def _weighted_kmeans(
    features: Tensor, weights: Tensor, n_clusters: int, *, seed: int = 0, n_init: int = 4, max_iter: int = 300
) -> Clustering:
    """``cluster`` for rows that stand for ``weights`` ``[N]`` (positive) rows each; sizes are sums of weights."""
    _validate(features, n_clusters=n_clusters, n_init=n_init, max_iter=max_iter, seed=seed)
    if weights.shape != (len(features),) or not bool((weights > 0).all()):
        raise ValueError("weights are one positive number per row")
    return _fit(prepare(features, weights), n_clusters, seed=seed, n_init=n_init, max_iter=max_iter)


def _seed_indices(features: Tensor, n_clusters: int, seed: int = 0, n_init: int = 4) -> Tensor:
    """Starting rows ``[n_init, min(K, N)]`` int64; -1 where no distinct row was left."""
    with full_precision():
        return _seed(prepare(features), n_clusters, seed=seed, n_init=n_init)


def _lloyd(features: Tensor, init_indices: Tensor, *, max_iter: int = 300) -> Clustering:
    """K-means from given starting rows ``[R, K]``: the best of the R runs."""
    with full_precision():
        indices = init_indices.to(features.device)
        return _descend_all(prepare(features), indices, n_clusters=init_indices.shape[1], max_iter=max_iter)


def _seed(prepared: Prepared, n_clusters: int, *, seed: int, n_init: int) -> Tensor:
    """Rows drawn with a probability proportional to the squared distance to the nearest row drawn before."""
    space, n_rows = prepared.space, len(prepared.features)
    n_seeds = min(n_clusters, n_rows)
    mass = np.ones(n_rows) if prepared.weights is None else prepared.weights.double().cpu().numpy()
    uniforms = np.stack([np.random.default_rng([seed, restart]).random(n_clusters) for restart in range(n_init)])
    chosen = np.full((n_init, n_seeds), -1, dtype=np.int64)
    if prepared.weights is None:
        chosen[:, 0] = np.minimum((uniforms[:, 0] * n_rows).astype(np.int64), n_rows - 1)
    else:
        chosen[:, 0] = _draw(np.broadcast_to(mass, (n_init, n_rows)), uniforms[:, 0])
    nearest = np.full((n_init, n_rows), np.inf)
    for position in range(1, n_seeds):
        previous = chosen[:, position - 1]
        nearest = np.minimum(nearest, _distances(space, previous, tau=prepared.tau))
        chosen[:, position] = np.where(previous < 0, -1, _draw(nearest * mass, uniforms[:, position]))
    return torch.from_numpy(chosen).to(prepared.features.device)


def _distances(space: Space, indices: NDArray[np.int64], *, tau: float) -> NDArray[np.float64]:
    """Squared distances ``[R, N]`` of all rows to one row per restart (any where the index is -1)."""
    picked = torch.from_numpy(np.maximum(indices, 0)).to(space.squares.device)
    distances: NDArray[np.float64] = space.distances(picked).double().cpu().numpy()
    distances[distances <= tau] = 0.0
    return distances


def _draw(mass: NDArray[np.float64], uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """One index per row of ``mass`` ``[R, N]``, with probability proportional to mass; -1 where there is none."""
    sums = np.cumsum(mass, axis=1)
    totals = sums[:, -1]
    found = (sums <= (uniforms * totals)[:, None]).sum(axis=1)
    return np.where(totals > 0, np.minimum(found, mass.shape[1] - 1), -1)


@dataclass(frozen=True, eq=False)
class _Runs:
    """Where restarts ended: ``labels`` ``[R, N]``, ``state`` ``[R, K, S]``, scores of the labels ``[R, N]``."""

    labels: Tensor
    scores: Tensor
    state: Tensor
    iterations: NDArray[np.int64]
    converged: NDArray[np.bool_]


def _descend_all(prepared: Prepared, indices: Tensor, *, n_clusters: int, max_iter: int) -> Clustering:
    """Runs all restarts, as many at once as memory allows, and returns the best in canonical order."""
    at_once = max(1, WORK_VALUES // (indices.shape[1] * len(prepared.features)))
    best: Clustering | None = None
    for start in range(0, len(indices), at_once):
        runs = _descend(prepared, indices[start : start + at_once], max_iter=max_iter)
        found = _best_of(prepared, runs, n_clusters=n_clusters)
        if best is None or found.inertia < best.inertia * (1 - SAME_INERTIA):
            best = found
    if best is None:
        raise ValueError("at least one restart is needed")
    return best


def _descend(prepared: Prepared, indices: Tensor, *, max_iter: int) -> _Runs:
    """Lloyd's steps on all restarts until none changes any more."""
    space, device = prepared.space, prepared.features.device
    is_seeded = indices >= 0
    state = space.pick(indices.clamp_min(0))
    scores, labels = _assign(space, state, is_seeded)
    iterations = np.zeros(len(indices), dtype=np.int64)
    converged = np.zeros(len(indices), dtype=np.bool_)
    active = torch.arange(len(indices), device=device)
    rhythm = _rhythm(device)
    part, seeded, now, done = state, is_seeded, labels, 0
    while len(active) and done < max_iter:
        steps = min(rhythm, max_iter - done)
        for _ in range(steps):
            previous = now
            part = _move(prepared, part, now)
            best, now = _assign(space, part, seeded)
        done += steps
        is_settled = (now == previous).all(dim=1)
        if done < max_iter and not bool(is_settled.any()):
            continue
        state[active], labels[active], scores[active] = part, now, best
        iterations[active.cpu().numpy()] = done
        for place in active[is_settled].tolist():
            if done < max_iter and _repair(prepared, state, is_seeded, labels[place], scores[place], place):
                is_settled[active == place] = False
            else:
                converged[place] = True
        active = active[~is_settled]
        part, seeded, now = state[active], is_seeded[active], labels[active]
    return _Runs(labels, scores, state, iterations, converged)


def _rhythm(device: torch.device) -> int:
    return 1 if device.type == "cpu" else ITERATIONS_BETWEEN_TESTS


def _assign(space: Space, state: Tensor, is_seeded: Tensor) -> tuple[Tensor, Tensor]:
    """Highest ``z.c - |c|^2 / 2`` over centroids and its index, both ``[R, N]``; ties to the lowest index."""
    products, squares = space.products(state)
    halves = torch.where(is_seeded, squares / 2, torch.inf)
    best: Tensor
    labels: Tensor
    best, labels = products.sub_(halves[..., None]).max(dim=1)
    return best, labels


def _move(prepared: Prepared, state: Tensor, labels: Tensor) -> Tensor:
    """Centroids as means of their members; one without members stays where it was."""
    members = state.new_zeros(state.shape[0], state.shape[1], labels.shape[1])
    if prepared.weights is None:
        members.scatter_(1, labels[:, None], 1.0)
    else:
        members.scatter_(1, labels[:, None], prepared.weights.expand_as(labels)[:, None])
    counts = members.sum(dim=-1, keepdim=True)
    means = prepared.space.means(members.div_(counts.clamp_min(torch.finfo(state.dtype).tiny)))
    return torch.where(counts > 0, means, state)


def _repair(prepared: Prepared, state: Tensor, is_seeded: Tensor, labels: Tensor, scores: Tensor, place: int) -> bool:
    """Moves empty centroids of one restart to the rows farthest from their own; returns whether any moved."""
    counts = torch.bincount(labels, minlength=state.shape[1])
    empty = torch.nonzero(counts == 0).flatten().tolist()
    if not empty:
        return False
    distances = (prepared.space.squares - 2 * scores).double()
    farthest = torch.argsort(distances, descending=True, stable=True)[: len(empty)]
    moved = [
        (group, row)
        for group, row in zip(empty, farthest.tolist(), strict=False)
        if float(distances[row]) > prepared.tau
    ]
    for group, row in moved:
        state[place, group] = prepared.space.pick(torch.tensor([[row]], device=state.device))[0, 0]
        is_seeded[place, group] = True
    return bool(moved)


def _best_of(prepared: Prepared, runs: _Runs, *, n_clusters: int) -> Clustering:
    """The restart with the lowest exact inertia; exact sums only for those that can still be the best."""
    estimates = (prepared.space.squares - 2 * runs.scores).double()
    if prepared.weights is not None:
        estimates = estimates * prepared.weights.double()
        mass = float(prepared.weights.sum())
    else:
        mass = float(estimates.shape[1])
    estimate = estimates.sum(dim=1).cpu().numpy()
    close = np.flatnonzero(estimate <= estimate.min() + 2 * mass * prepared.tau)
    seen: set[bytes] = set()
    best: Clustering | None = None
    for place in close.tolist():
        order = _canonical_order(runs.labels[place], prepared.weights)
        labels = order.rank[runs.labels[place]]
        if (mark := labels.cpu().numpy().tobytes()) in seen:
            continue
        seen.add(mark)
        found = _finish(prepared, runs, place, labels, order.kept, n_clusters=n_clusters)
        if best is None or found.inertia < best.inertia * (1 - SAME_INERTIA):
            best = found
    assert best is not None  # at least the lowest estimate is close to itself
    return best


def _finish(
    prepared: Prepared, runs: _Runs, place: int, labels: Tensor, kept: Tensor, *, n_clusters: int
) -> Clustering:
    features, home = prepared.features, prepared.home
    points = prepared.space.points(runs.state[place][kept]) + prepared.mean
    centroids = features.new_zeros(n_clusters, features.shape[1])
    centroids[: len(kept)] = points.to(features.dtype)
    return Clustering(
        labels=labels.to(home),
        centroids=centroids.to(home),
        inertia=_inertia(features, centroids, labels, prepared.weights),
        n_effective=len(kept),
        iterations=int(runs.iterations[place]),
        converged=bool(runs.converged[place]),
    )


@dataclass(frozen=True, eq=False)
class _Order:
    """``kept``: old numbers of groups with members, in canonical order; ``rank``: new number of each old one."""

    kept: Tensor
    rank: Tensor


def _canonical_order(labels: Tensor, weights: Tensor | None) -> _Order:
    numbers = labels.cpu().numpy()
    mass = None if weights is None else weights.double().cpu().numpy()
    sizes = np.bincount(numbers, weights=mass)
    first = np.zeros(len(sizes), dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(numbers))[::-1]  # the last one written is the first in order
    order = np.lexsort((first, -sizes))
    kept = order[sizes[order] > 0]
    rank = np.zeros(len(sizes), dtype=np.int64)
    rank[kept] = np.arange(len(kept))
    return _Order(torch.from_numpy(kept).to(labels.device), torch.from_numpy(rank).to(labels.device))


def _inertia(features: Tensor, centroids: Tensor, labels: Tensor, weights: Tensor | None = None) -> float:
    """Sum of squared distances to the own centroid, by subtraction in float64, in chunks."""
    wide, total, start = centroids.double(), 0.0, 0
    for part in chunks(features):
        stop = start + len(part)
        gaps = part - wide[labels[start:stop]]
        if weights is not None:
            gaps *= weights[start:stop, None].double().sqrt()
        total += sum_of_squares(gaps)
        start = stop
    return total


def _validate(features: Tensor, *, n_clusters: int, n_init: int, max_iter: int, seed: int) -> None:
    if features.ndim != 2 or not features.numel():
        raise ValueError(f"features are [N, D] with at least one row and column, not {list(features.shape)}")
    if not features.dtype.is_floating_point:
        raise ValueError(f"features are real numbers, not {features.dtype}")
    if not all(math.isfinite(end) for end in torch.stack(torch.aminmax(features)).tolist()):
        raise ValueError("features hold values that are not finite")
    for name, value in (("n_clusters", n_clusters), ("n_init", n_init), ("max_iter", max_iter)):
        if value < 1:
            raise ValueError(f"{name} is at least 1, not {value}")
    if seed < 0:
        raise ValueError(f"seed is not negative, not {seed}")
