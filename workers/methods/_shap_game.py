"""One game on one picture: which regions play, what each coalition is worth, and what follows for every region."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from workers.masks import CoalitionMasks, Scene
from workers.methods._shap_view import Labels
from workers.requests import Request
from workers.shapley import GamesEstimate, play_games

Bits = NDArray[np.bool_]
Floats = NDArray[np.float64]

SAME = 1e-6
"""A region whose pixels differ from the filling by no more than this (normalised) is already hidden."""
NOT_IN_VIEW = "not in view"
EQUALS_FILLING = "equals the filling"


@dataclass(frozen=True, eq=False)
class Players:
    """Which regions take part; hiding the others would change nothing.

    Args:
        ids: Regions that play, ascending; player ``i`` is region ``ids[i]``.
        flags: For every region why it does not play; empty when it does.
        places: ``[Hm, Wm]`` int64 on the device: player of each pixel of the input, ``len(ids)`` where none is.
    """

    ids: Sequence[int]
    flags: Sequence[str]
    places: Tensor

    @property
    def count(self) -> int:
        """Number of players."""
        return len(self.ids)

    def masks(self, bits: Bits) -> CoalitionMasks:
        """Returns the masks of coalitions ``[B, M]``; what nobody holds is always shown."""
        shown = np.concatenate([bits, np.ones((len(bits), 1), bool)], axis=1)
        return CoalitionMasks(self.places, torch.from_numpy(shown).to(self.places.device))

    def spread(self, values: Floats) -> Floats:
        """Returns values of the players ``[M, ...]`` as values of all regions ``[M0, ...]``, 0 for the others."""
        everywhere = np.zeros((len(self.flags), *values.shape[1:]))
        everywhere[list(self.ids)] = values
        return everywhere


def find_players(labels: Labels, count: int, scene: Scene) -> Players:
    """Returns the regions whose hiding changes the picture.

    Args:
        labels: ``[Hm, Wm]``, region of each pixel of the input; -1 beyond the picture.
        count: Number of regions.
        scene: The picture and what hides it.
    """
    differs = ((scene.picture - scene.substrate).abs() > SAME).any(dim=0).cpu().numpy()
    inside = labels >= 0
    pixels = np.bincount(labels[inside], minlength=count)
    changed = np.bincount(labels[inside & differs], minlength=count)
    flags = [NOT_IN_VIEW if not n else EQUALS_FILLING if not c else "" for n, c in zip(pixels, changed, strict=True)]
    ids = [region for region, flag in enumerate(flags) if not flag]
    table = np.full(count + 1, len(ids), np.int64)
    table[ids] = np.arange(len(ids))
    places = torch.from_numpy(table[np.where(inside, labels, count)]).to(scene.picture.device)
    return Players(ids, flags, places)


class Asker(Protocol):
    """Gives the values of masked pictures."""

    @property
    def n_games(self) -> int:
        """Number of values per picture, T; the first is the one that is explained."""

    @property
    def full(self) -> tuple[Floats, int]:
        """Values ``[T]`` and caption number of the intact picture, which is never asked again."""

    def ask(self, request: Request) -> tuple[Floats, Sequence[int]]:
        """Returns values ``[n, T]`` and the number of the caption of each masked picture (-1 without captions)."""


@dataclass(eq=False)
class Round:
    """The game with one filling: remembers every picture, so that none is asked twice.

    Args:
        filling: Its name.
        scene: The picture and what hides it.
        players: Who plays.
        asker: Gives values.
    """

    filling: str
    scene: Scene
    players: Players
    asker: Asker
    rows: list[Floats] = field(default_factory=list)
    captions: list[int] = field(default_factory=list)
    known: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        values, caption = self.asker.full
        self._remember(np.ones((1, self.players.count), bool), values[None], [caption])

    def values(self, bits: Bits) -> Floats:
        """Returns the values ``[B, T]`` of coalitions ``[B, M]``; only new ones cost a pass."""
        fresh = [row for row in range(len(bits)) if _key(bits[row]) not in self.known]
        if fresh:
            request = Request(self.scene, self.players.masks(bits[fresh]))
            self._remember(bits[fresh], *self.asker.ask(request))
        return np.stack([self.rows[self.known[_key(row)]] for row in bits])

    def value(self, members: Sequence[int]) -> Floats | None:
        """Returns the values ``[T]`` of one coalition of players, or ``None`` when it was not asked."""
        row = self._row(members)
        return None if row is None else self.rows[row]

    def caption(self, members: Sequence[int]) -> int | None:
        """Returns the number of the caption of one coalition, or ``None`` when it was not asked."""
        row = self._row(members)
        return None if row is None else self.captions[row]

    def coalition(self, members: Sequence[int]) -> Bits:
        """Returns ``[M]`` bool."""
        bits = np.zeros(self.players.count, bool)
        bits[list(members)] = True
        return bits

    def caption_of(self, bits: Bits) -> int:
        """Returns the number of the caption of a coalition that was asked."""
        return self.captions[self.known[_key(bits)]]

    def _row(self, members: Sequence[int]) -> int | None:
        return self.known.get(_key(self.coalition(members)))

    def _remember(self, bits: Bits, values: Floats, captions: Sequence[int]) -> None:
        if not np.isfinite(values).all():
            raise ProblemError(
                ProblemCode.NOT_FINITE,
                "The model answered a masked picture with a value that is not a finite number, so nothing can be "
                "compared.",
            )
        for row, numbers, caption in zip(bits, values, captions, strict=True):
            self.known[_key(row)] = len(self.rows)
            self.rows.append(np.asarray(numbers, np.float64))
            self.captions.append(int(caption))


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a round says about every region, so far.

    Args:
        round: The game.
        phi: ``[M0, T]``, 0 for regions that do not play.
        std_error: ``[M0, T]``; ``None`` while unknown.
        empty: ``[T]``, value with everything hidden.
        full: ``[T]``, value of the intact picture.
        coalitions: ``[N, M]`` in the order of evaluation.
        table: ``[N, T]``, their values.
        exact: Whether every coalition is known.
        stopped: Why the game ended early; empty when it did not.
    """

    round: Round
    phi: Floats
    std_error: Floats | None
    empty: Floats
    full: Floats
    coalitions: Bits
    table: Floats
    exact: bool
    stopped: str = ""

    @property
    def delta(self) -> Floats:
        """``[T]``, what all regions together add."""
        return self.full - self.empty

    @property
    def evaluations(self) -> int:
        """Coalitions evaluated."""
        return len(self.table)


@dataclass(frozen=True, eq=False)
class Rules:
    """When a game ends.

    Args:
        budget: Most coalitions; ``None``: see :func:`workers.shapley.shapley_values`.
        tolerance: Standard error of the first game below which a sampled game ends; 0 never.
        seed: Draws the coalitions of a sampled game.
        is_unmoved: Whether nothing tried in the first step changed the answer.
    """

    budget: int | None
    tolerance: float
    seed: int
    is_unmoved: Callable[[Round], bool]


UNMOVED = "unmoved"
PRECISE = "precise"


def play(game: Round, rules: Rules, on_outcome: Callable[[Outcome, bool], None]) -> Outcome:
    """Returns the values of all regions after playing to the end, or until nothing more is to be learnt.

    Args:
        game: Filling, players and values.
        rules: When to stop.
        on_outcome: Told of estimates on the way; the flag is true for the first one.
    """
    n_players = game.players.count
    if not n_players:
        full = game.asker.full[0]
        nothing = np.zeros((len(game.players.flags), game.asker.n_games))
        return Outcome(game, nothing, nothing, full, full, np.zeros((1, 0), bool), full[None], exact=True)
    ended = ""
    is_first = True

    def on_progress(done: int, total: int, partial: GamesEstimate | None) -> bool:
        nonlocal ended, is_first
        if partial is None:
            return False
        if is_first and rules.is_unmoved(game):
            ended = UNMOVED
        elif done < total and rules.tolerance > 0 and total < 2**n_players:
            error = partial.std_error[:, 0]
            if np.isfinite(error).all() and error.max() <= rules.tolerance:
                ended = PRECISE
        on_outcome(_outcome(game, partial, ended), is_first)
        is_first = False
        return bool(ended)

    budget = rules.budget
    found = play_games(
        game.values, n_players, game.asker.n_games, budget=budget, seed=rules.seed, on_progress=on_progress
    )
    return _outcome(game, found, ended)


def _outcome(game: Round, found: GamesEstimate, stopped: str) -> Outcome:
    is_known = bool(np.isfinite(found.std_error).all())
    return Outcome(
        round=game,
        phi=game.players.spread(found.values),
        std_error=game.players.spread(found.std_error) if is_known else None,
        empty=found.empty,
        full=found.full,
        coalitions=found.coalitions,
        table=found.table,
        exact=found.exact,
        stopped=stopped,
    )


def _key(bits: Bits) -> bytes:
    return np.packbits(bits).tobytes() + bytes((len(bits),))
