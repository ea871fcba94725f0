from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models import save_for_hf

from backend.contract.problems import ProblemCode, ProblemError
from models.catalogue import ModelCatalogue
from models.loader import ModelLoader
from tests.fakes_models import write_hub_folder, write_own_model, write_red_model


def loader(folder: Path) -> ModelLoader:
    return ModelLoader(ModelCatalogue(folder, demo_dir=folder / "no-demo"), device="cpu")


def refused(folder: Path, name: str = "tiny") -> str:
    """Returns the sentence with which loading is refused, and checks that the card tells the same."""
    with pytest.raises(ProblemError) as caught:
        loader(folder).load(name)
    assert caught.value.code == ProblemCode.MODEL_BROKEN
    assert str(folder) not in caught.value.message, "a problem never holds a path"
    return caught.value.message


def edit(directory: Path, old: str, new: str) -> None:
    file = directory / "model.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))


def test_an_own_model_answers_as_the_network_whose_weights_it_holds(tmp_path: Path) -> None:
    directory = write_own_model(tmp_path, preprocessing={"input_size": [96, 64], "crop_pct": 1.0, "mean": [0.1] * 3})
    model = loader(tmp_path).load("tiny")
    network = timm.create_model("test_resnet", num_classes=3).eval()
    network.load_state_dict(load_file(directory / "weights.safetensors"))
    x = torch.rand(2, 3, 96, 64)
    assert torch.equal(model.network(x), network(x))
    assert model.class_names == ("finch", "heron", "owl")
    assert model.preprocessing.input_size == (96, 64)
    assert model.preprocessing.mean == (0.1, 0.1, 0.1)
    assert model.preprocessing.std == (0.5, 0.5, 0.5), "what is not given is the architecture's own"
    assert model.card.source == "own"
    assert model.card.weights == model.weights_digest
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.parametrize("wrapping", ["plain", "nested", "parallel"])
def test_torch_checkpoints_of_training_scripts_are_read_without_running_code(tmp_path: Path, wrapping: str) -> None:
    directory = write_own_model(tmp_path)
    state = load_file(directory / "weights.safetensors")
    expected = loader(tmp_path).load("tiny").network(torch.ones(1, 3, 160, 160))
    wrapped = {
        "plain": state,
        "nested": {"epoch": 3, "state_dict": state},
        "parallel": {"model": {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}},
    }[wrapping]
    torch.save(wrapped, directory / "last.pth")
    edit(directory, "classes =", 'checkpoint = "last.pth"\nclasses =')
    assert torch.equal(loader(tmp_path).load("tiny").network(torch.ones(1, 3, 160, 160)), expected)


class Malicious:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("ran-code"),))


@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_that_holds_code_is_refused_and_nothing_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    directory = write_own_model(tmp_path)
    edit(directory, "classes =", 'checkpoint = "evil.pth"\nclasses =')
    torch.save({"state_dict": Malicious()}, directory / "evil.pth")
    assert "runs no code" in refused(tmp_path)
    (directory / "evil.pth").write_bytes(pickle.dumps(Malicious()))
    refused(tmp_path)
    assert not (tmp_path / "ran-code").exists()


def test_a_checkpoint_that_does_not_fit_is_refused_by_the_first_weight_that_does_not(tmp_path: Path) -> None:
    file = write_own_model(tmp_path) / "weights.safetensors"
    state = load_file(file)
    save_file({name: tensor for name, tensor in state.items() if name != "fc.bias"}, file)
    assert "1 weights are missing (the first: fc.bias)" in refused(tmp_path)
    save_file({**state, "head.extra": torch.zeros(1)}, file)
    assert "1 are not part of it (the first: head.extra)" in refused(tmp_path)
    save_file({**state, "fc.bias": torch.zeros(7)}, file)
    assert "fc.bias has the shape [7], the architecture needs [3]" in refused(tmp_path)
    file.write_bytes(b"not a checkpoint")
    assert "damaged" in refused(tmp_path)
    file.unlink()
    assert "no checkpoint 'weights.safetensors'" in refused(tmp_path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"test_resnet"', '"resnet_of_tomorrow"', "'resnet_of_tomorrow' of tiny is none that timm"),
        ("title", "titel", "titel is not possible"),
        ("title = ", "title ", "not valid TOML"),
        ("[preprocessing]", '[preprocessing]\ncrop_mode = "middle"', "crop_mode is one of center, squash, border"),
        ("[preprocessing]", '[preprocessing]\ninterpolation = "random"', "interpolation is one of"),
        ("[preprocessing]", "[preprocessing]\ninput_size = [64]", "preprocessing.input_size"),
        ("[architecture_args]", "[architecture_args]\nnum_classes = 4", "names 3 classes, but its num_classes is 4"),
        ("[architecture_args]", "[architecture_args]\npretrained = true", "cannot hold 'pretrained'"),
        ("[architecture_args]", "[architecture_args]\nno_such_thing = 1", "timm refuses its arguments"),
        ("[architecture_args]", "[architecture_args]\nin_chans = 1", "channels"),
        ("classes =", 'checkpoint = "../other.safetensors"\nclasses =', "must be a file in the same folder"),
        ("classes =", 'checkpoint = "/etc/passwd"\nclasses =', "must be a file in the same folder"),
        ("classes =", 'classes_file = "names.txt"\nclasses =', "keep one"),
        ("[preprocessing]", '[preprocessing]\n[taps]\nblocks = ["layer9"]', "no module 'layer9'"),
    ],
)
def test_a_wrong_entry_is_refused_in_a_sentence_that_names_it(tmp_path: Path, old: str, new: str, message: str) -> None:
    edit(write_own_model(tmp_path), old, new)
    assert message in refused(tmp_path)
    card = ModelCatalogue(tmp_path, demo_dir=tmp_path / "no-demo").cards()[0]
    assert card.problem is not None
    assert message in card.problem.message
    assert not card.described


def test_class_names_may_come_from_a_file(tmp_path: Path) -> None:
    directory = write_own_model(tmp_path)
    edit(directory, 'classes = ["finch", "heron", "owl"]', 'classes_file = "names.txt"')
    (directory / "names.txt").write_text("wren\n\n tern \ncrow\n")
    assert loader(tmp_path).load("tiny").class_names == ("wren", "tern", "crow")
    (directory / "names.txt").write_text("\n")
    assert "names no class" in refused(tmp_path)
    (directory / "names.txt").unlink()
    assert "no readable 'names.txt'" in refused(tmp_path)


def test_blocks_named_by_the_owner_override_what_would_be_found(tmp_path: Path) -> None:
    write_own_model(tmp_path, taps=["layer2.0", "layer4"])
    card = loader(tmp_path).describe("tiny")
    assert [block.name for block in card.blocks] == ["layer2.0", "layer4"]


def test_a_transformer_is_built_for_the_input_size_of_its_preprocessing(tmp_path: Path) -> None:
    write_own_model(
        tmp_path,
        architecture="vit_tiny_patch16_224",
        arguments={"depth": 1, "img_size": [64, 96]},
        preprocessing={"input_size": [64, 96]},
    )
    edit(tmp_path / "tiny", "img_size = [64, 96]\n", "")
    model = loader(tmp_path).load("tiny")
    assert model.layout.blocks[0].grid == (4, 6)
    edit(tmp_path / "tiny", "input_size = [64, 96]\n", "")
    edit(tmp_path / "tiny", "[architecture_args]\n", "[architecture_args]\nimg_size = [64, 96]\n")
    assert loader(tmp_path).describe("tiny").input_size == (64, 96), "and the other way round"
    assert model.network(torch.rand(1, 3, 64, 96)).shape == (1, 3)


def test_the_weights_identity_follows_weights_classes_and_architecture_but_not_the_title(tmp_path: Path) -> None:
    directory = write_own_model(tmp_path)
    catalogue = ModelCatalogue(tmp_path)
    identities = [catalogue.resolve("tiny").weights]
    edit(directory, 'title = "tiny"', 'title = "Another title"')
    assert catalogue.resolve("tiny").weights == identities[0]
    edit(directory, '"heron"', '"egret"')
    identities.append(catalogue.resolve("tiny").weights)
    write_own_model(tmp_path, seed=1)
    identities.append(catalogue.resolve("tiny").weights)
    write_own_model(tmp_path, seed=1, arguments={"global_pool": "max"})
    identities.append(catalogue.resolve("tiny").weights)
    assert len(set(identities)) == 4


def test_a_changed_checkpoint_is_loaded_anew_and_an_unchanged_one_is_not(tmp_path: Path) -> None:
    write_own_model(tmp_path)
    models = loader(tmp_path)
    first = models.load("tiny")
    assert models.load("tiny") is first
    write_own_model(tmp_path, seed=5)
    second = models.load("tiny")
    assert second is not first
    assert second.weights_digest != first.weights_digest
    assert len(models.loaded()) == 1


@pytest.mark.parametrize("name", ["local", "prefixed"])
def test_a_directory_in_the_hubs_format_is_a_model_too(tmp_path: Path, name: str) -> None:
    directory = write_hub_folder(tmp_path, "local")
    asked = "local" if name == "local" else f"local-dir:{directory}"
    model = loader(tmp_path).load(asked)
    assert model.name == asked
    assert model.card.title == "local"
    assert model.card.source == ("own" if name == "local" else "hub")
    assert model.class_names == ("finch", "heron")
    assert model.preprocessing.input_size == (96, 96)
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    state = load_file(directory / "model.safetensors")
    assert all(torch.equal(tensor, state[key]) for key, tensor in model.network.state_dict().items())
    assert model.weights_digest == model.card.weights


def test_a_directory_written_by_timm_itself_is_read_back_exactly(tmp_path: Path) -> None:
    network = timm.create_model("vit_tiny_patch16_224", depth=1, num_classes=5, img_size=96).eval()
    save_for_hf(network, tmp_path / "saved", model_config={"label_names": list("abcde")})
    model = loader(tmp_path).load("local-dir:saved")
    x = torch.rand(1, 3, 96, 96)
    assert torch.equal(model.network(x), network(x))
    assert model.class_names == ("a", "b", "c", "d", "e")
    assert model.preprocessing.input_size == (96, 96), "the size it was built for"


def test_a_hub_folder_that_is_not_timms_or_is_damaged_is_refused(tmp_path: Path) -> None:
    directory = write_hub_folder(tmp_path, "local")
    (directory / "config.json").write_text('{"architectures": ["BertModel"]}')
    assert "not in timm's format" in refused(tmp_path, "local")
    (directory / "config.json").write_text("{")
    assert "not in timm's format" in refused(tmp_path, "local")
    write_hub_folder(tmp_path, "local")
    save_file({"fc.bias": torch.zeros(2)}, directory / "model.safetensors")
    assert "weights do not fit" in refused(tmp_path, "local")


@pytest.mark.parametrize("crop_mode", ["center", "squash", "border"])
def test_the_red_model_finds_red_wherever_it_is_and_nothing_in_grey(tmp_path: Path, crop_mode: str) -> None:
    write_red_model(tmp_path, crop_mode=crop_mode)
    model = loader(tmp_path).load("red")
    grey = np.full((90, 130, 3), 128, np.uint8)
    red = grey.copy()
    red[40:56, 60:76] = (255, 0, 0)
    scores = [
        model.network(model.preprocessing.normalise(model.preprocessing.prepare(pixels).pixels)[None]).softmax(1)[0, 0]
        for pixels in (grey, red)
    ]
    assert scores[0] < 0.2
    assert scores[1] > 0.7
    assert model.layout.blocks[0].grid == (8, 8)
