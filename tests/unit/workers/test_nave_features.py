"""Identities of the composite features and of the compression that k-means runs on."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from workers.methods._nave_features import _shares, _shrink_rows, _weights
from workers.methods._nave_source import _bicubic
from workers.methods.nave import (
    _composite,
    _lloyd,
    _seed_indices,
    composite_features,
    isometric_compression,
)

torch.set_num_threads(1)


def random_block(channels: int, height: int, width: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(channels, height, width, generator=generator, dtype=dtype)


def pyramid(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    return [random_block(6, 8, 10, 1, dtype), random_block(40, 4, 5, 2, dtype), random_block(90, 2, 3, 3, dtype)]


def column_slices(features: Tensor, channels: list[int]) -> list[Tensor]:
    return list(torch.split(features, channels, dim=1))


def test_weights_of_resnet_blocks_are_those_of_the_paper() -> None:
    assert _weights([512, 1024, 2048], "paper") == pytest.approx([1, 0.5004878, 0.2503660], abs=1e-7)
    assert _shares(_weights([512, 1024, 2048], "paper")) == pytest.approx([0.762, 0.191, 0.048], abs=5e-4)
    assert _shares(_weights([256, 512, 512], "paper")) == pytest.approx([0.666, 0.167, 0.167], abs=5e-4)


def test_equal_widths_make_both_weightings_the_same_bits() -> None:
    blocks = [random_block(8, 5, 5, 1), random_block(8, 5, 5, 2)]
    assert _weights([8, 8], "paper") == [1.0, 1.0]
    assert torch.equal(composite_features(blocks, "paper"), composite_features(blocks, "equal"))


def test_a_single_block_has_weight_one() -> None:
    block = random_block(7, 3, 4)
    assert torch.allclose(composite_features([block]).norm(dim=1), torch.ones(12, dtype=torch.float64), atol=1e-12)


def test_each_block_has_the_squared_length_of_its_weight_at_every_row() -> None:
    blocks = pyramid()
    channels = [6, 40, 90]
    features = composite_features(blocks)
    for part, weight in zip(column_slices(features, channels), _weights(channels, "paper"), strict=True):
        assert torch.allclose(part.square().sum(dim=1), torch.full((80,), weight**2, dtype=torch.float64), atol=1e-12)


def test_the_squared_length_of_a_resnet_row_is_the_sum_of_squared_weights() -> None:
    blocks = [random_block(channels, 2, 2, channels) for channels in (512, 1024, 2048)]
    total = composite_features(blocks).square().sum(dim=1)
    assert total.tolist() == pytest.approx([1.3131712] * 4, abs=1e-6)


def test_squared_distances_are_weighted_sums_of_cosines() -> None:
    blocks = [random_block(5, 4, 4, 1), random_block(9, 4, 4, 2)]
    features = composite_features(blocks)
    expected = torch.zeros(16, 16, dtype=torch.float64)
    for block, weight in zip(blocks, _weights([5, 9], "paper"), strict=True):
        rows = functional.normalize(block.flatten(1).T, dim=1)
        expected += weight**2 * (2 - 2 * rows @ rows.T)
    squares = (features[:, None] - features[None]).square().sum(dim=-1)
    assert torch.allclose(squares, expected, atol=1e-12)


@given(scale=st.floats(1e-6, 1e6))
@settings(max_examples=25, deadline=None)
def test_a_positive_factor_on_a_block_changes_nothing(scale: float) -> None:
    blocks = pyramid()
    changed = [blocks[0], blocks[1] * scale, blocks[2]]
    assert torch.allclose(composite_features(blocks), composite_features(changed), atol=1e-12)


def test_a_positive_factor_per_position_changes_nothing_on_equal_grids() -> None:
    blocks = [random_block(5, 4, 4, 1), random_block(9, 4, 4, 2)]
    factors = 10 ** random_block(1, 4, 4, 3)
    assert torch.allclose(composite_features(blocks), composite_features([blocks[0], blocks[1] * factors]), atol=1e-12)


def test_values_too_large_to_square_still_have_a_direction() -> None:
    block = random_block(5, 3, 3, 1, torch.float32)
    assert torch.allclose(composite_features([block * 1e30]), composite_features([block]), atol=1e-6)


def test_constant_maps_stay_constant_after_resizing() -> None:
    fine, coarse = random_block(3, 12, 12), torch.ones(4, 5, 5, dtype=torch.float64)
    part = composite_features([fine, coarse])[:, 3:]
    assert torch.allclose(part, part[:1].expand_as(part), atol=1e-12)


def test_resizing_is_torch_bicubic_and_comes_before_the_length_is_taken() -> None:
    fine, coarse = random_block(3, 28, 28, 1), random_block(6, 7, 7, 2)
    part = composite_features([fine, coarse], "equal")[:, 3:]
    resized = functional.interpolate(coarse[None], size=(28, 28), mode="bicubic", align_corners=False)[0]
    assert torch.allclose(part, functional.normalize(resized.flatten(1).T, dim=1), atol=1e-12)
    early = functional.interpolate(functional.normalize(coarse, dim=0)[None], size=(28, 28), mode="bicubic")[0]
    assert (early.flatten(1).norm(dim=0) - 1).abs().max() > 0.05  # the other order would not give length one


def test_resizing_from_7_to_28_has_negative_coefficients_and_one_axis_matrices_repeat_it() -> None:
    like = torch.zeros(1, dtype=torch.float64)
    down, across = _bicubic(7, 28, like), _bicubic(5, 11, like)
    assert down.min() < 0
    assert torch.allclose(down.sum(dim=1), torch.ones(28, dtype=torch.float64), atol=1e-12)
    block = random_block(4, 7, 5)
    resized = functional.interpolate(block[None], size=(28, 11), mode="bicubic", align_corners=False)[0]
    assert torch.allclose(down @ (block @ across.T), resized, atol=1e-12)
    assert torch.equal(_bicubic(6, 6, like), torch.eye(6, dtype=torch.float64))


def test_zero_vectors_stay_zero() -> None:
    block = random_block(4, 3, 3)
    block[:, 1, 2] = 0
    features = composite_features([block])
    assert torch.equal(features[5], torch.zeros(4, dtype=torch.float64))
    assert torch.isfinite(features).all()


def test_inputs_are_not_modified() -> None:
    blocks = pyramid()
    before = [block.clone() for block in blocks]
    composite_features(blocks)
    isometric_compression(blocks[2])
    assert all(torch.equal(one, two) for one, two in zip(blocks, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_half_precision_gives_float32(dtype: torch.dtype) -> None:
    blocks = [block.to(dtype) for block in pyramid(torch.float32)]
    assert composite_features(blocks).dtype == torch.float32
    assert isometric_compression(blocks[2]).dtype == torch.float32


def test_one_float64_block_makes_everything_float64() -> None:
    blocks = pyramid(torch.float32)
    assert composite_features([blocks[0].double(), blocks[1]]).dtype == torch.float64


@pytest.mark.parametrize(("channels", "height", "width"), [(30, 3, 4), (12, 3, 4), (5, 3, 4)])
def test_compression_keeps_inner_products_with_no_more_channels_than_places(
    channels: int, height: int, width: int
) -> None:
    block = random_block(channels, height, width)
    small = isometric_compression(block)
    assert small.shape == (min(channels, 12), height, width)
    rows, compressed = block.flatten(1).T, small.flatten(1).T
    assert torch.allclose(rows @ rows.T, compressed @ compressed.T, atol=1e-10)


def test_compression_leaves_narrow_blocks_as_they_are() -> None:
    block = random_block(5, 3, 4)
    assert isometric_compression(block) is block


def test_compression_is_accurate_per_place_over_four_orders_of_length() -> None:
    block = random_block(300, 7, 7, 4, torch.float32)
    factors = torch.logspace(-4, 0, 49).view(1, 7, 7)
    rows = functional.normalize((block * factors).flatten(1).T.double(), dim=1)
    small = functional.normalize(isometric_compression(block * factors).flatten(1).T.double(), dim=1)
    assert (rows @ rows.T - small @ small.T).abs().max() < 1e-5


def test_compression_keeps_zero_places_exactly_zero() -> None:
    block = random_block(40, 4, 4, dtype=torch.float32)
    block[:, 0, 0] = block[:, 2, 1] = 0
    small = isometric_compression(block)
    assert torch.equal(small[:, 0, 0], torch.zeros(16))
    assert torch.equal(small[:, 2, 1], torch.zeros(16))


def test_rows_fewer_than_columns_are_shrunk_exactly() -> None:
    features = random_block(1, 6, 20)[0]
    small = _shrink_rows(features)
    assert small.shape == (6, 6)
    assert torch.allclose(small @ small.T, features @ features.T, atol=1e-12)
    assert _shrink_rows(small) is small


def test_compressed_and_plain_paths_give_the_same_labels_from_the_same_start() -> None:
    blocks = pyramid(torch.float32)
    plain = composite_features(blocks)
    fast = _composite([isometric_compression(block) for block in blocks], [6, 40, 90], "paper")
    assert fast.shape == (80, 6 + 20 + 6)
    starts = _seed_indices(plain, 4)
    one, two = _lloyd(plain, starts), _lloyd(fast, starts)
    assert torch.equal(one.labels, two.labels)
    assert one.inertia == pytest.approx(two.inertia, rel=1e-5)


def test_weights_of_the_compressed_path_are_those_of_the_original_channels() -> None:
    blocks = pyramid()
    fast = _composite([isometric_compression(block) for block in blocks], [6, 40, 90], "paper")
    plain = composite_features(blocks)
    assert torch.allclose(fast @ fast.T, plain @ plain.T, atol=1e-10)
    wrong = composite_features([isometric_compression(block) for block in blocks])
    assert not torch.allclose(wrong @ wrong.T, plain @ plain.T, atol=1e-3)


@pytest.mark.parametrize(
    ("blocks", "word"),
    [
        ([], "at least one block"),
        ([torch.zeros(3, 3)], r"\[C, H, W\]"),
        ([torch.zeros(0, 3, 3)], "at least one value"),
        ([torch.zeros(3, 3, 3, dtype=torch.int64)], "real numbers"),
        ([torch.full((3, 3, 3), float("nan"))], "not finite"),
        ([torch.full((3, 3, 3), float("inf"))], "not finite"),
        ([torch.zeros(3, 2, 2), torch.zeros(3, 4, 4)], "finest"),
        ([torch.zeros(3, 4, 4), torch.zeros(3, 2, 5)], "finest"),
        ([torch.zeros(3, 4, 4), torch.zeros(3, 2, 2), torch.zeros(3, 3, 3)], "finest"),
    ],
)
def test_bad_blocks_are_refused_with_a_sentence(blocks: list[Tensor], word: str) -> None:
    with pytest.raises(ValueError, match=word):
        composite_features(blocks)


def test_an_unknown_weighting_is_refused() -> None:
    with pytest.raises(ValueError, match="weighting"):
        composite_features([torch.ones(2, 2, 2)], "best")  # type: ignore[arg-type]


def test_bad_blocks_cannot_be_compressed() -> None:
    with pytest.raises(ValueError, match="the block"):
        isometric_compression(torch.zeros(3, 3))
