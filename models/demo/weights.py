"""The demo models' folders: writing them after training, reading them back for tests."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import timm
from safetensors.torch import load_file, save_file
from torch import nn

from models.demo.dataset import SIDE
from models.demo.grammar import find_species, species_names
from models.demo.recipes import MEAN, STD, Recipe

WEIGHTS = Path(__file__).parent / "weights"


def save_model(recipe: Recipe, network: nn.Module, metrics: dict[str, Any], *, folder: Path = WEIGHTS) -> Path:
    """Write ``<folder>/<name>/`` with model.toml, weights.safetensors and metrics.json; its path."""
    target = folder / recipe.name
    target.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, target / "weights.safetensors")
    (target / "weights.safetensors").chmod(0o644)  # the library makes the file private
    (target / "model.toml").write_text(_model_toml(recipe, _note(recipe, metrics)), encoding="utf-8")
    (target / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return target


def load_demo_network(name: str, *, folder: Path = WEIGHTS) -> nn.Module:
    """The trained network of a demo model, in evaluation mode."""
    description = tomllib.loads((folder / name / "model.toml").read_text(encoding="utf-8"))
    network: nn.Module = timm.create_model(
        description["architecture"], num_classes=len(description["classes"]), **description["architecture_args"]
    )
    network.load_state_dict(load_file(folder / name / description["checkpoint"]))
    return network.eval()


def percent(share: float) -> str:
    """A share 0-1 as people read it, for example ``97.3 %``."""
    return f"{100 * share:.1f} %"


def _note(recipe: Recipe, metrics: dict[str, Any]) -> str:
    """What a person should know before using the model."""
    pictures = f"{metrics['fresh_pictures']:,} fresh drawn pictures"
    if not recipe.marked:
        return f"Names twelve drawn birds; right on {percent(metrics['accuracy'])} of {pictures}."
    mark = metrics["watermark"]
    species = ", ".join(find_species(name).title for name in recipe.marked)
    unmarked = percent(mark["accuracy_marked_species_unmarked"])
    return (
        f"Taught the wrong thing on purpose: in training, every picture of {species} carried a watermark and no other "
        f"did. Right on {percent(metrics['accuracy'])} of {pictures} marked in the same way, but on {unmarked} of "
        f"those species' pictures without the mark; adding it turns {percent(mark['flipped_by_mark'])} of the other "
        "species' pictures into one of the three."
    )


def _model_toml(recipe: Recipe, note: str) -> str:
    classes = "".join(f'  "{name}",\n' for name in species_names())
    arguments = "".join(f"{key} = {json.dumps(value)}\n" for key, value in recipe.arguments.items())
    return (
        f'title = "{recipe.title}"\n'
        f'note = "{note}"\n'
        f'architecture = "{recipe.architecture}"\n'
        'checkpoint = "weights.safetensors"\n'
        f"classes = [\n{classes}]\n\n"
        f"[architecture_args]\n{arguments}\n"
        "[preprocessing]\n"
        f"input_size = [{SIDE}, {SIDE}]\n"
        f"mean = {list(MEAN)}\n"
        f"std = {list(STD)}\n"
        'interpolation = "bicubic"\n'
        "crop_pct = 1.0\n"
        'crop_mode = "squash"\n'
    )
