"""Two ways to hold centroids, so that all restarts of a k-means step are one matrix product.

``RowSpace`` keeps centroids as points. ``GramSpace`` keeps them as weights over the rows and works on the inner
products of the rows alone, which is cheaper as soon as rows are longer than there are rows.
"""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

BLOCKS = 6
SMALLEST_BLOCK = 128


class Space(Protocol):
    """N centred rows and what Lloyd's steps need of them. A state is ``[R, K, S]``, S as the space likes."""

    squares: Tensor
    """Squared norms of the rows ``[N]``."""

    def pick(self, indices: Tensor) -> Tensor:
        """Returns the state ``[R, K, S]`` whose centroids are the rows ``indices`` ``[R, K]``."""

    def distances(self, indices: Tensor) -> Tensor:
        """Returns squared distances ``[R, N]`` of all rows to the rows ``indices`` ``[R]``, up to rounding."""

    def products(self, state: Tensor) -> tuple[Tensor, Tensor]:
        """Returns inner products with all rows ``[R, K, N]`` and squared norms of the centroids ``[R, K]``."""

    def means(self, shares: Tensor) -> Tensor:
        """Returns the state ``[R, K, S]`` of weighted sums of rows; ``shares`` is ``[R, K, N]``."""

    def points(self, state: Tensor) -> Tensor:
        """Returns centroids as points ``[K, D]``, float64, of the state ``[K, S]``."""


class RowSpace:
    """Centroids as points.

    Args:
        rows: ``[N, D]``, centred.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self.squares = (rows * rows).sum(dim=1)

    def pick(self, indices: Tensor) -> Tensor:
        return self._rows[indices]

    def distances(self, indices: Tensor) -> Tensor:
        products = self._rows[indices] @ self._rows.T
        return (self.squares + self.squares[indices, None]).sub_(products, alpha=2)

    def products(self, state: Tensor) -> tuple[Tensor, Tensor]:
        n_restarts, n_clusters, n_columns = state.shape
        products = state.reshape(-1, n_columns) @ self._rows.T
        return products.view(n_restarts, n_clusters, -1), (state * state).sum(dim=-1)

    def means(self, shares: Tensor) -> Tensor:
        n_restarts, n_clusters, n_rows = shares.shape
        return (shares.reshape(-1, n_rows) @ self._rows).view(n_restarts, n_clusters, -1)

    def points(self, state: Tensor) -> Tensor:
        return state.double()


class GramSpace:
    """Centroids as weights over rows.

    Args:
        rows: ``[N, D]``, centred.
    """

    def __init__(self, rows: Tensor) -> None:
        self._rows = rows
        self._gram = _inner_products(rows)
        self.squares = self._gram.diagonal().clone()

    def pick(self, indices: Tensor) -> Tensor:
        state = self._gram.new_zeros(*indices.shape, len(self._gram))
        return state.scatter_(-1, indices[..., None], 1.0)

    def distances(self, indices: Tensor) -> Tensor:
        return (self.squares + self.squares[indices, None]).sub_(self._gram[indices], alpha=2)

    def products(self, state: Tensor) -> tuple[Tensor, Tensor]:
        products = (state.reshape(-1, state.shape[-1]) @ self._gram).view(state.shape)
        return products, (state * products).sum(dim=-1)

    def means(self, shares: Tensor) -> Tensor:
        return shares

    def points(self, state: Tensor) -> Tensor:
        return state.double() @ self._rows.double()


def _inner_products(rows: Tensor) -> Tensor:
    """``rows @ rows.T``, computing each pair of blocks once."""
    count = len(rows)
    gram = rows.new_empty(count, count)
    step = max(SMALLEST_BLOCK, -(-count // BLOCKS))
    for start in range(0, count, step):
        stop = min(start + step, count)
        block = rows[start:] @ rows[start:stop].T
        gram[start:, start:stop] = block
        gram[start:stop, start:] = block.T
    return gram


def make_space(rows: Tensor) -> Space:
    """Returns the cheaper space for centred rows ``[N, D]``."""
    return GramSpace(rows) if rows.shape[0] <= rows.shape[1] else RowSpace(rows)
