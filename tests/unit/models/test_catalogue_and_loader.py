from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path

import pytest
import timm
import torch

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelKind
from models.catalogue import DEMO_DIR, ModelCatalogue
from models.class_names import imagenet_names, name_classes
from models.loader import ModelLoader, choose_device
from models.weights import size_bytes, state_digest
from tests.fakes_models import write_own_model


def catalogue(folder: Path) -> ModelCatalogue:
    return ModelCatalogue(folder / "own", demo_dir=folder / "demo")


def test_every_pretrained_name_of_timm_is_on_offer() -> None:
    names = ModelCatalogue(None).timm_names()
    assert set(names) == set(timm.list_models(pretrained=True))
    assert list(names) == sorted(names)
    assert len(names) >= 1200


def test_a_catalogue_without_folders_offers_timm_only(tmp_path: Path) -> None:
    empty = catalogue(tmp_path)
    assert (empty.own(), empty.demo(), empty.cards()) == ((), (), ())
    assert ModelCatalogue(None, demo_dir=tmp_path / "none").cards() == ()


def test_demo_models_come_first_and_an_own_model_of_the_same_name_takes_its_place(tmp_path: Path) -> None:
    write_own_model(tmp_path / "demo", "birds", title="Demo birds")
    write_own_model(tmp_path / "own", "ants", title="Ants")
    assert [(card.name, card.source) for card in catalogue(tmp_path).cards()] == [("birds", "demo"), ("ants", "own")]
    write_own_model(tmp_path / "own", "birds", title="My birds")
    cards = catalogue(tmp_path).cards()
    assert [(card.title, card.source) for card in cards] == [("My birds", "own"), ("Ants", "own")]


def test_directories_without_a_description_or_with_odd_names_are_passed_over(tmp_path: Path) -> None:
    (tmp_path / "own" / "notes").mkdir(parents=True)
    (tmp_path / "own" / "file.txt").touch()
    write_own_model(tmp_path / "own", ".hidden")
    write_own_model(tmp_path / "own", "with space")
    assert catalogue(tmp_path).own() == ()


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet50.a1_in1kk", "resnet50.a1_in1k"),
        ("resnet5o", "resnet50"),
        ("resnet50.unheard_of_tag", "resnet50."),
        ("../secret", "No model is called"),
        ("", "No model is called"),
        ("local-dir:no/such/folder", "no model folder"),
    ],
)
def test_an_unknown_name_is_a_problem_that_offers_near_names(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(ProblemError) as caught:
        catalogue(tmp_path).resolve(name)
    assert caught.value.code == ProblemCode.MODEL_UNKNOWN
    assert said in caught.value.message


def test_a_card_tells_what_the_network_itself_tells(tmp_path: Path) -> None:
    write_own_model(tmp_path / "own", "vit", architecture="test_vit4", title="A small transformer")
    models = ModelLoader(catalogue(tmp_path), device="cpu")
    card = models.describe("vit")
    model = models.load("vit")
    assert model.card == card
    assert card.described
    assert card.kind == ModelKind.CLASSIFIER
    assert (card.title, card.architecture, card.family) == ("A small transformer", "test_vit4", "vision_transformer")
    assert card.parameter_count == sum(parameter.numel() for parameter in model.network.parameters())
    assert card.class_count == 3
    assert card.class_names == ("finch", "heron", "owl")
    assert card.input_size == (160, 160)
    assert card.preprocessing == model.preprocessing.describe()
    assert card.prefix_tokens == model.network.num_prefix_tokens
    assert [block.grid for block in card.blocks] == [(10, 10)] * len(card.blocks)
    assert [block.name for block in card.blocks] == [block.name for block in model.layout.blocks]


@pytest.mark.parametrize(
    ("name", "kind", "classes"),
    [
        ("resnet18.a1_in1k", ModelKind.CLASSIFIER, 1000),
        ("vit_tiny_patch16_224.augreg_in21k", ModelKind.CLASSIFIER, 21843),
        ("vit_small_patch14_reg4_dinov2.lvd142m", ModelKind.ENCODER, None),
        ("vit_base_patch32_clip_224.openai", ModelKind.ENCODER, None),
    ],
)
def test_class_scores_are_told_apart_from_picture_embeddings(name: str, kind: ModelKind, classes: int | None) -> None:
    description = ModelCatalogue(None).describe(name)
    assert description.card.kind == kind
    assert description.card.class_count == classes
    assert len(description.class_names) == (classes or 0)
    assert description.card.class_names == (), "more than twenty names are left out"


def test_describing_allocates_no_weights_and_is_done_once(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[torch.device] = []
    real = timm.create_model

    def watched(*args: object, **kwargs: object) -> torch.nn.Module:
        network = real(*args, **kwargs)
        built.append(next(network.parameters()).device)
        return network

    monkeypatch.setattr(timm, "create_model", watched)
    offered = ModelCatalogue(None)
    first = offered.describe("resnet18.a1_in1k")
    assert offered.describe("resnet18.a1_in1k") is first
    assert [device.type for device in built] == ["meta"]


def test_a_network_that_cannot_run_on_shapes_is_tried_with_random_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from models import description

    write_own_model(tmp_path / "own", "tiny")
    real = description.find_layout

    def only_real(network: torch.nn.Module, *args: object, **kwargs: object) -> object:
        if next(network.parameters()).is_meta:
            raise NotImplementedError("not on shapes")
        return real(network, *args, **kwargs)

    expected = catalogue(tmp_path).describe("tiny").layout
    monkeypatch.setattr(description, "find_layout", only_real)
    state = torch.random.get_rng_state()
    assert catalogue(tmp_path).describe("tiny").layout == expected
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_least_recently_used_network_leaves_when_the_budget_is_full(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        write_own_model(tmp_path / "own", name)
    size = ModelLoader(catalogue(tmp_path), device="cpu").load("a").size_bytes
    models = ModelLoader(catalogue(tmp_path), device="cpu", budget_bytes=2 * size)
    first = models.load("a")
    models.load("b")
    assert models.load("a") is first, "used again: now the most recent"
    models.load("c")
    assert [model.name for model in models.loaded()] == ["a", "c"]
    assert sum(model.size_bytes for model in models.loaded()) <= models.budget_bytes


def test_a_network_larger_than_the_budget_is_loaded_alone(tmp_path: Path) -> None:
    write_own_model(tmp_path / "own", "a")
    write_own_model(tmp_path / "own", "b")
    models = ModelLoader(catalogue(tmp_path), device="cpu", budget_bytes=0)
    models.load("a")
    models.load("b")
    assert [model.name for model in models.loaded()] == ["b"]


def test_a_network_that_left_is_freed_as_soon_as_nobody_holds_it(tmp_path: Path) -> None:
    write_own_model(tmp_path / "own", "a")
    models = ModelLoader(catalogue(tmp_path), device="cpu")
    model = models.load("a")
    network = weakref.ref(model.network)
    models.unload("a")
    models.unload("a")
    assert models.loaded() == []
    assert network() is not None, "a run that still holds it can finish"
    del model
    gc.collect()
    assert network() is None


def test_threads_that_ask_at_once_get_one_network(tmp_path: Path) -> None:
    write_own_model(tmp_path / "own", "a")
    models = ModelLoader(catalogue(tmp_path), device="cpu")
    start, got = threading.Barrier(4), []

    def ask() -> None:
        start.wait(10)
        got.append(models.load("a"))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(got) == 4
    assert len({id(model) for model in got}) == 1


def test_loading_leaves_the_random_generator_as_it_was(tmp_path: Path) -> None:
    write_own_model(tmp_path / "own", "a")
    torch.manual_seed(7)
    state = torch.random.get_rng_state()
    ModelLoader(catalogue(tmp_path), device="cpu").load("a")
    assert torch.equal(torch.random.get_rng_state(), state)


def test_a_device_runs_out_of_memory_once_and_the_others_are_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_own_model(tmp_path / "own", "a")
    write_own_model(tmp_path / "own", "b")
    models = ModelLoader(catalogue(tmp_path), device="cpu")
    models.load("a")
    real, failures = torch.nn.Module.to, [True]

    def full(module: torch.nn.Module, *args: object, **kwargs: object) -> torch.nn.Module:
        if failures and failures.pop():
            raise torch.OutOfMemoryError("full")
        return real(module, *args, **kwargs)

    monkeypatch.setattr(torch.nn.Module, "to", full)
    models.load("b")
    assert [model.name for model in models.loaded()] == ["b"]
    failures += [True, True]
    with pytest.raises(ProblemError) as caught:
        models.load("a")
    assert caught.value.code == ProblemCode.OUT_OF_MEMORY
    assert models.loaded() == []


def test_a_device_is_chosen_or_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_device("auto") == torch.device("cpu")
    for name in ("cuda", "cuda:1", "meta", "abacus"):
        with pytest.raises(ValueError, match=name):
            choose_device(name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert choose_device("auto").type == "cuda"
    assert choose_device("cuda:1") == torch.device("cuda", 1)


def test_the_state_digest_sees_every_value_and_name_and_nothing_else() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    digest = state_digest(network)
    network.train()
    assert state_digest(network.requires_grad_(False)) == digest
    network[1].running_mean[0] += 1e-6
    assert state_digest(network) != digest
    assert size_bytes(network) == (6 + 2 + 4 * 2) * 4 + 8


@pytest.mark.parametrize(("count", "first"), [(1000, "tench"), (21841, ""), (21843, ""), (11821, ""), (21842, "tench")])
def test_imagenet_classes_have_words_one_for_each(count: int, first: str) -> None:
    names = name_classes(count, {})
    assert len(names) == count
    assert names[0].startswith(first)
    assert all(names)


def test_two_imagenet_classes_of_the_same_word_keep_all_their_synonyms() -> None:
    names = imagenet_names("imagenet-1k")
    assert names[2] == "great white shark"
    assert names[134] == "crane (large long-necked wading bird of marshes and plains in many parts of the world)"
    assert names[517] == "crane (lifts and moves heavy objects)"
    assert len(set(names)) == 1000


def test_own_names_go_first_and_unknown_numbers_stay_numbers() -> None:
    config = {"label_names": ["n1", "n2"], "label_descriptions": {"n1": "wren"}}
    assert name_classes(2, config) == ("wren", "n2")
    assert name_classes(3, config) == ("class 0", "class 1", "class 2")


def test_the_built_in_models_load_and_are_described() -> None:
    offered = ModelCatalogue(None)
    assert offered.demo_dir == DEMO_DIR
    for card in offered.cards():
        assert card.problem is None
        model = ModelLoader(offered, device="cpu").load(card.name)
        assert len(model.class_names) == (card.class_count or 0)
        assert (model.captioner is not None) == (card.kind is ModelKind.CAPTIONER) == (card.class_count is None)
