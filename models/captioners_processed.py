"""Captioners of families that are not known one by one: whatever their own processor puts in front of a picture.

The processor is asked once, for a blank picture and the prompt; its ids are the same for every picture of the model's
input size. Whether the tokens of such a captioner can be scored is found out by trying, as for all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from models.captioners_kinds import Family, as_ids, repeated

DEFAULT_PROMPT = "Describe the picture in one sentence."
PIXELS = "pixel_values"
MASKS = ("attention_mask",)
PROMPTS_KEPT = 64


class AnyFamily(Family):
    """A captioner that transformers maps as image-to-text and that takes one picture of fixed size.

    Args:
        network: The transformers model.
        tokenizer: Its tokenizer.
        folder: Directory with its processor.
        input_size: Height and width of its input.

    Raises:
        ValueError: If it has no processor, or its input is not one picture of that size.
    """

    def __init__(self, network: Any, tokenizer: Any, folder: Path, input_size: tuple[int, int]) -> None:
        super().__init__(network, tokenizer)
        self.processor = _load_processor(folder)
        self.input_size = input_size
        self.is_translating = bool(getattr(network.config, "is_encoder_decoder", False))
        self.repeats_start = not self.is_translating
        self._by_start: dict[tuple[int, ...], dict[str, Tensor]] = {}
        self.start_ids("")

    def start_ids(self, prompt: str) -> list[int]:
        inputs = self._read_inputs(prompt)
        start = [int(number) for number in inputs["input_ids"][0]]
        if len(self._by_start) >= PROMPTS_KEPT:
            self._by_start.clear()
        self._by_start[tuple(start)] = inputs
        return start

    def end_ids(self) -> frozenset[int]:
        ends = as_ids(self.network.generation_config.eos_token_id)
        return ends or as_ids(getattr(self.tokenizer, "eos_token_id", None))

    def vision_module(self) -> nn.Module | None:
        return None

    def generate(self, pixels: Tensor, start: Sequence[int], settings: Any, encoded: Any) -> Tensor:  # noqa: ARG002
        settings.eos_token_id = sorted(self.end_ids()) or None
        answer: Tensor = self.network.generate(
            **{PIXELS: pixels}, **self._inputs_for(pixels, start), generation_config=settings
        )
        return answer

    def logits(self, pixels: Tensor, start: Sequence[int], ids: Tensor, encoded: Any) -> Tensor:  # noqa: ARG002
        inputs = self._inputs_for(pixels, start)
        if self.is_translating:
            first = repeated([int(self.network.generation_config.decoder_start_token_id)], pixels)
            inputs["decoder_input_ids"] = torch.cat((first, ids), dim=1)
        else:
            width = inputs["input_ids"].shape[1]
            for name, value in list(inputs.items()):
                if value.ndim == 2 and value.shape[1] == width:
                    more = torch.ones_like(ids) if name in MASKS else torch.zeros_like(ids)
                    inputs[name] = torch.cat((value, ids if name == "input_ids" else more), dim=1)
        answer: Tensor = self.network(**{PIXELS: pixels}, **inputs).logits
        return answer

    def _inputs_for(self, pixels: Tensor, start: Sequence[int]) -> dict[str, Tensor]:
        """Returns everything but the picture, once per picture."""
        known = self._by_start[tuple(start)]
        return {
            name: value.to(pixels.device).repeat(len(pixels), *[1] * (value.ndim - 1)) for name, value in known.items()
        }

    def _read_inputs(self, prompt: str) -> dict[str, Tensor]:
        height, width = self.input_size
        answer = self.processor(
            images=[Image.new("RGB", (width, height))], text=[self._text_for(prompt)], return_tensors="pt"
        )
        inputs = {str(name): value for name, value in answer.items() if isinstance(value, Tensor)}
        pixels = inputs.pop(PIXELS, None)
        if pixels is None or tuple(pixels.shape) != (1, 3, height, width) or "input_ids" not in inputs:
            raise ValueError("its input is not one picture of fixed size with a text")
        if any(len(value) != 1 for value in inputs.values()):
            raise ValueError("its processor describes a picture by more than one row")
        return inputs

    def _text_for(self, prompt: str) -> str:
        """Returns the text in which the picture has its place and the question follows."""
        asked = prompt or DEFAULT_PROMPT
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image"}, {"type": "text", "text": asked}]
            text: str = self.processor.apply_chat_template(
                [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False
            )
            return text
        place = getattr(self.processor, "image_token", None)
        return f"{place}\n{asked}" if isinstance(place, str) else asked


def _load_processor(folder: Path) -> Any:
    """Returns the processor of a directory; one that is only a tokenizer does not count."""
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    if not hasattr(processor, "image_processor"):
        raise ValueError("it has no processor that puts picture and text together")
    return processor
