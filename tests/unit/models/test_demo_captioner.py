from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from backend.contract.schemas import ModelKind
from models.captioners_transformers import TransformersCaptioner
from models.catalogue import DEMO_DIR, ModelCatalogue
from models.demo.captioner_data import (
    NOTHING,
    CaptionedSet,
    bird_of,
    captioned_set,
    kinds_of,
    part_labels,
    partial_caption,
    words,
)
from models.demo.captioner_hiding import FILLINGS, NAMED, draw_hidden, filled, visible_parts_of
from models.demo.captioner_measure import captions_of, right_captions
from models.demo.captioner_model import NAME, encoded, save_captioner, tokenizer, vocabulary
from models.demo.captioner_training import CaptionerRecipe, make_batch, train
from models.demo.dataset import FRESH_FROM, TRAIN_FROM
from models.demo.grammar import SPECIES, Crest, Part, visible_parts
from models.demo.painter import CODES
from models.demo.picture import DrawnPicture, draw_picture
from models.loader import ModelLoader

SAMPLE = 60
UNSEEN = FRESH_FROM + 800_000
SIZES: tuple[int | tuple[int, int], ...] = (160, (240, 320), (320, 240))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def drawn() -> list[DrawnPicture]:
    return [
        draw_picture(UNSEEN + i, size=SIZES[i % len(SIZES)], species=SPECIES[i % len(SPECIES)]) for i in range(SAMPLE)
    ]


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> CaptionedSet:
    return captioned_set(TRAIN_FROM, 12, mixed=True, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def captioner() -> TransformersCaptioner:
    model = ModelLoader(ModelCatalogue(None), device="cpu").load(NAME)
    assert model.card.kind is ModelKind.CAPTIONER
    assert isinstance(model.captioner, TransformersCaptioner)
    return model.captioner


def captions(captioner: TransformersCaptioner, pictures: list[np.ndarray]) -> list[str]:
    geometry = captioner.geometry
    batch = torch.stack([geometry.normalise(geometry.prepare(picture).pixels) for picture in pictures])
    return [text for first in range(0, len(batch), 32) for text in captioner.caption(batch[first : first + 32])]


def test_with_everything_visible_the_caption_is_the_worlds_own(drawn: list[DrawnPicture]) -> None:
    for picture in drawn:
        assert partial_caption(kinds_of(picture.species, picture.perch), frozenset(Part)) == picture.caption


def test_a_partial_caption_names_only_what_is_left(drawn: list[DrawnPicture]) -> None:
    picture = next(one for one in drawn if one.species.crest is Crest.POINTED)
    kinds = kinds_of(picture.species, picture.perch)
    bird, perch = picture.species, picture.perch
    whole = frozenset(Part)
    assert partial_caption(kinds, frozenset()) == NOTHING
    assert partial_caption(kinds, frozenset({Part.PERCH})) == f"a {perch}"
    assert partial_caption(kinds, frozenset({Part.TAIL})) == "a bird"
    assert partial_caption(kinds, frozenset({Part.BODY})) == f"a {bird.plumage} bird"
    without_beak = f"a {bird.plumage} bird with a pointed crest on a {perch}"
    assert partial_caption(kinds, whole - {Part.BEAK}) == without_beak
    assert partial_caption(kinds, whole - {Part.BODY, Part.HEAD}).startswith("a bird with a")
    rng = np.random.default_rng(0)
    for _ in range(200):
        visible = frozenset(part for part in Part if rng.random() < 0.5)
        text = partial_caption(kinds, visible)
        assert set(text.split()) <= set(words())
        assert text == NOTHING or all(visible_parts(word) & visible for word in text.split() if visible_parts(word))


def test_hiding_leaves_the_rest_alone_and_fills_as_it_says(drawn: list[DrawnPicture]) -> None:
    pixels, labels = drawn[0].pixels, np.zeros(drawn[0].pixels.shape[:2], np.uint8)
    hidden = draw_hidden(np.random.default_rng(1), labels)
    for filling in FILLINGS:
        assert np.array_equal(filled(pixels, hidden, filling)[~hidden], pixels[~hidden])
        assert np.array_equal(filled(pixels, np.zeros_like(hidden), filling), pixels)
    assert not filled(pixels, hidden, "black")[hidden].any()
    grey = filled(pixels, np.ones_like(hidden), "mean")
    assert np.abs(grey - pixels.reshape(-1, 3).mean(0)).max() <= 0.5
    blurred = filled(pixels, np.ones_like(hidden), "blur")
    assert blurred.std() < pixels.std()
    with pytest.raises(ValueError, match="black, mean, blur"):
        filled(pixels, hidden, "red")


def test_named_parts_are_mostly_there_or_mostly_gone(few: CaptionedSet) -> None:
    unclear = total = 0
    for seed in range(60):
        labels = few.labels[seed % len(few)]
        hidden = draw_hidden(np.random.default_rng(seed), labels)
        visible = visible_parts_of(labels, hidden)
        for part in NAMED:
            here = labels == CODES[part]
            if here.any():
                left = float((~hidden)[here].mean())
                assert (left >= 0.5) == (part in visible)
                unclear += 0.25 < left < 0.75
                total += 1
    assert unclear / total < 0.12


def test_mixed_birds_are_not_all_species_and_stay_the_same(few: CaptionedSet, tmp_path: Path) -> None:
    birds = [bird_of(TRAIN_FROM + i, mixed=True) for i in range(200)]
    assert birds == [bird_of(TRAIN_FROM + i, mixed=True) for i in range(200)]
    assert {bird.name for bird in birds[::2]} == {species.name for species in SPECIES}
    assert len({(bird.plumage, bird.beak) for bird in birds[1::2]}) == 12, "every colour wears every beak"
    again = captioned_set(TRAIN_FROM, 12, mixed=True, cache=tmp_path)
    assert np.array_equal(again.pixels, few.pixels)
    assert np.array_equal(again.labels, few.labels)
    picture = draw_picture(TRAIN_FROM + 1, size=128, species=birds[1])
    assert np.array_equal(part_labels(picture) == CODES[Part.BEAK], picture.masks["beak"])


def test_a_batch_tells_the_truth_about_what_it_shows(few: CaptionedSet) -> None:
    recipe = CaptionerRecipe(hidden=0.0, shift=0)
    batch = make_batch(recipe, few, np.arange(12), np.random.default_rng(0))
    reader = tokenizer()
    assert [reader.decode(row, skip_special_tokens=True) for row in batch.tokens.tolist()] == right_captions(few)
    np.testing.assert_allclose(batch.shares.sum(-1), 1.0, atol=1e-6)
    beak = batch.shares[..., CODES[Part.BEAK]].sum((1, 2)).numpy() * 64
    assert beak == pytest.approx((few.labels == CODES[Part.BEAK]).sum((1, 2)))
    hidden = make_batch(CaptionerRecipe(hidden=1.0), few, np.arange(12), np.random.default_rng(0))
    assert hidden.shares[..., 0].sum() > batch.shares[..., 0].sum()


def test_ids_and_words_are_one_to_one() -> None:
    table = vocabulary()
    assert len(set(table.values())) == len(table)
    ids = encoded(["a red bird", NOTHING])
    assert ids.shape == (2, 5)
    assert tokenizer().decode(ids[1].tolist(), skip_special_tokens=True) == NOTHING


def test_a_resumed_training_gives_the_weights_of_an_uninterrupted_one(few: CaptionedSet, tmp_path: Path) -> None:
    recipe = CaptionerRecipe(pictures=12, steps=4, batch=4)

    class Stopped(Exception):
        pass

    def stop(steps: int, *_: object) -> None:
        if steps == 2:
            raise Stopped

    whole = train(recipe, few, checkpoint=tmp_path / "whole", every=2)
    with pytest.raises(Stopped):
        train(recipe, few, checkpoint=tmp_path / "parts", every=2, on_report=stop)
    parts = train(recipe, few, checkpoint=tmp_path / "parts", every=2)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)
    save_captioner(whole, {}, folder=tmp_path / "out")
    model = ModelLoader(ModelCatalogue(None, demo_dir=tmp_path / "out"), device="cpu").load(NAME)
    assert isinstance(model.captioner, TransformersCaptioner)
    assert captions(model.captioner, list(few.pixels)) == captions_of(whole, few.pixels)


def test_the_shipped_captioner_is_small_described_and_as_good_as_its_figures_say() -> None:
    folder = DEMO_DIR / NAME
    metrics = json.loads((folder / "metrics.json").read_text())
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 6_000_000
    assert metrics["exact"] >= 0.9
    assert metrics["fresh_pictures"] >= 500
    card = ModelCatalogue(None).describe(NAME).card
    assert card.problem is None
    assert card.parameter_count == metrics["parameters"]
    assert card.title == "Birds captioner (small)"
    assert card.note


def test_its_captions_of_unseen_pictures_are_right(captioner: TransformersCaptioner, drawn: list[DrawnPicture]) -> None:
    stored = json.loads((DEMO_DIR / NAME / "metrics.json").read_text())["exact"]
    found = captions(captioner, [picture.pixels for picture in drawn])
    right = float(np.mean([text == picture.caption for text, picture in zip(found, drawn, strict=True)]))
    noise = 4 * float(np.sqrt(max(stored * (1 - stored), 0.01) / SAMPLE)) + 1 / SAMPLE
    assert abs(right - stored) <= noise
    assert captioner.has_tokens, captioner.tokens_reason
    assert captioner.has_features, captioner.features_reason


def test_of_what_is_hidden_it_says_nothing(captioner: TransformersCaptioner, drawn: list[DrawnPicture]) -> None:
    blank = [filled(drawn[0].pixels, np.ones(drawn[0].pixels.shape[:2], np.bool_), way) for way in FILLINGS]
    assert captions(captioner, blank) == [NOTHING] * len(FILLINGS)
    some = drawn[:30]
    for part, word in (("bird", lambda one: one.species.plumage), ("perch", lambda one: one.perch)):
        whole = captions(captioner, [one.pixels for one in some])
        left = captions(captioner, [filled(one.pixels, one.masks[part], "black") for one in some])
        named = [[word(one) in text.split() for text, one in zip(texts, some, strict=True)] for texts in (whole, left)]
        assert np.mean(named[0]) >= 0.9
        assert np.mean(named[1]) <= 0.5, "colour and perch are named from what is seen, not guessed"


def test_features_and_token_probabilities_fit_the_grid_and_the_words(
    captioner: TransformersCaptioner, drawn: list[DrawnPicture]
) -> None:
    geometry = captioner.geometry
    x = geometry.normalise(geometry.prepare(drawn[0].pixels).pixels)[None]
    written = captioner.write(x)[0][0]
    assert captioner.vision_features(x).shape == (1, 96, 16, 16)
    assert "".join(captioner.pieces(written.token_ids)) == written.text
    assert len(written.token_ids) == len(written.text.split())
    assert float(captioner.token_log_probs(x, written.token_ids).exp().mean()) > 0.8
