"""What is known of a network's inside: its blocks and how their outputs lie on a grid."""

from __future__ import annotations

from dataclasses import dataclass

NCHW = "nchw"
NHWC = "nhwc"
TOKENS = "tokens"


@dataclass(frozen=True)
class Block:
    """A module whose output lies on a grid of picture positions.

    Args:
        name: Path of the module, with ``#index`` where it answers with several tensors; a name for ``taps.capture``.
        channels: Numbers per position.
        grid: Height and width of the grid at ``input_size``.
        layout: ``nchw`` (``[B, C, h, w]``), ``nhwc`` (``[B, h, w, C]``) or ``tokens`` (``[B, prefix + h*w, C]``).
        stage: Blocks of one stage share a grid; counted from the finest.
        tap: What is tapped: always the module's ``output``.
        prefix_tokens: Class and register tokens in front of the grid's tokens.
        input_size: Height and width of the input for which ``grid`` holds.
        order: For token blocks that do not keep rows: the token of each grid position, row by row.
    """

    name: str
    channels: int
    grid: tuple[int, int]
    layout: str
    stage: int
    tap: str = "output"
    prefix_tokens: int = 0
    input_size: tuple[int, int] = (224, 224)
    order: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Layout:
    """What is known of a network's inside.

    Args:
        blocks: In the order of the forward pass; empty when the network keeps no grid.
        prefix_tokens: Class and register tokens of the last token block.
        final_norm: Path of the norm between the last block and the head (token networks), or ``None``.
        is_plain: Whether all blocks share one grid, as in a plain vision transformer.
        outputs: Numbers per picture that the network answers with; ``None`` when it answers with something else.
    """

    blocks: tuple[Block, ...] = ()
    prefix_tokens: int = 0
    final_norm: str | None = None
    is_plain: bool = False
    outputs: int | None = None

    def block(self, name: str) -> Block:
        """Returns the block of that name.

        Raises:
            ValueError: If there is none.
        """
        for block in self.blocks:
            if block.name == name:
                return block
        raise ValueError(f"no block is called {name!r}; there are {', '.join(block.name for block in self.blocks)}")

    def stage_blocks(self) -> tuple[Block, ...]:
        """Returns the deepest block of each stage, from the finest grid on."""
        deepest = {block.stage: block for block in self.blocks}
        return tuple(deepest[stage] for stage in sorted(deepest))
