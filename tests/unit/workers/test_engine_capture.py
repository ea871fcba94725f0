"""Activations through the engine: on the grid, batch by batch, without class tokens."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch

from backend.contract.schemas import ModelKind
from models.architectures import find_layout
from models.loader import LoadedModel
from tests.fakes_engine import make_model
from workers.engine import Engine


def make_timm(name: str, *, kind: ModelKind = ModelKind.CLASSIFIER, **arguments: object) -> LoadedModel:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    network = timm.create_model(name, pretrained=False, **arguments).eval().requires_grad_(False)
    model = make_model(network, size=(64, 64), classes=5, kind=kind)
    return dataclasses.replace(model, layout=find_layout(network, (64, 64)))


@pytest.fixture(scope="module")
def convolutional() -> LoadedModel:
    return make_timm("resnet10t", num_classes=5)


@pytest.fixture(scope="module")
def transformer() -> LoadedModel:
    return make_timm("vit_tiny_patch16_224", num_classes=5, img_size=64)


@pytest.mark.parametrize("family", ["convolutional", "transformer"])
def test_captured_activations_lie_on_the_blocks_grid_and_do_not_depend_on_the_batch(
    family: str, request: pytest.FixtureRequest
) -> None:
    model: LoadedModel = request.getfixturevalue(family)
    block = model.layout.blocks[-1]
    pictures = torch.rand(5, 3, 64, 64)
    found = {}
    for batch_size in (2, 8):
        engine = Engine(model, check_cancelled=lambda: None, batch_size=batch_size)
        logits, activations = engine.capture(pictures, [block.name])
        assert logits is not None
        assert engine.passes == 5
        found[batch_size] = (logits, activations[block.name])
    assert found[2][1].shape == (5, block.channels, *block.grid)
    assert found[2][1].dtype == torch.float32
    torch.testing.assert_close(found[2][0], found[8][0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[2][1], found[8][1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(found[8][0], engine.forward(pictures), rtol=1e-4, atol=1e-4)


def test_an_encoder_has_activations_but_no_class_scores() -> None:
    model = make_timm("resnet10t", kind=ModelKind.ENCODER, num_classes=0)
    engine = Engine(model, check_cancelled=lambda: None, batch_size=4)
    logits, activations = engine.capture(torch.rand(1, 3, 64, 64), [model.layout.blocks[0].name])
    assert logits is None
    assert list(activations) == [model.layout.blocks[0].name]


def test_the_classifier_of_a_timm_model_stays_in_float32_when_the_body_does_not(convolutional: LoadedModel) -> None:
    from workers.precision import ready

    seen: list[torch.dtype] = []
    network = convolutional.network
    with ready(network, torch.bfloat16, torch.device("cpu")):
        handle = network.get_classifier().register_forward_hook(lambda _m, _i, output: seen.append(output.dtype))
        body = network.forward_features(torch.rand(1, 3, 64, 64))
        network(torch.rand(1, 3, 64, 64))
        handle.remove()
    assert body.dtype == torch.bfloat16
    assert seen == [torch.float32]
