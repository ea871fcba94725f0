"""The map colours of Vitrine, for pictures that are drawn on the server; the page has the same in its canvas."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

SEQUENTIAL = ("#1D1147", "#51127C", "#832681", "#B73779", "#E75263", "#FC8961", "#FEC488", "#FCFDBF")
DIVERGING = ("#2166AC", "#4393C3", "#92C5DE", "#D1E5F0", "#F1F1EF", "#FDDBC7", "#F4A582", "#D6604D", "#B2182B")
COMPOSITE = ("#ED4538", "#40C76B", "#4D80F5")
CATEGORICAL = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#8CCBEE", "#D55E00", "#5B4B8A", "#F0E442")

PAGE, CASE, INK, INK_2, ACCENT = "#F6F6F4", "#ECECE9", "#1A1B1A", "#545652", "#0B6B61"


def to_rgb(colour: str) -> tuple[int, int, int]:
    """Returns red, green and blue, 0-255, of ``#RRGGBB``."""
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def colour_ramp(position: NDArray[np.float64], stops: tuple[str, ...]) -> NDArray[np.float64]:
    """Returns colours between evenly spaced stops.

    Args:
        position: ``[...]``, 0 to 1.
        stops: At least two colours.

    Returns:
        ``[..., 3]``, 0-255.
    """
    at = np.linspace(0, 1, len(stops))
    channels = np.array([to_rgb(stop) for stop in stops], dtype=np.float64)
    return np.stack([np.interp(position, at, channels[:, channel]) for channel in range(3)], axis=-1)


def label_colours(labels: NDArray[np.int64], chosen: dict[int, int]) -> NDArray[np.float64]:
    """Returns the colour of each label.

    Args:
        labels: ``[...]`` labels.
        chosen: Label to position in the palette; other labels take theirs by number.

    Returns:
        ``[..., 3]``, 0-255.
    """
    palette = np.array([to_rgb(colour) for colour in CATEGORICAL], dtype=np.float64)
    values, places = np.unique(labels, return_inverse=True)
    index = [chosen.get(int(value), int(value)) % len(CATEGORICAL) for value in values]
    colours: NDArray[np.float64] = palette[index][places.reshape(labels.shape)]
    return colours
