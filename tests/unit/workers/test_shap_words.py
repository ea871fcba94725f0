"""Words and phrases of a caption hold every token exactly once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workers.methods._shap_words import read_wording


def _pieces(text: str) -> list[str]:
    words = text.split()
    return [word if at == 0 else f" {word}" for at, word in enumerate(words)]


@pytest.mark.parametrize(
    ("caption", "phrases"),
    [
        ("a red bird with a long beak on a branch", ["a red bird", "with a long beak", "on a branch"]),
        ("the dog", ["the dog"]),
        ("two dogs and a cat in the grass", ["two dogs", "and a cat", "in the grass"]),
        ("a man the dog follows", ["a man", "the dog follows"]),
        ("bird", []),
        ("ein roter Vogel", []),
        ("cat in front of a house.", ["cat", "in front", "of a house."]),
    ],
)
def test_phrases_open_at_prepositions_conjunctions_and_determiners(caption: str, phrases: list[str]) -> None:
    wording = read_wording(caption, _pieces(caption))
    assert [phrase.text for phrase in wording.phrases] == phrases
    assert [caption[one.start : one.end] for one in wording.phrases] == phrases


def test_pieces_of_a_word_belong_to_it_and_punctuation_joins_its_word() -> None:
    wording = read_wording("a redbird's nest.", ["a", " red", "bird", "'s", " nest", ".", ""])
    assert [(word.text, word.first, word.last) for word in wording.words] == [
        ("a", 0, 1),
        ("redbird's", 1, 4),
        ("nest.", 4, 7),
    ]
    assert [wording.word_of(token) for token in range(7)] == [0, 1, 1, 1, 2, 2, 2]


def test_a_caption_without_known_tokens_still_has_words() -> None:
    wording = read_wording("a bird on a branch", ())
    assert [word.text for word in wording.words] == ["a", "bird", "on", "a", "branch"]
    assert all(word.first == word.last == 0 for word in wording.words)
    assert wording.tokens == ()


@settings(max_examples=60, deadline=None)
@given(words=st.lists(st.sampled_from(["a", "the", "red", "bird", "on", "with", "x.", "é"]), min_size=1, max_size=9))
def test_every_token_lies_in_one_word_and_every_word_in_one_phrase(words: list[str]) -> None:
    caption = " ".join(words)
    letters = list(caption)
    for pieces in (_pieces(caption), letters):
        wording = read_wording(caption, pieces)
        assert [index for word in wording.words for index in range(word.first, word.last)] == list(range(len(pieces)))
        if wording.phrases:
            covered = [index for one in wording.phrases for index in range(one.first, one.last)]
            assert covered == list(range(len(words)))
