"""The words and phrases of a caption: sums of its tokens, so that their values add up exactly."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

DETERMINERS = frozenset(
    [
        "a",
        "an",
        "the",
        "this",
        "that",
        "these",
        "those",
        "some",
        "any",
        "each",
        "every",
        "no",
        "another",
        "both",
        "either",
        "neither",
        "its",
        "his",
        "her",
        "their",
        "our",
        "my",
        "your",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "several",
        "many",
        "few",
    ]
)
LINKS = frozenset(
    [
        "about",
        "above",
        "across",
        "after",
        "against",
        "along",
        "among",
        "amid",
        "and",
        "around",
        "as",
        "at",
        "atop",
        "before",
        "behind",
        "below",
        "beneath",
        "beside",
        "besides",
        "between",
        "beyond",
        "but",
        "by",
        "down",
        "during",
        "for",
        "from",
        "in",
        "inside",
        "into",
        "like",
        "near",
        "nor",
        "of",
        "off",
        "on",
        "onto",
        "or",
        "out",
        "outside",
        "over",
        "past",
        "per",
        "since",
        "so",
        "than",
        "then",
        "through",
        "throughout",
        "to",
        "toward",
        "towards",
        "under",
        "underneath",
        "until",
        "up",
        "upon",
        "versus",
        "via",
        "when",
        "where",
        "while",
        "with",
        "within",
        "without",
        "yet",
    ]
)


@dataclass(frozen=True)
class Span:
    """A part of a caption.

    Args:
        text: As it stands there.
        start: First character.
        end: Behind the last character.
        first: Number of its first part (token or word).
        last: Behind the number of its last part.
    """

    text: str
    start: int
    end: int
    first: int
    last: int


@dataclass(frozen=True)
class Wording:
    """A caption in tokens, words and phrases.

    Args:
        tokens: Spans in the caption; a token without visible text is empty.
        words: Spans; ``first`` and ``last`` count tokens. Every token belongs to exactly one word.
        phrases: Spans; ``first`` and ``last`` count words. Empty when the language is not English.
    """

    tokens: tuple[Span, ...]
    words: tuple[Span, ...]
    phrases: tuple[Span, ...]

    def word_of(self, token: int) -> int:
        """Returns the number of the word that a token belongs to."""
        return next(index for index, word in enumerate(self.words) if word.first <= token < word.last)

    def phrase_of(self, word: int) -> int | None:
        """Returns the number of the phrase that a word belongs to."""
        return next((index for index, one in enumerate(self.phrases) if one.first <= word < one.last), None)


def read_wording(caption: str, pieces: Sequence[str]) -> Wording:
    """Returns words and phrases of a caption.

    Args:
        caption: Whitespace collapsed, stripped.
        pieces: Text that each token adds, as the tokenizer decodes it; may be empty when tokens are not known.
    """
    tokens = _token_spans(caption, pieces)
    places = [(match.start(), match.end()) for match in re.finditer(r"\S+", caption)]
    words = _words(caption, places, tokens)
    return Wording(tokens, words, _phrases(caption, words))


def _token_spans(caption: str, pieces: Sequence[str]) -> tuple[Span, ...]:
    spans, at = [], 0
    for index, piece in enumerate(pieces):
        text = " ".join(piece.split())
        found = caption.find(text, at) if text else -1
        start = at if found < 0 else found
        end = start if found < 0 else start + len(text)
        spans.append(Span(caption[start:end], start, end, index, index + 1))
        at = end
    return tuple(spans)


def _words(caption: str, places: Sequence[tuple[int, int]], tokens: Sequence[Span]) -> tuple[Span, ...]:
    owner = []
    for token in tokens:
        inside = [index for index, (_, end) in enumerate(places) if token.start < end]
        owner.append(inside[0] if inside else max(0, len(places) - 1))
    words = []
    first = 0
    for index, (start, end) in enumerate(places):
        last = first + sum(1 for place in owner if place == index)
        words.append(Span(caption[start:end], start, end, first, last))
        first = last
    return tuple(words)


def _phrases(caption: str, words: Sequence[Span]) -> tuple[Span, ...]:
    plain = [re.sub(r"\W", "", word.text).lower() for word in words]
    if not any(word in DETERMINERS or word in LINKS for word in plain):
        return ()
    opens: list[int] = []
    for index, word in enumerate(plain):
        follows_opening = bool(opens) and opens[-1] == index - 1
        if not index or word in LINKS or (word in DETERMINERS and not follows_opening):
            opens.append(index)
    ends = [*opens[1:], len(words)]
    return tuple(
        Span(caption[words[a].start : words[b - 1].end], words[a].start, words[b - 1].end, a, b)
        for a, b in zip(opens, ends, strict=True)
    )
