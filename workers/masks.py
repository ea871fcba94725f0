"""What is visible and what is hidden: families of masks that the engine composes on the device.

A family never holds its masks: it knows how to draw any slice of them, so that thousands of masked pictures
cost one batch of memory. Used by every method that hides parts of a picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

DISC_TOLERANCE = 1e-6
"""Added to the squared radius, so that a pixel exactly on the rim belongs to the disc on every machine."""


class Masks(Protocol):
    """A numbered family of masks over one picture."""

    @property
    def count(self) -> int:
        """How many masks the family has."""

    def visible(self, start: int, stop: int) -> Tensor:
        """Returns masks ``start`` to ``stop`` as ``[n, H, W]``: bool (shown or not) or float (share shown, 0-1)."""


@dataclass(frozen=True, eq=False)
class Scene:
    """A picture and what hides it, both normalised and on the device.

    Args:
        picture: ``[3, H, W]``, float32, as the network takes it.
        substrate: ``[3, H, W]``, same space: what is seen where a mask hides the picture.
    """

    picture: Tensor
    substrate: Tensor

    def show(self, visible: Tensor, out: Tensor) -> None:
        """Writes the masked pictures into ``out``.

        Args:
            visible: ``[n, H, W]``, bool or float 0-1.
            out: ``[n, 3, H, W]``, overwritten.
        """
        mask = visible.unsqueeze(1)
        if mask.dtype == torch.bool:
            torch.where(mask, self.picture, self.substrate, out=out)
        else:
            torch.lerp(self.substrate.expand_as(out), self.picture.expand_as(out), mask.to(out.dtype), out=out)


@dataclass(frozen=True, eq=False)
class PlainMasks:
    """Two masks: everything visible, then nothing visible.

    Args:
        size: Height and width in pixels.
        device: Where the masks are drawn.
    """

    size: tuple[int, int]
    device: torch.device

    @property
    def count(self) -> int:
        """Always two."""
        return 2

    def visible(self, start: int, stop: int) -> Tensor:
        """Returns ``[n, H, W]`` bool: the whole picture (index 0), the substrate alone (index 1)."""
        shown = torch.arange(start, stop, device=self.device) == 0
        return shown[:, None, None].expand(-1, *self.size)


@dataclass(frozen=True, eq=False)
class LabelMasks:
    """One mask per region of a partition: only region ``r`` is visible.

    Args:
        labels: ``[H, W]``, integer labels ``0 .. count - 1``, on the device.
        count: Number of regions.
    """

    labels: Tensor
    count: int

    def visible(self, start: int, stop: int) -> Tensor:
        """Returns ``[n, H, W]`` bool."""
        wanted = torch.arange(start, stop, dtype=self.labels.dtype, device=self.labels.device)
        return self.labels[None] == wanted[:, None, None]


@dataclass(frozen=True, eq=False)
class CoalitionMasks:
    """One mask per coalition: the regions of the coalition are visible, the others hidden.

    Args:
        labels: ``[H, W]``, integer labels ``0 .. R - 1``, on the device.
        coalitions: ``[count, R]`` bool, on the device.
    """

    labels: Tensor
    coalitions: Tensor

    @property
    def count(self) -> int:
        """Number of coalitions."""
        return int(self.coalitions.shape[0])

    def visible(self, start: int, stop: int) -> Tensor:
        """Returns ``[n, H, W]`` bool."""
        return self.coalitions[start:stop, self.labels.long()]


@dataclass(frozen=True, eq=False)
class DiscMasks:
    """One mask per disc: a pixel is visible when its centre lies within the radius of the disc's centre.

    Args:
        centres: ``[count, 2]`` float32 (row, column) in pixels, on the device; pixel centres are whole numbers.
        radius: In pixels.
        size: Height and width of the picture in pixels.
    """

    centres: Tensor
    radius: float
    size: tuple[int, int]

    @property
    def count(self) -> int:
        """Number of discs."""
        return int(self.centres.shape[0])

    def visible(self, start: int, stop: int) -> Tensor:
        """Returns ``[n, H, W]`` bool."""
        rows = torch.arange(self.size[0], dtype=torch.float32, device=self.centres.device)
        columns = torch.arange(self.size[1], dtype=torch.float32, device=self.centres.device)
        down = (rows[None] - self.centres[start:stop, :1]).square()
        across = (columns[None] - self.centres[start:stop, 1:]).square()
        return down[:, :, None] + across[:, None, :] <= self.radius**2 + DISC_TOLERANCE
