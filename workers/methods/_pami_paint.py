"""How scores of parts become maps: gather, windows, spread. Pure functions on tensors, no model."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from workers.masks import DISC_TOLERANCE, DiscMasks

PIXELS_AT_ONCE = 8192
DISCS_AT_ONCE = 256
SUB_LATTICE = 4
FLAT = 1e-6
"""A map whose values differ by less holds no picture for a second round."""


def aggregate(label_maps: Tensor, scores: Sequence[Tensor]) -> Tensor:
    """Returns, for each pixel, the mean score of the parts that held it.

    Args:
        label_maps: ``[P, H, W]`` integers; labels of partition ``p`` are ``0 .. R_p - 1``.
        scores: One ``[R_p, C]`` per partition, any unit.

    Returns:
        ``[C, H, W]`` in the unit, dtype and on the device of the scores (half precision becomes float32). Values
        compare between pictures as far as the scores do.

    Raises:
        ValueError: Naming the partition, for labels or scores that do not fit.
    """
    validate_scores(label_maps, scores)
    first = scores[0].float() if scores[0].dtype in (torch.float16, torch.bfloat16) else scores[0]
    rows = [part.to(first) for part in scores]
    labels = label_maps.flatten(1).to(first.device)
    blocks = []
    for start in range(0, labels.shape[1], PIXELS_AT_ONCE):
        block = labels[:, start : start + PIXELS_AT_ONCE].long()
        total = torch.zeros(block.shape[1], first.shape[1], dtype=first.dtype, device=first.device)
        for part, held in zip(rows, block, strict=True):
            total += part[held]
        blocks.append(total)
    mean = torch.cat(blocks) / len(rows)
    return mean.T.reshape(first.shape[1], *label_maps.shape[1:]).contiguous()


def validate_scores(label_maps: Tensor, scores: Sequence[Tensor]) -> None:
    """Raises ValueError, naming the partition, unless every label has finite scores of one length."""
    if label_maps.ndim != 3 or not len(label_maps):
        raise ValueError(f"label maps have the shape [P, H, W] with P >= 1, not {list(label_maps.shape)}")
    if len(scores) != len(label_maps):
        raise ValueError(f"{len(label_maps)} partitions have {len(scores)} lists of scores")
    for index, (labels, part) in enumerate(zip(label_maps, scores, strict=True)):
        if part.ndim != 2 or part.shape[1] != scores[0].shape[-1]:
            raise ValueError(f"partition {index} has scores {list(part.shape)}; [R, {scores[0].shape[-1]}] is needed")
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(part):
            raise ValueError(f"partition {index} has labels {low} to {high}, but scores for 0 to {len(part) - 1}")
        if not bool(torch.isfinite(part).all()):
            raise ValueError(f"partition {index} has a score that is not a finite number")


def window_centres(size: tuple[int, int], radius: float, stride: float) -> Tensor:
    """Returns the centres of discs that cover a picture evenly, its border included.

    The lattice is symmetric and padded by the radius, so that a pixel at the border lies in as many discs as one in
    the middle. Discs that hold no pixel centre are left out.

    Args:
        size: Height and width in pixels.
        radius: In pixels, above 0.
        stride: Distance of neighbouring centres in pixels, above 0 and at most the radius.

    Returns:
        ``[R, 2]`` float32 (row, column), row by row; whole numbers are pixel centres.

    Raises:
        ValueError: For a radius or stride outside what is allowed.
    """
    if not 0 < stride <= radius:
        raise ValueError(f"the stride is above 0 and at most the radius {radius:g}, not {stride:g}")
    rows, columns = (_axis(length, radius, stride) for length in size)
    grid = torch.cartesian_prod(rows, columns)
    reach = torch.zeros(len(grid), dtype=torch.float64)
    for axis, length in enumerate(size):
        nearest = grid[:, axis].round().clamp(0, length - 1)
        reach += (grid[:, axis] - nearest).square()
    return grid[reach <= radius**2 + DISC_TOLERANCE].float()


def _axis(length: int, radius: float, stride: float) -> Tensor:
    steps = math.ceil((length - 1 + 2 * radius) / stride)
    first = -(steps * stride - (length - 1)) / 2
    return first + stride * torch.arange(steps + 1, dtype=torch.float64)


def scoring_order(centres: Tensor, stride: float) -> Tensor:
    """Returns the order in which discs are scored: every fourth centre first, so that early maps are complete.

    Args:
        centres: ``[R, 2]`` from :func:`window_centres`.
        stride: In pixels.
    """
    steps = ((centres - centres.amin(dim=0)) / stride).round().long()
    phase = steps % SUB_LATTICE
    spread_out = torch.tensor([0, 2, 1, 3])  # neighbours in the order lie far apart on the lattice
    diagonal = (spread_out[phase[:, 0]] + spread_out[phase[:, 1]]) % SUB_LATTICE
    rank = diagonal * SUB_LATTICE + spread_out[phase[:, 0]]
    return torch.argsort(rank, stable=True)


def aggregate_windows(centres: Tensor, radius: float, scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Returns, for each pixel, the mean score of the discs that hold it.

    Args:
        centres: ``[R, 2]`` (row, column) in pixels.
        radius: In pixels.
        scores: ``[R, C]``, any unit.
        size: Height and width in pixels.

    Returns:
        ``[C, H, W]`` in the unit, dtype and on the device of the scores (half precision becomes float32).

    Raises:
        ValueError: If a pixel lies in no disc, a score is not finite or the lengths differ.
    """
    if scores.ndim != 2 or len(scores) != len(centres) or not len(centres):
        raise ValueError(f"{len(centres)} discs have scores {list(scores.shape)}; [R, C] with R >= 1 is needed")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError("a disc has a score that is not a finite number")
    painter = WindowPainter(radius, size)
    painter.add(centres, scores.float() if scores.dtype in (torch.float16, torch.bfloat16) else scores)
    uncovered = int((painter.count == 0).sum())
    if uncovered:
        raise ValueError(f"{uncovered} pixels lie in no disc")
    return painter.mean()


class WindowPainter:
    """Sums the scores of discs, chunk by chunk, and counts the discs per pixel.

    Args:
        radius: In pixels.
        size: Height and width in pixels.
    """

    def __init__(self, radius: float, size: tuple[int, int]) -> None:
        self.radius = radius
        self.size = size
        self._total: Tensor | None = None

    @property
    def count(self) -> Tensor:
        """How many discs hold each pixel, ``[H, W]`` int32."""
        if self._total is None:
            return torch.zeros(self.size, dtype=torch.int32)
        return self._total[-1].round().to(torch.int32).reshape(self.size)

    def add(self, centres: Tensor, scores: Tensor) -> None:
        """Adds discs ``[R, 2]`` with their scores ``[R, C]``."""
        centres = centres.to(scores.device)
        columns = torch.cat((scores, torch.ones_like(scores[:, :1])), dim=1)
        if self._total is None:
            pixels = self.size[0] * self.size[1]
            self._total = torch.zeros(columns.shape[1], pixels, dtype=scores.dtype, device=scores.device)
        discs = DiscMasks(centres, self.radius, self.size)
        for start in range(0, len(centres), DISCS_AT_ONCE):
            stop = min(start + DISCS_AT_ONCE, len(centres))
            held = discs.visible(start, stop).flatten(1).to(scores.dtype)
            self._total += columns[start:stop].T @ held

    def mean(self) -> Tensor:
        """Returns the mean score per pixel ``[C, H, W]``; NaN where no disc was added yet."""
        if self._total is None:
            raise RuntimeError("no disc was added yet")
        return (self._total[:-1] / self._total[-1]).reshape(-1, *self.size)


def disc_areas(centres: Tensor, radius: float, size: tuple[int, int]) -> Tensor:
    """Returns how many pixels each disc holds, ``[R]`` int64."""
    discs = DiscMasks(centres, radius, size)
    starts = range(0, len(centres), DISCS_AT_ONCE)
    chunks = [discs.visible(start, min(start + DISCS_AT_ONCE, len(centres))) for start in starts]
    return torch.cat([chunk.sum(dim=(1, 2)) for chunk in chunks])


class Accumulator:
    """Running mean of painted partitions, for all kept classes, and spread for the first one.

    Args:
        size: Height and width in pixels.
        classes: How many columns the scores have; the first is the target.
        device: Where the sums are kept.
    """

    def __init__(self, size: tuple[int, int], classes: int, device: torch.device) -> None:
        self.count = 0
        self._size = size
        self._total = torch.zeros(size[0] * size[1], classes, device=device)
        self._mean = torch.zeros(size[0] * size[1], device=device)
        self._squares = torch.zeros(size[0] * size[1], device=device)

    def add(self, labels: Tensor, scores: Tensor) -> None:
        """Paints one partition: ``labels [H, W]`` integers, ``scores [R, k]`` float32, both on the device."""
        painted = scores[labels.flatten().long()]
        self.count += 1
        self._total += painted
        off = painted[:, 0] - self._mean
        self._mean += off / self.count
        self._squares += off * (painted[:, 0] - self._mean)

    def maps(self) -> Tensor:
        """Returns the mean per kept class, ``[k, H, W]``."""
        return (self._total / self.count).T.reshape(-1, *self._size).contiguous()

    def target_map(self) -> Tensor:
        """Returns the mean of the target, ``[H, W]``."""
        return (self._total[:, 0] / self.count).reshape(self._size)

    def spread(self) -> Tensor:
        """Returns the standard deviation of the target over partitions, ``[H, W]``, same unit, >= 0."""
        return (self._squares / self.count).clamp(min=0).sqrt().reshape(self._size)


def second_round_picture(heat: Tensor) -> Tensor | None:
    """Returns the heat map as a picture for the segmenters, or None when it is flat.

    Args:
        heat: ``[H, W]``, any unit.

    Returns:
        ``[H, W, 3]`` uint8, the lowest value 0 and the highest 255.
    """
    low, high = heat.min(), heat.max()
    if float(high - low) < FLAT:
        return None
    grey = ((heat - low) / (high - low) * 255).round().to(torch.uint8)
    return grey[:, :, None].expand(-1, -1, 3).contiguous()


def find_peak(heat: Tensor) -> tuple[int, int, int]:
    """Returns row and column of the maximum and how many pixels share it.

    Of several, the one nearest to the centroid of all of them is named (the first one of equally near ones).

    Args:
        heat: ``[H, W]``; NaN is passed over.
    """
    tied = torch.nonzero(heat == heat.nan_to_num(nan=-math.inf).max()).double()
    nearest = int((tied - tied.mean(dim=0)).square().sum(dim=1).argmin())
    return int(tied[nearest, 0]), int(tied[nearest, 1]), len(tied)
