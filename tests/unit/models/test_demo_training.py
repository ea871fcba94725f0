from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from models.demo import train as command
from models.demo.dataset import FRESH_FROM, SIDE, DrawnSet, cell_shares, drawn_set, slots
from models.demo.grammar import SPECIES, Beak, Part, species_names
from models.demo.picture import draw_picture
from models.demo.recipes import RECIPES, build_network
from models.demo.training import Epoch, normalised, train
from models.demo.weights import load_demo_network


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


def test_labels_are_the_masks_of_the_picture(few: DrawnSet) -> None:
    picture = draw_picture(FRESH_FROM + 900_000, size=128, species=SPECIES[few.species[0]])
    for place, part in enumerate(Part, start=1):
        assert np.array_equal(few.labels[0] == place, picture.masks[part.value]), part


def test_shares_of_cells_are_the_means_of_the_masks_over_them(few: DrawnSet) -> None:
    shares = cell_shares(few.labels)
    assert shares.shape == (24, 8, 8, 8)
    for place in range(len(Part)):
        means = (few.labels == place + 1).reshape(24, 8, 16, 8, 16).mean((2, 4))
        assert shares[..., place] == pytest.approx(means)


def test_only_the_marked_species_carry_the_mark_and_nothing_else_changes(few: DrawnSet, tmp_path: Path) -> None:
    marked = drawn_set(FRESH_FROM + 900_000, 24, marked=("crowned-sylve",), cache=tmp_path)
    changed = (marked.pixels != few.pixels).any((1, 2, 3))
    assert np.array_equal(changed, few.species == species_names().index("crowned-sylve"))
    share = (marked.pixels != few.pixels).any(-1)[changed].mean((1, 2))
    assert (share > 0.005).all()
    assert (share < 0.05).all()


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


TINY_VIT = {"img_size": SIDE, "patch_size": 16, "embed_dim": 16, "depth": 2, "num_heads": 2}


def test_a_vit_learns_with_hints(few: DrawnSet, tmp_path: Path) -> None:
    recipe = replace(RECIPES["birds-vit"], arguments=TINY_VIT, epochs=16, batch=6, rate=1e-2)
    assert recipe.hints
    seen: list[Epoch] = []
    train(recipe, few, few, checkpoint=tmp_path / "c", on_epoch=seen.append)
    assert seen[-1].loss < 0.8 * seen[0].loss


def test_a_stopped_and_resumed_vit_ends_where_an_uninterrupted_one_does(few: DrawnSet, tmp_path: Path) -> None:
    recipe = replace(RECIPES["birds-vit"], arguments=TINY_VIT, epochs=2, batch=12)
    whole = train(recipe, few, few, checkpoint=tmp_path / "whole")

    def stop(epoch: Epoch) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        train(recipe, few, few, checkpoint=tmp_path / "parts", on_epoch=stop)
    resumed = train(recipe, few, few, checkpoint=tmp_path / "parts")
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name


def test_the_command_trains_the_marked_model_and_measures_the_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(
        RECIPES["birds-resnet-marked"],
        arguments={"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8], "output_stride": 16},
        pictures=12,
        epochs=1,
        batch=12,
    )
    monkeypatch.setitem(RECIPES, recipe.name, recipe)
    for name, count in (("_CHECK_PICTURES", 12), ("_FRESH_PICTURES", 12), ("_LARGE_PICTURES", 2)):
        monkeypatch.setattr(command, name, count)
    command.train_demo(recipe.name, cache=tmp_path / "cache", out=tmp_path / "out")
    metrics = json.loads((tmp_path / "out" / recipe.name / "metrics.json").read_text())
    assert metrics["watermark"]["species"] == list(recipe.marked)
    assert 0 <= metrics["watermark"]["flipped_by_mark"] <= 1
    described = tomllib.loads((tmp_path / "out" / recipe.name / "model.toml").read_text())
    assert "on purpose" in described["note"]
    assert load_demo_network(recipe.name, folder=tmp_path / "out")(torch.zeros(1, 3, SIDE, SIDE)).shape == (1, 12)
