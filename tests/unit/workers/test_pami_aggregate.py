"""PAMI: how scores of parts become maps. Identities, mostly in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from tests.fakes_engine import noise_picture
from workers.methods._pami_paint import WindowPainter, disc_areas, find_peak, scoring_order
from workers.methods._pami_windows import disc_spread
from workers.methods.pami import (
    _Accumulator,
    _second_round_picture,
    aggregate,
    aggregate_windows,
    partitions,
    window_centres,
)


def random_maps(count: int, size: tuple[int, int] = (20, 26), parts: int = 6, seed: int = 0) -> Tensor:
    return torch.randint(0, parts, (count, *size), generator=torch.Generator().manual_seed(seed))


def random_scores(count: int, parts: int = 6, classes: int = 3, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(parts, classes, generator=generator, dtype=torch.float64) for _ in range(count)]


def masks_summed(label_maps: Tensor, scores: list[Tensor]) -> Tensor:
    """The definition: every region's mask times its score, added up, over the number of partitions."""
    total = torch.zeros(scores[0].shape[1], *label_maps.shape[1:], dtype=scores[0].dtype)
    for labels, part in zip(label_maps, scores, strict=True):
        painted = torch.zeros_like(total)
        for label, values in enumerate(part):
            painted += values[:, None, None] * (labels == label)
        total += painted
    return total / len(label_maps)


def test_gathering_equals_the_sum_over_masks_bit_for_bit() -> None:
    label_maps, scores = random_maps(7), random_scores(7)
    assert torch.equal(aggregate(label_maps, scores), masks_summed(label_maps, scores))


def test_the_map_of_many_partitions_is_the_mean_of_their_single_maps() -> None:
    label_maps, scores = random_maps(5), random_scores(5)
    singles = [aggregate(label_maps[i : i + 1], scores[i : i + 1]) for i in range(5)]
    torch.testing.assert_close(aggregate(label_maps, scores), torch.stack(singles).mean(dim=0))


def test_the_map_stays_within_the_scores() -> None:
    label_maps, scores = random_maps(9), random_scores(9)
    heat = aggregate(label_maps, scores)
    everything = torch.cat(scores)
    for index in range(3):
        assert float(everything[:, index].min()) - 1e-12 <= float(heat[index].min())
        assert float(heat[index].max()) <= float(everything[:, index].max()) + 1e-12


def test_renumbering_labels_changes_nothing() -> None:
    label_maps, scores = random_maps(4), random_scores(4)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    renumbered = torch.argsort(order)[label_maps]
    torch.testing.assert_close(aggregate(renumbered, [part[order] for part in scores]), aggregate(label_maps, scores))


def test_the_order_of_partitions_changes_nothing_but_rounding() -> None:
    label_maps, scores = random_maps(6), random_scores(6)
    torch.testing.assert_close(aggregate(label_maps.flip(0), scores[::-1]), aggregate(label_maps, scores))


def test_the_difference_of_two_class_maps_is_the_map_of_the_score_difference() -> None:
    label_maps, scores = random_maps(6), random_scores(6)
    heat = aggregate(label_maps, scores)
    contrast = aggregate(label_maps, [part[:, :1] - part[:, 1:2] for part in scores])
    torch.testing.assert_close(heat[0] - heat[1], contrast[0])


def test_rolling_label_maps_rolls_the_map() -> None:
    label_maps, scores = random_maps(6), random_scores(6)
    rolled = aggregate(torch.roll(label_maps, (3, -5), dims=(1, 2)), scores)
    assert torch.equal(torch.roll(rolled, (-3, 5), dims=(1, 2)), aggregate(label_maps, scores))


def test_the_map_keeps_the_scores_dtype_and_half_precision_becomes_float32() -> None:
    label_maps, scores = random_maps(2), random_scores(2)
    for given, wanted in (
        (torch.float64, torch.float64),
        (torch.float32, torch.float32),
        (torch.float16, torch.float32),
    ):
        assert aggregate(label_maps, [part.to(given) for part in scores]).dtype == wanted


def test_large_pictures_are_painted_in_blocks_without_seams() -> None:
    label_maps, scores = random_maps(3, (130, 170)), random_scores(3)
    assert torch.equal(aggregate(label_maps, scores), masks_summed(label_maps, scores))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda maps, scores: (maps[:0], []), "P >= 1"),
        (lambda maps, scores: (maps, scores[:-1]), "3 partitions have 2"),
        (lambda maps, scores: (maps - 1, scores), "partition 0 has labels -1"),
        (
            lambda maps, scores: (maps, [*scores[:2], scores[2][:3]]),
            "partition 2 has labels 0 to 5, but",
        ),
        (lambda maps, scores: (maps, [scores[0], scores[1][:, :2], scores[2]]), "partition 1 has scores"),
        (
            lambda maps, scores: (maps, [scores[0], scores[1] * math.nan, scores[2]]),
            "partition 1 has a score",
        ),
    ],
)
def test_labels_and_scores_that_do_not_fit_are_named(spoil, words: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=words):
        aggregate(*spoil(random_maps(3), random_scores(3)))


def test_the_accumulator_gives_mean_and_spread_over_partitions() -> None:
    label_maps, scores = random_maps(8), [part.float() for part in random_scores(8)]
    accumulator = _Accumulator((20, 26), 3, torch.device("cpu"))
    for labels, part in zip(label_maps, scores, strict=True):
        accumulator.add(labels, part)
    painted = torch.stack([part[labels][..., 0] for labels, part in zip(label_maps, scores, strict=True)]).double()
    torch.testing.assert_close(accumulator.maps(), aggregate(label_maps, scores))
    torch.testing.assert_close(accumulator.target_map(), accumulator.maps()[0])
    torch.testing.assert_close(accumulator.spread().double(), painted.std(dim=0, correction=0), rtol=1e-5, atol=1e-6)
    assert accumulator.count == 8


def test_one_part_per_pixel_gives_back_the_scores_themselves() -> None:
    labels = torch.arange(15 * 7).reshape(1, 15, 7)
    scores = torch.randn(105, 2, dtype=torch.float64)
    assert torch.equal(aggregate(labels, [scores]), scores.T.reshape(2, 15, 7))


def test_with_evidence_in_one_pixel_a_pixel_shows_the_share_of_its_parts_that_hold_it_too() -> None:
    label_maps = partitions(noise_picture((40, 40)), "fast")
    row, column = 11, 29
    scores = [(torch.arange(int(labels.max()) + 1) == labels[row, column]).double()[:, None] for labels in label_maps]
    heat = aggregate(label_maps, scores)[0]
    share = (label_maps == label_maps[:, row, column, None, None]).double().mean(dim=0)
    torch.testing.assert_close(heat, share)
    assert float(heat[row, column]) == 1.0


def disc_scores(centres: Tensor, radius: float, evidence: list[tuple[int, int]], rule: str) -> Tensor:
    """Scores of discs for a model that sees evidence at some pixels: ``all`` of them, or ``any``."""
    held = [(centres - torch.tensor(at)).square().sum(dim=1) <= radius**2 + 1e-6 for at in evidence]
    both = torch.stack(held)
    return (both.all(dim=0) if rule == "all" else both.any(dim=0)).double()[:, None]


@pytest.mark.parametrize("at", [(15, 17), (1, 1), (0, 33), (28, 2)])
def test_windows_put_the_only_maximum_on_the_evidence_even_near_a_corner(at: tuple[int, int]) -> None:
    size, radius = (31, 34), 6.0
    centres = window_centres(size, radius, 1)
    heat = aggregate_windows(centres, radius, disc_scores(centres, radius, [at], "all"), size)[0]
    assert (heat == heat.max()).nonzero().tolist() == [list(at)]
    for line, position in ((heat[at[0]], at[1]), (heat[:, at[1]], at[0])):
        assert bool((line[position:].diff() <= 1e-12).all())
        assert bool((line[: position + 1].flip(0).diff() <= 1e-12).all())
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    too_far = (rows - at[0]) ** 2 + (columns - at[1]) ** 2 > (2 * radius) ** 2
    assert too_far.any()
    assert not heat[too_far].any()


def test_two_distant_patches_needed_together_give_a_dark_map_and_redundant_ones_two_bright_spots() -> None:
    size, radius = (30, 50), 5.0
    centres = window_centres(size, radius, 1)
    patches = [(8, 8), (20, 40)]
    needed = aggregate_windows(centres, radius, disc_scores(centres, radius, patches, "all"), size)[0]
    assert not needed.any()
    enough = aggregate_windows(centres, radius, disc_scores(centres, radius, patches, "any"), size)[0]
    assert float(enough[8, 8]) == float(enough[20, 40]) == 1.0
    assert float(enough[15, 24]) == 0.0


def test_windows_equal_the_sum_over_discs_divided_by_their_number() -> None:
    size, radius = (20, 33), 5.5
    centres = window_centres(size, radius, 2)
    scores = torch.randn(len(centres), 2, dtype=torch.float64)
    rows, columns = torch.arange(size[0])[None, :, None], torch.arange(size[1])[None, None]
    down, across = rows - centres[:, 0, None, None], columns - centres[:, 1, None, None]
    held = (down**2 + across**2 <= radius**2 + 1e-6).double()
    expected = torch.einsum("rc,rhw->chw", scores, held) / held.sum(dim=0)
    torch.testing.assert_close(aggregate_windows(centres, radius, scores, size), expected)
    assert torch.equal(disc_areas(centres, radius, size), held.sum(dim=(1, 2)).long())
    mean = expected[0]
    variance = torch.einsum("r,rhw->hw", scores[:, 0] ** 2, held) / held.sum(dim=0) - mean**2
    torch.testing.assert_close(
        disc_spread(centres, radius, scores[:, 0], size).double(), variance.sqrt(), rtol=1e-5, atol=1e-6
    )


def test_pixels_outside_every_disc_are_counted_in_the_message() -> None:
    with pytest.raises(ValueError, match="pixels lie in no disc"):
        aggregate_windows(torch.tensor([[5.0, 5.0]]), 3.0, torch.ones(1, 1), (12, 12))


@pytest.mark.parametrize("scores", [torch.ones(3, 1), torch.ones(2), torch.full((2, 1), math.inf)])
def test_disc_scores_that_do_not_fit_are_refused(scores: Tensor) -> None:
    with pytest.raises(ValueError, match="disc"):
        aggregate_windows(torch.zeros(2, 2), 3.0, scores, (4, 4))


def test_discs_are_scored_so_that_a_sixteenth_of_them_covers_the_whole_picture() -> None:
    centres = window_centres((224, 224), 40, 6)
    order = scoring_order(centres, 6)
    assert torch.equal(order.sort().values, torch.arange(len(centres)))
    painter = WindowPainter(40, (224, 224))
    painter.add(centres[order[: len(centres) // 15]], torch.ones(len(centres) // 15, 1))
    assert int(painter.count.min()) >= 1


def test_a_partial_window_map_is_unknown_where_no_disc_was_yet() -> None:
    painter = WindowPainter(2.0, (10, 10))
    painter.add(torch.tensor([[2.0, 2.0]]), torch.tensor([[0.5]]))
    heat = painter.mean()[0]
    assert float(heat[2, 2]) == 0.5
    assert bool(heat[9, 9].isnan())


def test_the_second_rounds_picture_spans_black_to_white_and_a_flat_map_has_none() -> None:
    heat = torch.linspace(0.2, 0.3, 40 * 30).reshape(40, 30)
    picture = _second_round_picture(heat)
    assert picture is not None
    assert picture.shape == (40, 30, 3)
    assert picture.dtype == torch.uint8
    assert (int(picture.min()), int(picture.max())) == (0, 255)
    assert torch.equal(picture[..., 0], picture[..., 2])
    assert _second_round_picture(torch.full((40, 30), 0.3)) is None


def test_of_several_brightest_pixels_the_one_nearest_their_middle_is_named() -> None:
    heat = torch.zeros(9, 9)
    heat[2, 1:8] = 1
    assert find_peak(heat) == (2, 4, 7)
    heat[0, 0] = math.nan
    assert find_peak(heat) == (2, 4, 7)
