"""Half precision for the body of a network, float32 for its output layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from models.taps import evaluation_mode

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


WORTHWHILE_BYTES = 2**20
"""Smaller networks spend their time on other things than mathematics; half precision gains nothing there."""


def choose_precision(asked: str, device: torch.device, *, size_bytes: int = 0) -> torch.dtype:
    """Returns the precision of the network's body.

    ``auto`` takes half precision where the hardware computes in it: bfloat16 on recent GPUs and processors, float16
    on older GPUs; else, and for networks too small to gain from it on a CPU, float32.

    Args:
        asked: ``auto``, ``fp32``, ``bf16`` or ``fp16``.
        device: Where the network runs.
        size_bytes: Of its parameters.

    Raises:
        ValueError: For any other name.
    """
    if asked != "auto":
        if asked not in PRECISIONS:
            raise ValueError(f"precision is one of auto, {', '.join(PRECISIONS)}, not {asked!r}")
        return PRECISIONS[asked]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    is_worthwhile = size_bytes >= WORTHWHILE_BYTES and _processor_has_bfloat16()
    return torch.bfloat16 if is_worthwhile else torch.float32


def _processor_has_bfloat16() -> bool:
    """Returns whether the processor multiplies bfloat16; False where torch cannot tell."""
    tests = (getattr(torch.cpu, name, None) for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"))
    return any(bool(test()) for test in tests if callable(test))


@contextmanager
def ready(network: nn.Module, dtype: torch.dtype, device: torch.device) -> Iterator[None]:
    """Puts a network into inference mode, evaluation mode and the asked precision; restores everything after.

    Args:
        network: Its body runs in ``dtype``; its output layer always runs in float32.
        dtype: ``torch.float32``, ``torch.bfloat16`` or ``torch.float16``.
        device: Where the network runs.
    """
    with ExitStack() as stack:
        if any(module.training for module in network.modules()):
            stack.enter_context(evaluation_mode(network))
        stack.enter_context(torch.inference_mode())
        if dtype != torch.float32:
            stack.enter_context(torch.autocast(device.type, dtype=dtype))
            stack.enter_context(_full_precision(_output_layers(network), device))
        yield


def _output_layers(network: nn.Module) -> list[nn.Module]:
    """Returns the layers that write the logits: the declared classifier, else the last linear layer."""
    declared: Any = getattr(network, "get_classifier", None)
    found = declared() if callable(declared) else None
    layers = [
        layer for layer in (found if isinstance(found, tuple | list) else (found,)) if isinstance(layer, nn.Module)
    ]
    linear: list[nn.Module] = [module for module in network.modules() if isinstance(module, nn.Linear)]
    return layers or linear[-1:]


@contextmanager
def _full_precision(layers: list[nn.Module], device: torch.device) -> Iterator[None]:
    """Switches autocast off around the given layers and hands them float32."""
    open_contexts: list[ExitStack] = []

    def before(_module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        context = ExitStack()
        context.enter_context(torch.autocast(device.type, enabled=False))
        open_contexts.append(context)
        return tuple(value.float() if isinstance(value, Tensor) else value for value in inputs)

    def after(_module: nn.Module, _inputs: tuple[Any, ...], _output: object) -> None:
        open_contexts.pop().close()

    handles = []
    for layer in layers:
        handles.append(layer.register_forward_pre_hook(before))
        handles.append(layer.register_forward_hook(after, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
        while open_contexts:
            open_contexts.pop().close()
