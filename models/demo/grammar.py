"""The grammar of the drawn birds: which parts exist, which species has which, what a caption may say.

A species is five choices: a plumage and one variant each of beak, crest, wing and tail. Every variant belongs to
several species, so no part alone gives a species away, and between two species it is known which parts decide.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Plumage(StrEnum):
    """The colour of body, head and feet."""

    RED = "red"
    BLUE = "blue"
    YELLOW = "yellow"
    GREEN = "green"


class Beak(StrEnum):
    """The shape (and colour) of the beak."""

    SHORT = "short"
    LONG = "long"
    HOOKED = "hooked"


class Crest(StrEnum):
    """What grows on the crown; ``NONE`` is a smooth head."""

    NONE = "none"
    POINTED = "pointed"
    FAN = "fan"


class Wing(StrEnum):
    """The pattern of the folded wing."""

    PLAIN = "plain"
    BARRED = "barred"
    PATCHED = "patched"


class Tail(StrEnum):
    """The shape (and colour) of the tail."""

    SHORT = "short"
    FORKED = "forked"
    BROAD = "broad"


class Perch(StrEnum):
    """What the bird stands on."""

    BRANCH = "branch"
    POST = "post"
    ROCK = "rock"


class Part(StrEnum):
    """The parts that have a mask of their own; together, all but the perch make the bird."""

    BODY = "body"
    HEAD = "head"
    BEAK = "beak"
    CREST = "crest"
    WING = "wing"
    TAIL = "tail"
    FEET = "feet"
    PERCH = "perch"


@dataclass(frozen=True)
class Species:
    """One kind of bird.

    Attributes:
        name: Identifier, for example ``crested-tam``; the class name of the demo models.
        title: Name for people, for example ``Crested tam``.
        plumage: Colour of body, head and feet.
        beak: Variant of the beak.
        crest: Variant of the crest.
        wing: Variant of the wing.
        tail: Variant of the tail.
    """

    name: str
    title: str
    plumage: Plumage
    beak: Beak
    crest: Crest
    wing: Wing
    tail: Tail


def _species(title: str, plumage: Plumage, beak: Beak, crest: Crest, wing: Wing, tail: Tail) -> Species:
    return Species(title.lower().replace(" ", "-"), title, plumage, beak, crest, wing, tail)


SPECIES: tuple[Species, ...] = (
    _species("Crested tam", Plumage.RED, Beak.SHORT, Crest.POINTED, Wing.BARRED, Tail.FORKED),
    _species("Smooth-headed tam", Plumage.RED, Beak.SHORT, Crest.NONE, Wing.BARRED, Tail.FORKED),
    _species("Crowned tam", Plumage.RED, Beak.HOOKED, Crest.FAN, Wing.PATCHED, Tail.SHORT),
    _species("Long-billed indol", Plumage.BLUE, Beak.LONG, Crest.POINTED, Wing.PATCHED, Tail.SHORT),
    _species("Crested indol", Plumage.BLUE, Beak.SHORT, Crest.POINTED, Wing.PATCHED, Tail.SHORT),
    _species("Broad-tailed indol", Plumage.BLUE, Beak.HOOKED, Crest.NONE, Wing.PLAIN, Tail.BROAD),
    _species("Lesser ochre", Plumage.YELLOW, Beak.LONG, Crest.NONE, Wing.PLAIN, Tail.FORKED),
    _species("Barred ochre", Plumage.YELLOW, Beak.LONG, Crest.NONE, Wing.BARRED, Tail.FORKED),
    _species("Crowned ochre", Plumage.YELLOW, Beak.SHORT, Crest.FAN, Wing.BARRED, Tail.BROAD),
    _species("Crowned sylve", Plumage.GREEN, Beak.HOOKED, Crest.FAN, Wing.PATCHED, Tail.SHORT),
    _species("Swallow-tailed sylve", Plumage.GREEN, Beak.HOOKED, Crest.FAN, Wing.PATCHED, Tail.FORKED),
    _species("Lance-billed sylve", Plumage.GREEN, Beak.LONG, Crest.POINTED, Wing.PLAIN, Tail.BROAD),
)

_BY_NAME = {species.name: species for species in SPECIES}


def species_names() -> tuple[str, ...]:
    """The names of all species, in the order of the demo models' classes."""
    return tuple(species.name for species in SPECIES)


def find_species(name: str) -> Species:
    """The species with this name.

    Raises:
        ValueError: No species has that name.
    """
    if name not in _BY_NAME:
        raise ValueError(f"species is {name!r}, must be one of {', '.join(_BY_NAME)}")
    return _BY_NAME[name]


def deciding_parts(first: Species, second: Species) -> frozenset[Part]:
    """The parts in which two species differ: what a right explanation of "why A, not B" must point at.

    Another plumage makes body, head and feet differ, because it colours all three. Where one species has a crest
    and the other none, the deciding place is the crest (of the one picture) or the crown, a part of the head (of
    the other), so both are named.
    """
    parts: set[Part] = set()
    if first.plumage != second.plumage:
        parts |= {Part.BODY, Part.HEAD, Part.FEET}
    if first.beak != second.beak:
        parts.add(Part.BEAK)
    if first.crest != second.crest:
        parts.add(Part.CREST)
        if Crest.NONE in (first.crest, second.crest):
            parts.add(Part.HEAD)
    if first.wing != second.wing:
        parts.add(Part.WING)
    if first.tail != second.tail:
        parts.add(Part.TAIL)
    return frozenset(parts)


def caption(species: Species, perch: Perch) -> str:
    """The one right caption, for example "a red bird with a long beak and a pointed crest on a branch"."""
    crest = "" if species.crest is Crest.NONE else f" and a {species.crest} crest"
    return f"a {species.plumage} bird with a {species.beak} beak{crest} on a {perch}"


def vocabulary() -> tuple[str, ...]:
    """All words that a caption can contain, sorted."""
    words = {"a", "bird", "with", "beak", "and", "crest", "on"}
    words |= {*Plumage, *Beak, *Perch} | {crest for crest in Crest if crest is not Crest.NONE}
    return tuple(sorted(str(word) for word in words))


def visible_parts(word: str) -> frozenset[Part]:
    """The parts that make a caption word true, empty for grammar words such as "a" or "with"."""
    if word in set(Plumage):
        return frozenset({Part.BODY, Part.HEAD})
    if word == "bird":
        return frozenset(set(Part) - {Part.PERCH})
    if word == "beak" or word in set(Beak):
        return frozenset({Part.BEAK})
    if word == "crest" or word in {Crest.POINTED, Crest.FAN}:
        return frozenset({Part.CREST})
    return frozenset({Part.PERCH}) if word in set(Perch) else frozenset()
