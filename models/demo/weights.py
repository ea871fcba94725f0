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
from models.demo.grammar import species_names
from models.demo.recipes import MEAN, STD, Recipe

WEIGHTS = Path(__file__).parent / "weights"


def save_model(recipe: Recipe, network: nn.Module, metrics: dict[str, Any], *, folder: Path = WEIGHTS) -> Path:
    """Write ``<folder>/<name>/`` with model.toml, weights.safetensors and metrics.json; its path."""
    target = folder / recipe.name
    target.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.detach().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, target / "weights.safetensors")
    (target / "weights.safetensors").chmod(0o644)  # the library makes the file private
    (target / "model.toml").write_text(_model_toml(recipe), encoding="utf-8")
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


def _model_toml(recipe: Recipe) -> str:
    classes = "".join(f'  "{name}",\n' for name in species_names())
    arguments = "".join(f"{key} = {json.dumps(value)}\n" for key, value in recipe.arguments.items())
    return (
        f'title = "{recipe.title}"\n'
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
