"""Where the groups of a trained explainer lie on birds whose place is known, beside chance and an untrained twin.

Run ``python -m benchmarks.br_npa [--model birds-resnet] [--explainer auto] [--pictures 300] [--seed 3000000]``. The
pictures are drawn from seeds that neither the model nor the explainer has seen. A *hit* is the share of the strongest
cell's square that lies on the bird, so that chance is exactly the bird's share of the picture.
"""

from __future__ import annotations

import argparse
import copy
import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.demo.dataset import FRESH_FROM, drawn_set
from models.demo.grammar import Part
from models.demo.painter import CODES
from models.explainers import ExplainerShelf
from models.heads.br_npa import BrNpaClassifier, group_features
from models.loader import LoadedModel, load
from models.preprocessing import Preprocessing
from models.training._br_npa_artifact import OpenExplainer, open_explainer
from models.twins import dilated_twin
from workers.faithfulness import pointing_hit, relevance_mass

RANKS = 3
TWINS = 3
"""Untrained twins, with different random weights; their hits are pooled."""


@dataclass
class Hits:
    """Hits of each rank's strongest cell and the shares of the first map and of the relevance that lie on the bird."""

    seeds: list[list[float]] = field(default_factory=lambda: [[] for _ in range(RANKS)])
    first_mass: list[float] = field(default_factory=list)
    mass: list[float] = field(default_factory=list)


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="birds-resnet")
    parser.add_argument("--explainer", default="auto")
    parser.add_argument("--pictures", type=int, default=300)
    parser.add_argument("--seed", type=int, default=FRESH_FROM)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    base = load(arguments.model)
    record = ExplainerShelf().find("br_npa", base.weights_digest, arguments.explainer)
    if record is None:
        raise SystemExit(f"There is no explainer for {base.card.title}; train one first.")
    opened = open_explainer(record, base)
    pictures = drawn_set(arguments.seed, arguments.pictures)
    print(f"{base.card.title}, explainer {record.id}, {len(pictures)} pictures from seed {arguments.seed} on")
    _measure(base, opened, pictures.pixels, np.asarray(pictures.labels), pictures.species)


def untrained(opened: OpenExplainer, *, seed: int = 0) -> BrNpaClassifier:
    """Returns the same network with new random weights."""
    twin: BrNpaClassifier = copy.deepcopy(opened.network)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in twin.modules():
            reset = getattr(module, "reset_parameters", None)
            if callable(reset):
                reset()
    return twin.eval()


@torch.inference_mode()
def _measure(
    base: LoadedModel,
    opened: OpenExplainer,
    pixels: NDArray[np.uint8],
    labels: NDArray[np.uint8],
    species: NDArray[np.int64],
) -> None:
    networks = [("explainer", opened.network)]
    networks += [("untrained twins", untrained(opened, seed=seed)) for seed in range(TWINS)]
    dense = dilated_twin(base, 8) or base
    found = {name: Hits() for name in ("explainer", "untrained twins", "model, post hoc")}
    chance, right, base_right, agree = [], 0, 0, 0
    for picture, parts, kind in zip(pixels, labels, species, strict=True):
        geometry = opened.geometry
        batch = geometry.normalise(geometry.prepare(picture).pixels[None])
        bird = _bird(geometry, parts)
        chance.append(float(bird.double().mean()))
        for name, network in networks:
            logits, groups = network(batch)
            if name == "explainer":
                answer = int(logits.argmax())
                own = opened.classes[answer]
            relevance = network.decompose(int(logits.argmax()))[0].sum(0)
            _note(found[name], groups.maps[0] * groups.activity[0], groups.valid[0], bird, relevance)
        seen = base.preprocessing.prepare(picture).pixels[None]
        said = base.class_names[int(base.network(base.preprocessing.normalise(seen)).argmax())]
        features = dense.network.forward_features(base.preprocessing.normalise(seen))
        groups = group_features(features, RANKS)
        place = _bird(base.preprocessing, parts)
        _note(found["model, post hoc"], groups.maps[0] * groups.activity[0], groups.valid[0], place, None)
        right += own == base.class_names[int(kind)]
        base_right += said == base.class_names[int(kind)]
        agree += own == said
    count = len(pixels)
    print(f"accuracy: explainer {right / count:.4f}, model {base_right / count:.4f}; agreement {agree / count:.4f}")
    _print(found, chance)


def _bird(geometry: Preprocessing, parts: NDArray[np.uint8]) -> Tensor:
    """Returns where the bird is in the network's input, bool ``[h, w]``; its perch is no part of it."""
    labels = geometry.labels_to_input(parts.astype(np.int64))
    return torch.from_numpy((labels > 0) & (labels != CODES[Part.PERCH]))


def _note(hits: Hits, weighted: Tensor, valid: Tensor, bird: Tensor, relevance: Tensor | None) -> None:
    for rank in range(min(RANKS, len(weighted))):
        if bool(valid[rank]):
            hits.seeds[rank].append(pointing_hit(_enlarged(weighted[rank], bird), bird, ties="mean"))
    hits.first_mass.append(relevance_mass(_enlarged(weighted[0], bird), bird))
    if relevance is not None:
        hits.mass.append(relevance_mass(_enlarged(relevance, bird), bird))


def _enlarged(cells: Tensor, like: Tensor) -> Tensor:
    return nn.functional.interpolate(cells[None, None].float(), size=like.shape, mode="nearest")[0, 0]


def _print(found: dict[str, Hits], chance: list[float]) -> None:
    expected = float(np.mean(chance))
    heads = ("", "1st map hits", "2nd map hits", "3rd map hits", "1st map on bird", "relevance on bird")
    print(f"{heads[0]:<16}" + "".join(f"{head:>18}" for head in heads[1:]))
    for name, hits in found.items():
        cells = [_mean(values) for values in (*hits.seeds, hits.first_mass, hits.mass)]
        print(f"{name:<16}" + "".join(f"{cell:>18}" for cell in cells))
    print(f"{'chance':<16}" + f"{expected:>18.3f}" * 5)
    first = found["explainer"].seeds[0]
    print(f"first map against chance: z = {_z(first, chance):.1f} over {len(first)} pictures")


def _mean(values: list[float]) -> str:
    finite = [value for value in values if math.isfinite(value)]
    if not finite:
        return "-"
    return f"{np.mean(finite):.3f} ± {1.96 * np.std(finite) / math.sqrt(len(finite)):.3f}"


def _z(values: list[float], chance: list[float]) -> float:
    """Returns how many standard errors the mean hit lies above the mean share of the bird (picture by picture)."""
    differences = np.asarray(values) - np.asarray(chance[: len(values)])
    return float(differences.mean() / (differences.std() / math.sqrt(len(differences))))


if __name__ == "__main__":
    main()
