"""A network of the demo model's size with random weights: speed does not depend on what was learnt."""

from __future__ import annotations

import timm
import torch

from backend.contract.schemas import ModelCard, ModelKind
from models.architectures import find_layout
from models.catalogue import ModelCatalogue
from models.loader import LoadedModel, ModelLoader, choose_device
from models.preprocessing import Preprocessing

SIDE = 160
CLASSES = 16
ARGUMENTS = {"layers": [1, 1, 1, 1], "channels": [32, 64, 96, 160], "output_stride": 16}


def measured_model(name: str | None, *, device: str = "auto") -> LoadedModel:
    """Returns the named model, or a small residual network like the built-in one with random weights.

    Args:
        name: As the loader knows it; None for the small one.
        device: ``auto``, ``cpu`` or ``cuda``.
    """
    if name is not None:
        return ModelLoader(ModelCatalogue(None), device=device).load(name)
    torch.manual_seed(0)
    place = choose_device(device)
    network = timm.create_model("resnet18", pretrained=False, num_classes=CLASSES, **ARGUMENTS)
    network = network.eval().requires_grad_(False).to(place)
    card = ModelCard(
        name="small",
        title=f"small residual network, {SIDE} px",
        kind=ModelKind.CLASSIFIER,
        source="demo",
        described=True,
        input_size=(SIDE, SIDE),
        weights="random",
        class_count=CLASSES,
    )
    return LoadedModel(
        card=card,
        network=network,
        device=place,
        dtype=torch.float32,
        preprocessing=Preprocessing(input_size=(SIDE, SIDE), crop_pct=1.0, crop_mode="squash"),
        class_names=tuple(f"class {index}" for index in range(CLASSES)),
        weights_digest="random",
        size_bytes=sum(value.numel() * value.element_size() for value in network.parameters()),
        layout=find_layout(network, (SIDE, SIDE)),
    )
