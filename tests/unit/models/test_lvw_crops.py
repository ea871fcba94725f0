"""Facts about the small pictures of words, and about the parts of drawn birds that words sit on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.preprocessing import Preprocessing
from models.training._lvw_book import WordBook
from models.training._lvw_crops import crop_name, nearest_others, neighbour_crop, source_crop, to_picture, write_crops
from models.training._lvw_purity import cell_part, word_parts

SQUARE = Preprocessing(input_size=(64, 64), crop_pct=1.0)


def _book(cells: list[list[int]]) -> WordBook:
    count = len(cells)
    empty = torch.zeros(1, dtype=torch.long)
    return WordBook(
        source_index=empty,
        source_label=empty,
        source_cell=torch.tensor([cells[0]]),
        neighbours=torch.arange(count)[None],
        neighbour_distance=torch.zeros(1, count),
        neighbour_cell=torch.tensor([cells]),
        neighbour_label=torch.zeros(1, count, dtype=torch.long),
        histogram=torch.tensor([[count, 0]]),
        entropy=torch.zeros(1),
        prevalence=torch.zeros(1),
        usage=torch.tensor([[0.3], [0.1]]),
        weights=torch.tensor([[-1.0], [2.0]]),
        duplicate_of=empty,
    )


def test_boxes_of_the_input_come_back_to_the_picture_and_stay_inside_what_was_seen() -> None:
    box = to_picture((0, 0, 64, 64), SQUARE, 200, 100)
    assert (box.left, box.top, box.right, box.bottom) == (50, 0, 150, 100)
    padded = Preprocessing(input_size=(64, 64), crop_pct=1.0, crop_mode="border")
    outside = to_picture((0, 0, 64, 10), padded, 200, 100)
    assert outside.top == 0
    assert outside.bottom == pytest.approx(0)


def test_the_source_shows_all_that_was_seen_with_its_box_and_a_neighbour_its_surroundings() -> None:
    pixels = np.full((128, 256, 3), 100, np.uint8)
    pixels[32:64, 96:128] = (200, 0, 0)  # input pixels 16 to 32 from the top, 16 to 32 from the left
    source = np.asarray(source_crop(pixels, (16, 16, 32, 32), SQUARE))
    assert source.shape == (128, 128, 3)
    assert (source[32, 40] == 255).all()
    assert (source[48, 48] == (200, 0, 0)).all()
    near = np.asarray(neighbour_crop(pixels, (16, 16, 32, 32), SQUARE))
    assert near.shape == (64, 64, 3)
    assert (near[32, 32] == (200, 0, 0)).all()
    corner = neighbour_crop(pixels, (56, 56, 64, 64), SQUARE)
    assert corner.size == (32, 32)


def test_large_pictures_give_small_crops(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (900, 900, 3), dtype=np.uint8)
    write_crops(tmp_path, 17, lambda _index: pixels, [(0, (0, 0, 60, 60)), (3, (10, 10, 20, 20))], SQUARE)
    assert crop_name(17, 0) == "words/0017-0.webp"
    for number in (0, 1):
        with Image.open(tmp_path / crop_name(17, number)) as image:
            assert image.format == "WEBP"
            assert max(image.size) == 256 or number == 1


def test_the_source_is_not_shown_again_among_its_neighbours() -> None:
    assert nearest_others(torch.tensor([4, 9, 1, 4, 2, 3, 5, 6, 7]), 4) == [1, 2, 4, 5, 6, 7]


def test_a_cell_belongs_to_the_part_that_covers_most_of_it() -> None:
    labels = np.zeros((16, 16), np.int16)
    labels[:8, :8] = -1
    labels[:4, 8:] = 3
    labels[4:8, 8:13] = 5
    assert cell_part(labels, [0, 0], (2, 2)) == 0  # beyond the picture is no part
    assert cell_part(labels, [0, 1], (2, 2)) == 3
    assert cell_part(labels, [1, 1], (2, 2)) == 0


def test_the_most_frequent_part_among_the_neighbours_and_its_share() -> None:
    maps = np.zeros((64, 64), np.uint8)
    maps[:32] = 2
    found = word_parts(_book([[0, 0], [0, 1], [1, 1]]), lambda _index: maps, SQUARE, (2, 2))
    assert found == {"part": {"0": "head"}, "share": {"0": pytest.approx(2 / 3)}}
    assert word_parts(_book([[0, 0]]), lambda _index: None, SQUARE, (2, 2)) is None


def test_sharing_is_told_by_three_measures_and_odd_words_are_flagged() -> None:
    book = _book([[0, 0], [0, 1]])
    assert book.shared(0) == ([0], [0], [1])
    assert book.flags(0) == "never used"
