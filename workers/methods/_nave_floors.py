"""What a map must beat: partitions that know nothing of the trained network, on the same grid with as many groups."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from workers.methods._nave_source import Sheet

RANDOM_FLOOR_SEEDS = (0, 1, 2)


def grid_floor(inside: NDArray[np.bool_], n_clusters: int) -> NDArray[np.int64] | None:
    """Returns exactly ``n_clusters`` near-square cells over the rectangle that is inside; -1 elsewhere.

    Args:
        inside: ``[H, W]``, a full rectangle of grouped positions.
        n_clusters: K.

    Returns:
        ``[H, W]``, or ``None`` when the rectangle has too few rows or columns.
    """
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    height, width = len(rows), len(columns)
    bands = int(np.clip(round(float(np.sqrt(n_clusters * height / width))), 1, n_clusters))
    cells = [n_clusters // bands + (band < n_clusters % bands) for band in range(bands)]
    if height < bands or width < max(cells):
        return None
    labels = np.full(inside.shape, -1, dtype=np.int64)
    number = 0
    for band, count in enumerate(cells):
        top, bottom = rows[0] + band * height // bands, rows[0] + (band + 1) * height // bands
        for cell in range(count):
            left, right = columns[0] + cell * width // count, columns[0] + (cell + 1) * width // count
            labels[top:bottom, left:right] = number
            number += 1
    return labels


def colour_features(sheets: Sequence[Sheet], xy_weight: float | None = None) -> Tensor:
    """Returns the mean colour of every grouped cell, over one standard deviation; perhaps with its place.

    Args:
        sheets: One per picture.
        xy_weight: Factor of the place, which runs from -1 to 1 on both axes; ``None``: colour alone.

    Returns:
        ``[N, 3]`` or ``[N, 5]`` float32 on the CPU.
    """
    colours = torch.cat([_cell_colours(sheet) for sheet in sheets])
    features = colours / colours.std(correction=0).clamp_min(1e-6)
    if xy_weight is None:
        return features
    return torch.cat([features, xy_weight * torch.cat([_places(sheet) for sheet in sheets])], dim=1)


def _cell_colours(sheet: Sheet) -> Tensor:
    pixels = sheet.view.pixels.cpu()
    covered = torch.from_numpy(sheet.view.inside((pixels.shape[1], pixels.shape[2]))).float()[None]
    total = functional.interpolate((pixels * covered)[None], size=sheet.grid, mode="area")[0]
    share = functional.interpolate(covered[None], size=sheet.grid, mode="area")[0]
    means = total / share.clamp_min(1e-6)  # padding has no colour
    return means.permute(1, 2, 0)[torch.from_numpy(sheet.inside)]


def _places(sheet: Sheet) -> Tensor:
    height, width = sheet.grid
    down = (torch.arange(height) + 0.5) / height * 2 - 1
    across = (torch.arange(width) + 0.5) / width * 2 - 1
    places = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)
    return places[torch.from_numpy(sheet.inside)]


def untrained(network: nn.Module, seed: int) -> nn.Module:
    """Returns a copy of a network with new random weights; the network itself is not touched.

    Every module draws its weights as its own class does, then the architecture's own ``init_weights`` runs where
    there is one. Parameters that no module initialises are drawn from a narrow normal distribution.

    Args:
        network: Any network.
        seed: Of the weights; the process's own random state is left as it was.
    """
    fresh = copy.deepcopy(network)
    devices = {parameter.device for parameter in fresh.parameters() if parameter.is_cuda}
    with torch.random.fork_rng(devices=list(devices)), torch.no_grad():
        torch.manual_seed(seed)
        for module in fresh.modules():
            _reset(module)
        start = getattr(fresh, "init_weights", None)
        if callable(start) and _needs_nothing(start):
            start()
    return fresh.eval().requires_grad_(False)


def _reset(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset) and _needs_nothing(reset):
        reset()
        return
    for parameter in module.parameters(recurse=False):
        if parameter.ndim > 1:
            nn.init.trunc_normal_(parameter, std=0.02)


def _needs_nothing(function: object) -> bool:
    assert callable(function)
    return all(
        argument.default is not inspect.Parameter.empty
        or argument.kind in (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
        for argument in inspect.signature(function).parameters.values()
    )
