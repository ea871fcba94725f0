"""Where the training of a demo model starts: from a finished model, or from what patches of pictures look like."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

_GAIN = 0.5
_LEAST_VARIANCE = 1e-4
"""Added to all variances, as a share of the largest: components that hardly vary are not blown up to noise."""


def start_from(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Fill the network with the weights of a finished one of the same architecture; register tokens may be new.

    New register tokens keep their random values, and their place in the position codes starts at zero.

    Raises:
        RuntimeError: The weights are of another architecture.
    """
    fitted = dict(weights)
    tokens = network.state_dict().get("reg_token")
    if tokens is not None and "reg_token" not in weights:
        codes, count = weights["pos_embed"], tokens.shape[1]
        fitted["reg_token"] = tokens
        fitted["pos_embed"] = torch.cat([codes[:, :1], codes.new_zeros(1, count, codes.shape[2]), codes[:, 1:]], 1)
    network.load_state_dict(fitted)


def whiten_patches(network: nn.Module, pictures: Tensor) -> None:
    """Let a ViT's patch embedding start as the whitened principal components of the patches of some pictures.

    Raw pixels of a patch are nearly the same everywhere in it, so that a random projection shows brightness and colour
    and hardly a shape. Whitened, edges and stripes are as loud as brightness from the first step on.

    Args:
        network: A ViT of timm.
        pictures: Model input [B, 3, H, W].
    """
    projection = network.get_submodule("patch_embed.proj")
    assert isinstance(projection, nn.Conv2d)
    assert projection.bias is not None
    kernel = (projection.kernel_size[0], projection.kernel_size[1])
    patches = functional.unfold(pictures, kernel, stride=kernel).transpose(1, 2).flatten(0, 1).double()
    mean = patches.mean(0)
    variances, directions = torch.linalg.eigh((patches - mean).T @ (patches - mean) / len(patches))
    first = slice(-projection.out_channels, None)
    scale = _GAIN / torch.sqrt(variances[first] + _LEAST_VARIANCE * variances[-1])
    weight = directions[:, first].T * scale[:, None]
    with torch.no_grad():
        projection.weight.copy_(weight.reshape(projection.weight.shape))
        projection.bias.copy_(-weight @ mean)
