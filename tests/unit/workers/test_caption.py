"""The prediction of a captioner is its sentence, with the probability of every token."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import ResultKind
from backend.contract.schemas import ModelKind
from models.captioners_transformers import TransformersCaptioner
from models.catalogue import ModelCatalogue
from models.loader import LoadedModel, ModelLoader
from tests.fakes_captioners import write_captioner
from tests.fakes_engine import Constant, make_context, make_model
from workers.catalogue import find_methods
from workers.local import LocalRuns
from workers.method import Method
from workers.methods.caption import Caption, CaptionParams

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> ModelLoader:
    folder = tmp_path_factory.mktemp("captioners")
    write_captioner(folder / "vit-gpt2", "vit-gpt2")
    write_captioner(folder / "blip", "blip")
    return ModelLoader(ModelCatalogue(folder, demo_dir=folder), device="cpu")


@pytest.fixture(scope="module")
def methods() -> Mapping[str, Method]:
    return find_methods()


def captioner_of(model: LoadedModel) -> TransformersCaptioner:
    assert isinstance(model.captioner, TransformersCaptioner)
    return model.captioner


def test_the_caption_is_what_the_captioner_writes_about_the_prepared_picture(loader: ModelLoader) -> None:
    model = loader.load("vit-gpt2")
    context, _ = make_context(model, PIXELS, CaptionParams())
    result = Caption().explain(context)
    geometry, captioner = model.preprocessing, captioner_of(model)
    x = geometry.normalise(geometry.prepare(PIXELS).pixels)[None]
    written = captioner.write(x)[0][0]
    assert result.caption == written.text
    assert written.text in result.texts.reading
    assert result.scalars["tokens"] == len(written.token_ids)
    found = [float(str(row[1])) for row in result.tables[0].rows]
    assert found == pytest.approx(captioner.token_log_probs(x, written.token_ids)[0].exp().tolist(), abs=1e-5)
    assert float(str(result.scalars["mean_log_probability"])) == pytest.approx(
        sum(math.log(value) for value in found) / len(found)
    )
    assert context.engine.passes == 1


def test_a_prompt_reaches_the_captioner_and_one_that_is_not_taken_is_refused(loader: ModelLoader) -> None:
    blip = loader.load("blip")
    context, _ = make_context(blip, PIXELS, CaptionParams(prompt=" what is this ? ", max_new_tokens=6))
    asked = Caption().explain(context)
    assert asked.scalars["tokens"] in range(7)
    assert captioner_of(blip).prompt == ""
    context, _ = make_context(loader.load("vit-gpt2"), PIXELS, CaptionParams(prompt="what is this ?"))
    with pytest.raises(ProblemError) as caught:
        Caption().explain(context)
    assert caught.value.code is ProblemCode.PARAMS_INVALID


def test_without_readable_probabilities_the_caption_stands_alone_and_says_why(loader: ModelLoader) -> None:
    model = loader.load("vit-gpt2")
    mute = replace(model, captioner=replace(captioner_of(model), tokens_reason="They cannot be read off."))
    result = Caption().explain(make_context(mute, PIXELS, CaptionParams())[0])
    assert result.caption
    assert result.tables == ()
    assert result.texts.notes == ("They cannot be read off.",)


def test_a_captioner_that_says_nothing_is_not_an_error(loader: ModelLoader) -> None:
    model = loader.load("vit-gpt2")
    captioner = captioner_of(model)

    class Silent(type(captioner.family)):  # type: ignore[misc]
        def generate(self, pixels: torch.Tensor, *_: object) -> torch.Tensor:
            return torch.ones(len(pixels), 2, dtype=torch.long)

    silent = Silent(captioner.family.network, captioner.family.tokenizer)
    result = Caption().explain(
        make_context(replace(model, captioner=replace(captioner, family=silent)), PIXELS, CaptionParams())[0]
    )
    assert result.caption == ""
    assert result.texts.reading == "The model writes nothing about this picture."


def test_models_that_write_nothing_are_refused() -> None:
    assert "no sentences" in (Caption().supports(make_model(Constant([1.0])).card) or "")
    assert Caption().supports(make_model(Constant([1.0]), kind=ModelKind.CAPTIONER).card) is None


def test_every_other_kind_of_method_refuses_a_captioner_in_words_or_says_that_it_is_for_them(
    loader: ModelLoader, methods: Mapping[str, Method]
) -> None:
    card = loader.describe("vit-gpt2")
    possible = {name for name, method in methods.items() if method.supports(card) is None}
    assert "caption" in possible
    for name, method in methods.items():
        if name not in possible:
            reason = method.supports(card) or ""
            assert reason.endswith("."), name
            assert len(reason) > 15, name
    answers = [name for name in possible if methods[name].result_kind is ResultKind.PREDICTION]
    assert answers == ["caption"], "exactly one method answers what a captioner says"


def test_the_command_lines_way_gives_the_caption(loader: ModelLoader, methods: Mapping[str, Method]) -> None:
    answer = LocalRuns(loader, methods).explain(PIXELS, model="blip", method="caption")
    assert answer.manifest.kind is ResultKind.PREDICTION
    assert answer.manifest.caption
    assert answer.manifest.weights_digest == loader.load("blip").weights_digest
    assert answer.manifest.passes == 1
