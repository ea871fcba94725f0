"""``python -m benchmarks.lvw``: the shipped word books on drawn pictures that neither book nor model has learnt from.

With ``--twin`` the same network is trained once more without the alignment term (as long as a training takes).
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.explainers import ExplainerRecord, ExplainerShelf
from models.catalogue import ModelCatalogue
from models.demo.dataset import slots
from models.demo.grammar import Part
from models.description import build
from models.grad_cam import grad_cam, to_pixels
from models.heads.lvw import VisualWordNetwork, attention_view, similarity
from models.loader import LoadedModel, ModelLoader
from models.training._lvw_parts import Store
from models.training.job import TrainingJob
from models.training.lvw import Examiner, OpenBook, fidelity, headline, load_network, open_book, read_recipe, train
from models.training.sources import open_birds
from workers.faithfulness import pointing_hit

METHOD = "lvw"
PICTURES = 1200
PERCH = list(Part).index(Part.PERCH) + 1
SLOTS = {"body": 0, "head": 0, "beak": 1, "crest": 2, "wing": 3, "tail": 4}


def main() -> None:
    """Measures every shipped book."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, default=300, help="fresh pictures to measure on")
    parser.add_argument("--twin", action="store_true", help="also train and measure without the alignment term")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    loader = ModelLoader(ModelCatalogue(None), device="cpu")
    for record in ExplainerShelf().list(METHOD):
        model = loader.load(record.manifest.base.name)
        print(f"\n{record.manifest.base.name}: {record.id}")
        measure(model, record, arguments.pictures)
        if arguments.twin:
            with tempfile.TemporaryDirectory() as folder:
                print("without alignment:")
                measure(model, train_twin(model, record, Path(folder)), arguments.pictures)


def measure(model: LoadedModel, record: ExplainerRecord, count: int) -> None:
    """Prints the figures of one book."""
    opened = open_book(record)
    network = load_network(opened, model)
    with tempfile.TemporaryDirectory() as folder:
        examiner = Examiner(opened, model, Store(Path(folder), 2**30), fidelity)
        pictures = open_birds(PICTURES, test=count).test
        assert pictures is not None
        figures = examiner.fidelity(pictures)
    size = sum(path.stat().st_size for path in record.folder.rglob("*") if path.is_file())
    print(f"seed {record.content['recipe']['seed']}, trained in {record.content['seconds']:.0f} s, {size / 1e6:.2f} MB")
    answers = {name: figures[name] for name in ("accuracy", "base_accuracy", "agreement")}
    print(", ".join(f"{name} {value:.4f}" for name, value in answers.items()))
    print(f"{headline(figures)}, 95 % {figures['iou_low']:.3f} to {figures['iou_high']:.3f}, "
          f"mirrored {figures['iou_mirrored']:.3f}")  # fmt: skip
    print(f"largest difference of a word and its source cell {largest_difference(model, opened, network):.1e}")
    networks = {"book": network} | {f"untrained, seed {seed}": untrained(model, network, seed) for seed in range(3)}
    print("overlap map peaks in the bird, share of pictures:")
    for name, value in pointing(model, networks, opened.k, count).items():
        print(f"  {name:<22} {value:.3f}")
    for name, value in sharing(record, opened).items():
        print(f"{name}: {value}")


def untrained(model: LoadedModel, network: VisualWordNetwork, seed: int) -> VisualWordNetwork:
    """Returns a network of the same shape with random weights throughout."""
    assert model.source is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        random = dataclasses.replace(model, network=build(model.source).requires_grad_(False))
        words, depth = network.words.shape
        classes = network.classifier.out_features
        twin = VisualWordNetwork.for_base(random, class_count=classes, word_count=words, depth=depth)
    return twin.eval()


def train_twin(model: LoadedModel, record: ExplainerRecord, folder: Path) -> ExplainerRecord:
    """Trains the same network without the alignment term."""
    shelf = ExplainerShelf(folder / "shelf", builtin=None)
    recipe = read_recipe("standard", **{**record.content["recipe"], "w_align": 0.0})
    train(TrainingJob("twin", model, open_birds(PICTURES), recipe, folder / "work", shelf))
    return shelf.list()[0]


@torch.no_grad()
def largest_difference(model: LoadedModel, opened: OpenBook, network: VisualWordNetwork) -> float:
    """Returns the largest difference of any number of a word and of the cell that it was taken from."""
    recipe = opened.record.content["recipe"]
    pictures = open_birds(PICTURES).split(recipe["validation"], recipe["seed"]).train
    worst = 0.0
    for word, source in enumerate(opened.book.source_index.tolist()):
        row, column = opened.book.source_cell[word].tolist()
        cells = network.cells(_input(model, pictures.load(source)))
        worst = max(worst, float((cells[0, :, row, column] - network.words[word]).abs().max()))
    return worst


def pointing(model: LoadedModel, networks: dict[str, VisualWordNetwork], k: int, count: int) -> dict[str, float]:
    """Returns how often the maximum of each map lies in the bird; chance is the bird's share of the picture."""
    pictures = open_birds(PICTURES, test=count).test
    assert pictures is not None
    hits: dict[str, list[float]] = {name: [] for name in (*networks, "attention of the model", "chance")}
    for index in range(len(pictures)):
        labels = pictures.parts(index)
        assert labels is not None
        bird = torch.from_numpy((labels > 0) & (labels != PERCH))
        batch = _input(model, pictures.load(index))
        for name, network in networks.items():
            hits[name].append(pointing_hit(_view(network, batch, k), bird))
        hits["attention of the model"].append(pointing_hit(to_pixels(grad_cam(model, batch).maps, 128)[0], bird))
        hits["chance"].append(float(bird.double().mean()))
    return {name: float(np.mean(values)) for name, values in hits.items()}


def sharing(record: ExplainerRecord, opened: OpenBook) -> dict[str, str]:
    """Returns how many words are shared, and whether the species that share one also share its part."""
    book, count = opened.book, len(opened.book.source_index)
    parts = record.content["parts"]["part"]
    variants = slots(np.arange(len(opened.classes)))
    same, pairs, on_part = 0, 0, 0
    expected = []
    for word in range(count):
        slot = SLOTS.get(parts[str(word)])
        species = book.shared(word)[1]
        if slot is None:
            continue
        on_part += 1
        for one, other in itertools.combinations(species, 2):
            pairs += 1
            same += int(variants[one, slot] == variants[other, slot])
            every = itertools.combinations(range(len(variants)), 2)
            expected.append(np.mean([variants[a, slot] == variants[b, slot] for a, b in every]))
    by_usage, by_neighbours = (sum(len(book.shared(word)[at]) >= 2 for word in range(count)) for at in (0, 1))
    distinct = len(set(book.duplicate_of.tolist()))
    told = {
        "words": f"{count}, distinct {distinct}, used by two species or more {by_usage / count:.0%}, "
        f"with neighbours in two or more {by_neighbours / count:.0%}",
        "words that sit on a part of the bird": f"{on_part / count:.0%}",
    }
    if pairs:
        told["pairs of species that share such a word and have the same variant of that part"] = (
            f"{same / pairs:.0%} of {pairs} (any two species: {np.mean(expected):.0%})"
        )
    return told


@torch.no_grad()
def _view(network: VisualWordNetwork, batch: Tensor, k: int) -> Tensor:
    output = network(batch)
    return attention_view(similarity(output.distances), output.scores, k, batch.shape[-1])[0]


def _input(model: LoadedModel, pixels: NDArray[np.uint8]) -> Tensor:
    return model.preprocessing.normalise(model.preprocessing.prepare(pixels).pixels[None])


if __name__ == "__main__":
    main()
