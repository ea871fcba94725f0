"""A denser twin of a network: the same weights with dilation in place of stride, so that its last map has more cells.

The twin shares every tensor with its base; it costs no second copy of the weights and leaves with its base. Whether its
map says what the base's says is measured by whoever uses it, never assumed.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import nn

from backend.contract.problems import ProblemError
from models.description import build
from models.loader import LoadedModel

_twins: WeakKeyDictionary[nn.Module, dict[int, nn.Module | None]] = WeakKeyDictionary()
_lock = threading.Lock()


def dilated_twin(model: LoadedModel, output_stride: int) -> LoadedModel | None:
    """Returns the model with the given output stride, or ``None`` where its family has no such form.

    Args:
        model: The base; its network is not changed.
        output_stride: Pixels of the input per cell of the last map: 8 or 16.
    """
    if model.source is None:
        return None
    with _lock:
        known = _twins.setdefault(model.network, {})
        if output_stride not in known:
            known[output_stride] = _make(model, output_stride)
        network = known[output_stride]
    return None if network is None else dataclasses.replace(model, network=network)


@contextmanager
def exact_float32() -> Iterator[None]:
    """Switches autocast and TF32 off and restores both: their rounding is coarser than what is compared."""
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast("cuda", enabled=False), torch.autocast("cpu", enabled=False):
            yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def _make(model: LoadedModel, output_stride: int) -> nn.Module | None:
    assert model.source is not None
    arguments: dict[str, Any] = {**model.source.arguments, "output_stride": output_stride}
    try:
        with torch.device("meta"):
            twin = build(dataclasses.replace(model.source, arguments=arguments))
        twin.load_state_dict(model.network.state_dict(), strict=True, assign=True)
    except (ProblemError, RuntimeError):
        return None
    tensors = [*twin.parameters(), *twin.buffers()]
    if any(tensor.is_meta for tensor in tensors):  # buffers outside the state would hold nothing
        return None
    return twin.requires_grad_(False).eval()
