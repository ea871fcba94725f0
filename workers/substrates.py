"""What is shown where a picture is hidden: one set of substrates for every method that masks, so that they compare.

All substrates live in 0-1 space, after the model's resize and crop and before its normalisation: black must reach
the network as ``(0 - mean) / std``.
"""

from __future__ import annotations

from enum import StrEnum

import torch
from torch import Tensor
from torch.nn import functional

BLUR_WIDTH_AT_448 = 49


class Substrate(StrEnum):
    """Names of the substrates that need nothing but the picture and the model."""

    BLUR = "blur"
    BLACK = "black"
    WHITE = "white"
    MEAN = "mean"
    DATASET_MEAN = "dataset_mean"
    NOISE = "noise"
    PICTURE = "picture"


def blur_width(size: tuple[int, int]) -> int:
    """Returns the odd width of the box filter in pixels: 49 at 224 x 224, never below 3."""
    return max(3, 2 * (BLUR_WIDTH_AT_448 * min(size) // 448) + 1)


def box_blur(picture: Tensor, width: int) -> Tensor:
    """Returns the picture averaged over a square, the rim mirrored without repeating the edge pixel.

    Args:
        picture: ``[3, H, W]`` float32, 0-1.
        width: Odd, at most ``2 * min(H, W) - 1`` pixels.

    Returns:
        ``[3, H, W]``, 0-1. A constant picture comes back unchanged, rim included.
    """
    if width % 2 == 0 or width < 1:
        raise ValueError(f"the width of a box filter is odd and positive, not {width}")
    radius = width // 2
    channels = picture.shape[0]
    rows = torch.full((channels, 1, width, 1), 1.0 / width, dtype=torch.float64, device=picture.device)
    padded = functional.pad(picture[None].double(), (radius, radius, radius, radius), mode="reflect")
    down = functional.conv2d(padded, rows, groups=channels)
    return functional.conv2d(down, rows.transpose(2, 3), groups=channels)[0].to(picture.dtype)


def make_substrate(
    kind: str,
    picture: Tensor,
    *,
    dataset_mean: tuple[float, ...] | None = None,
    seed: int = 0,
    other: Tensor | None = None,
) -> Tensor:
    """Returns what hides the picture, in the picture's own space.

    Args:
        kind: A :class:`Substrate`: ``blur`` (box filter, reflected rim), ``black``, ``white``, ``mean`` (the
            picture's own mean colour), ``dataset_mean`` (0 after normalisation), ``noise`` (uniform, seeded), or
            ``picture``.
        picture: ``[3, H, W]`` float32, 0-1, before normalisation.
        dataset_mean: The model's normalisation mean, for ``dataset_mean``.
        seed: For ``noise``.
        other: ``[3, H, W]``, 0-1, through the same resize and crop, for ``picture``.

    Returns:
        ``[3, H, W]`` float32, 0-1.

    Raises:
        ValueError: For an unknown kind, or one whose material is missing or of another size.
    """
    match Substrate(kind):
        case Substrate.BLUR:
            return box_blur(picture, blur_width((picture.shape[1], picture.shape[2])))
        case Substrate.BLACK:
            return torch.zeros_like(picture)
        case Substrate.WHITE:
            return torch.ones_like(picture)
        case Substrate.MEAN:
            return picture.mean(dim=(1, 2), keepdim=True).expand_as(picture).contiguous()
        case Substrate.DATASET_MEAN:
            return _constant(picture, dataset_mean)
        case Substrate.NOISE:
            return _noise(picture, seed)
        case Substrate.PICTURE:
            return _other_picture(picture, other)


def _constant(picture: Tensor, colour: tuple[float, ...] | None) -> Tensor:
    if colour is None or len(colour) != picture.shape[0]:
        raise ValueError("the substrate 'dataset_mean' needs one mean per channel")
    values = torch.tensor(colour, dtype=picture.dtype, device=picture.device)
    return values[:, None, None].expand_as(picture).contiguous()


def _noise(picture: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(picture.shape, generator=generator).to(picture)


def _other_picture(picture: Tensor, other: Tensor | None) -> Tensor:
    if other is None:
        raise ValueError("the substrate 'picture' needs a picture")
    if other.shape != picture.shape:
        raise ValueError(f"the substrate picture is {list(other.shape)}, the picture is {list(picture.shape)}")
    return other.to(picture)
