"""A captioner of the transformers library behind the :class:`models.captioners.Captioner` interface."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from models.captioners import Decoding, Written
from models.captioners_kinds import Family, as_grid
from models.preprocessing import Preprocessing
from models.transformers_log import quiet

LOGIT_BYTES = 256 * 2**20
"""Memory for logits at a time."""
TIE = 1e-3
"""Logits nearer than this are a tie: one pass over all tokens and one per token round differently."""
CHECK_SEED = 5
CHECK_TOKENS = 12


@dataclass(frozen=True, eq=False)
class TransformersCaptioner:
    """Writes captions with a transformers network.

    Args:
        family: What is particular to the network.
        geometry: How it wants its pictures.
        decoding: How captions are written.
        tokens_reason: Why token log-probabilities cannot be trusted; empty when they can.
        features_reason: Why the vision encoder's map is not known; empty when it is.
    """

    family: Family
    geometry: Preprocessing
    decoding: Decoding = field(default_factory=Decoding)
    tokens_reason: str = ""
    features_reason: str = ""

    @property
    def input_size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.geometry.input_size

    @property
    def mean(self) -> tuple[float, ...]:
        """Subtracted per channel, on the scale 0-1."""
        return self.geometry.mean

    @property
    def std(self) -> tuple[float, ...]:
        """Divided by per channel, on the scale 0-1."""
        return self.geometry.std

    @property
    def has_tokens(self) -> bool:
        """Whether token log-probabilities can be trusted."""
        return not self.tokens_reason

    @property
    def has_features(self) -> bool:
        """Whether the vision encoder's map is known."""
        return not self.features_reason

    @property
    def takes_prompt(self) -> bool:
        """Whether a prompt can be given."""
        return self.family.takes_prompt

    @property
    def prompt(self) -> str:
        """The prompt of :attr:`decoding`."""
        return self.decoding.prompt

    def with_decoding(self, decoding: Decoding) -> TransformersCaptioner:
        """Returns the same captioner with other decoding settings.

        Raises:
            ProblemError: ``params_invalid`` for a prompt that the model cannot take.
        """
        if decoding.prompt and not self.takes_prompt:
            raise ProblemError(
                ProblemCode.PARAMS_INVALID, "This captioner takes no prompt or question; leave the prompt empty."
            )
        try:
            start = self.family.start_ids(decoding.prompt)
        except ValueError as error:
            raise ProblemError(ProblemCode.PARAMS_INVALID, f"The prompt is not possible: {error}.") from error
        positions = self.family.positions()
        if positions is not None and len(start) >= positions:
            raise ProblemError(
                ProblemCode.PARAMS_INVALID,
                f"The prompt has {len(start)} tokens; this captioner can hold {positions - 1}.",
            )
        return replace(self, decoding=decoding)

    def caption(self, batch: Tensor) -> list[str]:
        """Returns one caption per picture ``[B, 3, H, W]``."""
        return [written.text for written in self.write(batch)[0]]

    @torch.inference_mode()
    def write(self, batch: Tensor, token_ids: Sequence[int] | None = None) -> tuple[list[Written], Tensor | None]:
        """Returns captions with their token ids, and the log-probabilities ``[B, T]`` of given ids on the way."""
        if token_ids is not None:
            self._require_tokens(token_ids)
        pixels = self._pixels(batch)
        start = self.family.start_ids(self.prompt)
        settings = self.family.settings(
            num_beams=self.decoding.num_beams, max_new_tokens=self._new_tokens(self.decoding.max_new_tokens)
        )
        encoded = self.family.encode(pixels)
        with quiet():
            rows = self.family.generate(pixels, start, settings, encoded).tolist()
        cut = len(start) if self.family.repeats_start else 1
        written = [self._written(row[cut:]) for row in rows]
        return written, None if token_ids is None else self._scored(pixels, token_ids, encoded)

    @torch.inference_mode()
    def vision_features(self, batch: Tensor) -> Tensor:
        """Returns the vision encoder's last map ``[B, C, h, w]`` float32."""
        if not self.has_features:
            raise ValueError(self.features_reason)
        return self._features(self._pixels(batch))

    @torch.inference_mode()
    def token_log_probs(self, batch: Tensor, token_ids: Sequence[int]) -> Tensor:
        """Returns ``[B, T]`` float32: the log-probability of each id given those before it, in nats."""
        self._require_tokens(token_ids)
        pixels = self._pixels(batch)
        return self._scored(pixels, token_ids, self.family.encode(pixels))

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        """Returns the text that each token adds; joined, they are the caption."""
        known = ""
        pieces = []
        for count in range(1, len(token_ids) + 1):
            text = self._text(token_ids[:count])
            # An unfinished character may still change; it is counted when it is whole.
            if text.startswith(known) and not text.endswith("�"):
                pieces.append(text[len(known) :])
                known = text
            else:
                pieces.append("")
        if pieces and (whole := self._text(token_ids)) != known:
            pieces[-1] += whole[len(known) :] if whole.startswith(known) else ""
        return tuple(pieces)

    def checked(self) -> TransformersCaptioner:
        """Returns the captioner with what a noise picture shows: whether tokens align and features lie on a grid."""
        height, width = self.input_size
        noise = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(CHECK_SEED))
        return replace(self, tokens_reason=self._check_tokens(noise), features_reason=self._check_features(noise))

    def _check_tokens(self, noise: Tensor) -> str:
        """Returns why the most likely tokens are not those of greedy decoding; empty when they are."""
        refused = "The probabilities of this captioner's words cannot be read off, so its words have no maps"
        short = replace(self, decoding=Decoding(max_new_tokens=CHECK_TOKENS), tokens_reason="")
        try:
            ids = short.write(noise)[0][0].token_ids
            if not ids:
                return f"{refused}: it writes nothing about noise, so nothing could be compared."
            logits = short._logits(short._pixels(noise), ids, short.family.encode(short._pixels(noise)))[0]
        except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as error:
            return f"{refused} ({type(error).__name__})."
        best = logits.max(-1).values
        given = logits.gather(-1, torch.tensor(ids, device=logits.device).unsqueeze(-1))[:, 0]
        if bool((best - given > TIE).any()):
            return f"{refused}: its most likely words are not the ones that it writes."
        return ""

    def _check_features(self, noise: Tensor) -> str:
        try:
            self._features(self._pixels(noise))
        except (RuntimeError, ValueError, TypeError, AttributeError) as error:
            detail = f": {error}" if isinstance(error, ValueError) else ""
            return f"The vision encoder of this captioner keeps no map that is known{detail}."
        return ""

    @torch.inference_mode()
    def _features(self, pixels: Tensor) -> Tensor:
        module = self.family.vision_module()
        if module is None:
            raise ValueError("this kind of captioner is not known well enough")
        state = module(pixels, return_dict=True).last_hidden_state
        return as_grid(state, module, self.input_size).float()

    def _scored(self, pixels: Tensor, token_ids: Sequence[int], encoded: Any) -> Tensor:
        """Returns log-probabilities ``[B, T]``, in as many pieces as the logits' memory allows."""
        logits = self._logits(pixels, token_ids, encoded)
        given = torch.tensor(list(token_ids), device=logits.device).view(1, -1, 1).expand(len(logits), -1, 1)
        per_row = logits[0].numel() * 4
        rows = max(1, LOGIT_BYTES // per_row)
        parts = [
            torch.log_softmax(logits[first : first + rows].float(), dim=-1).gather(-1, given[first : first + rows])
            for first in range(0, len(logits), rows)
        ]
        return torch.cat(parts)[..., 0]

    @torch.inference_mode()
    def _logits(self, pixels: Tensor, token_ids: Sequence[int], encoded: Any) -> Tensor:
        """Returns ``[B, T, V]``: row j predicts the j-th given id."""
        ids = torch.tensor([list(token_ids)], device=pixels.device).expand(len(pixels), -1)
        with quiet():
            logits = self.family.logits(pixels, self.family.start_ids(self.prompt), ids, encoded)
        return logits[:, -(len(token_ids) + 1) : -1]

    def _pixels(self, batch: Tensor) -> Tensor:
        if batch.ndim != 4 or tuple(batch.shape[1:]) != (3, *self.input_size) or not len(batch):
            wanted = f"[B, 3, {self.input_size[0]}, {self.input_size[1]}] with B >= 1"
            raise ValueError(f"pictures are {wanted}, not {list(batch.shape)}")
        first = next(self.family.network.parameters())
        return batch.to(first.device, first.dtype)

    def _written(self, ids: list[int]) -> Written:
        ends = self.family.end_ids()
        kept = ids[: next((place for place, number in enumerate(ids) if number in ends), len(ids))]
        return Written(" ".join(self._text(kept).split()), tuple(kept))

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self.family.tokenizer.decode(list(ids), skip_special_tokens=True)
        return text

    def _new_tokens(self, wanted: int) -> int:
        """Returns how many tokens may be written without running out of positions."""
        positions = self.family.positions()
        start = len(self.family.start_ids(self.prompt)) if self.family.repeats_start else 1
        return wanted if positions is None else max(1, min(wanted, positions - start))

    def _require_tokens(self, token_ids: Sequence[int]) -> None:
        if not self.has_tokens:
            raise ValueError(self.tokens_reason)
        if not len(token_ids):
            raise ValueError("a caption without tokens has no probabilities")
