"""Runs of PAMI on tiny models, for its tests."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from tests.fakes_engine import make_context, make_model, noise_picture
from workers.method import Result, Stored
from workers.methods import _pami_cuts, _pami_pool
from workers.methods.pami import Pami, PamiParams
from workers.validation import validate_result

PRESETS = ("fast", "standard", "thorough", "window")
SIZE = (32, 32)


def cut_in_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keeps the pool of processes out of tests that are about numbers."""
    torch.set_num_threads(1)
    monkeypatch.setattr(_pami_pool.Cutter, "_executor", lambda self, is_first: _thread_of(self))


def use_three_views(monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the thorough preset short: three views instead of thirteen, still two rounds."""
    monkeypatch.setitem(_pami_cuts.VIEWS, "thorough", 3)


def _thread_of(cutter: Any) -> Any:
    if cutter._thread is None:
        cutter._thread = _pami_pool.ThreadPoolExecutor(1)
    return cutter._thread


def explain(
    network: nn.Module,
    pixels: NDArray[np.uint8] | None = None,
    *,
    target: int | None = None,
    classes: int = 2,
    batch_size: int = 16,
    stored: dict[str, Stored] | None = None,
    model: dict[str, Any] | None = None,
    **params: Any,
) -> Result:
    pixels = noise_picture(SIZE) if pixels is None else pixels
    loaded = make_model(network, **{"size": SIZE, "classes": classes, **(model or {})})
    params = {"preset": "fast", **params}
    context, recorded = make_context(
        loaded, pixels, PamiParams(**params), target=target, batch_size=batch_size, stored=stored
    )
    result = Pami().explain(context)
    validate_result(result)
    for partial in recorded.partials:
        validate_result(partial, partial=True)
    return result


def array(result: Result, name: str) -> NDArray[Any]:
    return result.arrays[name].data


class Probability(nn.Module):
    """Two classes; class 0 has the probability that a rule finds in the picture."""

    def __init__(self, rule: Any) -> None:
        super().__init__()
        self.rule = rule

    def forward(self, pictures: Tensor) -> Tensor:
        share: Tensor = self.rule(pictures).clamp(1e-6, 1 - 1e-6)
        return torch.stack((share.log(), (1 - share).log()), dim=1)


def with_spots(*spots: tuple[int, int]) -> NDArray[np.uint8]:
    """A black picture with white 2 x 2 spots."""
    pixels = np.zeros((*SIZE, 3), np.uint8)
    for row, column in spots:
        pixels[row : row + 2, column : column + 2] = 255
    return pixels


def lit(pictures: Tensor, row: int, column: int) -> Tensor:
    return pictures[:, 0, row : row + 2, column : column + 2].mean(dim=(1, 2))
