"""The feature-group classifier that comes with Vitrine: whole, right, and its strongest group lies on the bird."""

from __future__ import annotations

import math

import pytest
import torch

from models.demo.dataset import as_model_input
from models.demo.grammar import SPECIES
from models.demo.picture import draw_picture
from models.explainers import ExplainerShelf
from models.loader import LoadedModel, load
from models.training._br_npa_artifact import OpenExplainer, open_explainer
from workers.faithfulness import pointing_hit

PICTURES = 36
FIRST_SEED = 3_900_000
SIZE = (128, 128)


@pytest.fixture(scope="module")
def base() -> LoadedModel:
    return load("birds-resnet")


@pytest.fixture(scope="module")
def opened(base: LoadedModel) -> OpenExplainer:
    record = ExplainerShelf().find("br_npa", base.weights_digest)
    assert record is not None, "the explainer belongs to the very weights that ship"
    assert record.is_builtin
    return open_explainer(record, base)


def test_the_figures_of_the_shipped_explainer_hold_what_is_asked_of_it(opened: OpenExplainer) -> None:
    metrics = opened.content["metrics"]
    assert metrics["accuracy"] >= metrics["base_accuracy"] - 0.02
    assert metrics["agreement"] >= 0.95
    found = metrics["fidelity"]
    assert found["deletion"]["map1"] < min(found["deletion"]["random"], found["deletion"]["centre"])
    assert found["insertion"]["map1"] > max(found["insertion"]["random"], found["insertion"]["centre"])
    assert opened.content["seconds"] < 20 * 60


def test_it_names_unseen_birds_and_its_strongest_cell_lies_on_them(opened: OpenExplainer) -> None:
    right, hits, chances = 0, [], []
    for index in range(PICTURES):
        species = SPECIES[index % len(SPECIES)]
        drawn = draw_picture(FIRST_SEED + index, size=SIZE, species=species)
        bird = torch.from_numpy(drawn.masks["bird"])
        with torch.inference_mode():
            pixels = opened.geometry.prepare(as_model_input(drawn)).pixels
            logits, groups = opened.network(opened.geometry.normalise(pixels)[None])
        right += opened.classes[int(logits.argmax())] == species.name
        cells = (groups.maps[0, 0] * groups.activity[0])[None, None]
        strongest = torch.nn.functional.interpolate(cells, size=SIZE, mode="nearest")[0, 0]
        hits.append(pointing_hit(strongest, bird, ties="mean") >= 0.5)
        chances.append(float(bird.double().mean()))
    assert right >= 0.95 * PICTURES
    chance = sum(chances) / PICTURES
    assert _tail(sum(hits), PICTURES, chance) < 0.01


def _tail(hits: int, count: int, chance: float) -> float:
    """Returns the probability of at least so many hits by chance alone."""
    return sum(math.comb(count, k) * chance**k * (1 - chance) ** (count - k) for k in range(hits, count + 1))
