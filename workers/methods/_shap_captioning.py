"""What captions masked pictures: every distinct picture once, every distinct sentence compared once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from models.captioners import Captioner, Written
from workers.engine import Engine, is_out_of_memory
from workers.masks import CoalitionMasks, Scene
from workers.requests import Request

if TYPE_CHECKING:
    from workers.methods._shap_game import Round

Floats = NDArray[np.float64]
T = TypeVar("T")
MOVED_NATS = 0.05
"""A token whose log-probability moved by more than this is reason enough to go on although no caption changed."""


class Embedder(Protocol):
    """Turns sentences into vectors whose inner product says how close they are."""

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Returns ``[N, D]`` float32 of unit length; zeros for an empty text."""


class CaptionBook:
    """All distinct captions of a run with their closeness to the first one.

    Args:
        embedder: Compares sentences.
        reference: Caption of the intact picture, not empty; caption number 0.
    """

    def __init__(self, embedder: Embedder, reference: str) -> None:
        self._embedder = embedder
        self._numbers = {reference: 0}
        self.texts = [reference]
        self.closeness = [1.0]
        self.pictures = [0]
        self._own = np.asarray(embedder.encode([reference]), np.float64)[0]

    def add(self, texts: Sequence[str]) -> list[int]:
        """Returns the numbers of captions; new ones are embedded, in one go."""
        fresh = list(dict.fromkeys(text for text in texts if text not in self._numbers))
        spoken = [text for text in fresh if text]
        vectors = np.asarray(self._embedder.encode(spoken), np.float64) if spoken else np.zeros((0, 1))
        found = dict(zip(spoken, vectors, strict=True))
        for text in fresh:
            self._numbers[text] = len(self.texts)
            self.texts.append(text)
            self.closeness.append(self._compare(found[text]) if text else 0.0)
            self.pictures.append(0)
        numbers = [self._numbers[text] for text in texts]
        for number in numbers:
            self.pictures[number] += 1
        return numbers

    def _compare(self, vector: Floats) -> float:
        cosine = float(self._own @ vector)
        if not np.isfinite(cosine):
            raise ProblemError(
                ProblemCode.NOT_FINITE, "The sentence embedder answered with a value that is not a finite number."
            )
        return min(1.0, max(-1.0, cosine))


def intact(x: Tensor) -> Request:
    """Returns the request for the picture ``[3, H, W]`` as it is."""
    everywhere = torch.zeros(x.shape[1:], dtype=torch.int64, device=x.device)
    return Request(Scene(x, x), CoalitionMasks(everywhere, torch.ones(1, 1, dtype=torch.bool, device=x.device)))


class CaptionAsker:
    """Captions masked pictures and, if asked, scores the reference caption's tokens on them.

    Args:
        captioner: With the decoding settings of the run.
        engine: Composes and runs batches.
        x: ``[3, Hm, Wm]``, the intact picture, normalised, on the device.
        embedder: Compares sentences.
        wants_tokens: Whether tokens are scored, where the captioner can.
        on_batch: Told before each batch.

    Attributes:
        reference: Caption of the intact picture with its tokens.
        book: All captions so far.
        scores_tokens: Whether tokens are scored.

    Raises:
        ProblemError: ``not_supported`` if the model gives no caption for the picture.
    """

    def __init__(
        self,
        captioner: Captioner,
        engine: Engine,
        x: Tensor,
        *,
        embedder: Embedder,
        wants_tokens: bool,
        on_batch: Callable[[], None],
    ) -> None:
        self._captioner = captioner
        self._engine = engine
        self._x = x
        self._on_batch = on_batch
        self.scores_tokens = False
        self.reference = self._captions(intact(x))[0][0][0]
        if not self.reference.text:
            raise ProblemError(ProblemCode.NOT_SUPPORTED, "The model gives no caption for this picture.")
        self.book = CaptionBook(embedder, self.reference.text)
        self.book.pictures[0] = 1
        self.scores_tokens = wants_tokens and captioner.has_tokens and bool(self.reference.token_ids)
        tokens = self._intact_tokens() if self.scores_tokens else np.zeros(0)
        self.full: tuple[Floats, int] = (np.concatenate([[1.0], tokens]), 0)

    @property
    def n_games(self) -> int:
        """The caption's closeness, then one game for each scored token."""
        return len(self.full[0])

    def features(self) -> Tensor:
        """Returns the vision encoder's last map of the intact picture ``[C, h, w]``.

        Raises:
            ProblemError: ``not_supported`` where the captioner's layout is not known.
        """
        if not self._captioner.has_features:
            raise ProblemError(
                ProblemCode.NOT_SUPPORTED,
                f"{self._captioner.features_reason} Choose superpixels or a grid for the regions.",
            )
        return self._guarded(lambda: self._captioner.vision_features(self._x[None]))[0]

    def ask(self, request: Request) -> tuple[Floats, Sequence[int]]:
        """Returns values ``[n, 1 + T]`` and caption numbers of masked pictures."""
        written: list[Written] = []
        tokens: list[Floats] = []
        for some, scores in self._captions(request):
            written += some
            if scores is not None:
                tokens.append(scores.double().cpu().numpy())
        numbers = self.book.add([one.text for one in written])
        closeness = np.array([self.book.closeness[number] for number in numbers])
        parts = [closeness[:, None], *([np.concatenate(tokens)] if tokens else [])]
        return np.concatenate(parts, axis=1), numbers

    def is_unmoved(self, game: Round) -> bool:
        """Returns whether all captions so far equal the first, and no token's probability moved."""
        if any(game.captions):
            return False
        moved = np.abs(np.stack(game.rows)[:, 1:] - self.full[0][1:])
        return not (moved > MOVED_NATS).any()

    def _captions(self, request: Request) -> list[tuple[list[Written], Tensor | None]]:
        token_ids = self.reference.token_ids if self.scores_tokens else None

        def run(pictures: Tensor) -> tuple[list[Written], Tensor | None]:
            self._on_batch()
            written, scores = self._guarded(lambda: self._captioner.write(pictures, token_ids))
            if len(written) != len(pictures):
                raise ProblemError(
                    ProblemCode.MODEL_BROKEN,
                    f"The captioner wrote {len(written)} captions for {len(pictures)} pictures.",
                )
            return [Written(" ".join(one.text.split()), one.token_ids) for one in written], scores

        return self._engine.each_masked(request, run)

    def _intact_tokens(self) -> Floats:
        scores = self._guarded(lambda: self._captioner.token_log_probs(self._x[None], self.reference.token_ids))
        return np.asarray(scores[0].double().cpu().numpy(), np.float64)

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except ProblemError:
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise
            raise ProblemError(
                ProblemCode.MODEL_BROKEN,
                f"The captioner failed on a masked picture ({type(error).__name__}), so the run was ended.",
            ) from error
