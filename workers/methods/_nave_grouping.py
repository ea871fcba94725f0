"""Groups the rows of a source: exactly when they fit into memory, in two levels or along few directions when not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.methods._nave_kmeans import Clustering, _fit, _weighted_kmeans, cluster
from workers.methods._nave_maps import _margin
from workers.methods._nave_prepared import Prepared, prepare
from workers.methods._nave_source import Source

FIRST_LEVEL_GROUPS = 32
DIRECTIONS = 128
EXTRA_DIRECTIONS = 16
POWER_PASSES = 2


@dataclass(frozen=True, eq=False)
class Grouping:
    """Groups of all rows of a source.

    Attributes:
        clustering: Labels on the CPU, centroids on the device.
        explained: Share of the variation, 0-1.
        approximate: Whether the rows did not fit into memory at once.
    """

    clustering: Clustering
    explained: float
    approximate: bool

    @property
    def labels(self) -> NDArray[np.int64]:
        """``[N]``."""
        numbers: NDArray[np.int64] = self.clustering.labels.cpu().numpy()
        return numbers

    @property
    def n_effective(self) -> int:
        """Number of groups with members."""
        return self.clustering.n_effective

    @property
    def centroids(self) -> Tensor:
        """``[n_effective, D]``."""
        return self.clustering.centroids[: self.clustering.n_effective]


class Grouper:
    """Runs any number of clusterings over the same rows.

    Args:
        source: The rows.
        seed: Of everything random.
        n_init: Restarts.
        max_iter: Most Lloyd steps.
        refine_passes: Exact passes after an approximate clustering of several pictures.
        check_cancelled: Asked before every clustering and every pass over the rows.
    """

    def __init__(
        self,
        source: Source,
        *,
        seed: int,
        n_init: int,
        max_iter: int,
        refine_passes: int,
        check_cancelled: Callable[[], None],
    ) -> None:
        self.source = source
        self._seed = seed
        self._n_init = n_init
        self._max_iter = max_iter
        self._refine_passes = refine_passes
        self._check_cancelled = check_cancelled
        self._prepared: Prepared | None = prepare(source.matrix) if source.fits else None
        self._first_level: tuple[Tensor, Tensor] | None = None
        self.total = self._prepared.total if self._prepared is not None else self._total()

    def group(self, n_clusters: int) -> Grouping:
        """Returns the best grouping into ``n_clusters``."""
        self._check_cancelled()
        if self._prepared is not None:
            found = _fit(self._prepared, n_clusters, seed=self._seed, n_init=self._n_init, max_iter=self._max_iter)
            return Grouping(found, self._prepared.explained(found.inertia), approximate=False)
        several = len(self.source.sheets) > 1
        first = self._two_levels(n_clusters) if several else self._few_directions(n_clusters)
        found = self._exact(first, n_clusters, passes=self._refine_passes if several else 0)
        explained = min(1.0, max(0.0, 1 - found.inertia / self.total)) if self.total > 0 else 0.0
        return Grouping(found, explained, approximate=True)

    def explained_by(self, labels: NDArray[np.int64]) -> float:
        """Returns the share of these rows' variation that any other partition accounts for, 0-1."""
        if self.total <= 0 or (self._prepared is not None and self._prepared.explained(0.0) == 0.0):
            return 0.0
        means, sizes = self.means(labels)
        centre = (sizes[:, None] * means).sum(dim=0) / sizes.sum()
        between = float((sizes * (means - centre).square().sum(dim=1)).sum())
        return min(1.0, max(0.0, between / self.total))

    def means(self, labels: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Returns mean rows ``[K, D]`` and sizes ``[K]`` of the groups of a partition, float64."""
        count = int(labels.max()) + 1
        numbers = torch.from_numpy(labels).to(self.source.device)
        sums: Tensor | None = None
        for part, own in self._walk(numbers):
            wide = _one_hot(own, count, torch.float64).T @ part.double()
            sums = wide if sums is None else sums + wide
        sizes = torch.bincount(numbers, minlength=count).double()
        assert sums is not None  # a source has rows
        return sums / sizes.clamp_min(1)[:, None], sizes

    def margins(self, grouping: Grouping) -> NDArray[np.float32]:
        """Returns how firmly each row belongs to its group, ``[N]``, 0-1."""
        found = torch.cat([_margin(part, grouping.centroids) for part in self.source.parts()])
        margins: NDArray[np.float32] = found.cpu().numpy()
        return margins

    def cohesion(self, grouping: Grouping) -> NDArray[np.float64]:
        """Returns the mean cosine of each group's members to its centroid ``[n_effective]``; 0 for zero vectors."""
        units = torch.nn.functional.normalize(grouping.centroids.double(), dim=1)
        total = torch.zeros(len(units), dtype=torch.float64, device=units.device)
        labels = grouping.clustering.labels.to(units.device)
        for part, own in self._walk(labels):
            rows = torch.nn.functional.normalize(part.double(), dim=1)
            total += _one_hot(own, len(units), torch.float64).T @ (rows * units[own]).sum(dim=1)
        sizes = torch.bincount(labels, minlength=len(units)).double()
        cosines: NDArray[np.float64] = (total / sizes.clamp_min(1)).clamp(-1, 1).cpu().numpy()
        return cosines

    def _walk(self, labels: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        start = 0
        for part in self.source.parts():
            yield part, labels[start : start + len(part)]
            start += len(part)

    def _total(self) -> float:
        """Sum of squared distances to the mean, streamed."""
        count = self.source.n_rows
        start = torch.zeros(self.source.n_columns, dtype=torch.float64, device=self.source.device)
        mean = sum((part.double().sum(dim=0) for part in self.source.parts()), start=start) / count
        return float(sum(float((part.double() - mean).square().sum()) for part in self.source.parts()))

    def _two_levels(self, n_clusters: int) -> Tensor:
        """Centroids of centroids: each part of each picture is reduced to at most 32 weighted points first."""
        if self._first_level is None:
            points, weights = [], []
            for part in self.source.parts():
                self._check_cancelled()
                found = cluster(part, FIRST_LEVEL_GROUPS, seed=self._seed, n_init=1, max_iter=self._max_iter)
                points.append(found.centroids[: found.n_effective])
                weights.append(torch.bincount(found.labels, minlength=found.n_effective))
            self._first_level = torch.cat(points), torch.cat(weights)
        rows, mass = self._first_level
        found = _weighted_kmeans(rows, mass, n_clusters, seed=self._seed, n_init=self._n_init, max_iter=self._max_iter)
        return found.centroids[: found.n_effective]

    def _few_directions(self, n_clusters: int) -> Tensor:
        """Centroids of groups found along the 128 directions of largest variation."""
        directions = self._principal_directions()
        rows = torch.cat([part @ directions for part in self.source.parts()])
        self._check_cancelled()
        found = cluster(rows, n_clusters, seed=self._seed, n_init=self._n_init, max_iter=self._max_iter)
        return self.means(found.labels.cpu().numpy())[0].to(rows.dtype)

    def _principal_directions(self) -> Tensor:
        """``[D, min(128, D)]``, orthonormal, by subspace iteration from a seeded start; streamed."""
        count = min(DIRECTIONS + EXTRA_DIRECTIONS, self.source.n_columns)
        start = np.random.default_rng(self._seed).standard_normal((self.source.n_columns, count))
        like = self.source.sheets[0].blocks[0]
        basis = torch.linalg.qr(torch.from_numpy(start).to(like.device, like.dtype))[0]
        mean = self.means(np.zeros(self.source.n_rows, dtype=np.int64))[0][0].to(like.dtype)
        for _ in range(POWER_PASSES + 1):
            self._check_cancelled()
            product = torch.zeros_like(basis)
            for part in self.source.parts():
                centred = part - mean
                product += centred.T @ (centred @ basis)
            basis = torch.linalg.svd(product, full_matrices=False)[0]
        kept: Tensor = basis[:, :DIRECTIONS].contiguous()
        return kept

    def _exact(self, centroids: Tensor, n_clusters: int, *, passes: int) -> Clustering:
        """Exact Lloyd passes over the full rows, then one exact assignment."""
        for _ in range(passes):
            self._check_cancelled()
            labels = self._assign(centroids)
            means, sizes = self.means(labels.cpu().numpy())
            moved = means.to(centroids.dtype)
            centroids = torch.cat(
                [torch.where(sizes[:, None] > 0, moved, centroids[: len(moved)]), centroids[len(moved) :]]
            )
        self._check_cancelled()
        labels = self._assign(centroids)
        return self._in_order(labels, centroids, n_clusters)

    def _assign(self, centroids: Tensor) -> Tensor:
        """Nearest centroid of each row ``[N]``, exactly enough for ties to be rounding only."""
        origin = centroids.double().mean(dim=0)
        points = (centroids.double() - origin).to(centroids.dtype)
        halves = points.square().sum(dim=1) / 2
        return torch.cat(
            [((part - origin.to(part.dtype)) @ points.T - halves).argmax(dim=1) for part in self.source.parts()]
        )

    def _in_order(self, labels: Tensor, centroids: Tensor, n_clusters: int) -> Clustering:
        present, first, sizes = np.unique(labels.cpu().numpy(), return_index=True, return_counts=True)
        kept = torch.from_numpy(present[np.lexsort((first, -sizes))]).to(labels.device)
        rank = torch.zeros(len(centroids), dtype=torch.int64, device=labels.device)
        rank[kept] = torch.arange(len(kept), device=labels.device)
        labels, ordered = rank[labels], centroids[kept]
        inertia = sum(float((part.double() - ordered[own].double()).square().sum()) for part, own in self._walk(labels))
        padded = ordered.new_zeros(n_clusters, ordered.shape[1])
        padded[: len(kept)] = ordered
        return Clustering(labels, padded, inertia, len(kept), iterations=self._refine_passes, converged=False)


def _one_hot(labels: Tensor, count: int, dtype: torch.dtype) -> Tensor:
    """``[n, count]``."""
    return torch.zeros(len(labels), count, dtype=dtype, device=labels.device).scatter_(1, labels[:, None], 1.0)
