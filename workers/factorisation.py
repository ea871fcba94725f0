"""Non-negative matrix factorisation of a small matrix, reproducible to the bit on one machine.

Written here rather than taken from scikit-learn so that the workers need no further package and the fold onto a fixed
basis uses the same update; scikit-learn is the oracle in the tests. Source of the update: A. Cichocki, A.-H. Phan, 2009
(hierarchical alternating least squares); of the start: C. Boutsidis, E. Gallopoulos, 2008 (NNDSVD).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MOST_SWEEPS = 500
FOLD_SWEEPS = 100
CHECK_EVERY = 10
LEAST_GAIN = 1e-5
TINY = 1e-12


def factorise(rows: Floats, rank: int, *, seed: int = 0) -> Floats:
    """Returns the basis H ``[rank, C]`` >= 0 of ``rows ~ W H`` with W >= 0.

    Args:
        rows: ``[P, C]``, >= 0.
        rank: Number of factors, 1 .. min(P, C) (more is cut to that).
        seed: Fills the zeros of the start.
    """
    weights, basis = _start(rows, min(rank, *rows.shape), seed)
    total = float(np.square(rows).sum())
    previous = np.inf
    for sweep in range(1, MOST_SWEEPS + 1):
        _sweep(rows, weights, basis)
        _sweep(rows.T, basis.T, weights.T)
        if sweep % CHECK_EVERY == 0:
            error = float(np.sqrt(np.square(rows - weights @ basis).sum() / max(total, TINY)))
            if previous - error < LEAST_GAIN:
                break
            previous = error
    return basis


def fold(rows: Floats, basis: Floats) -> Floats:
    """Returns W ``[P, rank]`` >= 0 for a fixed basis ``[rank, C]``."""
    weights = np.full((len(rows), len(basis)), rows.mean() / max(len(basis), 1))
    for _ in range(FOLD_SWEEPS):
        _sweep(rows, weights, basis)
    return weights


def _sweep(rows: Floats, weights: Floats, basis: Floats) -> None:
    """Updates the columns of ``weights`` one after the other, in place."""
    products = rows @ basis.T
    gram = basis @ basis.T
    for factor in range(len(basis)):
        step = (products[:, factor] - weights @ gram[:, factor]) / max(gram[factor, factor], TINY)
        weights[:, factor] = np.maximum(0.0, weights[:, factor] + step)


def _start(rows: Floats, rank: int, seed: int) -> tuple[Floats, Floats]:
    left, values, right = np.linalg.svd(rows, full_matrices=False)
    weights, basis = np.zeros((len(rows), rank)), np.zeros((rank, rows.shape[1]))
    for factor in range(rank):
        column, row = left[:, factor], right[factor]
        positive = np.maximum(column, 0), np.maximum(row, 0)
        negative = np.maximum(-column, 0), np.maximum(-row, 0)
        u, v = max((positive, negative), key=lambda pair: np.linalg.norm(pair[0]) * np.linalg.norm(pair[1]))
        u_norm, v_norm = float(np.linalg.norm(u)), float(np.linalg.norm(v))
        if u_norm * v_norm > 0:
            scale = np.sqrt(values[factor] * u_norm * v_norm)
            weights[:, factor], basis[factor] = scale * u / u_norm, scale * v / v_norm
    random = np.random.default_rng(seed)
    for part in (weights, basis):
        zeros = part <= TINY
        part[zeros] = random.uniform(0, rows.mean() / 100, int(zeros.sum()))
    return weights, basis
