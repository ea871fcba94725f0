"""LVW: which learned picture words a picture contains, and how they add up to the answer."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from backend.contract.explainers import ExplainerRecord
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Column, ResultKind, Table
from backend.contract.schemas import ModelCard, ModelKind
from models.heads.spatial_trunk import LEAST_CELLS
from models.training.lvw import open_book
from workers.method import Context, MapArray, Method, Params, Result
from workers.methods._lvw_read import read_attention, read_words
from workers.methods._lvw_report import Report


class LvwParams(Params):
    """Which word book, what is compared, and how much is listed."""

    explainer: str | None = Field(
        default=None,
        title="Word book",
        description="Which trained word book; empty: the newest for this model.",
        json_schema_extra={"explainer": True},
    )
    contrast: int | None = Field(
        default=None,
        ge=0,
        title="Compare with",
        description="Class of the word book to compare with, by number; empty: none.",
    )
    top_words: int = Field(default=10, ge=1, le=50, title="Words", description="Length of both lists of words.")
    exemplars: int = Field(
        default=3, ge=0, le=6, title="Nearest patches", description="Crops shown per word beside its source."
    )
    percentile: float = Field(
        default=50,
        ge=0,
        le=99,
        title="Overlap cut",
        description="Per cent of the picture that is left out when the overlap is measured.",
    )


class Lvw(Method):
    """Reads a picture as a list of learned words; score times weight over the words gives the class score exactly.

    A word book of some hundred small prototypes, shared by all classes, was trained once for the model. Each word is a
    real patch of a training picture.

    The book is a **second network**, trained to give the right labels and to look where the model looks. It is not the
    model's own computation, so two measured fidelities (same answer? same place?) stand at the top, and a disagreement
    on this very picture is said before anything else.

    The crop that illustrates a word is a display convention: a cell sees far more than its block, words have no names,
    and a crop does not tell whether colour, shape or texture matched. Two maps that both prefer the middle overlap
    well for no good reason, so overlap is shown beside its floors only.
    """

    name = "lvw"
    title = "LVW: visual words"
    question = "Which learned words, and what do they add?"
    summary = "Reads the picture as learned visual words whose contributions add up to the class score."
    help = """
    A *word book* was trained once for this model: some hundred visual words, shared by all classes. Each word is a
    real patch of a training picture. The picture is read as a list of words, and score times weight over all words is
    the class score, exactly.

    **How to read it**

    - The head line says both answers and whether they agree, then how often the book gives the model's answer and how
      well it looks at the same place, beside what chance and the middle of the picture would give.
    - Each card is a word: where it is in this picture, the training picture it was taken from, its nearest patches,
      and its contribution in logit units. Warm adds to the class, cool speaks against it.
    - *In this picture* lists the words that resemble something here most; *decide* lists those that add most.

    **What it cannot tell**

    - What the model itself computes. The book is a second network that was trained to agree with it.
    - What a word means. It has no name, and its crop does not show whether colour, shape or texture matched. A cell
      has seen far more of the picture than its block.
    - Whether "where the model looks" is right: that is Grad-CAM, and where Grad-CAM misleads, so do the words.
    """
    version = 1
    place = 40
    has_target = True
    result_kind = ResultKind.VISUAL_WORDS
    source = "Xiao, Ding, Liu: Learnable Visual Words for Interpretable Image Recognition, 2022, arXiv 2205.10724"
    Params = LvwParams

    def supports(self, model: ModelCard) -> str | None:
        if model.kind == ModelKind.CAPTIONER:
            return "This model writes text; a word book needs class scores."
        if model.kind != ModelKind.CLASSIFIER:
            return "This model has no class scores."
        if not model.blocks or model.blocks[-1].grid[0] * model.blocks[-1].grid[1] < LEAST_CELLS:
            return "This network keeps no spatial map of at least four cells."
        books = [book for book in model.explainers if book.method == self.name]
        if books and all(book.preprocessing != model.preprocessing for book in books):
            return f"The word book {books[0].id} was trained with another preprocessing than this model now has."
        return None if books else f"No word book has been trained for {model.name} yet. {self._advice(model)}"

    def remedy(self, model: ModelCard) -> str:
        has_books = any(book.method == self.name for book in model.explainers)
        return self._advice(model) if has_books and self.supports(model) is not None else ""

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - the same for all
        return 3

    def explain(self, context: Context) -> Result:
        """Returns the words of a picture; they are shown first, the model's own attention follows.

        Cost: one pass of the word network, one forward pass of the model, one backward pass of its head.

        Raises:
            ProblemError: When there is no word book, it does not fit, or the class asked for is not in it.
        """
        total = self.cost(context.model.card, context.params)
        context.progress(0, total, stage="reading words")
        reading = read_words(context, self._find(context))
        report = Report(reading, context.params)
        context.engine.passes += 1
        context.progress(1, total, stage="where the model looks")
        context.partial(report.result(None))
        context.check_cancelled()
        attention = read_attention(context, reading)
        context.engine.passes += 2
        context.progress(total, total)
        return report.result(attention)

    def _find(self, context: Context) -> ExplainerRecord:
        model = context.model
        record = context.explainers.find(self.name, model.weights_digest, context.params.explainer)
        if record is None:
            raise ProblemError(
                ProblemCode.NOT_SUPPORTED,
                f"No word book has been trained for {model.name} yet. {self._advice(model.card)}",
            )
        if record.manifest.base.preprocessing != model.card.preprocessing:
            raise ProblemError(
                ProblemCode.NOT_SUPPORTED,
                f"The word book {record.id} was trained with another preprocessing than this model now has.",
            )
        return record

    def _advice(self, model: ModelCard) -> str:
        return f"Train one: `vitrine train {self.name} --model {model.name} --data FOLDER`"


def global_view(explainer: ExplainerRecord) -> Result:
    """Returns what is known of every word of a book; needs no network and no picture.

    Arrays: ``usage`` ``[C, P]`` (share of a class's training pictures that have the word, 0-1), ``neighbours``
    ``[P, n]`` int32 (nearest training pictures) with ``neighbour_distance``, ``histogram`` ``[P, C]`` (their classes),
    ``entropy`` ``[P]`` (bits) and ``prevalence`` ``[P]`` (0-1). Table ``words``: one row per word.

    Raises:
        ProblemError: When the files are not those of a word book.
    """
    opened = open_book(explainer)
    book, names = opened.book, opened.classes
    purity = explainer.content.get("parts") or {}
    rows = []
    for word in range(len(book.source_index)):
        shared = [", ".join(names[index] for index in found) for found in book.shared(word)]
        part, share = purity.get("part", {}), purity.get("share", {})
        rows.append(
            (
                word,
                names[int(book.source_label[word])],
                float(book.prevalence[word]),
                float(book.entropy[word]),
                *shared,
                part.get(str(word)),
                share.get(str(word)),
                book.flags(word),
            )
        )
    arrays = {
        "usage": book.usage.numpy(),
        "neighbours": book.neighbours.numpy().astype(np.int32),
        "neighbour_distance": book.neighbour_distance.numpy(),
        "histogram": book.histogram.numpy().astype(np.int32),
        "entropy": book.entropy.numpy(),
        "prevalence": book.prevalence.numpy(),
    }
    return Result(
        arrays={name: MapArray(np.asarray(data)) for name, data in arrays.items()},
        tables=(Table(name="words", title="Words", columns=WORD_COLUMNS, rows=tuple(rows)),),
        scalars={"words": len(rows), "distinct_words": len(set(book.duplicate_of.tolist())), "book": explainer.id},
    )


WORD_COLUMNS = (
    Column(key="word", title="Word"),
    Column(key="source_class", title="Taken from"),
    Column(key="prevalence", title="Prevalence", digits=3, hint="Share of training pictures that have the word."),
    Column(key="entropy", title="Entropy", unit="bits", digits=2, hint="Of the classes of its nearest patches."),
    Column(key="classes_usage", title="Used by", hint="Classes in which a quarter of the pictures have the word."),
    Column(key="classes_neighbours", title="Near in", hint="Classes with two or more of the nearest patches."),
    Column(key="classes_weight", title="Speaks for", hint="Classes with a positive weight."),
    Column(key="part", title="Part", hint="Most frequent part of the bird among its nearest patches."),
    Column(key="purity", title="Part purity", digits=2, hint="Share of that part among them."),
    Column(key="flags", title="Flags"),
)
