from __future__ import annotations

from collections import Counter
from enum import StrEnum
from itertools import combinations

import pytest

from models.demo.grammar import (
    SPECIES,
    Beak,
    Crest,
    Part,
    Perch,
    Tail,
    Wing,
    caption,
    deciding_parts,
    find_species,
    species_names,
    visible_parts,
    vocabulary,
)


def test_there_are_at_least_twelve_species_with_names_of_their_own() -> None:
    assert len(SPECIES) >= 12
    assert len(set(species_names())) == len(SPECIES)


def test_no_two_species_have_the_same_parts() -> None:
    looks = {(s.plumage, s.beak, s.crest, s.wing, s.tail) for s in SPECIES}
    assert len(looks) == len(SPECIES)


@pytest.mark.parametrize(("kind", "slot"), [(Beak, "beak"), (Crest, "crest"), (Wing, "wing"), (Tail, "tail")])
def test_every_variant_of_a_part_belongs_to_three_species_or_more(kind: type[StrEnum], slot: str) -> None:
    uses = Counter(getattr(species, slot) for species in SPECIES)
    assert set(uses) == set(kind)
    assert min(uses.values()) >= 3


def test_every_variant_is_worn_in_more_than_one_colour() -> None:
    for slot in ("beak", "crest", "wing", "tail"):
        for variant in {getattr(species, slot) for species in SPECIES}:
            assert len({s.plumage for s in SPECIES if getattr(s, slot) is variant}) >= 2


def test_for_every_kind_of_part_some_pair_differs_in_it_alone() -> None:
    alone = {frozenset(deciding_parts(a, b) - {Part.HEAD}) for a, b in combinations(SPECIES, 2)}
    for part in (Part.BEAK, Part.CREST, Part.WING, Part.TAIL):
        assert frozenset({part}) in alone
    assert frozenset({Part.BODY, Part.FEET}) in alone


def test_deciding_parts_do_not_depend_on_the_order_and_are_empty_for_one_species() -> None:
    for a, b in combinations(SPECIES, 2):
        assert deciding_parts(a, b) == deciding_parts(b, a) != frozenset()
    assert all(deciding_parts(species, species) == frozenset() for species in SPECIES)


def test_a_missing_crest_makes_the_head_decide_too() -> None:
    assert deciding_parts(find_species("crested-tam"), find_species("smooth-headed-tam")) == {Part.CREST, Part.HEAD}


def test_captions_follow_the_closed_grammar() -> None:
    assert caption(find_species("lesser-ochre"), Perch.BRANCH) == "a yellow bird with a long beak on a branch"
    assert (
        caption(find_species("crested-tam"), Perch.ROCK) == "a red bird with a short beak and a pointed crest on a rock"
    )


def test_captions_use_the_whole_vocabulary_and_nothing_else() -> None:
    words = {word for species in SPECIES for perch in Perch for word in caption(species, perch).split()}
    assert words == set(vocabulary())


def test_every_content_word_points_at_parts() -> None:
    grammar = {"a", "with", "and", "on"}
    assert all(bool(visible_parts(word)) != (word in grammar) for word in vocabulary())


def test_an_unknown_species_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(ValueError, match="crested-tam"):
        find_species("dodo")
