"""What differs between the families of captioners: where pictures enter, what comes before the text, what comes out.

A :class:`Family` answers five questions about one network: the ids before the caption, how to generate, which of the
answered ids are the caption, the logits of given ids, and the tokens of the vision encoder.
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

MOST_PREFIX_TOKENS = 16
"""Class and register tokens that may stand in front of the picture's."""


class Family(ABC):
    """One kind of captioning network.

    Args:
        network: The transformers model.
        tokenizer: Its tokenizer.
    """

    takes_prompt = True
    repeats_start = True
    """Whether generation answers with the start ids in front of the caption's."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        self.network = network
        self.tokenizer = tokenizer

    @property
    def writer(self) -> Any:
        """The module whose generation settings count."""
        return self.network

    @abstractmethod
    def start_ids(self, prompt: str) -> list[int]:
        """Returns the ids in front of the caption: start token and prompt, or image places and prompt."""

    @abstractmethod
    def vision_module(self) -> nn.Module | None:
        """Returns the vision encoder, or ``None`` when it is not known."""

    def encode(self, pixels: Tensor) -> Any:  # noqa: ARG002 - families that cannot share an encoding ignore it
        """Returns what the vision encoder made of pictures, for :meth:`generate` and :meth:`logits`; or ``None``."""
        return None

    def generate(self, pixels: Tensor, start: Sequence[int], settings: Any, encoded: Any) -> Tensor:  # noqa: ARG002
        """Returns the generated ids ``[B, L]``."""
        ids = repeated(start, pixels)
        answer: Tensor = self.network.generate(
            pixel_values=pixels, input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings
        )
        return answer

    def logits(self, pixels: Tensor, start: Sequence[int], ids: Tensor, encoded: Any) -> Tensor:  # noqa: ARG002
        """Returns logits ``[B, >= T + 1, V]``; the last ``T + 1`` rows belong to the last start id and ``ids``."""
        whole = torch.cat((repeated(start, pixels), ids), dim=1)
        answer: Tensor = self.network(
            pixel_values=pixels, input_ids=whole, attention_mask=torch.ones_like(whole)
        ).logits
        return answer

    def settings(self, *, num_beams: int, max_new_tokens: int) -> Any:
        """Returns generation settings: those of the checkpoint, but never sampled."""
        settings = copy.deepcopy(self.writer.generation_config)
        settings.do_sample = False
        settings.num_beams = num_beams
        settings.max_new_tokens = max_new_tokens
        settings.num_return_sequences = 1
        settings.return_dict_in_generate = False
        for unused in ("max_length", "temperature", "top_k", "top_p", "min_p", "typical_p"):
            setattr(settings, unused, None)
        ends = self.end_ids()
        if settings.pad_token_id is None and ends:
            settings.pad_token_id = min(ends)
        return settings

    def end_ids(self) -> frozenset[int]:
        """Returns the ids that end a caption."""
        return as_ids(self.writer.generation_config.eos_token_id)

    def positions(self) -> int | None:
        """Returns how many ids the text part can hold, where its configuration says so."""
        config = getattr(self.writer, "config", None)
        text = getattr(config, "decoder", None) or getattr(config, "text_config", None) or config
        value = getattr(text, "max_position_embeddings", None)
        return int(value) if isinstance(value, int) and value > 0 else None


class EncoderDecoder(Family):
    """A vision encoder and a text decoder of any kind (``vision-encoder-decoder``, ViT-GPT2 for one)."""

    takes_prompt = False

    def start_ids(self, prompt: str) -> list[int]:  # noqa: ARG002 - takes none
        settings, config = self.network.generation_config, self.network.config
        for start in (settings.decoder_start_token_id, config.decoder_start_token_id, settings.bos_token_id):
            if start is not None:
                return [int(start)]
        return [int(config.decoder.bos_token_id)]

    def end_ids(self) -> frozenset[int]:
        ends = as_ids(self.network.generation_config.eos_token_id) or as_ids(self.network.config.eos_token_id)
        return ends or as_ids(self.network.config.decoder.eos_token_id)

    def settings(self, *, num_beams: int, max_new_tokens: int) -> Any:
        settings = super().settings(num_beams=num_beams, max_new_tokens=max_new_tokens)
        settings.decoder_start_token_id = self.start_ids("")[0]
        settings.eos_token_id = sorted(self.end_ids()) or None
        return settings

    def vision_module(self) -> nn.Module | None:
        encoder: nn.Module = self.network.encoder
        return encoder

    def encode(self, pixels: Tensor) -> Any:
        return self.network.encoder(pixel_values=pixels, return_dict=True)

    def generate(self, pixels: Tensor, start: Sequence[int], settings: Any, encoded: Any) -> Tensor:  # noqa: ARG002
        state = _only_state(encoded)
        positions = state.last_hidden_state.flatten(2).shape[1]
        answer: Tensor = self.network.generate(
            encoder_outputs=state,
            # Every position of a picture counts; without this, generation warns that it cannot know.
            attention_mask=torch.ones(len(pixels), positions, dtype=torch.long, device=pixels.device),
            generation_config=settings,
        )
        return answer

    def logits(self, pixels: Tensor, start: Sequence[int], ids: Tensor, encoded: Any) -> Tensor:
        whole = torch.cat((repeated(start, pixels), ids), dim=1)
        answer: Tensor = self.network(
            encoder_outputs=_only_state(encoded),
            decoder_input_ids=whole,
            decoder_attention_mask=torch.ones_like(whole),
            use_cache=False,
        ).logits
        return answer


class Blip(Family):
    """BLIP: a vision encoder and a BERT-like decoder that looks at it."""

    @property
    def writer(self) -> Any:
        return self.network.text_decoder

    def start_ids(self, prompt: str) -> list[int]:
        return [int(self.network.config.text_config.bos_token_id), *plain_ids(self.tokenizer, prompt)]

    def end_ids(self) -> frozenset[int]:
        return as_ids(self.network.config.text_config.sep_token_id)

    def settings(self, *, num_beams: int, max_new_tokens: int) -> Any:
        settings = super().settings(num_beams=num_beams, max_new_tokens=max_new_tokens)
        settings.pad_token_id = self.network.config.text_config.pad_token_id
        return settings

    def vision_module(self) -> nn.Module | None:
        module: nn.Module = self.network.vision_model
        return module

    def generate(self, pixels: Tensor, start: Sequence[int], settings: Any, encoded: Any) -> Tensor:  # noqa: ARG002
        # The model drops the last id of a prompt, where a tokenizer has put the end token. It also sets end and
        # padding itself, and so wants the settings one by one.
        closed = repeated([*start, int(self.network.config.text_config.sep_token_id)], pixels)
        answer: Tensor = self.network.generate(
            pixel_values=pixels,
            input_ids=closed,
            attention_mask=torch.ones_like(closed),
            do_sample=False,
            num_beams=settings.num_beams,
            max_new_tokens=settings.max_new_tokens,
        )
        return answer


class Git(Family):
    """GIT: picture tokens and text tokens in one decoder."""

    def start_ids(self, prompt: str) -> list[int]:
        start = self.network.generation_config.bos_token_id
        start = self.network.config.bos_token_id if start is None else start
        return [int(start), *plain_ids(self.tokenizer, prompt)]

    def vision_module(self) -> nn.Module | None:
        module: nn.Module = self.network.git.image_encoder
        return module


class Blip2(Family):
    """BLIP-2: picture queries stand in the places of image tokens in front of a language model."""

    def __init__(self, network: Any, tokenizer: Any) -> None:
        super().__init__(network, tokenizer)
        self.repeats_start = not self._is_translating
        config = network.config
        if getattr(config, "image_token_index", None) is None:
            raise ValueError("its configuration names no image token")

    @property
    def writer(self) -> Any:
        return self.network.language_model

    def start_ids(self, prompt: str) -> list[int]:
        config = self.network.config
        places = [int(config.image_token_index)] * int(config.num_query_tokens)
        if prompt or self._is_translating:
            text = [int(number) for number in self.tokenizer(prompt).input_ids]
        else:
            text = [int(config.text_config.bos_token_id)]
        if config.image_token_index in text:
            raise ValueError("a prompt cannot hold the image token")
        return [*places, *text]

    def end_ids(self) -> frozenset[int]:
        ends = as_ids(self.writer.generation_config.eos_token_id)
        return ends or as_ids(self.network.config.text_config.eos_token_id)

    def vision_module(self) -> nn.Module | None:
        module: nn.Module = self.network.vision_model
        return module

    def logits(self, pixels: Tensor, start: Sequence[int], ids: Tensor, encoded: Any) -> Tensor:
        if not self._is_translating:
            return super().logits(pixels, start, ids, encoded)
        before = repeated(start, pixels)
        first = repeated([int(self.writer.generation_config.decoder_start_token_id)], pixels)
        answer: Tensor = self.network(
            pixel_values=pixels,
            input_ids=before,
            attention_mask=torch.ones_like(before),
            decoder_input_ids=torch.cat((first, ids), dim=1),
        ).logits
        return answer

    @property
    def _is_translating(self) -> bool:
        """Whether the language model is an encoder and a decoder (T5), so that the prompt stays in the encoder."""
        return bool(self.network.language_model.config.is_encoder_decoder)


def repeated(ids: Sequence[int], pixels: Tensor) -> Tensor:
    """Returns the ids once per picture: int64 ``[B, L]`` on the pictures' device."""
    return torch.tensor([list(ids)], dtype=torch.long, device=pixels.device).repeat(len(pixels), 1)


def plain_ids(tokenizer: Any, text: str) -> list[int]:
    """Returns the ids of a text without start and end."""
    return [int(number) for number in tokenizer(text, add_special_tokens=False).input_ids] if text else []


def as_ids(value: Any) -> frozenset[int]:
    """Returns ids that a configuration gives as nothing, a number or several."""
    if value is None:
        return frozenset()
    return frozenset(int(number) for number in ([value] if isinstance(value, int) else value))


def as_grid(tokens: Tensor, module: nn.Module, size: tuple[int, int]) -> Tensor:
    """Returns the last hidden state of a vision encoder as maps ``[B, C, h, w]``, class and register tokens dropped.

    Args:
        tokens: ``[B, N, C]``, or already ``[B, C, h, w]``.
        module: The encoder.
        size: Height and width of the input in pixels.

    Raises:
        ValueError: If the tokens fill no grid that the encoder's configuration allows.
    """
    if tokens.ndim == 4:
        return tokens
    if tokens.ndim != 3:
        raise ValueError(f"the vision encoder answers with the shape {list(tokens.shape)}")
    for down, across in _strides(getattr(module, "config", None)):
        for rounding in (math.floor, math.ceil):
            height, width = rounding(size[0] / down), rounding(size[1] / across)
            prefix = tokens.shape[1] - height * width
            if height and width and 0 <= prefix <= MOST_PREFIX_TOKENS:
                return tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, height, width)
    raise ValueError(f"the {tokens.shape[1]} positions of the vision encoder fill no grid that is known")


def _strides(config: Any) -> list[tuple[int, int]]:
    """Returns how many pixels a cell may be high and wide; empty when the configuration does not say."""
    patch = getattr(config, "patch_size", None)
    stages = len(getattr(config, "depths", None) or ())
    steps = getattr(config, "strides", None)
    if stages and isinstance(steps, list | tuple):
        return [(math.prod(steps), math.prod(steps))]
    if not patch:
        return []
    down, across = patch if isinstance(patch, list | tuple) else (patch, patch)
    factor = 2 ** (stages - 1) if stages else 1
    return [(int(down) * factor, int(across) * factor)]


def _only_state(encoded: Any) -> Any:
    """Returns the encoder's answer reduced to what a decoder looks at; beams multiply every tensor they find."""
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=encoded.last_hidden_state)
