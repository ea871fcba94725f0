"""Networks and model directories with known answers, for every test that needs a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from backend.contract.schemas import BlockCard, ModelCard, ModelKind
from models.architectures import find_layout
from models.loader import LoadedModel
from models.preprocessing import Preprocessing
from models.weights import size_bytes, state_digest

ZEROS, ONES = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)


class BlockEvidence(nn.Module):
    """A network whose only evidence is the brightness of one block of its input.

    Class 0 gets ``gain`` times the mean brightness of the block, class 1 nothing; its one block, ``cells``, keeps the
    mean colour of each cell of ``cell`` x ``cell`` pixels, so that a bright block also stands out in the features.

    Args:
        box: Left, top, right and bottom of the block in input pixels, right and bottom exclusive.
        cell: Side of a cell in pixels.
        gain: Logits per unit of brightness.
    """

    def __init__(self, box: tuple[int, int, int, int], *, cell: int = 8, gain: float = 8.0) -> None:
        super().__init__()
        self.box = box
        self.gain = nn.Parameter(torch.tensor(gain), requires_grad=False)
        self.cells = nn.AvgPool2d(cell)

    def forward(self, pictures: Tensor) -> Tensor:
        self.cells(pictures)
        left, top, right, bottom = self.box
        brightness = pictures[:, :, top:bottom, left:right].mean(dim=(1, 2, 3))
        return torch.stack((self.gain * brightness, torch.zeros_like(brightness)), dim=1)


def as_loaded(
    network: nn.Module,
    *,
    input_size: tuple[int, int] = (64, 64),
    classes: Sequence[str] = ("block", "nothing"),
    name: str = "fake",
    preprocessing: Preprocessing | None = None,
) -> LoadedModel:
    """Returns any network as a loaded model on the CPU, without mean and standard deviation unless given."""
    preprocessing = preprocessing or Preprocessing(input_size=input_size, crop_pct=1.0, mean=ZEROS, std=ONES)
    network = network.eval().requires_grad_(False)
    layout = find_layout(network, preprocessing.input_size)
    digest = state_digest(network)
    card = ModelCard(
        name=name,
        title=name,
        kind=ModelKind.CLASSIFIER if classes else ModelKind.ENCODER,
        source="own",
        family="fake",
        architecture=type(network).__name__,
        described=True,
        input_size=preprocessing.input_size,
        preprocessing=preprocessing.describe(),
        weights=digest,
        class_count=len(classes) or None,
        class_names=tuple(classes),
        blocks=tuple(
            BlockCard(name=block.name, channels=block.channels, grid=block.grid, layout=block.layout, stage=block.stage)
            for block in layout.blocks
        ),
        prefix_tokens=layout.prefix_tokens,
    )
    first = next(network.parameters(), torch.empty(0))
    return LoadedModel(
        card=card,
        network=network,
        device=torch.device("cpu"),
        dtype=first.dtype,
        preprocessing=preprocessing,
        class_names=tuple(classes),
        weights_digest=digest,
        size_bytes=size_bytes(network),
        layout=layout,
    )


def write_own_model(
    folder: Path,
    name: str = "tiny",
    *,
    architecture: str = "test_resnet",
    classes: Sequence[str] = ("finch", "heron", "owl"),
    arguments: dict[str, Any] | None = None,
    preprocessing: dict[str, Any] | None = None,
    taps: Sequence[str] = (),
    title: str = "",
    seed: int = 0,
    state: dict[str, Tensor] | None = None,
) -> Path:
    """Writes an own model with random weights (or ``state``) into ``folder / name`` and returns that directory."""
    directory = folder / name
    directory.mkdir(parents=True, exist_ok=True)
    arguments = arguments or {}
    if state is None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            state = timm.create_model(architecture, num_classes=len(classes), **arguments).state_dict()
    save_file({key: tensor.contiguous() for key, tensor in state.items()}, directory / "weights.safetensors")
    lines = [f"title = {json.dumps(title or name)}", f"architecture = {json.dumps(architecture)}"]
    lines += [f"classes = {json.dumps(list(classes))}"]
    for table, entries in (("architecture_args", arguments), ("preprocessing", preprocessing or {})):
        lines += [f"[{table}]", *(f"{key} = {json.dumps(value)}" for key, value in entries.items())]
    if taps:
        lines += ["[taps]", f"blocks = {json.dumps(list(taps))}"]
    (directory / "model.toml").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory


def write_red_model(
    folder: Path,
    name: str = "red",
    *,
    input_size: tuple[int, int] = (64, 64),
    cell: int = 8,
    crop_mode: str = "center",
    crop_pct: float = 1.0,
    interpolation: str = "bilinear",
) -> Path:
    """Writes an own model that sees nothing but red, wherever it is, and returns its directory.

    Each cell's features are its redness, its brightness and 1; the logit of class ``red`` is 64 times the mean
    redness, minus 1; the logit of ``other`` is 0. Redness is red minus the mean of green and blue; grey has none.
    """
    arguments = {
        "patch_size": cell,
        "embed_dim": 3,
        "depth": 1,
        "num_heads": 1,
        "mlp_ratio": 1.0,
        "class_token": False,
        "global_pool": "avg",
        "final_norm": False,
    }
    # A transformer whose only block adds nothing: what counts is the linear patch embedding and the average over cells.
    network = timm.create_model("test_vit", img_size=input_size, num_classes=2, **arguments)
    state = {key: torch.zeros_like(tensor) for key, tensor in network.state_dict().items()}
    colours = torch.tensor([[1.0, -0.5, -0.5], [1 / 3, 1 / 3, 1 / 3], [0.0, 0.0, 0.0]])
    state["patch_embed.proj.weight"] = colours[:, :, None, None].expand(3, 3, cell, cell) / cell**2
    state["patch_embed.proj.bias"] = torch.tensor([0.0, 0.0, 1.0])
    state["head.weight"] = torch.tensor([[200.0, 0.0, 0.0], [0.0, 0.0, 0.0]])
    state["head.bias"] = torch.tensor([-2.0, 0.0])
    return write_own_model(
        folder,
        name,
        architecture="test_vit",
        arguments=arguments,
        classes=("red", "other"),
        preprocessing={
            "input_size": list(input_size),
            "mean": [0.0, 0.0, 0.0],
            "std": [1.0, 1.0, 1.0],
            "crop_pct": crop_pct,
            "crop_mode": crop_mode,
            "interpolation": interpolation,
        },
        state=state,
    )


def write_hub_folder(
    folder: Path,
    name: str = "from-hub",
    *,
    architecture: str = "test_resnet",
    classes: Sequence[str] = ("finch", "heron"),
    arguments: dict[str, Any] | None = None,
    seed: int = 0,
) -> Path:
    """Writes a model with random weights in the hub's own format into ``folder / name``; returns that directory."""
    directory = folder / name
    directory.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = timm.create_model(architecture, num_classes=len(classes), **(arguments or {}))
    save_file(
        {key: tensor.contiguous() for key, tensor in network.state_dict().items()}, directory / "model.safetensors"
    )
    config = {
        "architecture": architecture,
        "num_classes": len(classes),
        "label_names": list(classes),
        "model_args": arguments or {},
        "pretrained_cfg": {
            "input_size": [3, 96, 96],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "mean": [0.5, 0.5, 0.5],
            "std": [0.25, 0.25, 0.25],
            "num_classes": len(classes),
            "first_conv": network.pretrained_cfg.get("first_conv"),
            "classifier": network.pretrained_cfg.get("classifier"),
        },
    }
    (directory / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return directory
