"""Tiny captioners and sentence embedders with known answers, and runs of the caption's game on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backend.contract.schemas import ModelKind
from models.captioners import Decoding, Written
from models.loader import LoadedModel
from models.preprocessing import Preprocessing
from tests.fakes_engine import Recorded, make_context, make_model
from workers.method import Result, Stored
from workers.methods.shap_caption import CaptionParams, ShapCaption
from workers.validation import validate_result

SIZE = (32, 32)
COLOURS = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255), "white": (255, 255, 255)}
VOCABULARY = ("nothing", "red", "green", "blue", "white", "a", "bird", "on", "branch", "with", "beak", "long")


def quadrants() -> NDArray[np.uint8]:
    """Returns a picture of four squares: red and green above, blue and white below."""
    picture = np.zeros((*SIZE, 3), np.uint8)
    half = SIZE[0] // 2
    for index, colour in enumerate(COLOURS.values()):
        row, column = divmod(index, 2)
        picture[row * half : row * half + half, column * half : column * half + half] = colour
    return picture


def visible_colours(pictures: Tensor, *, preprocessing: Preprocessing) -> list[list[str]]:
    """Returns the colours of the squares that can be seen in each picture ``[B, 3, H, W]``, normalised."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    plain = pictures.cpu() * std + mean
    half = plain.shape[-1] // 2
    found = []
    for picture in plain:
        seen = []
        for index, (name, colour) in enumerate(COLOURS.items()):
            row, column = divmod(index, 2)
            square = picture[:, row * half : row * half + half, column * half : column * half + half]
            wanted = torch.tensor(colour, dtype=square.dtype)[:, None, None] / 255
            if bool(((square - wanted).abs().amax(0) < 0.02).float().mean() > 0.5):
                seen.append(name)
        found.append(seen)
    return found


@dataclass(frozen=True, eq=False)
class ToyCaptioner:
    """Writes what a rule says of each picture; words are its tokens.

    Args:
        rule: Pictures ``[B, 3, H, W]``, normalised, to captions.
        geometry: How pictures are prepared.
        token_rule: Pictures and words to log-probabilities ``[B, T]``; ``None``: no tokens.
        feature_rule: Pictures to features ``[B, C, h, w]``; ``None``: no features.
        seen: Every picture that was captioned, in order.
        batches: Sizes of the batches.
    """

    rule: Callable[[Tensor], list[str]]
    geometry: Preprocessing
    seen: list[Tensor]
    batches: list[int]
    token_rule: Callable[[Tensor, Sequence[str]], Tensor] | None = None
    feature_rule: Callable[[Tensor], Tensor] | None = None
    decoding: Decoding = field(default_factory=Decoding)

    input_size = SIZE
    takes_prompt = True

    @property
    def mean(self) -> tuple[float, ...]:
        return self.geometry.mean

    @property
    def std(self) -> tuple[float, ...]:
        return self.geometry.std

    @property
    def prompt(self) -> str:
        return self.decoding.prompt

    @property
    def has_tokens(self) -> bool:
        return self.token_rule is not None

    @property
    def tokens_reason(self) -> str:
        return "" if self.has_tokens else "Its words do not follow from its own scores."

    @property
    def has_features(self) -> bool:
        return self.feature_rule is not None

    @property
    def features_reason(self) -> str:
        return "" if self.has_features else "The layout of its vision encoder is not known."

    def with_decoding(self, decoding: Decoding) -> Self:
        return replace(self, decoding=decoding)

    def caption(self, batch: Tensor) -> list[str]:
        return [one.text for one in self.write(batch)[0]]

    def write(self, batch: Tensor, token_ids: Sequence[int] | None = None) -> tuple[list[Written], Tensor | None]:
        self.seen.extend(batch.clone())
        self.batches.append(len(batch))
        texts = self.rule(batch)
        written = [Written(text, tuple(_number(word) for word in text.split())) for text in texts]
        return written, None if token_ids is None else self.token_log_probs(batch, token_ids)

    def vision_features(self, batch: Tensor) -> Tensor:
        assert self.feature_rule is not None
        return self.feature_rule(batch)

    def token_log_probs(self, batch: Tensor, token_ids: Sequence[int]) -> Tensor:
        assert self.token_rule is not None
        return self.token_rule(batch, [VOCABULARY[index] for index in token_ids])

    def pieces(self, token_ids: Sequence[int]) -> tuple[str, ...]:
        return tuple((" " if at else "") + VOCABULARY[index] for at, index in enumerate(token_ids))


class CountingEmbedder:
    """Counts words: sentences are close when they share them; remembers what it was given."""

    name = "words"
    digest = "0" * 64

    def __init__(self, vocabulary: Sequence[str] = VOCABULARY) -> None:
        self.vocabulary = {word: index for index, word in enumerate(vocabulary)}
        self.given: list[str] = []

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        self.given += texts
        rows = np.zeros((len(texts), len(self.vocabulary)), np.float32)
        for row, text in zip(rows, texts, strict=True):
            for word in text.split():
                row[self.vocabulary[word]] += 1
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        return rows / np.maximum(length, 1e-12)


def _number(word: str) -> int:
    return VOCABULARY.index(word)


def colour_captioner(**more: Any) -> ToyCaptioner:
    """Returns a captioner that names the colours it sees."""
    geometry = Preprocessing(
        input_size=SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), crop_pct=1.0, crop_mode="squash"
    )
    return caption_by(lambda pictures: names(pictures, geometry), geometry=geometry, **more)


def names(pictures: Tensor, geometry: Preprocessing) -> list[str]:
    """Returns the colours that are seen, or "nothing"."""
    return [" ".join(seen) or "nothing" for seen in visible_colours(pictures, preprocessing=geometry)]


def caption_by(
    rule: Callable[[Tensor], list[str]], *, geometry: Preprocessing | None = None, **more: Any
) -> ToyCaptioner:
    """Returns a captioner that follows a rule over normalised pictures."""
    plain = Preprocessing(input_size=SIZE, mean=(0.0,) * 3, std=(1.0,) * 3, crop_pct=1.0, crop_mode="squash")
    return ToyCaptioner(rule, geometry or plain, [], [], **more)


def caption_model(captioner: ToyCaptioner) -> LoadedModel:
    """Returns the captioner as the loader would hand it out."""
    model = make_model(nn.Identity(), size=SIZE, kind=ModelKind.CAPTIONER)
    return replace(model, preprocessing=captioner.geometry, captioner=captioner)


def explain_caption(
    captioner: ToyCaptioner,
    pixels: NDArray[np.uint8] | None = None,
    *,
    embedder: CountingEmbedder | None = None,
    stored: dict[str, Stored] | None = None,
    on_check: Callable[[int], None] = lambda _count: None,
    seed: int = 0,
    **params: Any,
) -> tuple[Result, Recorded]:
    """Runs the caption's game and checks every result on the way."""
    settings = CaptionParams.model_validate({"regions": "grid", "rows": 2, "cols": 2, **params})
    context, recorded = make_context(
        caption_model(captioner),
        quadrants() if pixels is None else pixels,
        settings,
        seed=seed,
        stored=stored,
        on_check=on_check,
    )
    words = embedder or CountingEmbedder()
    result = ShapCaption(lambda: words).explain(context)
    validate_result(result)
    for partial in recorded.partials:
        validate_result(partial, partial=True)
    return result, recorded


def numbers(result: Result, name: str) -> NDArray[np.float64]:
    """Returns an array of a result."""
    return np.asarray(result.arrays[name].data, np.float64)
