"""From a picture to what the network sees, and exactly back.

The network's own evaluation transform (resize, then crop or pad) is repeated bit for bit, and every step is also
known in closed form: :meth:`Preprocessing.frame` says which rectangle of the picture the input covers.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box

CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS: dict[str, Image.Resampling] = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
LARGEST_SIDE = 8192
LARGEST_RESIZED = 200_000_000
"""Pixels that a picture may be resized to before it is cropped."""
OUTSIDE = -1
"""Label of input pixels that lie beyond the picture."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as the network gets it, before mean and standard deviation.

    Args:
        pixels: ``[3, h, w]`` float32 on the CPU, 0-1.
        frame: Rectangle of the picture that the whole input covers; reaches beyond the picture where it was padded.
        seen: ``frame`` clipped to the picture.
    """

    pixels: Tensor
    frame: Box
    seen: Box


@dataclass(frozen=True)
class Preprocessing:
    """How a model wants its pictures.

    Args:
        input_size: Height and width of the network's input, in pixels.
        mean: Subtracted per channel, on the scale 0-1.
        std: Divided by per channel, on the scale 0-1.
        interpolation: One of :data:`INTERPOLATIONS`.
        crop_pct: Input size as a share of the size resized to; 1 keeps the whole short side.
        crop_mode: ``center`` (keep the aspect, cut what is too long), ``squash`` (change the aspect) or
            ``border`` (keep the aspect, pad what is too short).

    Raises:
        ValueError: If a value is outside what is allowed.
    """

    input_size: tuple[int, int] = (224, 224)
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    interpolation: str = "bicubic"
    crop_pct: float = 0.875
    crop_mode: str = "center"

    def __post_init__(self) -> None:
        if len(self.input_size) != 2 or not all(1 <= side <= LARGEST_SIDE for side in self.input_size):
            raise ValueError(f"input_size is a height and a width of 1 to {LARGEST_SIDE}, not {self.input_size}")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} is three numbers, one per colour, not {values}")
        if min(self.std) <= 0:
            raise ValueError(f"std is above 0, not {self.std}")
        if self.interpolation not in INTERPOLATIONS:
            raise ValueError(f"interpolation is one of {', '.join(INTERPOLATIONS)}, not {self.interpolation!r}")
        if self.crop_mode not in CROP_MODES:
            raise ValueError(f"crop_mode is one of {', '.join(CROP_MODES)}, not {self.crop_mode!r}")
        if not 0.01 <= self.crop_pct <= 4:
            raise ValueError(f"crop_pct is 0.01 to 4, not {self.crop_pct}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Preprocessing:
        """Returns the preprocessing of a timm data configuration (``input_size`` as ``(channels, height, width)``)."""
        height, width = config["input_size"][-2:]
        return cls(
            input_size=(int(height), int(width)),
            mean=tuple(float(value) for value in config["mean"]),
            std=tuple(float(value) for value in config["std"]),
            interpolation=str(config["interpolation"]),
            crop_pct=float(config["crop_pct"]),
            crop_mode=str(config["crop_mode"]),
        )

    def prepare(self, pixels: NDArray[np.uint8]) -> Prepared:
        """Returns the picture as the network gets it, before mean and standard deviation.

        Args:
            pixels: ``[H, W, 3]`` uint8 sRGB, already turned.

        Raises:
            ValueError: If the array is not a picture.
            ProblemError: ``picture_too_small`` when resizing a very narrow picture would fill the memory.
        """
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or not pixels.size:
            raise ValueError(f"a picture is [H, W, 3] uint8, not {list(pixels.shape)} {pixels.dtype}")
        height, width = pixels.shape[:2]
        picture = Image.fromarray(np.ascontiguousarray(pixels))
        resized = self._resized_size(width, height)
        if resized[0] * resized[1] > LARGEST_RESIZED:
            raise ProblemError(
                ProblemCode.PICTURE_TOO_SMALL,
                f"A picture of {width} x {height} pixels is too narrow for this model: its short side would have to be "
                f"enlarged to {min(resized)} pixels. Crop the long side.",
            )
        if resized != (width, height):
            picture = picture.resize(resized, INTERPOLATIONS[self.interpolation])
        cut = self._cut(np.asarray(picture))
        tensor = torch.from_numpy(np.ascontiguousarray(cut.transpose(2, 0, 1))).to(torch.float32).div(255)
        return Prepared(tensor, self.frame(width, height), self.seen(width, height))

    def normalise(self, pictures: Tensor) -> Tensor:
        """Returns pictures with the model's mean subtracted, divided by its standard deviation.

        Args:
            pictures: ``[..., 3, h, w]``, 0-1, any floating dtype and device.
        """
        mean = torch.tensor(self.mean, dtype=pictures.dtype, device=pictures.device).view(3, 1, 1)
        std = torch.tensor(self.std, dtype=pictures.dtype, device=pictures.device).view(3, 1, 1)
        return (pictures - mean) / std

    def frame(self, width: int, height: int) -> Box:
        """Returns the rectangle of a picture that the network's whole input covers; may exceed the picture.

        Args:
            width: Of the picture, in pixels.
            height: Of the picture, in pixels.
        """
        resized_width, resized_height = self._resized_size(width, height)
        left, top = self._offset(resized_width, resized_height)
        input_height, input_width = self.input_size
        across, down = width / resized_width, height / resized_height
        return Box(left * across, top * down, (left + input_width) * across, (top + input_height) * down)

    def seen(self, width: int, height: int) -> Box:
        """Returns the rectangle of a picture that the network sees: the frame, clipped to the picture."""
        frame = self.frame(width, height)
        return Box(max(frame.left, 0.0), max(frame.top, 0.0), min(frame.right, width), min(frame.bottom, height))

    def labels_to_input(self, labels: NDArray[np.integer[Any]]) -> NDArray[np.integer[Any]]:
        """Returns a label map of the picture as the network's input would see it.

        Each input pixel takes the label at its centre; pixels beyond the picture get -1.

        Args:
            labels: ``[H, W]``, a signed integer dtype, one label per picture pixel.

        Returns:
            ``[h, w]``, same dtype.
        """
        if labels.ndim != 2 or not np.issubdtype(labels.dtype, np.signedinteger):
            raise ValueError(f"labels are [H, W] signed integers, not {list(labels.shape)} {labels.dtype}")
        height, width = labels.shape
        resized_width, resized_height = self._resized_size(width, height)
        left, top = self._offset(resized_width, resized_height)
        rows = _under_centres(top, self.input_size[0], height, resized_height)
        columns = _under_centres(left, self.input_size[1], width, resized_width)
        inside = ((rows >= 0) & (rows < height))[:, None] & ((columns >= 0) & (columns < width))[None, :]
        taken: NDArray[np.integer[Any]] = labels[rows.clip(0, height - 1)][:, columns.clip(0, width - 1)]
        taken[~inside] = OUTSIDE
        return taken

    def describe(self) -> str:
        """Returns everything that decides the input's values, as one line; part of a run's identity."""
        height, width = self.input_size
        mean, std = (",".join(f"{value:.9g}" for value in values) for values in (self.mean, self.std))
        return f"{width}x{height} {self.interpolation} {self.crop_mode} {self.crop_pct:.9g} mean {mean} std {std}"

    def _resized_size(self, width: int, height: int) -> tuple[int, int]:
        """Returns width and height that the whole picture is resized to."""
        goal_height, goal_width = (math.floor(side / self.crop_pct) for side in self.input_size)
        goal_height, goal_width = max(goal_height, 1), max(goal_width, 1)
        if self.crop_mode == "squash":
            return goal_width, goal_height
        if self.crop_mode == "center" and goal_height == goal_width:
            long = int(goal_width * max(width, height) / min(width, height))
            return (goal_width, long) if width <= height else (long, goal_width)
        ratios = (height / goal_height, width / goal_width)
        ratio = max(ratios) if self.crop_mode == "border" else min(ratios)
        return max(round(width / ratio), 1), max(round(height / ratio), 1)

    def _offset(self, width: int, height: int) -> tuple[int, int]:
        """Returns left and top of the input inside the resized picture; negative where the input is padded."""
        return _centre_offset(width, self.input_size[1]), _centre_offset(height, self.input_size[0])

    def _cut(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Returns ``[h, w, 3]``: the middle of the resized picture, padded where it is too small."""
        left, top = self._offset(picture.shape[1], picture.shape[0])
        height, width = self.input_size
        inner = picture[max(top, 0) : top + height, max(left, 0) : left + width]
        if inner.shape[:2] == (height, width):
            return inner
        fill = [round(255 * value) for value in self.mean] if self.crop_mode == "border" else [0, 0, 0]
        canvas = np.empty((height, width, 3), np.uint8)
        canvas[:] = np.clip(fill, 0, 255)
        row, column = max(-top, 0), max(-left, 0)
        canvas[row : row + inner.shape[0], column : column + inner.shape[1]] = inner
        return canvas


def _centre_offset(length: int, wanted: int) -> int:
    if wanted > length:
        return -((wanted - length) // 2)
    return round((length - wanted) / 2)


def _under_centres(offset: int, count: int, length: int, resized: int) -> NDArray[np.int64]:
    """Returns the picture's row (or column) below the centre of each input pixel, in exact whole-number arithmetic."""
    centres = 2 * (offset + np.arange(count, dtype=np.int64)) + 1
    under: NDArray[np.int64] = centres * length // (2 * resized)
    return under
