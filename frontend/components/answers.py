"""Two answers to one picture, an explainer's and its model's, and whether they are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Scalar
from frontend.components.bars import bar
from frontend.components.icons import icon
from frontend.components.words import class_name, number


@dataclass(frozen=True)
class Answer:
    """What somebody answers.

    Attributes:
        who: Explainer or model, for people.
        label: Name of the class; ``None``: no answer.
        probability: 0-1; ``None``: not known.
        own: Whether it is the explainer's.
    """

    who: str
    label: Scalar
    probability: Scalar
    own: bool = False


def both_answers(answers: Sequence[Answer], agree: Scalar) -> Component | None:
    """Returns the answers with their verdict; ``None`` when nobody answers.

    Args:
        answers: In the order in which they are read.
        agree: Whether they name the same class; ``None``: they cannot be compared.
    """
    rows = [_row(answer) for answer in answers if answer.label is not None]
    if not rows:
        return None
    return html.Div([html.Div(rows, className="v-answers"), _verdict(agree)], className="v-strip is-answers")


def _row(answer: Answer) -> Component:
    name = class_name(str(answer.label))
    share = float(answer.probability) if isinstance(answer.probability, int | float) else None
    return html.Div(
        [
            html.Span(answer.who, className="v-answer-who", title=answer.who),
            html.Span(name, className="v-bar-label", title=name),
            bar(share or 0.0, strong=answer.own),
            html.B("–" if share is None else number(share)),
        ],
        className="v-answer" + (" is-strong" if answer.own else ""),
    )


def _verdict(agree: Scalar) -> Component:
    if agree is None:
        return html.Span("not comparable", className="v-verdict")
    if agree:
        return html.Span([icon("check", size=13), "agree"], className="v-verdict is-same")
    return html.Span([icon("warning", size=13), "disagree"], className="v-verdict is-different")
