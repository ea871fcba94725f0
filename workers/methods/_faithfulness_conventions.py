"""Conventions of deletion and insertion: half of the differences between published numbers are decided here."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

from workers.method import Params
from workers.substrates import box_blur, make_substrate

STEP_PIXELS = 224
MOST_CELLS = 196
GAUSSIAN_WIDTH, GAUSSIAN_SIGMA = 11, 5.0


class FaithfulnessCheckParams(Params):
    """Which map, by which convention."""

    result: str = Field(default="", title="Result", description="Key of the run whose map is checked.", max_length=64)
    layer: str = Field(default="", title="Layer", description="Name of the map; empty: the one shown first.")
    convention: Literal["vitrine", "rise", "br_npa", "pami"] = Field(
        default="vitrine", title="Convention", description="Background, ranking and steps, as published for each."
    )
    steps: int = Field(default=50, ge=5, le=200, title="Steps", description="Of the vitrine convention.")


@dataclass(frozen=True)
class Convention:
    """What is decided before two numbers can be compared.

    Attributes:
        deletion: Background that hides places.
        insertion: Background on which places appear.
        ranking: Pixels, or cells of the map.
        step: Positions changed at once; ``None``: as the parameter ``steps`` says.
        most_steps: Upper limit of the number of steps.
    """

    deletion: str
    insertion: str
    ranking: Literal["pixel", "cell"] = "pixel"
    step: int | None = None
    most_steps: int | None = None

    def steps_for(self, positions: int, wanted: int) -> int:
        """Returns the number of steps for so many positions."""
        steps = wanted if self.step is None else math.ceil(positions / self.step)
        return min(steps, self.most_steps or steps, positions)


CONVENTIONS = {
    "vitrine": Convention("blur", "blur"),
    "rise": Convention("zero", "gaussian", step=STEP_PIXELS),
    "br_npa": Convention("zero", "box 121", "cell", step=1, most_steps=MOST_CELLS),
    "pami": Convention("black", "box 49", step=STEP_PIXELS),
}


def background(name: str, pixels: Tensor, normalise: Callable[[Tensor], Tensor]) -> Tensor:
    """Returns what is seen where places are hidden, ``[3, H, W]`` in the network's space.

    Args:
        name: ``zero`` and ``gaussian`` act after normalisation, ``box <width>`` and the substrates before it.
        pixels: ``[3, H, W]``, 0-1.
        normalise: The model's own, on ``[B, 3, H, W]``.
    """
    picture = normalise(pixels[None])[0]
    if name == "zero":
        return torch.zeros_like(picture)
    if name == "gaussian":
        blurred: Tensor = gaussian_blur(picture, [GAUSSIAN_WIDTH] * 2, [GAUSSIAN_SIGMA] * 2)
        return blurred
    if name.startswith("box "):
        width = min(int(name.removeprefix("box ")), 2 * min(pixels.shape[1:]) - 1)
        return normalise(box_blur(pixels, width)[None])[0]
    return normalise(make_substrate(name, pixels)[None])[0]
