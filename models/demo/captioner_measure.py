"""Figures of the trained demo captioner on unseen pictures: whole ones, large ones, and with things hidden."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from transformers import VisionEncoderDecoderModel

from models.demo.captioner_data import CaptionedSet, kinds_of, partial_caption
from models.demo.captioner_hiding import FILLINGS, draw_hidden, filled, visible_parts_of
from models.demo.captioner_model import tokenizer
from models.demo.dataset import FRESH_FROM, as_model_input
from models.demo.grammar import SPECIES, Part
from models.demo.picture import WORLD_VERSION, draw_picture
from models.demo.training import normalised

_LARGE: tuple[tuple[int, int], ...] = ((480, 640), (640, 480))
_LARGE_FROM = FRESH_FROM + 500_000
_HIDING_SEED = 17


def captions_of(network: VisionEncoderDecoderModel, pixels: npt.NDArray[np.uint8], *, batch: int = 100) -> list[str]:
    """Greedy captions of pictures uint8 [N, 128, 128, 3]."""
    network.eval()
    reader = tokenizer()
    captions: list[str] = []
    for first in range(0, len(pixels), batch):
        ids = network.generate(pixel_values=normalised(pixels[first : first + batch]), do_sample=False, num_beams=1)
        captions += [text.strip() for text in reader.batch_decode(ids, skip_special_tokens=True)]
    return captions


def right_captions(pictures: CaptionedSet) -> list[str]:
    """The captions of the whole pictures."""
    return [partial_caption(kinds, frozenset(Part)) for kinds in pictures.kinds]


def exact_share(network: VisionEncoderDecoderModel, pictures: CaptionedSet) -> float:
    """The share of whole pictures whose greedy caption is right to the letter, 0-1."""
    found = captions_of(network, pictures.pixels)
    return float(np.mean([one == other for one, other in zip(found, right_captions(pictures), strict=True)]))


def measured(network: VisionEncoderDecoderModel, fresh: CaptionedSet, *, large: int) -> dict[str, Any]:
    """Shares of captions that are right to the letter (0-1), and the network's size.

    Args:
        network: The trained network.
        fresh: Pictures of unseen seeds, species only.
        large: How many pictures of 640 x 480 and 480 x 640 pixels to draw besides, as a user would upload them.
    """
    found, right = captions_of(network, fresh.pixels), right_captions(fresh)
    return {
        "world_version": WORLD_VERSION,
        "fresh_pictures": len(fresh),
        "first_fresh_seed": FRESH_FROM,
        "exact": round(float(np.mean([one == other for one, other in zip(found, right, strict=True)])), 4),
        "words": round(_word_share(found, right), 4),
        "exact_hidden": {filling: round(_exact_hidden(network, fresh, filling), 4) for filling in FILLINGS},
        "large_pictures": large,
        "exact_large": round(_exact_large(network, large), 4),
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
    }


def _word_share(found: list[str], right: list[str]) -> float:
    """The share of the right captions' words that stand at their place."""
    pairs = [(one.split(), other.split()) for one, other in zip(found, right, strict=True)]
    hits = sum(a == b for one, other in pairs for a, b in zip(one, other, strict=False))
    return hits / sum(len(other) for _, other in pairs)


def _exact_hidden(network: VisionEncoderDecoderModel, fresh: CaptionedSet, filling: str) -> float:
    """The share of pictures with something hidden whose caption names exactly what is left."""
    pictures, right = [], []
    for number in range(len(fresh)):
        hidden = draw_hidden(np.random.default_rng([_HIDING_SEED, number]), fresh.labels[number])
        pictures.append(filled(fresh.pixels[number], hidden, filling))
        right.append(partial_caption(fresh.kinds[number], visible_parts_of(fresh.labels[number], hidden)))
    found = captions_of(network, np.stack(pictures))
    return float(np.mean([one == other for one, other in zip(found, right, strict=True)]))


def _exact_large(network: VisionEncoderDecoderModel, count: int) -> float:
    pictures = [
        draw_picture(_LARGE_FROM + i, size=_LARGE[i % 2], species=SPECIES[i % len(SPECIES)]) for i in range(count)
    ]
    found = captions_of(network, np.stack([as_model_input(picture) for picture in pictures]))
    right = [partial_caption(kinds_of(one.species, one.perch), frozenset(Part)) for one in pictures]
    return float(np.mean([one == other for one, other in zip(found, right, strict=True)]))
