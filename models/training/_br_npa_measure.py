"""How good a feature-group classifier is: accuracy, agreement with its base, and what its maps are worth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from torch import Tensor

from models.heads.br_npa import BrNpaClassifier, FeatureGroups
from models.preprocessing import Preprocessing
from models.training._br_npa_pictures import Decoded
from models.twins import exact_float32

BATCH = 32
MOST_STEPS = 196
BLUR_SIDE, BLUR_AT = 121, 448
CONVENTION = "vitrine"
ROWS = ("map1", "all_maps", "relevance", "random", "centre")


@dataclass(frozen=True)
class Scores:
    """Measured on the validation part.

    Attributes:
        accuracy: Share of right first answers, 0-1.
        cross_entropy: Mean, in nats.
        agreement: Share of pictures with the base model's answer, 0-1; ``None`` when no class has a namesake there.
        valid_share: For each rank the share of pictures in which such a group was found.
    """

    accuracy: float
    cross_entropy: float
    agreement: float | None
    valid_share: tuple[float, ...]

    def plain(self) -> dict[str, Any]:
        """Returns the scores as values that a checkpoint and a manifest can hold."""
        return {**asdict(self), "valid_share": list(self.valid_share)}


def measure(network: BrNpaClassifier, pictures: Decoded, base_answers: Tensor, geometry: Preprocessing) -> Scores:
    """Returns the scores of a classifier on the centre crops of the pictures; leaves it in evaluation mode."""
    network.eval()
    device = next(network.parameters()).device
    right = agreed = 0
    loss = 0.0
    valid = torch.zeros(network.n_maps, dtype=torch.float64)
    with torch.inference_mode(), exact_float32():
        for start in range(0, len(pictures), BATCH):
            batch = geometry.normalise(centre(pictures, start, start + BATCH, geometry).to(device))
            logits, groups = network(batch.contiguous(memory_format=torch.channels_last))
            logits, labels = logits.float().cpu(), pictures.labels[start : start + BATCH]
            answers = logits.argmax(1)
            right += int((answers == labels).sum())
            agreed += int((answers == base_answers[start : start + BATCH]).sum())
            loss += float(functional.cross_entropy(logits, labels, reduction="sum"))
            valid += groups.valid.cpu().double().sum(0)
    network.train(False)  # forgets the last pass
    count = len(pictures)
    return Scores(
        accuracy=right / count,
        cross_entropy=loss / count,
        agreement=agreed / count if bool((base_answers >= 0).any()) else None,
        valid_share=tuple((valid / count).tolist()),
    )


def centre(pictures: Decoded, start: int, stop: int, geometry: Preprocessing) -> Tensor:
    """Returns the centre crops of some pictures, ``[B, 3, h, w]`` float32, 0-1, as the geometry cuts them."""
    height, width = geometry.input_size
    whole = pictures.pixels[start:stop]
    top, left = round((whole.shape[2] - height) / 2), round((whole.shape[3] - width) / 2)
    return whole[:, :, top : top + height, left : left + width].float().div(255)


def fidelity(
    network: BrNpaClassifier,
    pictures: Decoded,
    geometry: Preprocessing,
    *,
    measures: Mapping[str, Callable[..., Any]],
    count: int,
    seed: int,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Returns deletion and insertion areas and sparsity on a seeded choice of pictures, without replacement.

    Score: softmax probability of the class that the classifier predicts on the clean picture. Cells fall in the order
    of saliency (ties: lowest index) in at most 196 steps of equal area, both ends are part of the curves, and the area
    is the trapezoid over the share of cells. Deletion puts the data's mean colour (0 after normalisation) in place of
    a cell's square of pixels; insertion begins with a box blur of 121 px at an input of 448 px.

    Args:
        network: To measure; left in evaluation mode.
        pictures: To choose from.
        geometry: Of the explainer.
        measures: ``deletion_insertion`` and ``sparsity``; without them nothing is measured.
        count: Pictures.
        seed: Of the choice.
        check: Called before each batch; raises to stop.
    """
    curves, sparsity = measures.get("deletion_insertion"), measures.get("sparsity")
    if curves is None or sparsity is None:
        return {}
    device = next(network.parameters()).device
    chosen = np.random.default_rng([seed, 11]).permutation(len(pictures))[:count]
    areas: dict[str, list[tuple[float, float]]] = {row: [] for row in ROWS}
    sparse: list[float] = []
    network.eval()
    grid = (0, 0)
    with torch.inference_mode(), exact_float32():
        for index in chosen.tolist():
            picture = geometry.normalise(centre(pictures, index, index + 1, geometry)).to(device)
            logits, groups = network(picture)
            target = int(logits.argmax())
            maps = saliencies(network, groups, target, seed=seed + index)
            grid = (int(maps["map1"].shape[0]), int(maps["map1"].shape[1]))
            valid = groups.maps[0][groups.valid[0]]
            if len(valid):
                sparse.append(float(sparsity(valid, groups.activity[0])))
            substrate = (torch.zeros_like(picture[0]), box_blur(picture[0]))
            for row, saliency in maps.items():
                found = curves(
                    lambda batch, target=target: _probability(network, batch, target, check),
                    picture[0],
                    saliency,
                    substrate=substrate,
                    steps=min(grid[0] * grid[1], MOST_STEPS),
                    ranking="cell",
                    batch_size=BATCH,
                )
                areas[row].append((found.deletion_auc, found.insertion_auc))
    network.train(False)
    return {
        "convention": CONVENTION,
        "pictures": len(chosen),
        "seed": seed,
        "grid": list(grid),
        "steps": min(grid[0] * grid[1], MOST_STEPS),
        "deletion": {row: _mean([pair[0] for pair in pairs]) for row, pairs in areas.items()},
        "insertion": {row: _mean([pair[1] for pair in pairs]) for row, pairs in areas.items()},
        "sparsity": _mean(sparse),
    }


def _probability(network: BrNpaClassifier, batch: Tensor, target: int, check: Callable[[], None]) -> Tensor:
    check()
    probability: Tensor = network(batch)[0].float().softmax(1)[:, target]
    return probability


def saliencies(network: BrNpaClassifier, groups: FeatureGroups, target: int, *, seed: int) -> dict[str, Tensor]:
    """Returns what is compared, ``[h, w]`` each, for the one picture of the last pass.

    ``map1``: first map times activity; ``all_maps``: mean over valid maps, each times activity over its maximum;
    ``relevance``: positive part of what the cells added to the logit; ``random`` and ``centre``: the floors.
    """
    weighted = groups.maps[0] * groups.activity[0]
    valid = weighted[groups.valid[0]] if bool(groups.valid.any()) else weighted[:1]
    shares = valid / valid.amax((1, 2), keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    height, width = weighted.shape[1:]
    chance = torch.from_numpy(np.random.default_rng([seed, 13]).random((height, width)))
    rows, columns = torch.arange(height) - (height - 1) / 2, torch.arange(width) - (width - 1) / 2
    distance = (rows[:, None] / height) ** 2 + (columns[None] / width) ** 2
    return {
        "map1": weighted[0],
        "all_maps": shares.mean(0),
        "relevance": network.decompose(target).sum((0, 1)).clamp_min(0),
        "random": chance,
        "centre": -distance,
    }


def box_blur(picture: Tensor) -> Tensor:
    """Returns a box blur with reflected edges; the box is as large, against the input, as 121 px at 448 px."""
    side = min(picture.shape[-2:])
    half = min(int(BLUR_SIDE * side / BLUR_AT) // 2, side - 1)
    padded = functional.pad(picture[None], (half,) * 4, mode="reflect")
    return functional.avg_pool2d(padded, 2 * half + 1, stride=1)[0]


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None
