"""Looking inside a network while it runs; whatever is changed is put back, also after an error.

A name is a module's path in the network (``layer4``, ``blocks.11``). Where a module answers with several tensors,
``name#1`` takes the second of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def capture(network: nn.Module, names: Sequence[str], *, grad: bool = False) -> Iterator[dict[str, Tensor]]:
    """Yields a dictionary that each forward pass inside the block fills with activations.

    Without ``grad``, the activations are detached float32 copies (float64 stays float64), so that a later operation
    in place cannot overwrite them. With ``grad``, they are part of the graph and, after ``backward()``, their
    ``.grad`` is set; the graph then begins at the shallowest tap, so that nothing before it is differentiated.

    Args:
        network: The network; it is not changed.
        names: Paths of modules, perhaps with ``#index``. A module called twice in a pass leaves its last answer.
        grad: Whether gradients at the taps are wanted.

    Raises:
        ValueError: If the network has no module of that name.
        RuntimeError: If gradients are wanted in inference mode.
        TypeError: During the pass, if a module does not answer with a tensor.
    """
    if grad and torch.is_inference_mode_enabled():
        raise RuntimeError("gradients cannot be captured in inference mode")
    seen: dict[str, Tensor] = {}
    with ExitStack() as stack:
        for path, wanted in _by_module(network, names).items():
            hook = _grad_hook(wanted, seen) if grad else _copy_hook(wanted, seen)
            stack.callback(network.get_submodule(path).register_forward_hook(hook).remove)
        if grad:
            stack.enter_context(torch.enable_grad())
        yield seen


@contextmanager
def evaluation_mode(network: nn.Module) -> Iterator[nn.Module]:
    """Yields the network in evaluation mode; each module gets its own mode back afterwards."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield network
    finally:
        for module, mode in modes.items():
            module.training = mode


def pick(output: Any, index: int | None, name: str) -> Tensor:
    """Returns the tensor that a tap means: the module's answer, or one of its answers.

    Raises:
        TypeError: If there is no such tensor.
    """
    if index is not None and isinstance(output, tuple | list) and index < len(output):
        output = output[index]
    elif index is not None or not isinstance(output, Tensor):
        several = isinstance(output, tuple | list)
        advice = f"; it answers with {len(output)} things, choose one with '#index'" if several else ""
        raise TypeError(f"{name!r} has no such tensor to tap{advice}")
    if not isinstance(output, Tensor):
        raise TypeError(f"{name!r} does not answer with a tensor")
    return output


def split_name(name: str) -> tuple[str, int | None]:
    """Returns module path and position of a tap's name; ``ValueError`` when the position is not a number."""
    path, mark, index = name.partition("#")
    if mark and not index.isdecimal():
        raise ValueError(f"after '#' stands the position of the tensor, as in 'stage4#0', not {name!r}")
    return path, int(index) if mark else None


def _by_module(network: nn.Module, names: Sequence[str]) -> dict[str, list[tuple[str, int | None]]]:
    """Returns module path -> (full name, position in its answer)."""
    modules = dict(network.named_modules())
    wanted: dict[str, list[tuple[str, int | None]]] = {}
    for name in dict.fromkeys(names):
        path, index = split_name(name)
        if not path or path not in modules:
            raise ValueError(f"the network has no module {name!r}")
        wanted.setdefault(path, []).append((name, index))
    return wanted


def _copy_hook(wanted: list[tuple[str, int | None]], seen: dict[str, Tensor]) -> Callable[..., None]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
        for name, index in wanted:
            tensor = pick(output, index, name).detach()
            dtype = torch.float64 if tensor.dtype == torch.float64 else torch.float32
            seen[name] = tensor.to(dtype, copy=True)

    return hook


def _grad_hook(wanted: list[tuple[str, int | None]], seen: dict[str, Tensor]) -> Callable[..., Any]:
    def hook(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        for name, index in wanted:
            tensor = pick(output, index, name)
            if tensor.requires_grad:
                tensor.retain_grad()
            else:
                tensor = tensor.detach().clone().requires_grad_(True)
            seen[name] = tensor
            # The network goes on with a copy: an operation in place must not spoil what was captured.
            output = _with(output, index, tensor.clone())
        return output

    return hook


def _with(output: Any, index: int | None, tensor: Tensor) -> Any:
    if index is None:
        return tensor
    several = list(output)
    several[index] = tensor
    if isinstance(output, tuple) and hasattr(output, "_fields"):
        return type(output)(*several)
    return type(output)(several)
