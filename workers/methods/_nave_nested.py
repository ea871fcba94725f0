"""One fine clustering, merged step by step: the slider of granularity needs no further computation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class WardTables:
    """What the groups of a base clustering become at K = 1 .. K_b groups; row K - 1 belongs to K.

    Attributes:
        lut: ``[K_b, K_b]`` uint8: base label -> label at K, in canonical order.
        appearance: ``[K_b, K_b]`` uint8: base label -> identity of its group. At K the identities are 0 to K - 1.
            A merged group keeps the identity of its larger part, so one identity ends with each merge.
        explained: ``[K_b]`` float32: share of the variation that K groups account for, 0-1.
        costs: ``[K_b - 1]`` float64: rise of the inertia from K + 1 to K groups.
    """

    lut: NDArray[np.uint8]
    appearance: NDArray[np.uint8]
    explained: NDArray[np.float32]
    costs: Numbers


def _ward_tables(
    centroids: Numbers, sizes: NDArray[np.int64], first: NDArray[np.int64], *, inertia: float, total: float
) -> WardTables:
    """Merges greedily the two groups whose union raises the inertia least.

    Args:
        centroids: ``[K_b, D]``.
        sizes: Members of each group ``[K_b]``.
        first: First member of each group ``[K_b]``, for ties in size.
        inertia: Of the base clustering.
        total: Inertia of one single group; 0 when nothing varies.
    """
    count = len(sizes)
    tree = _merge(centroids.astype(np.float64), sizes.astype(np.float64), first)
    lut = np.zeros((count, count), dtype=np.uint8)
    appearance = np.zeros((count, count), dtype=np.uint8)
    for groups in range(1, count + 1):
        owner = tree.owners[groups - 1]
        lut[groups - 1] = _canonical(owner, sizes, first)
        appearance[groups - 1] = tree.identity[owner]
    raised = inertia + np.concatenate([np.cumsum(tree.costs[::-1])[::-1], [0.0]])
    explained = np.clip(1 - raised / total, 0, 1) if total > 0 else np.zeros(count)
    explained[0] = 0.0
    return WardTables(lut, appearance, explained.astype(np.float32), tree.costs)


@dataclass(frozen=True, eq=False)
class _Tree:
    """``owners[K - 1]`` ``[K_b]``: the base group that stands for each base group's union at K."""

    owners: list[NDArray[np.int64]]
    identity: NDArray[np.int64]
    """Of each base group as an owner: 0 for the last survivor, K for the one absorbed going from K + 1 to K."""
    costs: Numbers


def _merge(means: Numbers, sizes: Numbers, first: NDArray[np.int64]) -> _Tree:
    count = len(sizes)
    means, sizes, first = means.copy(), sizes.copy(), first.copy()
    gaps = ((means[:, None] - means[None]) ** 2).sum(axis=-1)
    owner = np.arange(count)
    owners = [owner.copy()]
    identity = np.zeros(count, dtype=np.int64)
    costs = np.zeros(count - 1)
    alive = np.ones(count, dtype=np.bool_)
    for groups in range(count - 1, 0, -1):
        one, two, costs[groups - 1] = _cheapest_pair(gaps, sizes, alive)
        keep, lose = (one, two) if (-sizes[one], first[one]) <= (-sizes[two], first[two]) else (two, one)
        mean = (sizes[keep] * means[keep] + sizes[lose] * means[lose]) / (sizes[keep] + sizes[lose])
        means[keep], sizes[keep] = mean, sizes[keep] + sizes[lose]
        first[keep] = min(first[keep], first[lose])
        alive[lose] = False
        owner[owner == lose] = keep
        gaps[keep] = gaps[:, keep] = ((means - mean) ** 2).sum(axis=-1)
        identity[lose] = groups
        owners.append(owner.copy())
    return _Tree(owners[::-1], identity, costs)


def _cheapest_pair(gaps: Numbers, sizes: Numbers, alive: NDArray[np.bool_]) -> tuple[int, int, float]:
    """The pair whose union costs least; ties to the lowest pair."""
    costs = gaps * (sizes[:, None] * sizes / (sizes[:, None] + sizes))
    usable = np.triu(alive[:, None] & alive, k=1)
    place = int(np.argmin(np.where(usable, costs, np.inf)))
    one, two = divmod(place, len(sizes))
    return one, two, float(costs[one, two])


def _canonical(owner: NDArray[np.int64], sizes: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of each base group's union, by descending size, ties by first member."""
    groups, inverse = np.unique(owner, return_inverse=True)
    inverse = inverse.reshape(-1)
    mass = np.bincount(inverse, weights=sizes)
    start = np.full(len(groups), np.iinfo(np.int64).max)
    np.minimum.at(start, inverse, first)
    rank = np.empty(len(groups), dtype=np.int64)
    rank[np.lexsort((start, -mass))] = np.arange(len(groups))
    return rank[inverse]


PALETTE_ORDER = (4, 0, 1, 2, 3, 5, 6, 7)
"""Order in which categorical colours are taken: the palest of the first five before the others."""
PALEST_OF_EIGHT = (7, 4, 0, 1, 2, 3, 5, 6)


def palette_order(count: int) -> list[int]:
    """Returns colour indices for groups in descending size; the largest group gets the palest colour in use."""
    named = PALEST_OF_EIGHT if count >= len(PALEST_OF_EIGHT) else PALETTE_ORDER
    return [*named, *range(len(named), max(count, len(named)))][: max(count, 1)]


def _align_colours(appearance: NDArray[np.uint8], partners: dict[int, int], colours: list[int]) -> NDArray[np.uint8]:
    """Colour tables in which chosen identities have given colours.

    Args:
        appearance: ``[K_b, K_b]``, of :class:`WardTables`.
        partners: Identity -> position in ``colours``; where a group of the slider is like one of the exact map.
        colours: Colour of each group of the exact map.

    Returns:
        ``[K_b, K_b]`` uint8: base label -> colour, different for different groups of one K.
    """
    count = len(appearance)
    order = palette_order(max(count, len(colours)))
    chosen = {identity: colours[position] for identity, position in partners.items()}
    free = iter(colour for colour in order if colour not in set(chosen.values()))
    table = np.array([chosen[i] if i in chosen else next(free) for i in range(count)], dtype=np.uint8)
    return table[appearance]
