"""Cells as a real run would fill them, for screenshots and measurements: photograph, heat maps, groups, composite."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage import data as photographs
from skimage.segmentation import slic

from tests.e2e.viewer_harness import Harness, cell, layer


def _centre_frame(picture: dict[str, Any]) -> list[float]:
    side = min(picture["width"], picture["height"]) * 0.96
    left = (picture["width"] - side) / 2
    top = (picture["height"] - side) / 2
    return [left, top, left + side, top + side]


def _crop(pixels: NDArray[np.uint8], frame: list[float], size: int) -> NDArray[np.float32]:
    left, top, right, bottom = frame
    rows = (top + (np.arange(size) + 0.5) * (bottom - top) / size).astype(int)
    columns = (left + (np.arange(size) + 0.5) * (right - left) / size).astype(int)
    return pixels[np.ix_(rows, columns)].astype(np.float32) / 255


def heat_map(crop: NDArray[np.float32], centre: tuple[float, float], seed: int, parts: int = 12) -> NDArray[np.float32]:
    """Returns the mean over many cuts of a score per region, as PAMI paints it: [H, W] in 0-1."""
    size = crop.shape[0]
    y, x = np.mgrid[0:size, 0:size] / size
    evidence = np.exp(-(((x - centre[0]) / 0.2) ** 2 + ((y - centre[1]) / 0.24) ** 2))
    total = np.zeros((size, size))
    for index in range(parts):
        labels = slic(crop, n_segments=8 + 6 * index, compactness=8 + seed, start_label=0)
        count = labels.max() + 1
        total += ndimage.mean(evidence, labels, np.arange(count))[labels]
    total /= parts
    return (0.02 + 0.9 * (total - total.min()) / (total.max() - total.min())).astype(np.float32)


def groups(crop: NDArray[np.float32], count: int) -> NDArray[np.int16]:
    """Returns ``count`` groups of a 28 x 28 grid by colour and place, largest first: [28, 28]."""
    small = ndimage.zoom(crop, (28 / crop.shape[0], 28 / crop.shape[1], 1), order=1)
    y, x = np.mgrid[0:28, 0:28] / 28
    rows = np.concatenate([small.reshape(-1, 3) * 2, np.stack([x, y], -1).reshape(-1, 2)], axis=1)
    rng = np.random.default_rng(3)
    middles = rows[rng.choice(len(rows), count, replace=False)]
    for _ in range(20):
        labels = ((rows[:, None] - middles[None]) ** 2).sum(-1).argmin(1)
        middles = np.stack([rows[labels == k].mean(0) if (labels == k).any() else middles[k] for k in range(count)])
    order = np.argsort(-np.bincount(labels, minlength=count))
    return np.argsort(order)[labels].reshape(28, 28).astype(np.int16)


def _composite(crop: NDArray[np.float32]) -> NDArray[np.uint8]:
    y, x = np.mgrid[0:28, 0:28] / 28
    maps = [
        np.exp(-(((x - a) / 0.15) ** 2 + ((y - b) / 0.13) ** 2) * 1.2)
        for a, b in ((0.5, 0.35), (0.55, 0.62), (0.8, 0.7))
    ]
    return (np.stack(maps, -1) * 255).astype(np.uint8)


def inspect_cells(harness: Harness) -> list[dict[str, Any]]:
    """Returns six cells that imitate a filled Inspect page of two models and three methods."""
    pixels = photographs.chelsea()
    picture = harness.add_picture("cat", pixels)
    frame = _centre_frame(picture)
    crop = _crop(pixels, frame, 224)
    heat = harness.add_array("heat", heat_map(crop, (0.45, 0.42), 2))
    other = harness.add_array("other", heat_map(crop, (0.62, 0.6), 14).astype(np.float16))
    labels = harness.add_array("groups", groups(crop, 5))
    many = harness.add_array("many", groups(crop, 9))
    ranked = harness.add_array("ranked", _composite(crop))
    signed = harness.add_array("signed", np.load(harness.folder / "heat.npy") - np.load(harness.folder / "other.npy"))
    ends = ["blur alone", "enough alone"]
    regions = [
        {
            "id": k,
            "label": f"group {k + 1}",
            "layer": "labels",
            "colour": (4, 1, 2, 3, 0)[k],
            "box": frame,
            "score": 0.5,
            "area": 0.2,
        }
        for k in range(5)
    ]
    parts = [
        {"id": k, "label": words, "layer": None, "colour": k, "box": frame, "score": 0.5, "area": 0.2}
        for k, words in enumerate(("1st part 46 %", "2nd part 33 %", "3rd part 12 %"))
    ]
    sentence = ["same colour: represented alike", ""]
    return [
        cell("pami-resnet", picture, [layer("target", heat, frame, ends=ends)], seen=frame, title="PAMI, ResNet-50"),
        cell(
            "nave-resnet",
            picture,
            [layer("labels", labels, frame, encoding="labels", ends=sentence)],
            seen=frame,
            regions=regions,
            badge="from cache",
            title="NAVE, ResNet-50",
        ),
        cell(
            "npa-resnet",
            picture,
            [layer("composite", ranked, frame, encoding="rgb")],
            seen=frame,
            regions=parts,
            badge="post hoc",
            title="BR-NPA, ResNet-50",
        ),
        cell(
            "pami-vit",
            picture,
            [layer("target", other, frame, ends=ends)],
            seen=frame,
            badge="partial map",
            state="partial",
            title="PAMI, ViT-B/16",
        ),
        cell(
            "nave-vit",
            picture,
            [layer("labels", many, frame, encoding="labels", ends=sentence)],
            seen=frame,
            title="NAVE, ViT-B/16",
        ),
        cell(
            "difference",
            picture,
            [layer("difference", signed, frame, encoding="signed", ends=["ViT-B/16 higher", "ResNet-50 higher"])],
            seen=frame,
            title="Difference",
        ),
    ]
