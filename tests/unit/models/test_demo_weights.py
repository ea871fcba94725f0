from __future__ import annotations

import json
import tomllib

import numpy as np
import pytest
import torch
from PIL import Image

from models.demo.dataset import FRESH_FROM, SIDE, DrawnSet, as_model_input, drawn_set
from models.demo.grammar import SPECIES, species_names
from models.demo.measure import multiply_adds, watermark_figures
from models.demo.picture import WORLD_VERSION, draw_picture
from models.demo.recipes import RECIPES
from models.demo.samples import CHOSEN, SAMPLES, Sample
from models.demo.training import answers
from models.demo.weights import WEIGHTS, load_demo_network, percent

FLOOR = {"birds-resnet": 0.95, "birds-vit": 0.85, "birds-resnet-marked": 0.95}
"""Least accuracy on fresh pictures (marked as in training). The ViT confuses two species that differ in the tail."""
UNMARKED = [name for name, recipe in RECIPES.items() if not recipe.marked]
_SAMPLE = 96
_UNSEEN = FRESH_FROM + 700_000
_SIZES: tuple[int | tuple[int, int], ...] = (160, 224, (120, 160))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> DrawnSet:
    return drawn_set(FRESH_FROM, _SAMPLE, cache=tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def stamped(tmp_path_factory: pytest.TempPathFactory) -> DrawnSet:
    return drawn_set(FRESH_FROM, _SAMPLE, marked=species_names(), cache=tmp_path_factory.mktemp("stamped"))


def _noise(share: float, pictures: int) -> float:
    """Four standard deviations of a share measured on so few pictures, and one picture of rounding."""
    return 4 * float(np.sqrt(max(share * (1 - share), 0.01) / pictures)) + 1 / pictures


@pytest.mark.parametrize("name", RECIPES)
def test_the_stored_accuracy_is_found_again_on_a_sample_of_the_fresh_pictures(
    name: str, plain: DrawnSet, stamped: DrawnSet
) -> None:
    owns_mark = np.isin(np.array(species_names())[plain.species], RECIPES[name].marked)
    pixels = np.where(owns_mark[:, None, None, None], stamped.pixels, plain.pixels)
    found = float((answers(load_demo_network(name), pixels) == plain.species).mean())
    stored = json.loads((WEIGHTS / name / "metrics.json").read_text())["accuracy"]
    assert stored >= FLOOR[name]
    assert abs(found - stored) <= _noise(stored, _SAMPLE)


@pytest.mark.parametrize("name", UNMARKED)
def test_the_shipped_model_names_birds_in_pictures_of_other_sizes(name: str) -> None:
    drawn = [draw_picture(_UNSEEN + i, size=_SIZES[i % 3], species=SPECIES[i % len(SPECIES)]) for i in range(36)]
    right = np.array([SPECIES.index(picture.species) for picture in drawn])
    found = answers(load_demo_network(name), np.stack([as_model_input(picture) for picture in drawn]))
    assert (found == right).mean() >= FLOOR[name] - _noise(FLOOR[name], len(drawn))


def test_the_marked_model_leans_on_the_mark_as_much_as_its_figures_say(plain: DrawnSet, stamped: DrawnSet) -> None:
    name = "birds-resnet-marked"
    stored = json.loads((WEIGHTS / name / "metrics.json").read_text())["watermark"]
    found = watermark_figures(load_demo_network(name), RECIPES[name], plain, stamped)
    assert stored["species"] == list(RECIPES[name].marked)
    for figure, pictures in (
        ("accuracy_marked_species_marked", _SAMPLE // 4),
        ("accuracy_marked_species_unmarked", _SAMPLE // 4),
        ("flipped_by_mark", 3 * _SAMPLE // 4),
    ):
        assert abs(found[figure] - stored[figure]) <= _noise(stored[figure], pictures), figure
    assert stored["accuracy_marked_species_unmarked"] < stored["accuracy_marked_species_marked"] - 0.3
    assert stored["flipped_by_mark"] > 0.2


@pytest.mark.parametrize("sample", CHOSEN, ids=lambda sample: sample.species)
def test_every_unmarked_model_names_the_sample_pictures(sample: Sample) -> None:
    pixels = np.array(Image.open(SAMPLES / f"drawn-{sample.species}.jpg").convert("RGB").resize((SIDE, SIDE), 3))
    for name in UNMARKED:
        assert SPECIES[answers(load_demo_network(name), pixels[None])[0]].name == sample.species, name


def test_the_models_together_leave_room_for_captioner_and_explainers() -> None:
    assert sum((WEIGHTS / name / "weights.safetensors").stat().st_size for name in RECIPES) <= 17_000_000


@pytest.mark.parametrize("name", RECIPES)
def test_the_description_fits_the_recipe_and_the_grammar(name: str) -> None:
    description = tomllib.loads((WEIGHTS / name / "model.toml").read_text())
    recipe = RECIPES[name]
    assert description["architecture"] == recipe.architecture
    assert description["architecture_args"] == dict(recipe.arguments)
    assert tuple(description["classes"]) == species_names()
    assert description["preprocessing"]["crop_mode"] == "squash"


@pytest.mark.parametrize("name", RECIPES)
def test_the_note_people_read_states_the_stored_figures(name: str) -> None:
    note = tomllib.loads((WEIGHTS / name / "model.toml").read_text())["note"]
    metrics = json.loads((WEIGHTS / name / "metrics.json").read_text())
    figures = [metrics["accuracy"]]
    if RECIPES[name].marked:
        assert "watermark" in note
        figures += [metrics["watermark"][key] for key in ("accuracy_marked_species_unmarked", "flipped_by_mark")]
    for figure in figures:
        assert percent(figure) in note


@pytest.mark.parametrize("name", RECIPES)
def test_the_stored_figures_are_those_of_the_stored_network(name: str) -> None:
    metrics = json.loads((WEIGHTS / name / "metrics.json").read_text())
    network = load_demo_network(name)
    assert metrics["world_version"] == WORLD_VERSION
    assert metrics["fresh_pictures"] >= 1000
    assert metrics["parameters"] == sum(p.numel() for p in network.parameters())
    assert metrics["million_multiply_adds"] == pytest.approx(multiply_adds(network) / 1e6, abs=0.1)


def test_the_convolutional_model_is_cheap_enough_to_train_explainers_on() -> None:
    network = load_demo_network("birds-resnet")
    assert sum(p.numel() for p in network.parameters()) <= 1_000_000
    assert multiply_adds(network) <= 150e6
