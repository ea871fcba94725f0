"""The caption's game on real captioners of every family (tiny, random weights) with the real sentence embedder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from models.catalogue import ModelCatalogue
from models.loader import LoadedModel, ModelLoader
from tests.fakes_captioners import write_captioner
from tests.fakes_captions import numbers
from tests.fakes_engine import make_context, noise_picture
from workers.method import Result
from workers.methods.shap_caption import CaptionParams, ShapCaption
from workers.validation import validate_result

FAMILIES = ("vit-gpt2", "blip", "git", "blip-2")


def _load(folder: Path, family: str) -> LoadedModel:
    torch.set_num_threads(1)
    write_captioner(folder / family, family)
    return ModelLoader(ModelCatalogue(folder), device="cpu").load(family)


def _explain(model: LoadedModel, **params: object) -> Result:
    settings = CaptionParams.model_validate({"k": 4, "max_new_tokens": 6, "token_view": True, **params})
    context, recorded = make_context(model, noise_picture((48, 40)), settings)
    result = ShapCaption().explain(context)
    validate_result(result)
    for partial in recorded.partials:
        validate_result(partial, partial=True)
    return result


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_explained_by_its_own_features_and_everything_adds_up(tmp_path: Path, family: str) -> None:
    model = _load(tmp_path, family)
    result = _explain(model)
    assert model.captioner is not None
    assert result.caption
    assert result.scalars["regions_from"] == "deep features"
    gap = numbers(result, "phi").sum() - (result.scalars["v_full"] - result.scalars["v_empty"])
    assert abs(gap) < 1e-9
    assert result.scalars["embedder"] == "all-MiniLM-L6-v2"
    if result.scalars["token_view"]:
        tokens, full, empty = (numbers(result, name) for name in ("token_phi", "token_full", "token_empty"))
        assert np.allclose(tokens.sum(1), full - empty, atol=1e-9)
        assert (full <= 1e-6).all()
        words = numbers(result, "word_phi")
        assert np.allclose(words.sum(0), tokens.sum(0), atol=1e-9)
    else:
        assert result.scalars["tokens_reason"]


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_write_what_single_pictures_draw(tmp_path: Path, family: str) -> None:
    model = _load(tmp_path, family)
    together, alone = (_explain(model, regions="grid", rows=2, cols=2, batch_size=size) for size in (16, 1))
    for name in ("phi", "values", "token_phi"):
        if name in together.arrays:
            assert np.allclose(numbers(together, name), numbers(alone, name), atol=1e-4)
    texts = [next(one.rows for one in result.tables if one.name == "captions") for result in (together, alone)]
    assert [row[0] for row in texts[0]] == [row[0] for row in texts[1]]
