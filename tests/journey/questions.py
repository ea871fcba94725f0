"""Questions that are asked through the API, as a script would ask them."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.journey.house import House

EXIF_ORIENTATION = 0x0112
QUARTER_TURN = 6
"""The camera was held on its side: the stored rows are the columns of the picture as it is shown."""


def ask(house: House, picture: str, model: str, method: str, **params: Any) -> dict[str, Any]:
    """Asks one question and returns how the run stands at once."""
    request = {"image_id": picture, "model": model, "method": method, "params": params}
    view: dict[str, Any] = house.post("/api/v1/runs", request)
    return view


def answer(house: House, picture: str, model: str, method: str, **params: Any) -> dict[str, Any]:
    """Asks one question, waits, and returns the manifest."""
    view = house.finished(ask(house, picture, model, method, **params)["key"])
    assert view["state"] == "done", view["problem"]
    manifest: dict[str, Any] = house.get(f"/api/v1/runs/{view['key']}/result")
    return manifest


def main_map(house: House, manifest: dict[str, Any]) -> tuple[NDArray[np.generic], list[float]]:
    """Returns the first map of a result, ``[h, w]``, and the rectangle of the picture that it covers."""
    layer = next(layer for layer in manifest["layers"] if layer["role"] == "main")
    reference = manifest["arrays"][layer["array"]]
    array = np.load(io.BytesIO(house.fetch(f"/api/v1/artifacts/{reference['digest']}")))
    return (array if layer["index"] is None else array[layer["index"]]), reference["frame"]


def place_of(shape: tuple[int, ...], frame: list[float], row: float, column: float) -> tuple[float, float]:
    """Returns the middle of a map's cell as (x, y) in pixels of the picture."""
    left, top, right, bottom = frame
    return left + (column + 0.5) / shape[1] * (right - left), top + (row + 0.5) / shape[0] * (bottom - top)


def make_noise(seed: int, width: int = 240, height: int = 180) -> bytes:
    """Returns a PNG of soft coloured patches that nobody asked about before."""
    rough = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return to_bytes(Image.fromarray(rough).resize((width, height), Image.Resampling.BICUBIC), "PNG")


def to_bytes(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Returns a picture as a file."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def make_turned_jpeg(shown: NDArray[np.uint8]) -> bytes:
    """Returns a JPEG whose EXIF tag asks for a quarter turn to the right, after which it looks like ``shown``."""
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = QUARTER_TURN
    stored = Image.fromarray(np.ascontiguousarray(np.rot90(shown)))
    return to_bytes(stored, "JPEG", quality=97, subsampling=0, exif=exif.tobytes())
