"""NAVE's k-means against scikit-learn's, with equal restarts, on features of ResNet-50 and ViT-S shape.

Run with ``python -m benchmarks.nave_clustering``. Both sides get the same float32 matrix and the same threads, and
are timed in turns; times are medians. Inertia is the mean ratio over pictures and seeds (below 1: ours is lower).
Features come from untrained networks on the photographs that ship with scikit-image.
"""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import sklearn
import timm
import torch
from rich.console import Console
from rich.table import Table
from skimage import data
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional

from models import taps
from workers.methods._nave_features import _composite, _shrink_rows
from workers.methods.nave import cluster, composite_features, isometric_compression

RESTARTS = 4
SHAPES = {
    "resnet50": ("layer2", "layer3", "layer4"),
    "vit_small_patch16_224": ("blocks.11",),
}


@dataclass(frozen=True, eq=False)
class Case:
    """Blocks of one picture, and the features made of them."""

    blocks: list[Tensor]
    features: Tensor
    fast: Tensor


@dataclass(frozen=True)
class Row:
    """One line of the table; times in milliseconds."""

    shape: str
    n_clusters: int
    ours_ms: float
    fast_ms: float
    theirs_ms: float
    inertia: float


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=0, help="threads for both sides; 0: as the process finds them")
    parser.add_argument("--repeats", type=int, default=9, help="timed runs per case")
    parser.add_argument("--seeds", type=int, default=5, help="seeds per picture for the inertia")
    options = parser.parse_args(arguments)
    if options.threads:
        torch.set_num_threads(options.threads)
    with threadpool_limits(options.threads or None):
        rows = measure_all(options.repeats, options.seeds)
    Console(width=140).print(as_table(rows))


def measure_all(repeats: int, seeds: int) -> list[Row]:
    """Returns one row per shape and number of groups."""
    return [
        measure(name, cases, n_clusters, repeats=repeats, seeds=seeds)
        for name, cases in ((name, make_cases(name)) for name in SHAPES)
        for n_clusters in (5, 10, 20)
    ]


def make_cases(name: str) -> list[Case]:
    """Returns the features of a few photographs."""
    torch.manual_seed(0)
    network = timm.create_model(name, pretrained=False, num_classes=0).eval()
    cases = []
    for picture in (data.astronaut(), data.coffee(), data.chelsea()):
        pixels = torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255
        pixels = functional.interpolate(pixels, size=(224, 224), mode="bilinear", antialias=True)
        with torch.no_grad(), taps.capture(network, SHAPES[name]) as seen:
            network((pixels - 0.45) / 0.22)
        blocks = [_as_maps(seen[block][0]) for block in SHAPES[name]]
        cases.append(Case(blocks, composite_features(blocks), fast_features(blocks)))
    return cases


def fast_features(blocks: Sequence[Tensor]) -> Tensor:
    """Returns the features of a run: blocks compressed first."""
    channels = [int(block.shape[0]) for block in blocks]
    return _shrink_rows(_composite([isometric_compression(block) for block in blocks], channels, "paper"))


def _as_maps(activation: Tensor) -> Tensor:
    if activation.ndim == 3:
        return activation
    side = int((len(activation) - 1) ** 0.5)
    return activation[1:].T.reshape(-1, side, side)


def measure(name: str, cases: Sequence[Case], n_clusters: int, *, repeats: int, seeds: int) -> Row:
    """Times both sides in turns and compares their inertia."""
    ratios = []
    for case in cases:
        matrix = case.features.numpy()
        for seed in range(seeds):
            theirs = KMeans(n_clusters, n_init=RESTARTS, random_state=seed).fit(matrix)
            ours = cluster(case.features, n_clusters, seed=seed, n_init=RESTARTS)
            ratios.append(ours.inertia / float(theirs.inertia_))
    case = cases[0]
    matrix = case.features.numpy()
    times = _in_turns(
        (
            lambda: cluster(case.features, n_clusters, n_init=RESTARTS),
            lambda: cluster(fast_features(case.blocks), n_clusters, n_init=RESTARTS),
            lambda: KMeans(n_clusters, n_init=RESTARTS, random_state=0).fit(matrix),
        ),
        repeats=repeats,
    )
    shape = f"{name} {case.features.shape[0]} x {case.features.shape[1]}"
    return Row(shape, n_clusters, *times, inertia=statistics.mean(ratios))


def _in_turns(calls: Sequence[Callable[[], object]], *, repeats: int) -> tuple[float, float, float]:
    taken: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats + 1):
        for call, times in zip(calls, taken, strict=True):
            started = time.perf_counter()
            call()
            times.append(1000 * (time.perf_counter() - started))
    first, second, third = (statistics.median(times[1:]) for times in taken)
    return first, second, third


def as_table(rows: Sequence[Row]) -> Table:
    """Returns the table for people."""
    title = (
        f"k-means with {RESTARTS} restarts; torch {torch.__version__}, scikit-learn {sklearn.__version__}, "
        f"{torch.get_num_threads()} threads, {platform.machine()}"
    )
    table = Table(title=title)
    for heading in (
        "features",
        "K",
        "ours",
        "ours, from blocks",
        "scikit-learn",
        "ratio",
        "ratio, from blocks",
        "inertia",
    ):
        table.add_column(heading, justify="left" if heading == "features" else "right")
    for row in rows:
        table.add_row(
            row.shape,
            str(row.n_clusters),
            f"{row.ours_ms:.1f} ms",
            f"{row.fast_ms:.1f} ms",
            f"{row.theirs_ms:.1f} ms",
            f"{row.theirs_ms / row.ours_ms:.1f} x",
            f"{row.theirs_ms / row.fast_ms:.1f} x",
            f"{row.inertia:.4f}",
        )
    return table


if __name__ == "__main__":
    main()
