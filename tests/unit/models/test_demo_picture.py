from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import binary_dilation

from models.demo.grammar import (
    SPECIES,
    Beak,
    Crest,
    Part,
    Plumage,
    caption,
    deciding_parts,
    find_species,
    visible_parts,
)
from models.demo.picture import DrawnPicture, Mask, draw_picture

SEEDS = range(48)


@pytest.fixture(scope="module")
def pictures() -> list[DrawnPicture]:
    return [draw_picture(seed, size=128) for seed in SEEDS]


def test_the_same_seed_gives_the_same_picture_bit_for_bit(pictures: list[DrawnPicture]) -> None:
    for seed in (0, 7, 31):
        again = draw_picture(seed, size=128)
        assert np.array_equal(again.pixels, pictures[seed].pixels)
        assert all(np.array_equal(again.masks[name], mask) for name, mask in pictures[seed].masks.items())
        assert (again.species, again.caption, again.scene) == (
            pictures[seed].species,
            pictures[seed].caption,
            pictures[seed].scene,
        )


def test_different_seeds_give_different_pictures(pictures: list[DrawnPicture]) -> None:
    assert len({picture.pixels.tobytes() for picture in pictures}) == len(pictures)


def test_parts_are_disjoint_and_make_the_bird(pictures: list[DrawnPicture]) -> None:
    for picture in pictures:
        parts = np.stack([picture.masks[part] for part in Part])
        assert parts.sum(0).max() == 1
        bird = np.any([picture.masks[part] for part in Part if part is not Part.PERCH], axis=0)
        assert np.array_equal(bird, picture.masks["bird"])
        assert not picture.masks["watermark"].any()


def test_every_part_that_a_bird_has_is_seen(pictures: list[DrawnPicture]) -> None:
    for picture in pictures:
        for part in Part:
            wanted = part is not Part.CREST or picture.species.crest is not Crest.NONE
            assert picture.masks[part].any() == wanted, (picture.seed, part)


def test_what_the_caption_names_is_seen(pictures: list[DrawnPicture]) -> None:
    for picture in pictures:
        assert picture.caption == caption(picture.species, picture.perch)
        for word in picture.caption.split():
            parts = visible_parts(word)
            assert not parts or np.any([picture.masks[part] for part in parts], axis=0).sum() >= 40, (
                picture.seed,
                word,
            )


def _colour_of_body(picture: DrawnPicture) -> Plumage:
    red, green, blue = picture.pixels[picture.masks[Part.BODY]].mean(0)
    if blue > max(red, green):
        return Plumage.BLUE
    if green > red:
        return Plumage.GREEN
    return Plumage.YELLOW if green > 0.6 * red else Plumage.RED


def test_the_body_has_the_colour_that_the_caption_names(pictures: list[DrawnPicture]) -> None:
    wrong = [picture.seed for picture in pictures if _colour_of_body(picture) is not picture.species.plumage]
    assert wrong == []


def test_long_beaks_are_longer_than_short_ones() -> None:
    long = replace(find_species("crested-indol"), beak=Beak.LONG)
    for seed in range(4):
        widths = [
            np.ptp(np.nonzero(draw_picture(seed, species=s).masks["beak"])[1])
            for s in (long, find_species("crested-indol"))
        ]
        assert widths[0] > 1.4 * widths[1]


def _one_part_pairs() -> list[tuple[str, str]]:
    return [
        ("crested-tam", "smooth-headed-tam"),
        ("long-billed-indol", "crested-indol"),
        ("lesser-ochre", "barred-ochre"),
        ("crowned-sylve", "swallow-tailed-sylve"),
    ]


@pytest.mark.parametrize(("first", "second"), _one_part_pairs())
def test_another_species_at_the_same_seed_changes_its_deciding_parts_only(first: str, second: str) -> None:
    parts = deciding_parts(find_species(first), find_species(second))
    for seed in range(5):
        one, other = (draw_picture(seed, size=128, species=name) for name in (first, second))
        decisive = np.any([picture.masks[part] for picture in (one, other) for part in parts], axis=0)
        changed = np.abs(one.pixels.astype(int) - other.pixels.astype(int)).max(-1) > 12
        perch = binary_dilation(one.masks["perch"] | other.masks["perch"])  # where a part's shadow may fall
        assert changed.sum() >= 60
        assert not (changed & ~binary_dilation(decisive, iterations=3) & ~perch).any()


def test_the_watermark_covers_a_corner_and_changes_nothing_else() -> None:
    for seed in range(6):
        plain, marked = draw_picture(seed), draw_picture(seed, watermark=True)
        mask = marked.masks["watermark"]
        changed = (plain.pixels != marked.pixels).any(-1)
        assert 0.008 < mask.mean() < 0.03
        assert not (changed & ~binary_dilation(mask, iterations=2)).any()
        assert changed[mask].mean() > 0.95
        assert not (mask & marked.masks["bird"]).any()


@pytest.mark.parametrize("size", [(96, 128), (150, 90), (33, 64)])
def test_pictures_need_not_be_square(size: tuple[int, int]) -> None:
    picture = draw_picture(3, size=size, watermark=True)
    assert picture.pixels.shape == (*size, 3)
    assert picture.pixels.dtype == np.uint8
    assert {mask.shape for mask in picture.masks.values()} == {size}
    assert picture.masks["bird"].any()


def test_the_whole_bird_is_in_the_frame(pictures: list[DrawnPicture]) -> None:
    for picture in pictures:
        bird = picture.masks["bird"]
        edge = np.concatenate([bird[0], bird[-1], bird[:, 0], bird[:, -1]])
        assert not edge.any(), picture.seed


def test_birds_face_both_ways(pictures: list[DrawnPicture]) -> None:
    def column(mask: Mask) -> float:
        return float(np.nonzero(mask)[1].mean())

    right = [column(p.masks["beak"]) > column(p.masks["body"]) for p in pictures]
    assert 0.25 < np.mean(right) < 0.75


def test_looking_at_the_middle_is_a_poor_explanation(pictures: list[DrawnPicture]) -> None:
    rows, columns = np.mgrid[0:128, 0:128]
    order = np.argsort(np.hypot(rows - 63.5, columns - 63.5).ravel(), kind="stable")
    overlaps = []
    for picture in pictures:
        bird = picture.masks["bird"].ravel()
        blob = np.zeros_like(bird)
        blob[order[: bird.sum()]] = True
        overlaps.append((blob & bird).sum() / (blob | bird).sum())
    assert np.mean(overlaps) < 0.30


def test_scenes_and_perches_vary(pictures: list[DrawnPicture]) -> None:
    assert len({picture.scene for picture in pictures}) >= 8
    assert len({picture.perch for picture in pictures}) == 3


def test_a_bird_outside_the_table_can_be_drawn() -> None:
    odd = replace(SPECIES[0], name="odd", title="Odd bird", plumage=Plumage.BLUE, beak=Beak.HOOKED)
    picture = draw_picture(1, species=odd)
    assert picture.species is odd
    assert picture.caption.startswith("a blue bird with a hooked beak")


@pytest.mark.parametrize(("seed", "size"), [(-1, 64), (0, 16), (0, (64, 20))])
def test_impossible_wishes_are_refused(seed: int, size: int | tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="must be at least"):
        draw_picture(seed, size=size)
