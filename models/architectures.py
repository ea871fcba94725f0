"""Where a network keeps its picture: the modules whose output lies on a grid, and how to read that grid.

The layout is found by running the network once on nothing but shapes. Families that declare their stages
(timm's ``feature_info``) are taken at their word where the trace agrees; the rest is read off the trace. A list of
module paths overrides both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from models.layout import NCHW, NHWC, TOKENS, Block, Layout
from models.tracing import Trace, named_blocks, staged, trace

__all__ = ["Block", "Layout", "find_layout", "to_grid", "token_grid"]

NORM_NAMES = ("norm", "final_norm", "post_norm")


def find_layout(network: nn.Module, input_size: tuple[int, int], *, override: Sequence[str] | None = None) -> Layout:
    """Returns the blocks of a network; weights are not looked at, parameters may live on the meta device.

    Staged networks give one block per stage, its last. Networks of one grid (plain vision transformers, mixers) give
    every block.

    Args:
        network: In any mode; not changed.
        input_size: Height and width of its input, in pixels.
        override: Paths of modules to use instead of what would be found.

    Raises:
        ValueError: If an overriding module is missing or its output lies on no grid.
    """
    traced = trace(network, input_size)
    if override:
        blocks = named_blocks(traced, override)
    else:
        blocks = _declared(network, traced) or _repeated(traced) or _last_of_each_grid(traced)
    blocks = [_in_reading_order(block, network) for block in blocks]
    blocks = list(staged(blocks))
    return Layout(
        blocks=tuple(blocks),
        prefix_tokens=next((block.prefix_tokens for block in reversed(blocks) if block.layout == TOKENS), 0),
        final_norm=_final_norm(network, blocks[-1]) if blocks else None,
        is_plain=len(blocks) > 1 and len({block.grid for block in blocks}) == 1,
        outputs=traced.answer[1] if traced.answer is not None and len(traced.answer) == 2 else None,
    )


def to_grid(activation: Tensor, block: Block, *, input_size: tuple[int, int]) -> Tensor:
    """Returns an activation as maps, without class and register tokens.

    Args:
        activation: What ``taps.capture`` kept for the block.
        block: Where it comes from.
        input_size: Height and width of the input that was run, in pixels.

    Returns:
        ``[B, C, h, w]``, same dtype and device; a view where possible.

    Raises:
        ValueError: If the activation does not lie on the block's grid.
    """
    if block.layout == NCHW and activation.ndim == 4:
        return activation
    if block.layout == NHWC and activation.ndim == 4:
        return activation.permute(0, 3, 1, 2)
    if block.layout == TOKENS and activation.ndim == 3:
        tokens = activation[:, block.prefix_tokens :]
        if block.order is not None:
            tokens = tokens[:, torch.tensor(block.order, device=tokens.device)]
        height, width = token_grid(tokens.shape[1], block, input_size)
        return tokens.transpose(1, 2).reshape(len(tokens), -1, height, width)
    raise ValueError(f"{block.name} answered with the shape {list(activation.shape)}, which is no {block.layout} grid")


def token_grid(count: int, block: Block, input_size: tuple[int, int]) -> tuple[int, int]:
    """Returns height and width of a grid of ``count`` tokens; the height from the height, the width from the width.

    Raises:
        ValueError: If no such grid has that many tokens.
    """
    if input_size == block.input_size and block.grid[0] * block.grid[1] == count:
        return block.grid
    height, width = (_near(side * cells / known) for side, cells, known in _sides(block, input_size))
    for rows in height:
        for columns in width:
            if rows * columns == count:
                return rows, columns
    raise ValueError(
        f"{block.name} has {count} tokens, which fill no grid for an input of {input_size[0]}x{input_size[1]}"
    )


def _sides(block: Block, input_size: tuple[int, int]) -> list[tuple[int, int, int]]:
    return list(zip(input_size, block.grid, block.input_size, strict=True))


def _near(exact: float) -> list[int]:
    """Returns the whole numbers next to a number, the nearest first."""
    numbers = {int(exact), int(exact) + 1}
    return sorted((number for number in numbers if number > 0), key=lambda number: abs(number - exact))


def _declared(network: nn.Module, traced: Trace) -> list[Block]:
    """Returns the blocks that the family declares, each checked against the trace; empty when too few agree."""
    entries = _feature_entries(network)
    if not entries:
        return []
    is_vgg = type(network).__name__ == "VGG"
    found: dict[str, tuple[int, Block]] = {}
    for entry in entries:
        path = _before_activation(network, entry["module"]) if is_vgg else entry["module"]
        pair = path and (_at(traced, path, entry) or _by_numbers(traced, entry))
        if pair:
            found.setdefault(pair[1].name, pair)
    return [block for _, block in sorted(found.values(), key=lambda pair: pair[0])]


def _feature_entries(network: nn.Module) -> list[dict[str, Any]]:
    declared = getattr(network, "feature_info", None)
    entries = getattr(declared, "info", declared)
    if not isinstance(entries, list | tuple):
        return []
    keys = {"module", "num_chs", "reduction"}
    return [entry for entry in entries if isinstance(entry, dict) and keys <= set(entry)]


def _at(traced: Trace, path: str, entry: dict[str, Any]) -> tuple[int, Block] | None:
    """Returns the declared module's output with the declared channels whose cells come nearest the declared size."""
    wanted = traced.input_size[0] / entry["reduction"]
    found: list[tuple[int, Block]] = []
    for output in traced.of(path):
        block = traced.block(output, channels=entry["num_chs"], reduction=entry["reduction"])
        if block is not None:
            found.append((output.order, block))
    return min(found, key=lambda pair: (abs(pair[1].grid[0] - wanted), -pair[0]), default=None)


def _by_numbers(traced: Trace, entry: dict[str, Any]) -> tuple[int, Block] | None:
    """Returns the last composite module with the declared channels and reduction, for a path that is never called."""
    for wants_leaf in (False, True):
        for output in reversed(traced.outputs):
            block = traced.block(output, channels=entry["num_chs"], reduction=entry["reduction"])
            if block is None or output.is_leaf != wants_leaf:
                continue
            if abs(block.grid[0] - traced.input_size[0] / entry["reduction"]) <= 1:
                return output.order, block
    return None


def _before_activation(network: nn.Module, path: str) -> str | None:
    """Returns the last convolution at or before a position of a sequence; ``None`` when a pooling stands there."""
    parent, _, position = path.rpartition(".")
    sequence = list(network.get_submodule(parent).named_children())
    names = [name for name, _ in sequence]
    last = names.index(position)
    if isinstance(sequence[last][1], nn.MaxPool2d | nn.AvgPool2d):
        return None
    for name, module in reversed(sequence[: last + 1]):
        if isinstance(module, nn.Conv2d):
            return f"{parent}.{name}"
    return None


def _repeated(traced: Trace) -> list[Block]:
    """Returns the blocks of a network that keeps one token grid throughout: the longest row of equal siblings."""
    rows: dict[tuple[str, int, tuple[int, int]], dict[str, Block]] = defaultdict(dict)
    grids: set[tuple[int, int]] = set()
    for output in traced.outputs:
        block = traced.block(output)
        if block is None or output.is_leaf or block.layout != TOKENS:
            continue
        grids.add(block.grid)
        rows[output.path.rpartition(".")[0], block.channels, block.grid][output.name] = block
    if len(grids) != 1:
        return []
    longest = max(rows.items(), key=lambda item: (len(item[1]), -item[0][0].count(".")))[1]
    return list(longest.values()) if len(longest) > 1 else []


def _last_of_each_grid(traced: Trace) -> list[Block]:
    """Returns, for each grid, the last composite module (else the last module) with at least four cells."""
    last: dict[tuple[int, int], tuple[int, Block]] = {}
    composite: set[tuple[int, int]] = set()
    for output in traced.outputs:
        block = traced.block(output)
        if block is None or (output.is_leaf and block.grid in composite):
            continue
        if not output.is_leaf:
            composite.add(block.grid)
        last[block.grid] = (output.order, block)
    ordered = sorted(last.values(), key=lambda pair: pair[0])
    return [block for _, block in ordered if block.grid != traced.input_size or len(ordered) == 1]


def _in_reading_order(block: Block, network: nn.Module) -> Block:
    """Returns the block with its token order, for networks that shuffle tokens and can undo it (Hiera)."""
    reroll = getattr(network, "reroll", None)
    if block.layout != TOKENS or not callable(reroll) or not block.name.startswith("blocks."):
        return block
    height, width = block.grid
    numbers = torch.arange(height * width, device="cpu").view(1, -1, 1)
    grid = reroll(numbers, int(block.name.split(".")[1]))
    return replace(block, order=tuple(int(number) for number in grid.flatten()))


def _final_norm(network: nn.Module, last: Block) -> str | None:
    """Returns the path of the norm after the last token block, or ``None`` when there is none or it does nothing."""
    if last.layout == NCHW:
        return None
    parts = last.name.split(".")
    for depth in range(max(len(parts) - 2, 0), -1, -1):
        prefix = "".join(f"{part}." for part in parts[:depth])
        for name in NORM_NAMES:
            module = _submodule(network, prefix + name)
            if module is not None:
                return None if isinstance(module, nn.Identity) else prefix + name
    return None


def _submodule(network: nn.Module, path: str) -> nn.Module | None:
    try:
        return network.get_submodule(path)
    except AttributeError:
        return None
