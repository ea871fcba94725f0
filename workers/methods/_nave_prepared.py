"""Features made ready for k-means: centred, measured, and put into the cheaper of two spaces."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor

from workers.methods._nave_space import Space, make_space

CHUNK_VALUES = 1 << 17
"""Values per float64 temporary: small enough for a processor's cache."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """Features made ready for k-means.

    Attributes:
        features: ``[N, D]`` float32 or float64, as given.
        mean: ``[D]`` float64.
        space: The centred rows.
        tau: Squared distances up to this one count as zero.
        total: Sum of squared distances to the mean (weighted, if there are weights).
        weights: ``[N]`` or ``None``.
    """

    features: Tensor
    mean: Tensor
    space: Space
    tau: float
    total: float
    weights: Tensor | None
    home: torch.device

    def explained(self, inertia: float) -> float:
        """Returns the share of the total that groups with this inertia account for, 0-1; 0 if nothing varies."""
        mass = len(self.features) if self.weights is None else float(self.weights.sum())
        if self.total <= mass * self.tau:
            return 0.0
        return min(1.0, max(0.0, 1.0 - inertia / self.total))


def prepare(features: Tensor, weights: Tensor | None = None) -> Prepared:
    """Returns features ``[N, D]`` centred, with the distance below which rows count as equal."""
    home = features.device
    if home.type not in ("cpu", "cuda"):
        features = features.cpu()  # other accelerators lack float64
    if features.dtype not in (torch.float32, torch.float64):
        features = features.float()
    weights = None if weights is None else weights.to(features.device, features.dtype)
    mean = _mean(features, weights)
    rows, total = _centre(features, mean, weights)
    with full_precision():
        space = make_space(rows)
    eps = torch.finfo(features.dtype).eps
    largest = float(torch.linalg.vector_norm(features, dim=1).max()) ** 2
    tau = max(32 * eps * float(space.squares.max()), eps * eps * largest)
    return Prepared(features, mean, space, tau, total, weights, home)


def _mean(features: Tensor, weights: Tensor | None) -> Tensor:
    """Mean row in float64; exact when all rows are equal."""
    origin = features[0].double()
    mass = None if weights is None else weights.double()
    total, start = torch.zeros_like(origin), 0
    for part in chunks(features):
        shifted = part - origin
        total += shifted.sum(dim=0) if mass is None else mass[start : start + len(part)] @ shifted
        start += len(part)
    return origin + total / (len(features) if mass is None else mass.sum())


def _centre(features: Tensor, mean: Tensor, weights: Tensor | None) -> tuple[Tensor, float]:
    """Rows without their mean, subtracted in float64, and the (weighted) sum of their squared lengths."""
    rows, total, start = torch.empty_like(features), 0.0, 0
    for part in chunks(features):
        centred, stop = part - mean, start + len(part)
        rows[start:stop] = centred
        if weights is not None:
            centred *= weights[start:stop, None].double().sqrt()
        total += sum_of_squares(centred)
        start = stop
    return rows, total


def sum_of_squares(values: Tensor) -> float:
    """Returns the sum of squared values."""
    flat = values.reshape(-1)
    return float(torch.dot(flat, flat))


def chunks(features: Tensor) -> Iterator[Tensor]:
    """Yields rows ``[n, D]`` in parts of bounded size."""
    yield from torch.split(features, max(1, CHUNK_VALUES // features.shape[1]))


@contextmanager
def full_precision() -> Iterator[None]:
    """Keeps float32 products in float32 (no TF32), whatever the process has set."""
    before = torch.get_float32_matmul_precision()
    if before == "highest":
        yield
        return
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
