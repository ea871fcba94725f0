from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import load_file, save_file
from torch import Tensor

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelKind
from models import hub
from models.captioners import Captioner, Decoding
from models.captioners_kinds import as_grid
from models.captioners_transformers import TransformersCaptioner
from models.catalogue import ModelCatalogue
from models.loader import LoadedModel, ModelLoader
from tests.fakes_captioners import FAMILIES, SIDE, write_captioner

PROMPTED = ("blip", "git", "blip-2", "blip-2-t5", "llava")
SEEDS = {"git": 3}
"""Random weights under which a family writes some words."""


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("captioners")
    for family in FAMILIES:
        write_captioner(folder / family, family, seed=SEEDS.get(family, 0))
    return folder


@pytest.fixture(scope="module")
def loaded(root: Path) -> dict[str, LoadedModel]:
    loader = ModelLoader(ModelCatalogue(root), device="cpu")
    return {family: loader.load(family) for family in FAMILIES}


@pytest.fixture(params=list(FAMILIES))
def model(request: pytest.FixtureRequest, loaded: dict[str, LoadedModel]) -> LoadedModel:
    return loaded[request.param]


def captioner_of(model: LoadedModel) -> TransformersCaptioner:
    assert isinstance(model.captioner, TransformersCaptioner)
    return model.captioner


def pictures(count: int = 4, seed: int = 1) -> Tensor:
    return 2 * torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


def refused(root: Path, name: str) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        ModelLoader(ModelCatalogue(root), device="cpu").load(name)
    return caught.value


def test_every_family_is_a_captioner_with_a_card(model: LoadedModel) -> None:
    captioner = captioner_of(model)
    assert isinstance(captioner, Captioner)
    assert model.card.kind is ModelKind.CAPTIONER
    assert model.card.blocks == ()
    assert model.class_names == ()
    assert model.preprocessing is captioner.geometry
    assert captioner.input_size == (SIDE, SIDE) == model.card.input_size
    assert model.card.parameter_count == sum(one.numel() for one in model.network.parameters())
    assert model.dtype is torch.float32


def test_a_batch_is_captioned_like_its_pictures_one_by_one(model: LoadedModel) -> None:
    captioner = captioner_of(model)
    batch = pictures()
    together, _ = captioner.write(batch)
    assert together == [captioner.write(batch[i : i + 1])[0][0] for i in range(len(batch))]
    assert [one.text for one in together] == captioner.caption(batch)


def test_the_random_captioners_say_enough_to_compare(loaded: dict[str, LoadedModel]) -> None:
    for family, model in loaded.items():
        written, _ = captioner_of(model).write(pictures())
        distinct = {token for one in written for token in one.token_ids}
        assert len(distinct) >= 3 or family in ("swin-gpt2", "blip-2-t5"), family


def test_token_probabilities_equal_a_step_by_step_computation(model: LoadedModel) -> None:
    captioner = captioner_of(model)
    assert captioner.has_tokens, captioner.tokens_reason
    batch = pictures()
    ids = next(one.token_ids for one in captioner.write(batch)[0] if len(one.token_ids) >= 2)[:6]
    found = captioner.token_log_probs(batch, ids)
    assert found.shape == (4, len(ids))
    assert bool((found <= 0).all())
    family, start = captioner.family, captioner.family.start_ids("")
    with torch.inference_mode():
        for place, token in enumerate(ids):
            before = torch.tensor([ids[:place]], dtype=torch.long).repeat(4, 1)
            logits = family.logits(batch, start, before, family.encode(batch))[:, -1]
            torch.testing.assert_close(found[:, place], torch.log_softmax(logits, -1)[:, token], atol=1e-4, rtol=1e-4)


def test_the_most_likely_tokens_are_those_that_are_written(model: LoadedModel) -> None:
    captioner = captioner_of(model)
    batch = pictures()
    for row, one in enumerate(captioner.write(batch)[0]):
        if not one.token_ids:
            continue
        with torch.inference_mode():
            logits = captioner._logits(
                batch[row : row + 1], one.token_ids, captioner.family.encode(batch[row : row + 1])
            )
        given = logits[0].gather(-1, torch.tensor(one.token_ids).unsqueeze(-1))[:, 0]
        assert bool((logits[0].max(-1).values - given < 1e-3).all())


def test_captions_and_probabilities_of_one_call_are_those_of_two(model: LoadedModel) -> None:
    captioner = captioner_of(model)
    batch = pictures()
    ids = (5, 9, 7)
    written, scored = captioner.write(batch, ids)
    assert written == captioner.write(batch)[0]
    assert scored is not None
    torch.testing.assert_close(scored, captioner.token_log_probs(batch, ids), atol=1e-5, rtol=1e-5)


def test_an_encoder_decoder_runs_its_encoder_once_for_both(loaded: dict[str, LoadedModel]) -> None:
    captioner = captioner_of(loaded["vit-gpt2"])
    calls: list[int] = []
    handle = captioner.family.network.encoder.register_forward_hook(lambda *_: calls.append(1))
    try:
        captioner.write(pictures(), (5, 9))
    finally:
        handle.remove()
    assert len(calls) == 1


def test_features_lie_on_the_grid_of_patches(loaded: dict[str, LoadedModel]) -> None:
    for family in ("blip", "git", "blip-2", "vit-gpt2", "swin-gpt2"):
        captioner = captioner_of(loaded[family])
        assert captioner.has_features, captioner.features_reason
        assert captioner.vision_features(pictures()).shape == (4, 24, 4, 4)


def test_class_tokens_are_dropped_from_the_front_of_the_grid(loaded: dict[str, LoadedModel]) -> None:
    captioner = captioner_of(loaded["vit-gpt2"])
    encoder = captioner.family.network.encoder
    with torch.inference_mode():
        tokens = encoder(pictures()).last_hidden_state
    assert tokens.shape[1] == 17
    grid = as_grid(tokens, encoder, (SIDE, SIDE))
    torch.testing.assert_close(grid[:, :, 1, 2], tokens[:, 1 + 1 * 4 + 2])


def test_an_unknown_layout_only_takes_the_features_away(loaded: dict[str, LoadedModel]) -> None:
    captioner = captioner_of(loaded["llava"])
    assert not captioner.has_features
    assert captioner.features_reason.endswith(".")
    with pytest.raises(ValueError, match="vision encoder"):
        captioner.vision_features(pictures())
    assert captioner.caption(pictures())


@pytest.mark.parametrize("family", PROMPTED)
def test_a_prompt_is_used_and_not_repeated(loaded: dict[str, LoadedModel], family: str) -> None:
    captioner = captioner_of(loaded[family])
    asked = captioner.with_decoding(Decoding(prompt="what is this ?", max_new_tokens=5))
    batch = pictures()
    start = asked.family.start_ids(asked.prompt)
    settings = asked.family.settings(num_beams=1, max_new_tokens=5)
    with torch.inference_mode():
        raw = asked.family.generate(batch, start, settings, None).tolist()
    if asked.family.repeats_start:
        assert all(row[: len(start)] == start for row in raw)
    for row, one in zip(raw, asked.write(batch)[0], strict=True):
        answer = row[len(start) if asked.family.repeats_start else 1 :]
        assert tuple(answer[: len(one.token_ids)]) == one.token_ids
        assert len(one.token_ids) <= 5
    assert captioner.prompt == "", "the captioner that was asked for is not changed"
    with torch.inference_mode():
        ids = torch.tensor([[5]]).repeat(4, 1)
        plain = captioner.family.logits(batch, captioner.family.start_ids(""), ids, None)[:, -1]
        prompted = asked.family.logits(batch, start, ids, None)[:, -1]
    assert not torch.allclose(plain, prompted)


def test_a_captioner_without_prompts_and_a_prompt_that_is_too_long_are_refused(loaded: dict[str, LoadedModel]) -> None:
    for family, prompt in (("vit-gpt2", "what is this ?"), ("git", "a " * 60), ("blip-2", "is <image> this ?")):
        with pytest.raises(ProblemError) as caught:
            captioner_of(loaded[family]).with_decoding(Decoding(prompt=prompt))
        assert caught.value.code is ProblemCode.PARAMS_INVALID


def test_beams_give_in_a_batch_what_they_give_one_by_one(model: LoadedModel) -> None:
    beams = captioner_of(model).with_decoding(Decoding(num_beams=3, max_new_tokens=4))
    batch = pictures()
    together = beams.write(batch)[0]
    assert together == [beams.write(batch[i : i + 1])[0][0] for i in range(len(batch))]
    assert all(len(one.token_ids) <= 4 for one in together)


def test_more_tokens_than_the_model_has_positions_are_cut(loaded: dict[str, LoadedModel]) -> None:
    captioner = captioner_of(loaded["vit-gpt2"]).with_decoding(Decoding(max_new_tokens=64))
    assert all(len(one.token_ids) <= 40 for one in captioner.write(pictures())[0])


def test_pieces_joined_are_the_caption(model: LoadedModel) -> None:
    captioner = captioner_of(model)
    for one in captioner.write(pictures())[0]:
        pieces = captioner.pieces(one.token_ids)
        assert len(pieces) == len(one.token_ids)
        assert " ".join("".join(pieces).split()) == one.text


def test_a_captioner_whose_probabilities_are_misaligned_says_so(loaded: dict[str, LoadedModel]) -> None:
    captioner = captioner_of(loaded["vit-gpt2"])

    class Shifted(type(captioner.family)):  # type: ignore[misc]
        def logits(self, *arguments: object) -> Tensor:
            return super().logits(*arguments).roll(1, -1)  # type: ignore[no-any-return]

    family = Shifted(captioner.family.network, captioner.family.tokenizer)
    checked = TransformersCaptioner(family, captioner.geometry).checked()
    assert not checked.has_tokens
    assert "most likely words" in checked.tokens_reason
    with pytest.raises(ValueError, match="words"):
        checked.token_log_probs(pictures(), (5,))


def test_nothing_is_sampled_and_the_network_is_left_as_it_was(model: LoadedModel) -> None:
    captioner = captioner_of(model)
    settings = captioner.family.writer.generation_config.to_dict()
    state = torch.random.get_rng_state()
    assert captioner.write(pictures()) == captioner.write(pictures())
    assert torch.equal(state, torch.random.get_rng_state())
    assert captioner.family.writer.generation_config.to_dict() == settings
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


def test_a_wrong_batch_is_refused(loaded: dict[str, LoadedModel]) -> None:
    captioner = captioner_of(loaded["blip"])
    for wrong in (torch.zeros(3, SIDE, SIDE), torch.zeros(0, 3, SIDE, SIDE), torch.zeros(1, 3, SIDE, SIDE + 8)):
        with pytest.raises(ValueError, match="pictures are"):
            captioner.caption(wrong)


def test_our_preprocessing_is_that_of_the_image_processor(root: Path, loaded: dict[str, LoadedModel]) -> None:
    from transformers import AutoImageProcessor

    from models.captioners_processor import processed

    rng = np.random.default_rng(0)
    for family, crop in (("git", "center"), ("blip", "squash")):
        geometry = loaded[family].preprocessing
        assert geometry.crop_mode == crop
        processor = AutoImageProcessor.from_pretrained(str(root / family))
        coarse = rng.integers(0, 256, (5, 8, 3), dtype=np.uint8)
        picture = np.kron(coarse, np.ones((13, 17, 1), np.uint8))
        ours = geometry.normalise(geometry.prepare(picture).pixels).numpy()
        theirs = processed(processor, picture)
        difference = np.abs(ours - theirs) * np.array(geometry.std)[:, None, None] * 255
        assert difference.max() <= 2.0, "resize filters may round differently, no more"
    assert loaded["git"].preprocessing.seen(200, 100) == (50.0, 0.0, 150.0, 100.0)
    assert loaded["blip"].preprocessing.seen(200, 100) == (0.0, 0.0, 200.0, 100.0)


def test_local_dir_and_own_directory_are_one_path_with_one_digest(root: Path, loaded: dict[str, LoadedModel]) -> None:
    for family in ("blip", "git", "blip-2", "vit-gpt2"):
        again = ModelLoader(ModelCatalogue(None), device="cpu").load(f"local-dir:{root / family}")
        assert again.weights_digest == loaded[family].weights_digest
        assert captioner_of(again).caption(pictures()) == captioner_of(loaded[family]).caption(pictures())
        assert loaded[family].card.weights == loaded[family].weights_digest


def test_a_hub_name_loads_from_the_cache_without_a_network(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loaded: dict[str, LoadedModel]
) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(hub, "is_reachable", lambda _endpoint: False)
    assert refused(tmp_path, "hf-hub:somebody/vit-gpt2").code is ProblemCode.WEIGHTS_MISSING
    kept = tmp_path / "models--somebody--vit-gpt2"
    shutil.copytree(root / "vit-gpt2", kept / "snapshots" / "c0ffee")
    (kept / "refs").mkdir()
    (kept / "refs" / "main").write_text("c0ffee")
    model = ModelLoader(ModelCatalogue(None), device="cpu").load("hf-hub:somebody/vit-gpt2")
    assert model.card.source == "hub"
    assert model.weights_digest == loaded["vit-gpt2"].weights_digest
    assert captioner_of(model).caption(pictures()) == captioner_of(loaded["vit-gpt2"]).caption(pictures())


def test_transformers_own_processor_would_have_lost_the_picture(root: Path, loaded: dict[str, LoadedModel]) -> None:
    from transformers import AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(str(root / "vit-gpt2"))
    except Exception:
        processor = None
    assert not hasattr(processor, "image_processor")
    assert captioner_of(loaded["vit-gpt2"]).caption(pictures())


def test_weights_in_several_files_load_alike(root: Path, tmp_path: Path, loaded: dict[str, LoadedModel]) -> None:
    folder = tmp_path / "pieces"
    shutil.copytree(root / "blip", folder)
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, some in parts.items():
        save_file({name: state[name] for name in some}, folder / file, metadata={"format": "pt"})
    index = {"metadata": {}, "weight_map": {name: file for file, some in parts.items() for name in some}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    model = ModelLoader(ModelCatalogue(tmp_path), device="cpu").load("pieces")
    assert captioner_of(model).caption(pictures()) == captioner_of(loaded["blip"]).caption(pictures())


def edited(source: Path, target: Path, **changes: object) -> Path:
    shutil.copytree(source, target)
    config = json.loads((target / "config.json").read_text())
    config.update(changes)
    (target / "config.json").write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    return target


def test_weights_that_could_hold_code_are_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "old"
    shutil.copytree(root / "vit-gpt2", folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    problem = refused(tmp_path, "old")
    assert problem.code is ProblemCode.MODEL_BROKEN
    assert "safetensors" in str(problem)
    (folder / "pytorch_model.bin").unlink()
    assert "holds no model.safetensors" in str(refused(tmp_path, "old"))


def test_models_with_their_own_code_and_models_for_other_work_are_refused(root: Path, tmp_path: Path) -> None:
    edited(root / "vit-gpt2", tmp_path / "code", model_type="my_own", auto_map={"AutoModel": "mine.Model"})
    edited(root / "vit-gpt2", tmp_path / "text", model_type="bert")
    edited(root / "blip", tmp_path / "vqa", architectures=["BlipForQuestionAnswering"])
    assert "never runs code" in str(refused(tmp_path, "code"))
    assert "does not write about pictures" in str(refused(tmp_path, "text"))
    assert "BlipForQuestionAnswering" in str(refused(tmp_path, "vqa"))
    cards = {card.name: card for card in ModelCatalogue(tmp_path).cards()}
    assert all(cards[name].problem is not None for name in ("code", "text", "vqa"))


def test_weights_that_do_not_fit_and_a_missing_picture_processor_are_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "lacking"
    shutil.copytree(root / "blip", folder)
    state = load_file(folder / "model.safetensors")
    gone = "vision_model.post_layernorm.weight"
    del state[gone]
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    assert gone in str(refused(tmp_path, "lacking"))
    shutil.copytree(root / "vit-gpt2", tmp_path / "blind")
    (tmp_path / "blind" / "preprocessor_config.json").unlink()
    assert "wants its pictures" in str(refused(tmp_path, "blind"))


def test_an_input_of_changing_size_is_refused(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "loose"
    shutil.copytree(root / "git", folder)
    path = folder / "processor_config.json"
    settings = json.loads(path.read_text())
    settings["image_processor"]["do_center_crop"] = False
    path.write_text(json.dumps(settings))
    assert "no fixed size" in str(refused(tmp_path, "loose"))


def test_without_the_library_the_message_names_the_extra(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    problem = refused(root, "blip")
    assert problem.code is ProblemCode.MODEL_BROKEN
    assert "captions extra" in str(problem)


def test_captioners_share_the_memory_budget_with_all_models(root: Path) -> None:
    loader = ModelLoader(ModelCatalogue(root), device="cpu", budget_bytes=1)
    first = loader.load("blip")
    assert first.size_bytes > 100_000
    loader.load("vit-gpt2")
    assert [model.name for model in loader.loaded()] == ["vit-gpt2"]
