"""Identities: the same question gives the same key, on every machine."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backend.contract.schemas import RunSpec

COLOUR_VERSION = 1
"""Raised when the reading of colours (profiles, alpha, depth) changes."""


def canonical_json(value: Any) -> str:
    """Returns JSON with sorted keys and no blanks; the same value always gives the same text.

    Raises:
        ValueError: If the value holds NaN or an infinite number.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def picture_id(pixels: NDArray[np.uint8]) -> str:
    """Returns the identity of a canonical picture: sha256 over pixels, size and colour handling.

    Args:
        pixels: ``[H, W, 3]``, uint8, sRGB 0-255.

    Raises:
        TypeError: If the array is not uint8.
        ValueError: If the array is not ``[H, W, 3]``.
    """
    if pixels.dtype != np.uint8:
        raise TypeError(f"a canonical picture is uint8, not {pixels.dtype}")
    if pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"a canonical picture has the shape [H, W, 3], not {list(pixels.shape)}")
    digest = hashlib.sha256(f"vitrine-picture:{COLOUR_VERSION}:{pixels.shape[1]}x{pixels.shape[0]}:".encode())
    digest.update(np.ascontiguousarray(pixels).tobytes())
    return digest.hexdigest()


def run_key(spec: RunSpec) -> str:
    """Returns the identity of a run: sha256 of its canonical JSON."""
    return hashlib.sha256(canonical_json(spec.model_dump(mode="json")).encode()).hexdigest()
