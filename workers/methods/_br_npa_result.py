"""What ranked groups look like in a result: arrays, layers and one region for each group, in both modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.results import Box, Column, Encoding, Layer, Region, Scalar
from models.heads.br_npa import FeatureGroups, _composite
from workers.method import MapArray

ORDINALS = ("1st", "2nd", "3rd", "4th", "5th", "6th", "7th", "8th")
SMOOTH_FROM_STRIDE = 8.0
"""A grid coarser than this is drawn smoothly, a finer one in its true cells."""
STRENGTH = Column(key="strength", title="Strength", digits=2, hint="Strength of the seed, 1 for the first.")
LIKENESS = Column(
    key="likeness", title="Likeness to 1st", digits=2, hint="Cosine of the group's feature to the first one's."
)
IMPORTANCE = Column(key="importance", title="Importance", digits=2, hint="Mean activity under the map, 0-1.")
CONTRIBUTION = Column(
    key="contribution", title="Contribution", unit="logits", digits=2, hint="What the group added; they add up."
)
SHARE = Column(key="share", title="Share", digits=2, hint="Of all contributions without their sign, 0-1.")
COLUMNS = (IMPORTANCE, STRENGTH, LIKENESS)
COLUMNS_TRAINED = (IMPORTANCE, CONTRIBUTION, SHARE, STRENGTH, LIKENESS)


@dataclass(frozen=True, eq=False)
class Drawn:
    """Groups on the CPU with what is shown of them.

    Attributes:
        groups: Without batch.
        weighted: float32 ``[N, H, W]``, each map times activity.
        importance: float64 ``[N]``, 0-1.
        labels: int8 ``[H, W]``, the strongest group at each cell, from 1; 0: none.
    """

    groups: FeatureGroups
    weighted: NDArray[np.float32]
    importance: NDArray[np.float64]
    labels: NDArray[np.int8]


def draw(groups: FeatureGroups, level: float) -> Drawn:
    """Returns groups with importance and the outline at a share of each map's maximum."""
    activity = groups.activity
    weighted = (groups.maps * activity).cpu().numpy().astype(np.float32)
    peak = activity.max()
    importance = (groups.maps * activity).sum((1, 2)) / peak if float(peak) > 0 else torch.zeros(len(groups.maps))
    valid = groups.valid.cpu().numpy()
    peaks = weighted.max((1, 2), keepdims=True)
    inside = (weighted >= level * peaks) & (peaks > 0) & valid[:, None, None]
    best = np.where(inside, weighted, -1).argmax(0) + 1
    labels = np.where(inside.any(0), best, 0).astype(np.int8)
    return Drawn(groups, weighted, importance.double().cpu().numpy(), labels)


def clamped_share(features: Tensor, groups: FeatureGroups) -> float:
    """Returns the share of all similarity to the seeds that was negative and cut off, 0-1."""
    seeds = groups.seeds[groups.valid]
    if not len(seeds):
        return 0.0
    cells = features.flatten(1).float()
    unit = cells / (torch.linalg.vector_norm(cells, dim=0) + 1e-5)
    cosines = unit[:, seeds].T @ unit
    return float(cosines.clamp(max=0).abs().sum() / cosines.abs().sum())


def arrays(drawn: Drawn, frame: Box, logits: Tensor | None) -> dict[str, MapArray]:
    """Returns the arrays that both modes have."""
    groups = drawn.groups
    maps = groups.maps.float().cpu().numpy()
    activity = groups.activity.float().cpu().numpy()
    found = {
        "maps": MapArray(maps, frame),
        "activity": MapArray(activity, frame),
        "composite": MapArray(_composite(maps, activity, groups.valid.cpu().numpy()), frame),
        "groups": MapArray(drawn.labels, frame),
    }
    if logits is not None:
        found["logits"] = MapArray(logits.float().cpu().numpy())
    return found


def layers(groups: FeatureGroups, words: str, *, stride: float) -> list[Layer]:
    """Returns the layers that both modes have: all groups together, each alone, and the activity.

    Args:
        groups: Without batch.
        words: What the maps are, in the legend of the composite.
        stride: Input pixels per cell.
    """
    smooth = stride > SMOOTH_FROM_STRIDE
    ends = ("elsewhere", "in the group")
    shown = [
        Layer(
            name="composite",
            title="Groups together",
            array="composite",
            encoding=Encoding.RGB,
            ends=(words, ""),
            smooth=smooth,
        )
    ]
    shown += [
        Layer(
            name=f"map {rank + 1}",
            title=f"{ORDINALS[rank]} group",
            array="maps",
            index=rank,
            encoding=Encoding.SEQUENTIAL,
            ends=ends,
            smooth=smooth,
        )
        for rank in range(len(groups.maps))
        if bool(groups.valid[rank])
    ]
    activity = Layer(
        name="activity",
        title="Strength of the features",
        array="activity",
        encoding=Encoding.SEQUENTIAL,
        ends=("weak features", "strong features"),
        role="detail",
        smooth=smooth,
    )
    return [*shown, activity]


def regions(
    drawn: Drawn, frame: Box, picture: tuple[int, ...], level: float, *, added: NDArray[np.float64] | None = None
) -> list[Region]:
    """Returns one region for each valid group, in the order of rank.

    Args:
        drawn: The groups.
        frame: Rectangle of the picture that the grid covers.
        picture: Height and width of the picture.
        level: Share of a map's maximum from which a cell belongs to the region.
        added: ``[N]``, contribution of each group in logits (trained mode).
    """
    groups = drawn.groups
    first = groups.vectors[0].double()
    total = 0.0 if added is None else float(np.abs(added).sum())
    found = []
    for rank in range(len(groups.maps)):
        if not bool(groups.valid[rank]):
            continue
        mask = drawn.weighted[rank] >= level * drawn.weighted[rank].max()
        likeness = torch.nn.functional.cosine_similarity(groups.vectors[rank].double(), first, dim=0)
        x, y = _seed_place(int(groups.seeds[rank]), frame, mask.shape)
        values: dict[str, Scalar] = {
            "importance": float(drawn.importance[rank]),
            "strength": float(groups.scores[rank] / groups.scores[0]),
            "likeness": float(likeness),
            "seed_x": x,
            "seed_y": y,
        }
        if added is not None:
            values["contribution"] = float(added[rank])
            values["share"] = float(abs(added[rank]) / total) if total > 0 else 0.0
        found.append(
            Region(
                id=rank + 1,
                label=f"{ORDINALS[rank]} group",
                score=float(drawn.importance[rank]),
                area=float(mask.mean()),
                box=_box(mask, frame, picture),
                colour=rank,
                values=values,
            )
        )
    return found


def _seed_place(seed: int, frame: Box, grid: tuple[int, ...]) -> tuple[float, float]:
    """Returns the middle of a group's first cell, in picture pixels."""
    row, column = divmod(seed, grid[1])
    across, down = (frame.right - frame.left) / grid[1], (frame.bottom - frame.top) / grid[0]
    return frame.left + (column + 0.5) * across, frame.top + (row + 0.5) * down


def _box(mask: NDArray[np.bool_], frame: Box, picture: tuple[int, ...]) -> Box:
    """Returns the tight box of cells in picture pixels, cut at the picture's edge."""
    rows, columns = np.nonzero(mask)
    height, width = (frame.bottom - frame.top) / mask.shape[0], (frame.right - frame.left) / mask.shape[1]
    return Box(
        left=float(np.clip(frame.left + columns.min() * width, 0, picture[1])),
        top=float(np.clip(frame.top + rows.min() * height, 0, picture[0])),
        right=float(np.clip(frame.left + (columns.max() + 1) * width, 0, picture[1])),
        bottom=float(np.clip(frame.top + (rows.max() + 1) * height, 0, picture[0])),
    )
