"""The demo captioner before training, and its folder in transformers' own format."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from torch import Tensor
from transformers import (
    GenerationConfig,
    GPT2Config,
    PreTrainedTokenizerFast,
    SegformerConfig,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTImageProcessor,
)

from models.demo.captioner_data import words
from models.demo.dataset import SIDE
from models.demo.recipes import MEAN, STD

NAME = "birds-captioner"
TITLE = "Birds captioner (small)"
NOTE = "Writes what it sees of a drawn bird: colour, beak, crest and perch; of hidden parts it says nothing."
START, END, PADDING, UNKNOWN = "<start>", "<end>", "<pad>", "<unknown>"
LONGEST = 24
"""Tokens of the longest caption, start and end included, with room to spare."""
WIDTH = 96
"""Numbers per cell of the encoder's grid and per token of the decoder."""


def build_captioner() -> VisionEncoderDecoderModel:
    """The untrained network: a SegFormer encoder (grid of 16 x 16 cells) and a GPT-2 style decoder."""
    special = _special_ids()
    encoder = SegformerConfig(
        num_encoder_blocks=2,
        hidden_sizes=[32, WIDTH],
        depths=[1, 2],
        patch_sizes=[7, 3],
        strides=[4, 2],
        sr_ratios=[8, 2],
        num_attention_heads=[1, 3],
        mlp_ratios=[2, 3],
        drop_path_rate=0.0,
        reshape_last_stage=False,
    )
    # A decoder finds its encoder's width under this name; this family only lists the widths of its stages.
    encoder.hidden_size = WIDTH
    decoder = GPT2Config(
        vocab_size=len(vocabulary()),
        n_positions=LONGEST,
        n_embd=WIDTH,
        n_layer=2,
        n_head=4,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        add_cross_attention=True,
        is_decoder=True,
        bos_token_id=special[START],
        eos_token_id=special[END],
        pad_token_id=special[PADDING],
    )
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id = special[START]
    config.eos_token_id = special[END]
    config.pad_token_id = special[PADDING]
    config.vitrine_title = TITLE
    config.vitrine_note = NOTE
    network = VisionEncoderDecoderModel(config)
    network.generation_config = GenerationConfig(
        decoder_start_token_id=special[START],
        bos_token_id=special[START],
        eos_token_id=special[END],
        pad_token_id=special[PADDING],
        max_new_tokens=LONGEST - 1,
    )
    return network


def vocabulary() -> dict[str, int]:
    """Every token with its id."""
    return {token: number for number, token in enumerate((PADDING, START, END, UNKNOWN, *words()))}


def encoded(captions: list[str]) -> Tensor:
    """The captions as ids int64 [B, T] with start and end, padded."""
    table, special = vocabulary(), _special_ids()
    rows = [[special[START], *(table[word] for word in caption.split()), special[END]] for caption in captions]
    longest = max(map(len, rows))
    return torch.tensor([row + [special[PADDING]] * (longest - len(row)) for row in rows])


def save_captioner(network: VisionEncoderDecoderModel, metrics: dict[str, Any], *, folder: Path) -> Path:
    """Write ``<folder>/birds-captioner/`` in transformers' format with metrics.json; its path."""
    target = folder / NAME
    target.mkdir(parents=True, exist_ok=True)
    network.save_pretrained(target, safe_serialization=True)
    tokenizer().save_pretrained(target)
    picture_processor().save_pretrained(target)
    (target / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    for path in target.iterdir():
        path.chmod(0o644)  # the library makes some files private
    return target


def tokenizer() -> PreTrainedTokenizerFast:
    """One token per word."""
    core = Tokenizer(WordLevel(vocabulary(), unk_token=UNKNOWN))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        bos_token=START,
        eos_token=END,
        pad_token=PADDING,
        unk_token=UNKNOWN,
        model_max_length=LONGEST,
        clean_up_tokenization_spaces=False,
    )


def picture_processor() -> ViTImageProcessor:
    """How the captioner wants its pictures: squashed to its input, as the other demo models."""
    return ViTImageProcessor(
        size={"height": SIDE, "width": SIDE}, resample=3, image_mean=list(MEAN), image_std=list(STD)
    )


def _special_ids() -> dict[str, int]:
    return {token: number for number, token in enumerate((PADDING, START, END, UNKNOWN))}
