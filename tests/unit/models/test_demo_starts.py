from __future__ import annotations

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from models.demo.hints import Hints
from models.demo.starts import start_from, whiten_patches


def _vit(**arguments: int) -> nn.Module:
    network: nn.Module = timm.create_model(
        "vit_tiny_patch16_224", num_classes=3, img_size=16, patch_size=4, embed_dim=8, depth=2, num_heads=2, **arguments
    )
    return network.double().eval()


def _pictures(count: int) -> Tensor:
    """Smooth random pictures [N, 3, 16, 16]: neighbours alike, as in photographs."""
    coarse = torch.from_numpy(np.random.default_rng(0).normal(size=(count, 3, 6, 6)))
    return nn.functional.interpolate(coarse, size=(16, 16), mode="bilinear")


def test_a_network_started_from_its_like_answers_the_same() -> None:
    torch.manual_seed(0)
    first, second = _vit(), _vit()
    start_from(second, first.state_dict())
    pictures = _pictures(2)
    assert torch.equal(first(pictures), second(pictures))


def test_new_registers_leave_every_known_weight_and_place_alone() -> None:
    torch.manual_seed(0)
    first, second = _vit(), _vit(reg_tokens=4)
    start_from(second, first.state_dict())
    old, new = first.state_dict(), second.state_dict()
    assert set(new) - set(old) == {"reg_token"}
    for name in set(old) - {"pos_embed"}:
        assert torch.equal(old[name], new[name]), name
    assert torch.equal(new["pos_embed"][:, :1], old["pos_embed"][:, :1])
    assert torch.equal(new["pos_embed"][:, 5:], old["pos_embed"][:, 1:])
    assert not new["pos_embed"][:, 1:5].any()


def test_registers_started_from_a_model_with_registers_are_its_own() -> None:
    torch.manual_seed(0)
    first, second = _vit(reg_tokens=4), _vit(reg_tokens=4)
    start_from(second, first.state_dict())
    assert torch.equal(first.state_dict()["reg_token"], second.state_dict()["reg_token"])


def test_weights_of_another_architecture_are_refused() -> None:
    with pytest.raises(RuntimeError, match="size mismatch"):
        start_from(_vit(), {**_vit().state_dict(), "head.weight": torch.zeros(5, 8, dtype=torch.float64)})


def test_whitened_patches_are_uncorrelated_and_centred() -> None:
    torch.manual_seed(0)
    network, pictures = _vit(), _pictures(64)
    whiten_patches(network, pictures)
    with torch.no_grad():
        codes = network.get_submodule("patch_embed.proj")(pictures).flatten(2).transpose(1, 2).flatten(0, 1)
    assert codes.mean(0).abs().max() < 1e-9
    covariance = codes.T @ codes / len(codes)
    spread = covariance.diagonal()
    assert (covariance - torch.diag(spread)).abs().max() < 1e-9
    assert (spread <= 0.25 + 1e-9).all()
    assert spread.min() > 0.1 * spread.max()


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
