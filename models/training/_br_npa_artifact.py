"""The files of a feature-group classifier: writing them after training, and opening them again for a base model."""

from __future__ import annotations

import dataclasses
import hashlib
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from backend.contract.problems import ProblemCode, ProblemError
from models.explainers import ExplainerRecord, ExplainerShelf, read_tensors, write_tensors
from models.heads.br_npa import BrNpaClassifier, _build_trunk
from models.loader import LoadedModel
from models.preprocessing import Preprocessing
from models.training._br_npa_recipe import BrNpaRecipe
from models.twins import dilated_twin

WEIGHTS = "model.safetensors"
METHOD_VERSION = 2
HEAD = "head.weight"


@dataclass(frozen=True, eq=False)
class OpenExplainer:
    """An explainer that is ready to explain.

    Args:
        network: In evaluation mode, without gradients for its parameters.
        geometry: How it wants its pictures.
        classes: One per logit.
        content: Its manifest.
        is_on_base: Whether it reads the base model's own features.
    """

    network: BrNpaClassifier
    geometry: Preprocessing
    classes: tuple[str, ...]
    content: dict[str, Any]
    is_on_base: bool


def class_map(names: tuple[str, ...], others: tuple[str, ...]) -> list[int]:
    """Returns for each name its place among the others, -1 where none is called so."""
    places = {name: index for index, name in enumerate(others)}
    return [places.get(name, -1) for name in names]


def base_trunk(base: LoadedModel, output_stride: int | None) -> nn.Module:
    """Returns the frozen base network itself, or its twin with a finer grid; no weight exists twice.

    Raises:
        ProblemError: ``not_supported`` if the base has no such twin.
    """
    if output_stride is None:
        return base.network
    twin = dilated_twin(base, output_stride)
    if twin is None:
        raise ProblemError(ProblemCode.NOT_SUPPORTED, f"{base.card.title} has no finer form for this explainer.")
    return twin.network


def new_network(
    base: LoadedModel, recipe: BrNpaRecipe, upscaling: str, n_classes: int, *, seed: int
) -> BrNpaClassifier:
    """Returns a classifier with the base's weights in its trunk and a seeded head, on the base's device.

    Raises:
        ValueError: If the base was made by hand or has no such trunk.
    """
    if base.source is None:
        raise ValueError(f"{base.card.title} was made by hand; its trunk cannot be built again")
    with torch.random.fork_rng(devices=[]):
        trunk = _build_trunk(
            base.source.architecture, base.network.state_dict(), upscaling, arguments=base.source.arguments
        )
    trunk.requires_grad_(True)
    return with_head(trunk, n_classes, recipe, seed=seed).to(base.device)


def with_head(trunk: nn.Module, n_classes: int, recipe: BrNpaRecipe, *, seed: int) -> BrNpaClassifier:
    """Returns a classifier on a trunk; its head follows from the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return BrNpaClassifier(trunk, n_classes, n_maps=recipe.n_maps, dropout=recipe.dropout)


def publish(shelf: ExplainerShelf, network: BrNpaClassifier, recipe: BrNpaRecipe, entries: dict[str, Any]) -> Path:
    """Writes an explainer and puts it on the shelf, whole or not at all.

    Args:
        shelf: Where it goes.
        network: What was trained.
        recipe: How.
        entries: The rest of the manifest (see ``docs/methods/br_npa.md``).

    Returns:
        Its folder.
    """
    state = network.state_dict()
    kept = {HEAD: state[HEAD]} if recipe.scope == "head" else state
    written = shelf.temporary()
    write_tensors(written / WEIGHTS, kept)
    digest = hashlib.sha256((written / WEIGHTS).read_bytes() + recipe.canonical().encode()).hexdigest()
    content = {
        "method_version": METHOD_VERSION,
        "id": digest[:16],
        "created": time.time(),
        "recipe": recipe.model_dump(mode="json"),
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
        **entries,
    }
    return shelf.publish(written, content).folder


def open_explainer(record: ExplainerRecord, base: LoadedModel) -> OpenExplainer:
    """Returns an explainer with its weights loaded strictly, on the base model's device.

    Raises:
        ProblemError: ``model_broken`` when its files do not fit what its manifest says.
    """
    content = record.content
    try:
        geometry = Preprocessing(**_tuples(content["geometry"]))
        classes = tuple(content["classes"])
        state = read_tensors(record, WEIGHTS)
        if content["scope"] == "head":
            trunk = base_trunk(base, content["output_stride_built"])
        else:
            inner = {name.removeprefix("trunk."): tensor for name, tensor in state.items() if name != HEAD}
            built = content["architecture"]
            with torch.random.fork_rng(devices=[]):
                trunk = _build_trunk(built["name"], inner, content["upscaling"], arguments=built["arguments"])
        with torch.random.fork_rng(devices=[]):
            network = BrNpaClassifier(trunk, len(classes), n_maps=int(content["n_maps"]))
        network.head.load_state_dict({"weight": state[HEAD]})
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise ProblemError(
            ProblemCode.MODEL_BROKEN, f"The explainer {record.id} does not fit what it says of itself. Train it again."
        ) from error
    network = network.to(base.device).eval().requires_grad_(False)
    return OpenExplainer(network, geometry, classes, content, content["scope"] == "head")


def geometry_entries(geometry: Preprocessing) -> dict[str, Any]:
    """Returns a preprocessing as a manifest holds it."""
    return {
        name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(geometry).items()
    }


def architecture_entries(base: LoadedModel) -> dict[str, Any]:
    """Returns how the trunk is built again: timm's name and arguments."""
    if base.source is None:
        return {"name": type(base.network).__name__, "arguments": {}}
    arguments = {name: _plain(value) for name, value in base.source.arguments.items() if name != "num_classes"}
    return {"name": base.source.architecture, "arguments": arguments}


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value


def _tuples(entries: dict[str, Any]) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value, list) else value for name, value in entries.items()}
