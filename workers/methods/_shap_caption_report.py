"""Writes what a game over captions found: sentences, words, and what the model writes of every region."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backend.contract.results import Column, Scalar, Table
from models.captioners import Captioner
from workers.method import Context, MapArray
from workers.methods._shap_captioning import CaptionAsker
from workers.methods._shap_cuts import Cut
from workers.methods._shap_game import UNMOVED, Outcome, Round
from workers.methods._shap_report import LEAST_DELTA, Found, Report
from workers.methods._shap_view import View
from workers.methods._shap_words import read_wording

Floats = NDArray[np.float64]

LIMITS = (
    "Closeness is what the sentence embedder finds close. A high value does not mean that the caption is true.",
    "Hiding is artificial: pictures with holes draw stock captions. Look at what the model writes with everything "
    "hidden, and repeat the game with other fillings.",
    "Nothing finer than a region can be seen, and another cut gives other numbers. These are effects on this model, "
    "not detected objects.",
    "A negative value means that on average the caption comes closer to the original when the region is hidden, not "
    "that the region contradicts the caption.",
)
COLUMNS = (
    Column(key="share", title="Share", digits=2, hint="Of the total effect; empty where that is nearly zero."),
    Column(key="std_error", title="Error", digits=3, hint="Standard error; 0 when every coalition was tried."),
    Column(key="only_caption", title="Only this", hint="What the model writes when it sees only this region."),
    Column(key="only_value", title="Closeness", digits=3),
    Column(key="without_caption", title="Without this", hint="What the model writes when only this is hidden."),
    Column(key="without_value", title="Closeness", digits=3),
    Column(key="first_in", title="First in", digits=3, hint="What showing it alone adds to showing nothing."),
    Column(key="last_in", title="Last in", digits=3, hint="What hiding it alone takes away."),
    Column(key="flags", title="Note"),
)


SPAN = (
    Column(key="text", title="Text"),
    Column(key="first", title="First token"),
    Column(key="last", title="Behind the last"),
    Column(key="start", title="From", hint="First character in the caption."),
    Column(key="end", title="To", hint="Behind the last character."),
    Column(key="full", title="Seen", unit="nats", digits=2, hint="Log-probability with everything shown."),
    Column(key="empty", title="Hidden", unit="nats", digits=2, hint="Log-probability with everything hidden."),
)


class CaptionReport(Report):
    """Draws results of a caption's game.

    Args:
        context: Of the run.
        captioner: With the decoding settings of the run.
        asker: Its captions.
        view: What the model sees.
        cut: The regions.
        game: The main game.
        embedder: Name and digest of the sentence embedder.
    """

    limits = LIMITS

    def __init__(
        self,
        context: Context,
        captioner: Captioner,
        asker: CaptionAsker,
        *,
        view: View,
        cut: Cut,
        game: Round,
        embedder: tuple[str, str],
    ) -> None:
        super().__init__(view, cut, game, context.model.preprocessing, "cosine")
        self._context = context
        self._captioner = captioner
        self._asker = asker
        self._embedder = embedder
        ids = asker.reference.token_ids
        self._wording = read_wording(asker.reference.text, captioner.pieces(ids) if ids else ())
        if context.params.token_view and not asker.scores_tokens:
            self.notes.append(f"Words cannot be explained for this model: {captioner.tokens_reason}")

    def columns(self) -> Sequence[Column]:
        return COLUMNS

    def caption(self) -> str:
        return self._asker.reference.text

    def region_words(self, only: int | None, without: int | None) -> dict[str, Scalar]:
        return {"only_caption": self._text(only), "without_caption": self._text(without)}

    def hidden_words(self, game: Round) -> str | None:
        return self._text(game.caption([]))

    def reading(self, found: Found) -> str:
        outcome, caption = found.outcome, self._asker.reference.text
        if outcome is None:
            return f"The model writes: '{caption}'. Now its regions are hidden, a few at a time."
        if outcome.stopped == UNMOVED or not outcome.round.players.count:
            return (
                f"The caption did not change in any of the {outcome.evaluations} pictures tried: it does not depend on "
                "what is visible."
            )
        delta = float(outcome.delta[0])
        if abs(delta) < LEAST_DELTA:
            return "Hiding everything hardly changes the caption; the values below say little."
        top = self.top(outcome)
        only, without = self.alone(outcome, top)
        alone, rest = (self._quoted(outcome.round.caption(members)) for members in (only, without))
        share = self.share(outcome, top)
        part = f"{share:.0%}".replace("%", " %") if share is not None else "all"
        name = "what the other result does not cover" if top == self.cut.rest else f"region {top + 1}"
        return (
            f"'{caption}' rests mostly on {name} ({part} of the total effect {delta:.2f}); seen alone it gives "
            f"{alone}, without it the model writes {rest}."
        )

    def cautions(self, found: Found) -> list[str]:
        said: list[str] = []
        outcome = found.outcome
        if outcome is not None and outcome.stopped != UNMOVED:
            if abs(float(outcome.delta[0])) < LEAST_DELTA:
                said.append(
                    "The fully hidden picture draws a caption as close as the original one, perhaps by chance; the "
                    "values only say how regions differ."
                )
            said += self.warnings(found)
        return said

    def _add_details(
        self,
        found: Found,
        arrays: dict[str, MapArray],
        tables: list[Table],
        scalars: dict[str, Scalar],
    ) -> None:
        outcome = found.outcome
        assert outcome is not None
        decoding, book = self._captioner.decoding, self._asker.book
        scalars |= {
            "caption_hidden": self.hidden_words(outcome.round),
            "distinct_captions": len(book.texts),
            "token_view": self._asker.scores_tokens,
            "tokens_reason": self._captioner.tokens_reason,
            "num_beams": decoding.num_beams,
            "max_new_tokens": decoding.max_new_tokens,
            "prompt": decoding.prompt,
            "embedder": self._embedder[0],
            "embedder_digest": self._embedder[1],
            "passes": self._context.engine.passes,
            "seconds": self._context.engine.seconds,
        }
        self._add_words(outcome, arrays, tables)
        if found.is_complete:
            numbers = [outcome.round.caption_of(bits) for bits in outcome.coalitions]
            arrays["caption_index"] = MapArray(np.array(numbers, np.int32))
            tables.append(self._captions())

    def _add_words(self, outcome: Outcome, arrays: dict[str, MapArray], tables: list[Table]) -> None:
        words = self._wording
        phi, full, empty = outcome.phi[:, 1:].T, outcome.full[1:], outcome.empty[1:]
        phrases = [(words.words[one.first].first, words.words[one.last - 1].last) for one in words.phrases]
        kinds = {
            "token": (words.tokens, [(one.first, one.last) for one in words.tokens]),
            "word": (words.words, [(one.first, one.last) for one in words.words]),
            "phrase": (words.phrases, phrases),
        }
        for kind, (spans, ranges) in kinds.items():
            rows = tuple(
                (span.text, a, b, span.start, span.end, *_sums(full, empty, a, b))
                for span, (a, b) in zip(spans, ranges, strict=True)
            )
            tables.append(Table(name=f"{kind}s", title=f"{kind.capitalize()}s", columns=SPAN, rows=rows))
            if len(full) and ranges:
                values = np.stack([phi[a:b].sum(axis=0) for a, b in ranges])
                arrays[f"{kind}_phi"] = MapArray(values, precise=True)
        if len(full):
            arrays["token_full"] = MapArray(full, precise=True)
            arrays["token_empty"] = MapArray(empty, precise=True)

    def _captions(self) -> Table:
        book = self._asker.book
        return Table(
            name="captions",
            title="All captions",
            columns=(
                Column(key="caption", title="Caption"),
                Column(key="count", title="Pictures", hint="Masked pictures that drew it."),
                Column(key="closeness", title="Closeness", digits=3, hint="To the original caption."),
            ),
            rows=tuple(zip(book.texts, book.pictures, book.closeness, strict=True)),
        )

    def _text(self, number: int | None) -> str | None:
        return None if number is None else self._asker.book.texts[number]

    def _quoted(self, number: int | None) -> str:
        text = self._text(number)
        return f"'{text}'" if text else "no caption"


def _sums(full: Floats, empty: Floats, first: int, last: int) -> tuple[float | None, float | None]:
    """Returns the log-probability of a range of tokens in nats, shown and hidden; None when tokens are not scored."""
    if not len(full):
        return None, None
    return float(full[first:last].sum()), float(empty[first:last].sum())
