"""PAMI: how pictures are cut, and where discs are put."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from tests.fakes_engine import noise_picture
from workers.methods._pami_cuts import SOURCES, list_views, own_partition
from workers.methods.pami import _compact, _views, partitions, window_centres


@pytest.fixture(scope="module")
def picture() -> NDArray[np.uint8]:
    return noise_picture((224, 224))


@pytest.fixture(scope="module")
def fast(picture: NDArray[np.uint8]) -> torch.Tensor:
    return partitions(picture, "fast")


@pytest.fixture(scope="module")
def standard(picture: NDArray[np.uint8]) -> torch.Tensor:
    return partitions(picture, "standard")


def assert_complete(maps: torch.Tensor) -> None:
    assert maps.dtype == torch.int32
    for labels in maps:
        found = torch.unique(labels)
        assert torch.equal(found, torch.arange(len(found), dtype=torch.int32))


def test_every_pixel_lies_in_exactly_one_part_and_labels_are_numbered_without_gaps(standard: torch.Tensor) -> None:
    assert standard.shape == (100, 224, 224)
    assert_complete(standard)


def test_the_three_grids_have_4_9_and_16_cells_of_equal_size(fast: torch.Tensor) -> None:
    for labels, cells in zip(fast[:3], (2, 3, 4), strict=True):
        areas = torch.bincount(labels.flatten())
        assert len(areas) == cells**2
        assert int(areas.max() - areas.min()) <= 2 * 224 // cells
    assert fast[0, 0, 0] == 0
    assert fast[0, 223, 223] == 3


def test_watershed_gives_9_16_and_25_parts_at_224(fast: torch.Tensor) -> None:
    assert [int(labels.max()) + 1 for labels in fast[3:6]] == [9, 16, 25]


def test_more_slic_segments_give_more_parts(fast: torch.Tensor) -> None:
    counts = [int(labels.max()) + 1 for labels in fast[6:14]]
    assert counts[0] < counts[3] < counts[7] <= 96


def test_felzenszwalb_parts_cover_at_least_a_sixty_fourth(fast: torch.Tensor) -> None:
    for labels in fast[14:20]:
        assert int(torch.bincount(labels.flatten()).min()) >= 224 * 224 // 64


def test_each_preset_is_a_prefix_of_the_next(fast: torch.Tensor, standard: torch.Tensor) -> None:
    small = noise_picture((48, 48))
    thorough = partitions(small, "thorough")
    assert len(thorough) == 260
    assert torch.equal(partitions(small, "standard"), thorough[:100])
    assert torch.equal(fast, standard[:20])


def test_two_calls_give_the_same_parts(picture: NDArray[np.uint8], fast: torch.Tensor) -> None:
    assert torch.equal(partitions(picture, "fast"), fast)


def test_shifts_start_with_30_pixels_at_224_and_follow_the_sides() -> None:
    assert _views((224, 224), "standard") == [(0, 0), (30, 0), (0, 30), (-30, 0), (0, -30)]
    assert _views((448, 112), "standard")[1:3] == [(60, 0), (0, 15)]
    assert len(_views((224, 224), "thorough")) == 13
    assert _views((224, 224), "thorough")[5:7] == [(36, 0), (0, 36)]
    assert min(abs(down) + abs(across) for down, across in _views((16, 16), "thorough")[1:]) >= 1


def test_a_view_seed_draws_other_shifts_but_keeps_the_first_view() -> None:
    drawn = list_views((224, 200), "thorough", seed=7)
    assert drawn[0] == (0, 0)
    assert drawn == list_views((224, 200), "thorough", seed=7)
    assert drawn[1:] != list_views((224, 200), "thorough", seed=8)[1:]
    assert drawn[:5] == list_views((224, 200), "standard", seed=7)
    assert all(abs(down) <= 36 and abs(across) <= 32 for down, across in drawn)
    picture = noise_picture((48, 48))
    one, other = (partitions(picture, "standard", seed=seed) for seed in (1, None))
    assert torch.equal(one[:20], other[:20])
    assert not torch.equal(one[20:], other[20:])


def test_parts_of_a_shifted_view_are_given_in_picture_coordinates() -> None:
    picture = noise_picture((64, 64))
    maps = partitions(picture, "standard")
    down = list_views((64, 64), "standard")[1][0]
    rolled = partitions(np.roll(picture, down, axis=0), "fast")
    assert torch.equal(maps[20:40], torch.roll(rolled, -down, dims=1))


@pytest.mark.parametrize("size", [(16, 16), (160, 256), (518, 518), (16, 300)])
@pytest.mark.parametrize("kind", ["flat", "grey", "noise"])
def test_any_size_and_a_flat_or_grey_picture_are_cut_completely(size: tuple[int, int], kind: str) -> None:
    if kind == "flat":
        picture = np.full((*size, 3), 90, np.uint8)
    else:
        picture = noise_picture(size) if kind == "noise" else noise_picture(size)[:, :, 0]
    maps = partitions(picture, "fast")
    assert maps.shape == (20, *size)
    assert_complete(maps)


def test_a_one_channel_picture_is_cut_like_its_grey_colour_twin() -> None:
    grey = noise_picture((64, 64))[:, :, 0]
    assert torch.equal(partitions(grey, "fast"), partitions(np.repeat(grey[:, :, None], 3, axis=2), "fast"))


def test_large_pictures_keep_the_meaning_of_the_settings() -> None:
    small, large = noise_picture((224, 224)), np.kron(noise_picture((224, 224)), np.ones((2, 2, 1), np.uint8))
    counts = [[int(labels.max()) + 1 for labels in partitions(p, "fast")] for p in (small, large)]
    assert counts[0][:6] == counts[1][:6]
    assert sum(counts[1]) == pytest.approx(sum(counts[0]), rel=0.25)


def test_the_window_preset_has_no_partitions() -> None:
    with pytest.raises(ValueError, match="window"):
        partitions(noise_picture(), "window")


@pytest.mark.parametrize(
    ("picture", "error", "words"),
    [
        (np.zeros((15, 40, 3), np.uint8), ValueError, "15 pixels; at least 16"),
        (np.zeros((32, 32, 3), np.float32), TypeError, "uint8, not float32"),
        (np.zeros((32, 32, 4), np.uint8), ValueError, r"\[32, 32, 4\]"),
    ],
)
def test_a_picture_that_cannot_be_cut_is_refused_in_words(
    picture: NDArray[np.generic], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        partitions(picture, "fast")


def test_compacting_numbers_labels_from_zero_in_their_own_order() -> None:
    labels = np.array([[7, 3], [3, 100]])
    assert _compact(labels).tolist() == [[1, 0], [0, 2]]
    assert _compact(labels).dtype == np.int32


def test_own_regions_are_one_more_partition_of_each_view_or_the_only_one() -> None:
    picture = noise_picture((48, 64))
    own = np.zeros((48, 64), np.int64)
    own[10:20, 30:50] = 5
    added = partitions(picture, "standard", regions=own)
    assert added.shape == (105, 48, 64)
    expected = torch.from_numpy((own == 5).astype(np.int32))
    assert all(torch.equal(added[view * 21 + 20], expected) for view in range(5))
    assert torch.equal(added[:20], partitions(picture, "fast"))
    only = partitions(picture, "standard", regions=own, regions_mode="only")
    assert torch.equal(only, expected.expand(5, -1, -1))


def test_gaps_are_closed_and_negative_labels_become_one_rest() -> None:
    own = np.full((32, 32), -1)
    own[:8], own[8:16], own[16:18] = 40, 9, -7
    labels = own_partition(own, (32, 32))
    assert np.unique(labels[:8]).tolist() == [1]
    assert np.unique(labels[8:16]).tolist() == [0]
    assert np.unique(labels[16:]).tolist() == [2]


@pytest.mark.parametrize(
    ("regions", "error", "words"),
    [
        (np.zeros((31, 32), np.int64), ValueError, r"\[31, 32\], but the picture is \[32, 32\]"),
        (np.zeros((32, 32), np.float32), TypeError, "whole numbers"),
        (np.arange(80 * 80).reshape(80, 80), ValueError, "6400 regions are too many; at most 4096"),
    ],
)
def test_own_regions_that_do_not_fit_are_refused_in_words(
    regions: NDArray[np.generic], error: type[Exception], words: str
) -> None:
    side = 80 if regions.shape[0] == 80 else 32
    with pytest.raises(error, match=words):
        partitions(noise_picture((side, side)), "fast", regions=regions)


def test_an_unknown_use_of_regions_is_refused() -> None:
    with pytest.raises(ValueError, match="add or only"):
        partitions(noise_picture(), "fast", regions=np.zeros((32, 32), np.int64), regions_mode="instead")


def test_there_are_twenty_sources_in_their_fixed_order() -> None:
    assert [source.name for source in SOURCES] == ["grid"] * 3 + ["watershed"] * 3 + ["SLIC"] * 8 + ["Felzenszwalb"] * 6
    assert [source.setting for source in SOURCES[14:]] == [250, 200, 150, 100, 70, 50]


def coverage_of(size: tuple[int, int], radius: float, stride: float) -> torch.Tensor:
    centres = window_centres(size, radius, stride).double()
    rows = (torch.arange(size[0]).double()[None] - centres[:, :1]) ** 2
    columns = (torch.arange(size[1]).double()[None] - centres[:, 1:]) ** 2
    return (rows[:, :, None] + columns[:, None] <= radius**2 + 1e-6).sum(dim=0)


def test_the_default_window_has_2476_discs_at_224() -> None:
    assert window_centres((224, 224), 40, 6).shape == (2476, 2)


def test_disc_coverage_at_224_ripples_between_138_and_144_corners_included() -> None:
    coverage = coverage_of((224, 224), 40, 6)
    assert (int(coverage.min()), int(coverage.max())) == (138, 144)
    assert 138 <= int(coverage[0, 0]) <= 144


@pytest.mark.parametrize(("size", "radius"), [((24, 24), 5.0), ((18, 31), 4.5), ((16, 40), 8.0)])
def test_with_spacing_one_every_pixel_lies_in_equally_many_discs(size: tuple[int, int], radius: float) -> None:
    coverage = coverage_of(size, radius, 1)
    assert int(coverage.min()) == int(coverage.max())


@pytest.mark.parametrize(("size", "radius", "stride"), [((40, 40), 8, 3), ((33, 50), 9, 4), ((64, 48), 12, 5)])
def test_disc_coverage_is_periodic_and_looks_the_same_in_a_mirror(
    size: tuple[int, int], radius: float, stride: int
) -> None:
    coverage = coverage_of(size, radius, stride)
    assert torch.equal(coverage[stride:], coverage[:-stride])
    assert torch.equal(coverage[:, stride:], coverage[:, :-stride])
    assert torch.equal(coverage, coverage.flip(0))
    assert torch.equal(coverage, coverage.flip(1))
    ripple = int(coverage.max() - coverage.min())
    assert abs(int(coverage[0, 0]) - int(coverage[size[0] // 2, size[1] // 2])) <= ripple


@pytest.mark.parametrize(("size", "radius", "stride"), [((40, 40), 8, 3), ((33, 50), 9.5, 4), ((16, 16), 2, 2)])
def test_no_disc_occurs_twice_and_each_holds_a_pixel(size: tuple[int, int], radius: float, stride: float) -> None:
    centres = window_centres(size, radius, stride)
    assert centres.dtype == torch.float32
    assert len(torch.unique(centres, dim=0)) == len(centres)
    rows = torch.arange(size[0])[None] - centres[:, :1]
    columns = torch.arange(size[1])[None] - centres[:, 1:]
    nearest = rows.square().min(dim=1).values + columns.square().min(dim=1).values
    assert float(nearest.max()) <= radius**2 + 1e-6


@pytest.mark.parametrize(("radius", "stride"), [(5, 6), (5, 0), (5, -1)])
def test_a_spacing_above_the_radius_is_refused(radius: float, stride: float) -> None:
    with pytest.raises(ValueError, match="stride"):
        window_centres((32, 32), radius, stride)
