"""The light of a scene, and how a surface given as a height field takes it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.demo.texture import Colour, Field


@dataclass(frozen=True)
class Light:
    """Where the light comes from and which colours it has.

    Attributes:
        direction: Unit vector towards the lamp: x right, y down, z towards the viewer.
        key: Colour of the direct light; 1 = neutral.
        sky: Colour of the light from above.
        ground: Colour of the light from below.
    """

    direction: tuple[float, float, float]
    key: Colour
    sky: Colour
    ground: Colour


def shading(height: Field, light: Light, *, depth: float) -> Field:
    """Factors [h, w, 3] by which the light changes a surface's own colour; about 0.3-1.5.

    Args:
        height: Height field [h, w], any unit.
        light: The light.
        depth: Steepness: the factor between the field's unit and pixels.
    """
    down, right = np.gradient(height * depth)
    scale = 1.0 / np.sqrt(1.0 + right * right + down * down)
    x, y, z = light.direction
    direct = np.clip((z - right * x - down * y) * scale, 0.0, None)
    upward = np.clip(0.5 + 0.5 * down * scale, 0.0, 1.0)
    factors = np.empty((*height.shape, 3), np.float32)
    for channel in range(3):
        sky, ground = light.sky[channel], light.ground[channel]
        factors[..., channel] = 0.82 * light.key[channel] * direct + 0.46 * (ground + (sky - ground) * upward)
    return factors
