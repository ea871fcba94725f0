"""Reads a network's layout off one forward pass of shapes."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from models.layout import NCHW, NHWC, TOKENS, Block
from models.taps import evaluation_mode


@dataclass(frozen=True)
class Output:
    """One tensor that one module answered with.

    Args:
        path: Of the module.
        index: Position in the answer, when it is a tuple or list.
        shape: Of the tensor.
        order: Place in the order in which modules finished.
        is_leaf: Whether the module has no modules inside.
    """

    path: str
    index: int | None
    shape: tuple[int, ...]
    order: int
    is_leaf: bool

    @property
    def name(self) -> str:
        """Name for ``taps.capture``."""
        return self.path if self.index is None else f"{self.path}#{self.index}"


@dataclass(frozen=True)
class Trace:
    """Every tensor that modules answered with, in the order in which they finished, and the final shape."""

    outputs: tuple[Output, ...]
    answer: tuple[int, ...] | None
    input_size: tuple[int, int]
    prefix_tokens: int
    prefers_nhwc: bool

    def of(self, path: str) -> list[Output]:
        """Returns what the module of that path (else one inside a wrapper) answered with, last call last."""
        exact = [output for output in self.outputs if output.path == path]
        return exact or [output for output in self.outputs if output.path.endswith(f".{path}")]

    def block(self, output: Output, *, channels: int | None = None, reduction: float | None = None) -> Block | None:
        """Returns the output as a block of stage 0, or ``None`` when it lies on no grid.

        Args:
            output: One of :attr:`outputs`.
            channels: Numbers per position that are expected.
            reduction: Input pixels per cell that are expected; decides between readings.
        """
        readings = [
            Block(output.name, found, grid, layout, 0, prefix_tokens=prefix, input_size=self.input_size)
            for layout, found, grid, prefix in self._readings(output.shape)
            if (channels is None or found == channels) and grid[0] * grid[1] > 1
        ]
        if reduction is not None:
            readings.sort(key=lambda block: abs(block.grid[0] * reduction - self.input_size[0]))
        return readings[0] if readings else None

    def _readings(self, shape: tuple[int, ...]) -> Iterator[tuple[str, int, tuple[int, int], int]]:
        if len(shape) == 4:
            maps = (NCHW, shape[1], (shape[2], shape[3]), 0)
            last = (NHWC, shape[3], (shape[1], shape[2]), 0)
            for reading in (last, maps) if self.prefers_nhwc else (maps, last):
                if _is_like_input(reading[2], self.input_size):
                    yield reading
        if len(shape) == 3:
            for prefix in dict.fromkeys((self.prefix_tokens, 0, 1, 2, 5)):
                grid = grid_of(shape[1] - prefix, self.input_size)
                if grid is not None:
                    yield TOKENS, shape[2], grid, prefix


def trace(network: nn.Module, input_size: tuple[int, int]) -> Trace:
    """Returns what every module of the network answers with, for one picture.

    On the meta device nothing is computed; elsewhere one real pass on a grey picture is made.
    """
    first = next(chain(network.parameters(), network.buffers()), torch.empty(0))
    dtype = first.dtype if first.is_floating_point() else torch.float32
    picture = torch.zeros(1, 3, *input_size, dtype=dtype, device=first.device)
    with evaluation_mode(network), _recorded(network) as outputs, torch.no_grad():
        answer = network(picture)
    return Trace(
        outputs=tuple(outputs),
        answer=tuple(answer.shape) if isinstance(answer, Tensor) else None,
        input_size=input_size,
        prefix_tokens=int(getattr(network, "num_prefix_tokens", 0) or 0),
        prefers_nhwc=getattr(network, "output_fmt", None) == "NHWC",
    )


@contextmanager
def _recorded(network: nn.Module) -> Iterator[list[Output]]:
    """Yields a list that a forward pass fills."""
    outputs: list[Output] = []

    def record(path: str, module: nn.Module, output: Any) -> None:
        is_leaf = next(module.children(), None) is None
        parts = list(enumerate(output)) if isinstance(output, tuple | list) else [(None, output)]
        for index, part in parts:
            if isinstance(part, Tensor):
                outputs.append(Output(path, index, tuple(part.shape), len(outputs), is_leaf))

    with ExitStack() as stack:
        for path, module in network.named_modules():
            if path:
                hook = module.register_forward_hook(lambda m, _i, o, path=path: record(path, m, o))
                stack.callback(hook.remove)
        yield outputs


def grid_of(count: int, input_size: tuple[int, int]) -> tuple[int, int] | None:
    """Returns height and width of a grid of ``count`` square cells over the input, or ``None``."""
    height, width = input_size
    if count < 1:
        return None
    exact = math.sqrt(count * height / width)
    rows_near = [rows for rows in range(max(int(exact) - 1, 1), int(exact) + 3) if count % rows == 0]
    grids = [(rows, count // rows) for rows in rows_near if _is_like_input((rows, count // rows), input_size)]
    return min(grids, key=lambda grid: abs(grid[0] * width - grid[1] * height), default=None)


def staged(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Returns blocks with their stages filled in: one number per grid size, the finest grid first."""
    found = list(blocks)
    grids = sorted({block.grid for block in found}, key=lambda grid: -grid[0] * grid[1])
    return tuple(replace(block, stage=grids.index(block.grid)) for block in found)


def _is_like_input(grid: tuple[int, int], input_size: tuple[int, int]) -> bool:
    """Returns whether cells would be about square: the grid has the input's aspect, up to one row or column."""
    height, width = input_size
    if min(grid) < 1 or grid[0] > height or grid[1] > width:
        return False
    if grid[0] * width == grid[1] * height:
        return True
    return min(grid) > 2 and abs(grid[0] - grid[1] * height / width) <= max(1.0, height / width)


def named_blocks(traced: Trace, names: Sequence[str]) -> list[Block]:
    """Returns the blocks that a person named, in the order of the forward pass.

    Raises:
        ValueError: If a module is missing, is never called, or its output lies on no grid.
    """
    found: list[tuple[int, Block]] = []
    for name in dict.fromkeys(names):
        outputs = [output for output in traced.outputs if output.name == name]
        if not outputs:
            raise ValueError(f"the network has no module {name!r} that answers with a tensor")
        block = traced.block(outputs[-1])
        if block is None:
            raise ValueError(f"{name!r} answers with the shape {list(outputs[-1].shape)}, which lies on no grid")
        found.append((outputs[-1].order, block))
    return [block for _, block in sorted(found, key=lambda pair: pair[0])]
