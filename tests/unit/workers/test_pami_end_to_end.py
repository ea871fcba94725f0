"""PAMI on a network that has really learnt something: shapes over noise, the place of the shape known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from torch import Tensor, nn

from tests.fakes_engine import make_context, make_model
from tests.fakes_pami import cut_in_thread
from workers.faithfulness import FaithfulnessCurves, centred_gaussian, deletion_insertion, random_saliency
from workers.methods.pami import Pami, PamiParams
from workers.substrates import make_substrate

SIDE = 48
SHAPE = 14
COLOURS = ((230, 40, 40), (40, 90, 235), (40, 210, 60))
NOTHING = 3
"""Class of pictures without a shape: the background must have an answer of its own."""
PICTURES = 20


@dataclass(frozen=True, eq=False)
class Drawn:
    """A picture of one or two shapes; ``boxes[class]`` says where (row, column of the upper left corner)."""

    pixels: NDArray[np.uint8]
    boxes: dict[int, tuple[int, int]]

    def holds(self, label: int, row: int, column: int, slack: int = 1) -> bool:
        top, left = self.boxes[label]
        return top - slack <= row < top + SHAPE + slack and left - slack <= column < left + SHAPE + slack


def shape_mask(label: int) -> NDArray[np.bool_]:
    """Class 0 is a disc, class 1 a square frame, class 2 a cross."""
    rows, columns = np.mgrid[:SHAPE, :SHAPE] - (SHAPE - 1) / 2
    if label == 0:
        return np.asarray(rows**2 + columns**2 <= (SHAPE / 2) ** 2)
    edge = np.maximum(abs(rows), abs(columns))
    return np.asarray(edge > 3 if label == 1 else (abs(rows) < 2.5) | (abs(columns) < 2.5))


def draw(generator: np.random.Generator, labels: list[int]) -> Drawn:
    pixels = generator.integers(60, 160, (SIDE, SIDE, 3)).astype(np.uint8)
    boxes: dict[int, tuple[int, int]] = {}
    halves = generator.permutation(2)
    for label, half in zip(labels, halves, strict=False):
        top = int(generator.integers(0, SIDE - SHAPE))
        left = int(generator.integers(0, SIDE // 2 - SHAPE + 1)) + int(half) * SIDE // 2
        pixels[top : top + SHAPE, left : left + SHAPE][shape_mask(label)] = COLOURS[label]
        boxes[label] = (top, left)
    return Drawn(pixels, boxes)


def random_patches(generator: np.random.Generator) -> NDArray[np.bool_]:
    """Returns which pixels are hidden: ragged pieces of any number, so that outlines mean nothing to the network."""
    coarse = generator.random((8, 8)) < generator.random()
    rows, columns = (np.arange(SIDE) + generator.integers(0, 6) for _ in range(2))
    return np.asarray(coarse[(rows // 7)[:, None] % 8, (columns // 7)[None] % 8])


def make_batch(generator: np.random.Generator, count: int) -> tuple[Tensor, Tensor]:
    """Training pictures; those of the last class hold no shape, only pieces of noise on black."""
    labels = generator.integers(0, NOTHING + 1, count)
    pictures = []
    for label in labels.tolist():
        pixels = draw(generator, [label] if label < NOTHING else []).pixels
        if label == NOTHING:
            pixels[random_patches(generator)] = 0
        pictures.append(pixels)
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255, torch.from_numpy(labels)


def build(seed: int) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, stride=2, padding=2), nn.ReLU(),
        nn.Conv2d(12, 24, 3, stride=2, padding=1), nn.ReLU(),
        nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(24, NOTHING + 1),
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained() -> nn.Module:
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    network = build(0)
    optimiser = torch.optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(60):
        pictures, labels = make_batch(generator, 32)
        loss = nn.functional.cross_entropy(network(pictures), labels)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    pictures, labels = make_batch(generator, 64)
    assert float((network(pictures).argmax(dim=1) == labels).float().mean()) >= 0.95
    return network.eval().requires_grad_(False)


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_in_thread(monkeypatch)


def explain(network: nn.Module, pixels: NDArray[np.uint8], **params: Any) -> dict[str, NDArray[Any]]:
    target = params.pop("target", None)
    loaded = make_model(network, size=(SIDE, SIDE), classes=NOTHING + 1)
    context, _ = make_context(
        loaded, pixels, PamiParams(preset="fast", substrate="black", **params), target=target, batch_size=64
    )
    return {name: item.data for name, item in Pami().explain(context).arrays.items()}


def peak_of(heat: NDArray[Any]) -> tuple[int, int]:
    row, column = np.unravel_index(int(heat.argmax()), heat.shape)
    return int(row), int(column)


def pictures_of(labels: list[int], seed: int = 100) -> list[Drawn]:
    generator = np.random.default_rng(seed)
    return [draw(generator, [labels[i % len(labels)]]) for i in range(PICTURES)]


def test_the_brightest_spot_lies_on_the_shape_in_95_of_100_pictures(trained: nn.Module) -> None:
    hits = 0
    for at, drawn in enumerate(pictures_of([0, 1, 2])):
        label = at % 3
        heat = explain(trained, drawn.pixels, target=label)["target_map"]
        best = np.argwhere(heat == heat.max()).mean(axis=0)
        hits += drawn.holds(label, *best.round().astype(int).tolist())
    assert hits >= 0.95 * PICTURES


def test_two_shapes_in_one_picture_are_told_apart_by_their_class_maps(trained: nn.Module) -> None:
    generator = np.random.default_rng(7)
    right = 0
    for _ in range(10):
        drawn = draw(generator, [0, 1])
        arrays = explain(trained, drawn.pixels, classes=(0, 1))
        maps = dict(zip(arrays["kept_classes"].tolist(), arrays["maps"], strict=True))
        contrast = maps[0] - maps[1]
        right += drawn.holds(0, *peak_of(contrast), slack=3) and drawn.holds(1, *peak_of(-contrast), slack=3)
    assert right >= 9


def curves_of(network: nn.Module, drawn: Drawn, label: int, saliency: Tensor) -> FaithfulnessCurves:
    picture = torch.from_numpy(drawn.pixels).permute(2, 0, 1).float() / 255
    return deletion_insertion(
        lambda batch: torch.softmax(network(batch), dim=1)[:, label],
        picture,
        saliency,
        substrate=make_substrate("black", picture),
        steps=24,
    )


def insertion(network: nn.Module, drawn: Drawn, label: int, saliency: Tensor) -> float:
    return curves_of(network, drawn, label, saliency).insertion_auc


def test_insertion_beats_chance_and_a_centred_blob(trained: nn.Module) -> None:
    ours, chance, centre = [], [], []
    for at, drawn in enumerate(pictures_of([0, 1, 2], seed=200)[:9]):
        label = at % 3
        heat = torch.from_numpy(explain(trained, drawn.pixels, target=label)["target_map"])
        ours.append(insertion(trained, drawn, label, heat))
        chance.append(insertion(trained, drawn, label, random_saliency((SIDE, SIDE), at)))
        centre.append(insertion(trained, drawn, label, centred_gaussian((SIDE, SIDE))))
    assert np.mean(ours) > np.mean(chance) + 0.05
    assert np.mean(ours) > np.mean(centre) + 0.05


def test_half_precision_gives_the_same_map(trained: nn.Module) -> None:
    for at, drawn in enumerate(pictures_of([0, 1, 2])[:3]):
        full, half = (explain(trained, drawn.pixels, target=at, precision=name) for name in ("fp32", "bf16"))
        assert not np.array_equal(full["region_scores"], half["region_scores"])
        assert spearmanr(full["target_map"].ravel(), half["target_map"].ravel()).statistic >= 0.999
        assert peak_of(full["target_map"]) == peak_of(half["target_map"])


def test_random_weights_give_a_map_that_says_nothing_about_the_shape(trained: nn.Module) -> None:
    untrained = build(5).eval().requires_grad_(False)
    informative, empty = [], []
    for at, drawn in enumerate(pictures_of([0, 1, 2], seed=300)[:9]):
        label = at % 3
        informative.append(np.ptp(explain(trained, drawn.pixels, target=label)["target_map"]))
        empty.append(np.ptp(explain(untrained, drawn.pixels, target=label)["target_map"]))
    assert np.mean(empty) < 0.25 * np.mean(informative)


def test_an_increasing_transform_of_the_map_changes_no_curve_and_its_inverse_does(trained: nn.Module) -> None:
    drawn = pictures_of([0])[0]
    top, left = drawn.boxes[0]
    perfect = torch.rand(SIDE, SIDE, generator=torch.Generator().manual_seed(1)) * 0.1
    perfect[top : top + SHAPE, left : left + SHAPE] += 1
    ours, stretched, inverse = (curves_of(trained, drawn, 0, x) for x in (perfect, (perfect * 3).exp(), -perfect))
    chance = curves_of(trained, drawn, 0, random_saliency((SIDE, SIDE), 1))
    assert stretched.insertion_auc == pytest.approx(ours.insertion_auc, abs=1e-6)
    assert stretched.deletion_auc == pytest.approx(ours.deletion_auc, abs=1e-6)
    assert ours.insertion_auc > chance.insertion_auc
    assert ours.insertion_auc > inverse.insertion_auc + 0.2
    assert ours.deletion_auc < chance.deletion_auc
    assert ours.deletion_auc < inverse.deletion_auc - 0.2
