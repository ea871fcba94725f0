"""What a captioner writes: one sentence about the picture, or the answer to a question."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from pydantic import Field
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Column, ResultKind, Table, Texts
from backend.contract.schemas import ModelCard, ModelKind
from models.captioners import DEFAULT_NEW_TOKENS, Captioner, Decoding, Written
from workers.masks import CoalitionMasks, Scene
from workers.method import Context, Method, Params, Result
from workers.requests import Request

if TYPE_CHECKING:
    from workers.engine import Engine

UNSURE_BELOW = 0.5
"""Probability under which a token is named as one that the model was unsure of."""


class CaptionParams(Params):
    """How the caption is written."""

    prompt: str = Field(
        default="",
        max_length=200,
        title="Question or beginning",
        description="A question to answer or the beginning of the caption, for captioners that take one.",
    )
    num_beams: int = Field(
        default=1,
        ge=1,
        le=5,
        title="Beams",
        description="Sentences followed at the same time; 1 always takes the most likely next word.",
    )
    max_new_tokens: int = Field(
        default=DEFAULT_NEW_TOKENS, ge=4, le=64, title="Longest caption", description="In tokens."
    )


class Caption(Method):
    """The sentence that a captioner writes about the picture.

    The captioner sees the picture once and writes word by word, always the most likely one next; nothing is drawn at
    random. Where its probabilities can be read off, each token is listed with how likely the model found it after
    the ones before: high numbers say that the sentence had to go on like this, not that it is true.
    """

    name = "caption"
    title = "Caption"
    question = "What does the model write?"
    summary = "The sentence that the captioner writes about the picture, with the probability of each token."
    result_kind = ResultKind.PREDICTION
    role = "prediction"
    place = 110
    Params = CaptionParams

    def supports(self, model: ModelCard) -> str | None:
        if model.kind == ModelKind.CAPTIONER:
            return None
        return f"{model.title} writes no sentences."

    def cost(self, model: ModelCard, params: Any) -> int:  # noqa: ARG002 - always one
        return 1

    def explain(self, context: Context) -> Result:
        """Returns the caption and the probability of each of its tokens, 0-1.

        Cost: one captioning pass, and one decoder pass for the probabilities.

        Raises:
            ProblemError: ``params_invalid`` for a prompt that the model cannot take, ``not_supported`` for classifiers.
        """
        captioner = _captioner(context)
        preprocessing = context.model.preprocessing
        prepared = preprocessing.prepare(context.picture.pixels)
        x = preprocessing.normalise(prepared.pixels).to(context.model.device)
        written = _write(captioner, context.engine, x)
        probabilities = _probabilities(captioner, x, written)
        scalars: dict[str, bool | int | float | str | None] = {"tokens": len(written.token_ids)}
        if probabilities:
            scalars["lowest_probability"] = min(probabilities)
            scalars["mean_log_probability"] = float(torch.tensor(probabilities).double().log().mean())
        pieces = captioner.pieces(written.token_ids)
        return Result(
            caption=written.text,
            tables=(_table(pieces, probabilities),) if probabilities else (),
            scalars=scalars,
            texts=Texts(
                reading=_reading(written, pieces, probabilities),
                notes=() if captioner.has_tokens else (captioner.tokens_reason,),
            ),
        )


def _captioner(context: Context) -> Captioner:
    """Returns the model's captioner with the settings of this run."""
    captioner = context.model.captioner
    if captioner is None:
        raise ProblemError(ProblemCode.NOT_SUPPORTED, f"{context.model.card.title} writes no sentences.")
    params = context.params
    return captioner.with_decoding(
        Decoding(prompt=params.prompt.strip(), num_beams=params.num_beams, max_new_tokens=params.max_new_tokens)
    )


def _write(captioner: Captioner, engine: Engine, x: Tensor) -> Written:
    """Returns the caption of one picture ``[3, h, w]``, run by the engine, which counts it and minds the memory."""
    everywhere = torch.zeros(x.shape[1:], dtype=torch.int64, device=x.device)
    whole = CoalitionMasks(everywhere, torch.ones(1, 1, dtype=torch.bool, device=x.device))
    parts = engine.each_masked(Request(Scene(x, x), whole), lambda pictures: captioner.write(pictures)[0])
    return parts[0][0]


def _probabilities(captioner: Captioner, x: Tensor, written: Written) -> list[float]:
    """Returns the probability of each token, 0-1; empty when it cannot be known."""
    if not captioner.has_tokens or not written.token_ids:
        return []
    found = captioner.token_log_probs(x.unsqueeze(0), written.token_ids)[0]
    probabilities: list[float] = found.double().exp().cpu().tolist()
    return probabilities


def _table(pieces: tuple[str, ...], probabilities: list[float]) -> Table:
    columns = (
        Column(key="token", title="Token"),
        Column(key="probability", title="Probability", digits=3, hint="After the tokens before it."),
    )
    rows = tuple((piece.strip() or piece, value) for piece, value in zip(pieces, probabilities, strict=True))
    return Table(name="tokens", title="Tokens of the caption", columns=columns, rows=rows)


def _reading(written: Written, pieces: tuple[str, ...], probabilities: list[float]) -> str:
    if not written.text:
        return "The model writes nothing about this picture."
    said = f"The model writes “{written.text}”."
    if not probabilities:
        return said
    lowest = min(range(len(probabilities)), key=probabilities.__getitem__)
    word, value = pieces[lowest].strip(), probabilities[lowest]
    if value >= UNSURE_BELOW or not word:
        return f"{said} It found every token likely, the least with {value:.2f}."
    return f"{said} It was least sure of “{word}”, with a probability of {value:.2f}."
