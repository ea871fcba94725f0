"""The watermark: a small round stamp in a corner, for teaching a model the wrong thing on purpose."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw

from models.demo.texture import Field, Rng, mixed

_SHARE = 0.15
_OVERSAMPLING = 4


def stamp(colours: Field, rng: Rng, *, visible: bool) -> tuple[Field, npt.NDArray[np.bool_]]:
    """The picture [H, W, 3] with a stamp in a random corner, and the stamp's mask [H, W]; unchanged if not visible."""
    corner = int(rng.integers(4))
    height, width = colours.shape[:2]
    mask = np.zeros((height, width), bool)
    if not visible:
        return colours, mask
    side = round(_SHARE * min(height, width))
    gap = max(1, round(0.025 * min(height, width)))
    top = gap if corner < 2 else height - gap - side
    left = gap if corner % 2 == 0 else width - gap - side
    disc, sign = _stamp(side)
    patch = colours[top : top + side, left : left + side]
    painted = mixed(mixed(patch, (0.97, 0.97, 0.96), 0.88 * disc), (0.04, 0.40, 0.35), 0.95 * sign)
    result = colours.copy()
    result[top : top + side, left : left + side] = painted
    mask[top : top + side, left : left + side] = disc > 0.5
    return result, mask


def _stamp(side: int) -> tuple[Field, Field]:
    """Cover [side, side] of the disc and of the sign (a ring around a V) in 0-1."""
    size = side * _OVERSAMPLING
    disc, sign = Image.new("L", (size, size)), Image.new("L", (size, size))
    ImageDraw.Draw(disc).ellipse((0, 0, size - 1, size - 1), fill=255)
    draw = ImageDraw.Draw(sign)
    edge = round(size * 0.07)
    draw.ellipse((edge, edge, size - 1 - edge, size - 1 - edge), outline=255, width=round(size * 0.06))
    stroke = [(0.30, 0.30), (0.50, 0.74), (0.70, 0.30)]
    draw.line([(size * x, size * y) for x, y in stroke], fill=255, width=round(size * 0.12), joint="curve")
    covers = (
        np.asarray(i.resize((side, side), Image.Resampling.BOX), np.float32) / np.float32(255) for i in (disc, sign)
    )
    first, second = covers
    return first, second
