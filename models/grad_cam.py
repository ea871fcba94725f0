"""Grad-CAM: where the features lie that raise a class score, for any classifier that keeps a grid of places.

Source: R. Selvaraju et al., Grad-CAM, 2017, arXiv 1610.02391. The layer, the class and the two min-max steps follow
common practice: the last spatial map, the network's own answer, scaling before and after enlarging.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as functional
from torch import Tensor, nn

from models import taps
from models.architectures import to_grid
from models.layout import TOKENS, Block
from models.loader import LoadedModel

SCALE_EPS = 1e-7
_layers: WeakKeyDictionary[nn.Module, Block] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class CamMaps:
    """Grad-CAM of a batch.

    Attributes:
        maps: ``[B, h, w]`` float32 on the layer's own grid; 0-1 per picture when scaled, else in units of the logit.
        targets: ``[B]`` int64, the class each map speaks of.
        logits: ``[B, C]`` float32, the network's answer from the same pass.
    """

    maps: Tensor
    targets: Tensor
    logits: Tensor


def grad_cam(
    model: LoadedModel,
    pictures: Tensor,
    target: int | Tensor | None = None,
    layer: str | None = None,
    *,
    relu: bool = True,
    scale: bool = True,
) -> CamMaps:
    """Returns each picture's map: channels weighted by the spatial mean of the target logit's gradient, and summed.

    One forward pass and one backward pass of the *sum* of the pictures' logits give every picture's gradient, because
    no picture of a batch touches another in evaluation mode; the graph begins at the layer.

    Args:
        model: A classifier in any mode; it runs in evaluation mode and is not changed.
        pictures: ``[B, 3, H, W]`` normalised, on any device.
        target: One class for all, one per picture ``[B]``, or ``None`` for each picture's own arg-max.
        layer: Name of a block; ``None``: :func:`cam_layer`.
        relu: Whether negative values become 0.
        scale: Whether each map is stretched to 0-1 by :func:`min_max` (a constant map becomes zeros).

    Returns:
        Unsigned maps unless ``relu`` is off; scaled maps do not compare between pictures.

    Raises:
        ValueError: If the model has no spatial block, or a target is outside its classes.
    """
    block = cam_layer(model) if layer is None else _named_layer(model, layer)
    size = (int(pictures.shape[-2]), int(pictures.shape[-1]))
    batch = pictures.to(model.device, model.dtype)
    with torch.inference_mode(False), taps.evaluation_mode(model.network):
        batch = batch.clone() if batch.is_inference() else batch
        with taps.capture(model.network, [block.name], grad=True) as seen:
            logits = model.network(batch)
        targets = _targets(logits, target)
        chosen = logits.gather(1, targets[:, None]).sum()
        activation = seen[block.name]
        (gradient,) = torch.autograd.grad(chosen, activation)
    features = to_grid(activation.detach(), block, input_size=size).float()
    weights = to_grid(gradient, block, input_size=size).float().mean((2, 3), keepdim=True)
    maps = (weights * features).sum(1)
    maps = maps.clamp_min(0) if relu else maps
    return CamMaps(min_max(maps) if scale else maps, targets, logits.detach().float())


def cam_layer(model: LoadedModel) -> Block:
    """Returns the last spatial block whose places still reach the logits.

    In a vision transformer that answers from its class token, the last block's patch tokens lead nowhere; there it is
    the output of that block's first norm. Found by trial, once per network.

    Raises:
        ValueError: If the model has no spatial block, or none that reaches the logits.
    """
    known = _layers.get(model.network)
    if known is None:
        known = _layers[model.network] = _find_layer(model)
    return known


def min_max(maps: Tensor) -> Tensor:
    """Returns maps ``[..., h, w]`` stretched to 0-1 one by one; a constant map becomes zeros."""
    low, high = maps.amin((-2, -1), keepdim=True), maps.amax((-2, -1), keepdim=True)
    return (maps - low) / (high - low + SCALE_EPS)


def to_pixels(maps: Tensor, size: int) -> Tensor:
    """Returns maps ``[B, h, w]`` as ``[B, size, size]`` in 0-1: bilinear between cell centres, then min-max."""
    enlarged = functional.interpolate(maps[:, None], size=(size, size), mode="bilinear", align_corners=False)[:, 0]
    return min_max(enlarged)


def _targets(logits: Tensor, target: int | Tensor | None) -> Tensor:
    if target is None:
        return logits.detach().argmax(1)
    targets = torch.as_tensor(target, device=logits.device).reshape(-1).expand(len(logits))
    if bool(((targets < 0) | (targets >= logits.shape[1])).any()):
        raise ValueError(f"a target is a class of 0 .. {logits.shape[1] - 1}, not {target}")
    return targets


def _named_layer(model: LoadedModel, name: str) -> Block:
    """Returns a block of the layout, or the layer of :func:`cam_layer` when that is meant."""
    found = cam_layer(model)
    return found if found.name == name else model.layout.block(name)


def _find_layer(model: LoadedModel) -> Block:
    if not model.layout.blocks:
        raise ValueError(f"{model.card.title} has no spatial map")
    last = model.layout.blocks[-1]
    for block in (last, *_norms_of(model.network, last), *reversed(model.layout.blocks[:-1])):
        if _reaches_logits(model, block):
            return block
    raise ValueError(f"no spatial map of {model.card.title} reaches its answer")


def _norms_of(network: nn.Module, block: Block) -> list[Block]:
    """Returns the first norm inside a token block; its output lies on the same grid."""
    if block.layout != TOKENS or "#" in block.name:
        return []
    inside = network.get_submodule(block.name).named_children()
    names = [name for name, module in inside if "norm" in type(module).__name__.lower()]
    return [dataclasses.replace(block, name=f"{block.name}.{name}") for name in names[:1]]


def _reaches_logits(model: LoadedModel, block: Block) -> bool:
    height, width = model.preprocessing.input_size
    noise = torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode(False), taps.evaluation_mode(model.network):
        with taps.capture(model.network, [block.name], grad=True) as seen:
            logits = model.network(model.preprocessing.normalise(noise).to(model.device, model.dtype))
        activation = seen[block.name]
        gradient = torch.autograd.grad(logits.square().sum(), activation, materialize_grads=True)[0]
    return bool((to_grid(gradient, block, input_size=(height, width)) != 0).any())
