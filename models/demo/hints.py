"""What a demo model may be told while it trains: the variant of every slot, and where in the picture which part is."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.demo.grammar import Beak, Crest, Part, Plumage, Tail, Wing

_SLOT_SIZES = tuple(len(kind) for kind in (Plumage, Beak, Crest, Wing, Tail))
_SHOWN_BY: tuple[frozenset[Part], ...] = (
    frozenset({Part.BODY, Part.HEAD, Part.FEET}),
    frozenset({Part.BEAK}),
    frozenset({Part.CREST, Part.HEAD}),
    frozenset({Part.WING}),
    frozenset({Part.TAIL}),
)
"""The parts that show the variant of each slot; a smooth head is shown by the head."""


class Hints(nn.Module):
    """Extra outputs that exist only while training; the finished model does not contain them.

    They tell the network what to look at, so that few pictures suffice: the summary it answers from must know the
    variant of every slot, and every cell must know which parts cover it, how much, and of which variant they are.

    Args:
        channels: Length C of the network's feature vectors.
    """

    shown_by: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.slots = nn.ModuleList(nn.Linear(channels, size) for size in _SLOT_SIZES)
        self.cells = nn.ModuleList(nn.Linear(channels, size) for size in _SLOT_SIZES)
        self.parts = nn.Linear(channels, len(Part))
        shown_by = torch.tensor([[float(part in parts) for parts in _SHOWN_BY] for part in Part])
        self.register_buffer("shown_by", shown_by, persistent=False)

    def forward(self, summary: Tensor, grid: Tensor, variants: Tensor, shares: Tensor) -> Tensor:
        """The loss of the hints, a scalar.

        Args:
            summary: What the network answers from [B, C]: its class token, or the mean of its grid.
            grid: Features [B, 8, 8, C].
            variants: Right variants int64 [B, 5].
            shares: Share of each cell covered by each part [B, 8, 8, 8], 0-1.
        """
        known = [functional.cross_entropy(head(summary), variants[:, i]) for i, head in enumerate(self.slots)]
        weights = shares @ self.shown_by
        seen = [self._cells(i, grid, variants[:, i], weights[..., i]) for i in range(len(_SLOT_SIZES))]
        where = functional.binary_cross_entropy_with_logits(self.parts(grid), shares)
        return torch.stack(known).mean() + torch.stack(seen).mean() + 2.0 * where

    def _cells(self, slot: int, grid: Tensor, variants: Tensor, weights: Tensor) -> Tensor:
        """How badly the cells that show a slot know its variant: the mean over them, weighted by what they show."""
        logits = self.cells[slot](grid).flatten(0, 2)
        right = variants[:, None, None].expand(grid.shape[:3]).flatten()
        losses = functional.cross_entropy(logits, right, reduction="none")
        return (losses * weights.flatten()).sum() / weights.sum().clamp(min=1.0)
