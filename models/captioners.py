"""What a captioner is: a network that writes a sentence about a picture.

Everything works on batches of pictures that are already normalised, ``[B, 3, H, W]`` float32 with ``H, W`` equal to
``input_size``; preparing a picture (resize, crop, mean and standard deviation) is :attr:`Captioner.geometry`'s work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Self, runtime_checkable

from torch import Tensor

from models.preprocessing import Preprocessing

DEFAULT_NEW_TOKENS = 24


@dataclass(frozen=True)
class Decoding:
    """How captions are written; never sampled.

    Args:
        prompt: What the caption begins with or answers; the same for every picture of a batch.
        num_beams: 1 is greedy.
        max_new_tokens: Longest caption.

    Raises:
        ValueError: If a number is below 1.
    """

    prompt: str = ""
    num_beams: int = 1
    max_new_tokens: int = DEFAULT_NEW_TOKENS

    def __post_init__(self) -> None:
        if self.num_beams < 1 or self.max_new_tokens < 1:
            raise ValueError(
                f"num_beams and max_new_tokens are at least 1, not {self.num_beams} and {self.max_new_tokens}"
            )


@dataclass(frozen=True)
class Written:
    """One caption.

    Args:
        text: Without special tokens, whitespace collapsed, stripped; may be empty.
        token_ids: Ids of the caption itself: no prompt, no start, end or padding.
    """

    text: str
    token_ids: tuple[int, ...]


@runtime_checkable
class Captioner(Protocol):
    """A network that writes a sentence about a picture. All of it runs in evaluation mode and without gradients.

    A captioner never changes: other decoding settings make another captioner over the same network
    (:meth:`with_decoding`), so nothing has to be put back after an error.
    """

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels."""

    @property
    def mean(self) -> tuple[float, ...]:
        """Subtracted per channel, on the scale 0-1."""

    @property
    def std(self) -> tuple[float, ...]:
        """Divided by per channel, on the scale 0-1."""

    @property
    def geometry(self) -> Preprocessing:
        """How a picture becomes input, with the exact way back to picture pixels."""

    @property
    def has_tokens(self) -> bool:
        """Whether :meth:`token_log_probs` can be trusted; checked when the model was loaded."""

    @property
    def tokens_reason(self) -> str:
        """Why not, in one sentence for people; empty when ``has_tokens``."""

    @property
    def has_features(self) -> bool:
        """Whether :meth:`vision_features` knows the layout of the vision encoder."""

    @property
    def features_reason(self) -> str:
        """Why not, in one sentence for people; empty when ``has_features``."""

    @property
    def takes_prompt(self) -> bool:
        """Whether a prompt can be given (visual question answering)."""

    @property
    def prompt(self) -> str:
        """The prompt of :attr:`decoding`."""

    @property
    def decoding(self) -> Decoding:
        """How captions are written."""

    def with_decoding(self, decoding: Decoding) -> Self:
        """Returns the same captioner with other decoding settings.

        Raises:
            ProblemError: ``params_invalid`` for a prompt that the model cannot take.
        """

    def caption(self, batch: Tensor) -> list[str]:
        """Returns one caption per picture.

        Args:
            batch: ``[B, 3, H, W]`` float32, normalised.
        """

    def write(self, batch: Tensor, token_ids: Sequence[int] | None = None) -> tuple[list[Written], Tensor | None]:
        """Returns captions with their token ids and, on the way, the log-probabilities of a given caption.

        The vision encoder runs once for both where the model allows it.

        Args:
            batch: ``[B, 3, H, W]`` float32, normalised.
            token_ids: A caption's ids to score on every picture; ``None``: nothing is scored.

        Returns:
            ``B`` captions, and what :meth:`token_log_probs` would return (``None`` without ``token_ids``).
        """

    def vision_features(self, batch: Tensor) -> Tensor:
        """Returns the last feature map of the vision encoder, without class and register tokens.

        Args:
            batch: ``[B, 3, H, W]`` float32, normalised.

        Returns:
            ``[B, C, h, w]`` float32 on the captioner's device.

        Raises:
            ValueError: If ``has_features`` is false.
        """

    def token_log_probs(self, batch: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Returns the log-probability of each token of a given caption, given those before it (teacher forcing).

        Args:
            batch: ``[B, 3, H, W]`` float32, normalised.
            token_ids: ``T`` ids as in :attr:`Written.token_ids`.

        Returns:
            ``[B, T]`` float32, nats, at most 0.

        Raises:
            ValueError: If ``has_tokens`` is false or there is no token.
        """

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Returns the text that each token adds, as the tokenizer itself decodes; joined, they are the caption."""
