from __future__ import annotations

import torch
from torch import Tensor

from models.demo.hints import Hints


def _hint_batch() -> tuple[Tensor, Tensor]:
    variants = torch.tensor([[0, 1, 2, 0, 1], [3, 2, 0, 2, 2]])
    shares = torch.zeros(2, 8, 8, 8)
    shares[:, 2, 3, 5] = 1.0  # one cell of tail
    return variants, shares


def test_hints_let_a_cell_speak_only_for_the_parts_it_shows() -> None:
    torch.manual_seed(0)
    hints = Hints(4)
    variants, shares = _hint_batch()
    grid = torch.randn(2, 8, 8, 4, requires_grad=True)
    other = variants.clone()
    other[:, 1] = 0  # another beak, which no cell shows
    summary = torch.zeros(2, 4)
    with torch.no_grad():
        for head in hints.slots:
            head.weight.zero_()
            head.bias.zero_()
    assert torch.equal(hints(summary, grid, variants, shares), hints(summary, grid, other, shares))
    other[:, 4] = 0  # another tail
    assert not torch.equal(hints(summary, grid, variants, shares), hints(summary, grid, other, shares))


def test_hints_that_know_everything_cost_nearly_nothing() -> None:
    hints = Hints(24)
    variants, shares = _hint_batch()
    with torch.no_grad():
        for parameter in hints.parameters():
            parameter.zero_()
        offset = 0
        for summary_head, cell_head in zip(hints.slots, hints.cells, strict=True):
            size = cell_head.out_features
            for head in (summary_head, cell_head):
                head.weight[:, offset : offset + size] = 50 * torch.eye(size)
            offset += size
        hints.parts.weight[:, 16:] = 50 * torch.eye(8)
        hints.parts.bias.fill_(-25.0)
    known = torch.zeros(2, 24)
    offset = 0
    for slot, size in enumerate((4, 3, 3, 3, 3)):
        known[torch.arange(2), offset + variants[:, slot]] = 1.0
        offset += size
    grid = known[:, None, None].repeat(1, 8, 8, 1)
    grid[..., 16:] = shares
    assert float(hints(known, grid, variants, shares).detach()) < 1e-6
