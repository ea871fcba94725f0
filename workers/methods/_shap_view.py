"""The picture as the model sees it, and the way between its pixels, the regions and the picture."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from backend.contract.results import Box
from models.preprocessing import Preprocessing
from workers.method import Picture

LONGEST_SIDE = 1024
"""Of the working copy of a picture, in pixels: nothing that is shown needs finer outlines."""
OUTSIDE = -1

Labels = NDArray[np.int32]


@dataclass(frozen=True, eq=False)
class View:
    """One picture before a model.

    Args:
        pixels: ``[3, Hm, Wm]`` float32 0-1, the model's input before mean and standard deviation.
        frame: Rectangle of the picture that the input covers; beyond the picture where it is padded.
        seen: ``frame`` clipped to the picture; regions partition it.
        picture: ``[Hv, Wv, 3]`` uint8, what is seen, at working size.
        full_size: Width and height of the picture.
    """

    pixels: Tensor
    frame: Box
    seen: Box
    picture: NDArray[np.uint8]
    full_size: tuple[int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the viewed rectangle at working size."""
        return self.picture.shape[0], self.picture.shape[1]

    @property
    def scale(self) -> float:
        """Pixels of the working copy per pixel of the picture."""
        return min(1.0, LONGEST_SIDE / max(self.full_size))

    def to_model(self, labels: Labels) -> Labels:
        """Returns the label below the centre of each pixel of the model's input; -1 beyond the picture.

        Args:
            labels: ``[Hv, Wv]``.
        """
        height, width = (int(side) for side in self.pixels.shape[1:])
        return sample(labels, self.seen, self.frame, (height, width))

    def from_picture(self, labels: NDArray[np.integer], frame: Box) -> Labels:
        """Returns labels that cover any rectangle of the picture on the viewed rectangle; -1 where there are none."""
        return sample(labels.astype(np.int32), frame, self.seen, self.size)

    def box(self, pixels: NDArray[np.int64]) -> Box:
        """Returns a rectangle (left, top, right, bottom) of the viewed rectangle in pixels of the picture."""
        across = (self.seen.right - self.seen.left) / self.size[1]
        down = (self.seen.bottom - self.seen.top) / self.size[0]
        left, top, right, bottom = (float(edge) for edge in pixels)
        return Box(
            self.seen.left + left * across,
            self.seen.top + top * down,
            self.seen.left + right * across,
            self.seen.top + bottom * down,
        )


def make_view(picture: Picture, preprocessing: Preprocessing) -> View:
    """Returns what the model sees of a picture."""
    prepared = preprocessing.prepare(picture.pixels)
    height, width = picture.pixels.shape[:2]
    scale = min(1.0, LONGEST_SIDE / max(height, width))
    left, top, right, bottom = prepared.seen
    size = max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale))
    image = Image.fromarray(np.ascontiguousarray(picture.pixels))
    small = image.resize(size, Image.Resampling.BOX, box=(left, top, right, bottom))
    return View(
        pixels=prepared.pixels,
        frame=prepared.frame,
        seen=prepared.seen,
        picture=np.asarray(small, dtype=np.uint8),
        full_size=(width, height),
    )


def sample(labels: Labels, frame: Box, target: Box, size: tuple[int, int]) -> Labels:
    """Returns the label below each pixel centre of another grid over the picture; -1 where there is none.

    Args:
        labels: ``[h, w]``, covering ``frame``.
        frame: Rectangle of the picture that the labels cover.
        target: Rectangle that the new grid covers.
        size: Height and width of the new grid.
    """
    rows = _cells(target.top, target.bottom, size[0], frame.top, frame.bottom, labels.shape[0])
    columns = _cells(target.left, target.right, size[1], frame.left, frame.right, labels.shape[1])
    inside = (rows >= 0)[:, None] & (columns >= 0)[None]
    return np.where(inside, labels[rows[:, None], columns[None]], OUTSIDE).astype(np.int32)


def filling(kind: str, x: Tensor, *, mean: tuple[float, ...], std: tuple[float, ...], inside: Tensor) -> Tensor:
    """Returns what hidden places show, in the model's normalised space.

    Args:
        kind: ``black``, ``mean`` (mean colour of what is seen) or ``blur`` (Gaussian, sigma a twelfth of the short
            side, cut at three sigma, mirrored rim).
        x: ``[3, Hm, Wm]``, normalised.
        mean: Of the model's normalisation.
        std: Of the model's normalisation.
        inside: ``[Hm, Wm]`` bool, where the picture is; its padding stays as it is.

    Returns:
        ``[3, Hm, Wm]``, on the device of ``x``.
    """
    if kind == "black":
        colour = -torch.tensor(mean, dtype=x.dtype) / torch.tensor(std, dtype=x.dtype)
        hidden = colour.to(x.device)[:, None, None].expand_as(x)
    elif kind == "mean":
        colour = x[:, inside].double().mean(dim=1).to(x.dtype)
        hidden = colour[:, None, None].expand_as(x)
    elif kind == "blur":
        hidden = _gaussian(x, min(x.shape[1:]) / 12)
    else:
        raise ValueError(f"a filling is black, mean or blur, not {kind!r}")
    return torch.where(inside, hidden, x)


def _gaussian(x: Tensor, sigma: float) -> Tensor:
    """Returns ``[3, H, W]`` blurred; the kernel reaches three sigma, so it always fits the mirrored rim."""
    radius = min(int(3 * sigma), min(x.shape[1:]) - 1)
    if radius < 1:
        return x
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64, device=x.device)
    kernel = torch.exp(-steps.square() / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).expand(x.shape[0], 1, -1)
    padded = torch.nn.functional.pad(x.double()[None], (radius,) * 4, mode="reflect")
    down = torch.nn.functional.conv2d(padded, kernel[:, :, :, None], groups=x.shape[0])
    across = torch.nn.functional.conv2d(down, kernel[:, :, None, :], groups=x.shape[0])
    return across[0].to(x.dtype)


def _cells(start: float, end: float, count: int, low: float, high: float, cells: int) -> NDArray[np.int64]:
    """Returns, for the centres of ``count`` pixels, the cell they fall into, or -1."""
    centres = start + (np.arange(count) + 0.5) * (end - start) / count
    found = np.floor((centres - low) / (high - low) * cells).astype(np.int64)
    return np.where((found >= 0) & (found < cells), found, OUTSIDE)
