"""What can be read off a model without its weights."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.data import infer_imagenet_subset, resolve_model_data_config
from timm.models import model_entrypoint
from torch import nn

from backend.contract.schemas import BlockCard, ModelCard, ModelKind
from models.architectures import find_layout
from models.captioners_folder import describe_captioner
from models.class_names import name_classes
from models.layout import Layout
from models.preprocessing import Preprocessing
from models.source import ModelSource
from models.weights import broken

NAMES_SHOWN = 20
LARGEST_REAL_TRIAL = 300_000_000
"""Parameters up to which a network that cannot run on shapes alone is tried with random weights."""
LARGEST_EMBEDDING = 1536
"""Widest picture embedding of timm's image-text models; their outputs are no class scores."""


@dataclass(frozen=True, eq=False)
class Description:
    """A model as far as it is known without its weights.

    Args:
        card: For people and for methods to judge by.
        preprocessing: How it wants its pictures.
        class_names: One per class score; empty for encoders.
        layout: Where its spatial blocks are.
    """

    card: ModelCard
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    layout: Layout


def build(source: ModelSource, *, weights: str | None = None) -> nn.Module:
    """Returns the network of a model in evaluation mode, on the current default device.

    Args:
        source: What to build.
        weights: Local file to load through timm (which knows how to read its own older formats); ``None``: no weights.

    Raises:
        ProblemError: ``model_broken`` when timm refuses.
    """
    arguments: dict[str, Any] = dict(source.arguments)
    if source.is_hub_format:
        arguments["pretrained_cfg"] = dict(source.config)
    if weights is not None:
        arguments["pretrained_cfg_overlay"] = {"file": weights, "source": None}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            network: nn.Module = timm.create_model(source.architecture, pretrained=weights is not None, **arguments)
    except Exception as error:
        what = "its weights do not fit the architecture" if weights is not None else "timm refuses its arguments"
        raise broken(f"{source.title} cannot be built: {what} ({_kind_of(error)}).") from error
    return network.eval()


def describe(source: ModelSource) -> Description:
    """Returns what can be read off the network, run once on shapes alone.

    Raises:
        ProblemError: ``model_broken`` when the network cannot be built or run.
    """
    if source.is_captioner:
        card, preprocessing = describe_captioner(source)
        return Description(card, preprocessing, (), Layout())
    network, layout, preprocessing = _trial(source)
    outputs = layout.outputs or 0
    is_classifier = outputs > 0 and not _is_embedding(source, outputs)
    class_names = _class_names(source, outputs) if is_classifier else ()
    card = ModelCard(
        name=source.name,
        title=source.title,
        kind=ModelKind.CLASSIFIER if is_classifier else ModelKind.ENCODER,
        source=source.source,
        family=_family(source.architecture),
        architecture=source.architecture.partition(".")[0],
        described=True,
        input_size=preprocessing.input_size,
        preprocessing=preprocessing.describe(),
        weights=source.weights,
        class_count=outputs if is_classifier else None,
        class_names=class_names if len(class_names) <= NAMES_SHOWN else (),
        parameter_count=sum(parameter.numel() for parameter in network.parameters()),
        blocks=_block_cards(layout),
        prefix_tokens=layout.prefix_tokens,
        note=source.note,
    )
    return Description(card, preprocessing, class_names, layout)


def _trial(source: ModelSource) -> tuple[nn.Module, Layout, Preprocessing]:
    """Returns the network, its layout and its preprocessing, on shapes alone or else with random weights."""
    with torch.device("meta"):
        try:
            network = build(source)
            preprocessing = _preprocessing(source, network)
            return network, find_layout(network, preprocessing.input_size, override=source.taps), preprocessing
        except (NotImplementedError, RuntimeError):
            pass
        except ValueError as error:
            raise broken(f"The blocks given for {source.title} cannot be used: {error}.") from error
    with torch.random.fork_rng(devices=[]):
        network = build(source)
    if sum(parameter.numel() for parameter in network.parameters()) > LARGEST_REAL_TRIAL:
        raise broken(f"{source.title} cannot be looked into, and is too large to try.")
    preprocessing = _preprocessing(source, network)
    try:
        return network, find_layout(network, preprocessing.input_size, override=source.taps), preprocessing
    except Exception as error:
        height, width = preprocessing.input_size
        raise broken(
            f"{source.title} does not run on a picture of {width}x{height} pixels ({_kind_of(error)})."
        ) from error


def _preprocessing(source: ModelSource, network: nn.Module) -> Preprocessing:
    config = dict(resolve_model_data_config(network))
    channels = getattr(network, "in_chans", None) or config["input_size"][0]
    if channels != 3:
        raise broken(f"{source.title} takes pictures of {channels} channels; Vitrine has pictures of three.")
    built_for = source.arguments.get("img_size")
    if built_for is not None and (not source.is_hub_format or source.config.get("fixed_input_size")):
        # timm's configuration still tells the size that the published weights were made for.
        config["input_size"] = (3, built_for, built_for) if isinstance(built_for, int) else (3, *built_for)
    try:
        return source.preprocessing.over(Preprocessing.from_config(config))
    except ValueError as error:
        raise broken(f"The preprocessing of {source.title} is not possible: {error}.") from error


def _is_embedding(source: ModelSource, outputs: int) -> bool:
    """Returns whether the outputs are a picture embedding, as of the image-text models in timm's collection."""
    is_timms = source.source == "timm" or (source.repository or "").startswith("timm/")
    has_names = source.class_names is not None or source.config.get("label_names") is not None
    return (
        is_timms
        and not has_names
        and outputs <= LARGEST_EMBEDDING
        and infer_imagenet_subset({"num_classes": outputs}) is None
    )


def _class_names(source: ModelSource, outputs: int) -> tuple[str, ...]:
    if source.class_names is None:
        return name_classes(outputs, source.config)
    if len(source.class_names) != outputs:
        raise broken(f"{source.title} names {len(source.class_names)} classes, but its network answers with {outputs}.")
    return source.class_names


def _family(architecture: str) -> str:
    return str(model_entrypoint(architecture.partition(".")[0]).__module__.rpartition(".")[2])


def _block_cards(layout: Layout) -> tuple[BlockCard, ...]:
    return tuple(
        BlockCard(name=block.name, channels=block.channels, grid=block.grid, layout=block.layout, stage=block.stage)
        for block in layout.blocks
    )


def _kind_of(error: BaseException) -> str:
    """Returns what kind of error it is; its text may hold paths, so it is left out."""
    return type(error).__name__
