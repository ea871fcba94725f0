"""Tiny captioners with random weights, one of each family, in directories as transformers itself writes them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import (
    BertTokenizer,
    Blip2Config,
    Blip2ForConditionalGeneration,
    Blip2Processor,
    Blip2QFormerConfig,
    Blip2VisionConfig,
    BlipConfig,
    BlipForConditionalGeneration,
    BlipImageProcessor,
    BlipProcessor,
    CLIPImageProcessor,
    CLIPVisionConfig,
    GitConfig,
    GitForCausalLM,
    GitProcessor,
    GPT2Config,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    OPTConfig,
    PreTrainedTokenizerFast,
    SwinConfig,
    T5Config,
    VisionEncoderDecoderConfig,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessor,
)

WORDS = [f"w{number}" for number in range(40)] + ["a", "red", "bird", "on", "what", "is", "this", "?"]
BERT_WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", *WORDS]
SIDE = 32


def write_captioner(folder: Path, family: str, *, seed: int = 0) -> Path:
    """Writes a tiny captioner of a family into ``folder``; its path."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    network = FAMILIES[family](folder)
    with torch.no_grad():
        for parameter in network.parameters():
            # Larger than the usual start, so that different pictures give different sentences.
            parameter.add_(torch.randn_like(parameter) * 0.25)
    network.save_pretrained(folder)
    return folder


def _blip(folder: Path) -> Any:
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": SIDE, "patch_size": 8}  # fmt: skip
    text = {"hidden_size": 24, "encoder_hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2,
            "num_attention_heads": 2, "vocab_size": len(BERT_WORDS), "max_position_embeddings": 48, "bos_token_id": 5,
            "pad_token_id": 0, "eos_token_id": 3, "sep_token_id": 3}  # fmt: skip
    BlipProcessor(_blip_pictures(), _bert(folder)).save_pretrained(folder)
    return BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=text))


def _git(folder: Path) -> Any:
    vision = {"hidden_size": 24, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
              "image_size": SIDE, "patch_size": 8}  # fmt: skip
    config = GitConfig(
        vision_config=vision, vocab_size=len(BERT_WORDS), hidden_size=24, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=32, max_position_embeddings=48, bos_token_id=2, eos_token_id=3, pad_token_id=0,
    )  # fmt: skip
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    GitProcessor(pictures, _bert(folder)).save_pretrained(folder)
    return GitForCausalLM(config)


def _blip_2(folder: Path) -> Any:
    text = OPTConfig(
        vocab_size=60, hidden_size=16, num_hidden_layers=2, ffn_dim=32, num_attention_heads=2,
        max_position_embeddings=64, word_embed_proj_dim=16, bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    return _blip_2_with(folder, text)


def _blip_2_t5(folder: Path) -> Any:
    text = T5Config(
        vocab_size=60, d_model=16, d_ff=32, d_kv=8, num_layers=2, num_heads=2, decoder_start_token_id=0,
        eos_token_id=1, pad_token_id=0, bos_token_id=1, tie_word_embeddings=False,
    )  # fmt: skip
    return _blip_2_with(folder, text)


def _blip_2_with(folder: Path, text: Any) -> Any:
    tokenizer = _words(["<pad>", "</s>", "<unk>", *WORDS], start="</s>", end="</s>")
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    image_token = int(tokenizer.convert_tokens_to_ids("<image>"))
    vision = Blip2VisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8
    )
    queries = Blip2QFormerConfig(
        vocab_size=30, hidden_size=24, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        encoder_hidden_size=24,
    )  # fmt: skip
    config = Blip2Config(
        vision_config=vision, qformer_config=queries, text_config=text, num_query_tokens=4,
        image_token_index=image_token,
    )  # fmt: skip
    Blip2Processor(_blip_pictures(), tokenizer, num_query_tokens=4).save_pretrained(folder)
    return Blip2ForConditionalGeneration(config)


def _vit_gpt2(folder: Path) -> Any:
    encoder = ViTConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8
    )
    return _encoder_decoder(folder, encoder)


def _swin_gpt2(folder: Path) -> Any:
    encoder = SwinConfig(
        image_size=SIDE, patch_size=4, embed_dim=12, depths=[1, 1], num_heads=[2, 2], window_size=4, drop_path_rate=0.0
    )
    return _encoder_decoder(folder, encoder)


def _encoder_decoder(folder: Path, encoder: Any) -> Any:
    decoder = GPT2Config(
        vocab_size=60, n_positions=40, n_embd=24, n_layer=2, n_head=2, add_cross_attention=True, bos_token_id=1,
        eos_token_id=1, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    config.decoder_start_token_id, config.eos_token_id, config.pad_token_id = 1, 1, 1
    # As published directories of this kind: a picture processor and a tokenizer, each by itself.
    _words(["<pad>", "<end>", "<unk>", *WORDS], start="<end>", end="<end>").save_pretrained(folder)
    ViTImageProcessor(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    network = VisionEncoderDecoderModel(config)
    network.generation_config.decoder_start_token_id = 1
    network.generation_config.eos_token_id = 1
    network.generation_config.pad_token_id = 1
    return network


def _llava(folder: Path) -> Any:
    vision = CLIPVisionConfig(
        hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, image_size=SIDE, patch_size=8
    )
    text = LlamaConfig(
        vocab_size=60, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=96, bos_token_id=1, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    tokenizer = _words(["<pad>", "</s>", "<unk>", *WORDS], start="</s>", end="</s>")
    tokenizer.add_tokens(["<image>"], special_tokens=True)
    pictures = CLIPImageProcessor(size={"shortest_edge": SIDE}, crop_size={"height": SIDE, "width": SIDE})
    LlavaProcessor(
        pictures, tokenizer, patch_size=8, vision_feature_select_strategy="default", image_token="<image>",
        num_additional_image_tokens=1,
    ).save_pretrained(folder)  # fmt: skip
    config = LlavaConfig(
        vision_config=vision, text_config=text, image_token_index=int(tokenizer.convert_tokens_to_ids("<image>")),
        vision_feature_layer=-1,
    )  # fmt: skip
    return LlavaForConditionalGeneration(config)


def _bert(folder: Path) -> BertTokenizer:
    (folder / "vocab.txt").write_text("\n".join(BERT_WORDS) + "\n", encoding="utf-8")
    return BertTokenizer(str(folder / "vocab.txt"))


def _words(words: list[str], *, start: str, end: str) -> PreTrainedTokenizerFast:
    core = Tokenizer(WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>"))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=start, eos_token=end, unk_token="<unk>", pad_token="<pad>"
    )


def _blip_pictures() -> BlipImageProcessor:
    return BlipImageProcessor(size={"height": SIDE, "width": SIDE})


FAMILIES: dict[str, Callable[[Path], Any]] = {
    "blip": _blip,
    "git": _git,
    "blip-2": _blip_2,
    "blip-2-t5": _blip_2_t5,
    "vit-gpt2": _vit_gpt2,
    "swin-gpt2": _swin_gpt2,
    "llava": _llava,
}
