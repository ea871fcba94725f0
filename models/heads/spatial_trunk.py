"""The body of a classifier up to its last map, as a module of its own: pictures in, one map of features out."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import torch
from torch import Tensor, nn

from models import taps
from models.architectures import to_grid
from models.layout import NCHW, NHWC, TOKENS, Block
from models.loader import LoadedModel

LEAST_CELLS = 4


class SpatialTrunk(nn.Module):
    """Answers with the last spatial map of a network, ``[B, 3, S, S] -> [B, F, h, w]``.

    Convolutional families: what ``forward_features`` gives, brought to channels-first. Transformers: the patch tokens
    after the final norm, without class and register tokens, on their grid. Where a network has no
    ``forward_features``, its last block (or the norm after it) is tapped.

    Args:
        network: The whole network, or what is left of it without its head.
        block: Last block of its layout.
        tap: Path to tap instead of calling ``forward_features``; ``None``: call it.
        trainable: A trunk that is not trainable belongs to its base and stays in evaluation mode.
    """

    def __init__(self, network: nn.Module, block: Block, tap: str | None, *, trainable: bool = True) -> None:
        super().__init__()
        self.network = network
        self.block = block
        self.tap = tap
        self.trainable = trainable

    def train(self, mode: bool = True) -> SpatialTrunk:
        """Switches the mode; a frozen trunk stays in evaluation mode, so that its statistics cannot drift."""
        super().train(mode and self.trainable)
        return self

    @classmethod
    def of(cls, model: LoadedModel, *, trainable: bool) -> SpatialTrunk:
        """Returns the trunk of a model: a copy of its own when trainable, else the model's own network, frozen.

        Raises:
            ValueError: If the model keeps no map of at least four cells.
        """
        if not model.layout.blocks:
            raise ValueError(f"{model.card.title} keeps no spatial map")
        block = model.layout.blocks[-1]
        network = copy.deepcopy(model.network) if trainable else model.network
        tap = None if _has_usable_features(model, block) else _tap(model, block)
        trunk = cls(network, block, tap, trainable=trainable)
        if trainable:
            _drop_head(trunk)
            trunk.requires_grad_(True)
        _, height, width = trunk.shape(model)
        if height * width < LEAST_CELLS:
            raise ValueError(f"the last map of {model.card.title} has {height} x {width} cells; 4 are needed")
        return trunk

    @torch.no_grad()
    def shape(self, model: LoadedModel) -> tuple[int, int, int]:
        """Returns channels, height and width of the map for the model's own input size."""
        with taps.evaluation_mode(self):
            answer = self(_blank(model))
        return int(answer.shape[1]), int(answer.shape[2]), int(answer.shape[3])

    def forward(self, pictures: Tensor) -> Tensor:
        """Returns ``[B, F, h, w]`` of normalised pictures ``[B, 3, S, S]``."""
        size = (int(pictures.shape[-2]), int(pictures.shape[-1]))
        if self.tap is None:
            network: Any = self.network
            return _as_map(network.forward_features(pictures), self.block, size)
        kept: list[Tensor] = []
        path, index = taps.split_name(self.tap)
        hook = self.network.get_submodule(path).register_forward_hook(
            lambda _module, _inputs, output: kept.append(taps.pick(output, index, path))
        )
        try:
            self.network(pictures)
        finally:
            hook.remove()
        return _as_map(kept[-1], self.block, size)


def _as_map(features: Tensor, block: Block, size: tuple[int, int]) -> Tensor:
    if features.ndim == 3:
        prefix = block.prefix_tokens
        if features.shape[1] == block.grid[0] * block.grid[1]:  # the network dropped its extra tokens by itself
            prefix = 0
        return to_grid(features, dataclasses.replace(block, layout=TOKENS, prefix_tokens=prefix), input_size=size)
    height, width = features.shape[2:]
    is_first = block.layout == NCHW if _fits(features.shape[1:3], block, size) else True
    if is_first and _fits((height, width), block, size):
        return features
    if _fits(features.shape[1:3], block, size):
        return features.permute(0, 3, 1, 2)
    if block.layout == NHWC:
        return features.permute(0, 3, 1, 2)
    return features


def _fits(shape: tuple[int, ...] | torch.Size, block: Block, size: tuple[int, int]) -> bool:
    """Returns whether a height and width are the block's grid, as far as the input has the known size."""
    return tuple(shape) == block.grid and size == block.input_size


def _has_usable_features(model: LoadedModel, block: Block) -> bool:
    network: Any = model.network
    if not callable(getattr(network, "forward_features", None)):
        return False
    with torch.no_grad(), taps.evaluation_mode(model.network):
        try:
            features = network.forward_features(_blank(model))
        except Exception:
            return False
    if not isinstance(features, Tensor) or features.ndim not in (3, 4):
        return False
    cells = block.grid[0] * block.grid[1]
    if features.ndim == 3:
        return features.shape[1] in (cells, cells + block.prefix_tokens)
    return tuple(features.shape[2:]) == block.grid or tuple(features.shape[1:3]) == block.grid


def _tap(model: LoadedModel, block: Block) -> str:
    return block.name if model.layout.final_norm is None else model.layout.final_norm


def _blank(model: LoadedModel) -> Tensor:
    height, width = model.preprocessing.input_size
    return torch.zeros(1, 3, height, width, device=model.device, dtype=model.dtype)


def _drop_head(trunk: SpatialTrunk) -> None:
    """Leaves the class scores out of the copy, where the family knows how; they would be dead weight."""
    network: Any = trunk.network
    if trunk.tap is None and callable(getattr(network, "reset_classifier", None)):
        network.reset_classifier(0)
