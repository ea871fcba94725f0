"""What is said about a reading, with its numbers."""

from __future__ import annotations

from collections.abc import Mapping

from backend.contract.results import Scalar, Texts
from workers.methods._lvw_read import BaseAttention, Reading

LOW_AGREEMENT = 0.9


def write_texts(reading: Reading, scalars: Mapping[str, Scalar], attention: BaseAttention | None) -> Texts:
    """Returns reading, cautions and notes; before the base was asked, nothing is said about it."""
    first = _disagreement(scalars)
    return Texts(
        reading=_reading(reading, scalars, attention),
        badge="second network",
        cautions=(*first, *_cautions(reading, scalars, attention)),
        notes=(_fidelity(scalars),),
    )


def _reading(reading: Reading, scalars: Mapping[str, Scalar], attention: BaseAttention | None) -> str:
    book, target = reading.opened.book, reading.opened.classes[reading.target]
    strengths = reading.contributions[reading.target].abs()
    word = int(strengths.argmax())
    source = reading.opened.classes[int(book.source_label[word])]
    used = len(book.shared(word)[0])
    added, logit = float(reading.contributions[reading.target, word]), float(reading.logits[reading.target])
    said = (
        f"The strongest word, {word}, was taken from a picture of {source}, is used by {used} "
        f"{'class' if used == 1 else 'classes'}, and adds {added:.2f} of {logit:.2f} to {target}."
    )
    if attention is None:
        return said
    if scalars.get("agree") is None:
        return f"{said} The model's answer, {scalars['base_answer']}, is no class of this word book."
    if scalars["agree"]:
        return f"{said} The word network and the model agree on this picture."
    return f"{said} The word network and the model disagree: it says {scalars['answer']}, the model says " + (
        f"{scalars['base_answer']}."
    )


def _disagreement(scalars: Mapping[str, Scalar]) -> tuple[str, ...]:
    if scalars.get("agree") is not False:
        return ()
    return (
        f"The word network says {scalars['answer']}, the model says {scalars['base_answer']}: these words explain the "
        "word network, not the model.",
    )


def _cautions(reading: Reading, scalars: Mapping[str, Scalar], attention: BaseAttention | None) -> list[str]:
    said = []
    agreement = scalars["book_agreement"]
    if isinstance(agreement, float) and agreement < LOW_AGREEMENT:
        said.append(f"This word book gives the model's answer on only {agreement:.0%} of test pictures.")
    overlap, middle = scalars["book_iou"], scalars["book_iou_gaussian"]
    if isinstance(overlap, float) and isinstance(middle, float) and overlap <= middle:
        said.append(
            f"Its words overlap with where the model looks no better than the middle of the picture does "
            f"({overlap:.2f} against {middle:.2f})."
        )
    if attention is not None and attention.is_constant:
        said.append("The model's attention is the same everywhere on this picture, so nothing can be compared.")
    if not bool((reading.to_book >= 0).any()):
        said.append("The word book was trained with other class names than the model's.")
    return said


def _fidelity(scalars: Mapping[str, Scalar]) -> str:
    """Returns the two measured fidelities, with the floors that overlap is never shown without."""
    agreement = scalars["book_agreement"]
    same = "an unknown share" if not isinstance(agreement, float) else f"{agreement:.1%}"
    names = ("book_iou", "book_iou_gaussian", "book_iou_other", "book_iou_chance")
    x, g, o, c = (scalars[name] for name in names)
    if not all(isinstance(value, float) for value in (x, g, o, c)):
        return f"This word book gives the same answer as the model on {same} of test pictures."
    return (
        f"This word book gives the same answer as the model on {same} of test pictures and looks at the same half of "
        f"the picture with IoU {x:.2f} (Gaussian {g:.2f}, other picture {o:.2f}, chance {c:.2f})."
    )
