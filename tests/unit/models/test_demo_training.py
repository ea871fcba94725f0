from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.demo.dataset import FRESH_FROM, SIDE, DrawnSet, drawn_set, slots
from models.demo.grammar import SPECIES, Beak
from models.demo.recipes import RECIPES, build_network
from models.demo.training import Epoch, normalised, train


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> DrawnSet:
    return drawn_set(FRESH_FROM + 900_000, 24, cache=tmp_path_factory.mktemp("cache"))


def test_a_set_holds_all_species_equally_often(few: DrawnSet) -> None:
    assert few.pixels.shape == (24, SIDE, SIDE, 3)
    assert np.bincount(few.species, minlength=len(SPECIES)).tolist() == [2] * len(SPECIES)


def test_a_set_comes_from_the_cache_the_second_time(tmp_path: Path) -> None:
    first = drawn_set(5, 3, cache=tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")}
    second = drawn_set(5, 3, cache=tmp_path)
    assert np.array_equal(first.pixels, second.pixels)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npz")} == files


def test_shares_of_cells_add_up_to_at_most_one(few: DrawnSet) -> None:
    assert few.parts.shape == (24, 8, 8, 8)
    assert few.parts.min() >= 0
    assert few.parts.sum(-1).max() <= 1 + 1e-5


def test_slots_name_the_variants_of_each_species() -> None:
    variants = slots(np.arange(len(SPECIES)))
    assert variants.shape == (len(SPECIES), 5)
    assert [tuple(Beak)[i] for i in variants[:, 1]] == [species.beak for species in SPECIES]


def test_model_input_is_normalised_to_minus_two_and_two() -> None:
    pixels = np.zeros((1, 4, 4, 3), np.uint8)
    pixels[0, 0, 0] = 255
    values = normalised(pixels)
    assert values.shape == (1, 3, 4, 4)
    assert values[0, :, 0, 0].tolist() == [2.0] * 3
    assert values[0, :, 1, 1].tolist() == [-2.0] * 3


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_builds_a_network_with_a_grid_of_eight_by_eight(name: str) -> None:
    network = build_network(RECIPES[name]).eval()
    with torch.inference_mode():
        features = network.forward_features(torch.zeros(1, 3, SIDE, SIDE))  # type: ignore[operator]
    assert features.shape[-2:] == (8, 8) or features.shape[1] == 64 + 1
    assert network(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, len(SPECIES))


def test_stopped_and_resumed_training_ends_where_an_uninterrupted_one_does(few: DrawnSet, tmp_path: Path) -> None:
    recipe = replace(
        RECIPES["birds-resnet"],
        arguments={"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "output_stride": 16},
        epochs=2,
        batch=12,
        hints=0.5,
    )
    whole = train(recipe, few, few, checkpoint=tmp_path / "whole")

    class Stopped(Exception):
        pass

    def stop(epoch: Epoch) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        train(recipe, few, few, checkpoint=tmp_path / "parts", on_epoch=stop)
    seen: list[Epoch] = []
    resumed = train(recipe, few, few, checkpoint=tmp_path / "parts", on_epoch=seen.append)
    assert [epoch.number for epoch in seen] == [2]
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_a_checkpoint_of_another_recipe_is_not_continued(few: DrawnSet, tmp_path: Path) -> None:
    small = replace(
        RECIPES["birds-resnet"],
        arguments={"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "output_stride": 16},
        epochs=1,
        batch=12,
    )
    train(small, few, few, checkpoint=tmp_path / "c")
    seen: list[Epoch] = []
    train(replace(small, seed=9), few, few, checkpoint=tmp_path / "c", on_epoch=seen.append)
    assert [epoch.number for epoch in seen] == [1]
