"""Facts about Grad-CAM: what it equals in closed form, what it survives, what it leaves behind."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import Tensor, nn

from models.grad_cam import cam_layer, grad_cam, min_max, to_pixels
from models.loader import LoadedModel
from models.preprocessing import Preprocessing
from tests.fakes_lvw import CELL, blob_model, blob_picture
from tests.fakes_models import as_loaded


def _pictures(count: int, size: int = 32, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def _vit(**arguments: object) -> LoadedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        network = timm.create_model(
            "vit_tiny_patch16_224", img_size=64, patch_size=16, embed_dim=24, depth=3, num_heads=2, num_classes=5,
            **arguments,
        )  # fmt: skip
    preprocessing = Preprocessing(input_size=(64, 64), crop_pct=1.0)
    return as_loaded(network, classes=[str(i) for i in range(5)], preprocessing=preprocessing)


def test_a_pooled_linear_network_gives_its_class_activation_map() -> None:
    model = blob_model()
    pictures = _pictures(3)
    found = grad_cam(model, pictures, 1)
    with torch.no_grad():
        features = model.network.forward_features(pictures)  # type: ignore[operator]
    weights = model.network.fc.weight[1]  # type: ignore[union-attr,index]
    expected = min_max((features * weights[:, None, None]).sum(1).relu())
    assert torch.allclose(found.maps, expected, atol=1e-5)
    assert torch.equal(found.targets, torch.tensor([1, 1, 1]))


def test_the_map_lies_on_the_blob_and_speaks_of_the_answer() -> None:
    model = blob_model()
    for colour in (0, 1):
        pixels, box = blob_picture(colour, seed=5)
        found = grad_cam(model, model.preprocessing.prepare(pixels).pixels[None])
        assert found.targets.tolist() == [colour]
        inside = torch.zeros(8, 8, dtype=torch.bool)
        inside[box[1] // CELL : box[3] // CELL, box[0] // CELL : box[2] // CELL] = True
        assert float(found.maps[0][inside].mean()) > 0.9
        assert float(found.maps[0][~inside].max()) < 0.5


def test_a_batch_is_its_pictures_one_by_one() -> None:
    model, pictures = _vit(), _pictures(4, 64)
    whole = grad_cam(model, pictures)
    single = [grad_cam(model, picture[None]) for picture in pictures]
    assert torch.allclose(whole.maps, torch.cat([one.maps for one in single]), atol=1e-4)
    assert torch.allclose(whole.logits, torch.cat([one.logits for one in single]), atol=1e-5)


@pytest.mark.parametrize("arguments", [{}, {"reg_tokens": 4}, {"global_pool": "avg"}])
def test_vision_transformers_get_a_map_that_is_not_empty(arguments: dict[str, object]) -> None:
    model = _vit(**arguments)
    found = grad_cam(model, _pictures(3, 64), relu=False, scale=False)
    assert found.maps.shape == (3, 4, 4)
    assert (found.maps.abs().flatten(1).amax(1) > 0).all()
    is_pooled = arguments.get("global_pool") == "avg"
    assert cam_layer(model).name == ("blocks.2" if is_pooled else "blocks.2.norm1")


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext", "test_efficientnet"])
def test_convolutional_families_use_their_last_stage(name: str) -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=3)
    model = as_loaded(network, classes="abc", input_size=(96, 96))
    found = grad_cam(model, _pictures(2, 96))
    assert cam_layer(model) == model.layout.blocks[-1]
    assert tuple(found.maps.shape[1:]) == model.layout.blocks[-1].grid
    assert float(found.maps.min()) >= 0
    assert float(found.maps.max()) <= 1


def test_maps_without_any_positive_value_become_zeros_and_no_nan() -> None:
    model = blob_model()
    with torch.no_grad():
        model.network.fc.weight.neg_()  # type: ignore[union-attr,operator]
    pixels, _ = blob_picture(0, seed=1)
    found = grad_cam(model, model.preprocessing.prepare(pixels).pixels[None], 0)
    assert torch.equal(found.maps, torch.zeros_like(found.maps))
    assert torch.equal(to_pixels(found.maps, 32), torch.zeros(1, 32, 32))


def test_mirroring_before_enlarging_is_mirroring_after_it() -> None:
    grid = torch.rand(2, 7, 7, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(to_pixels(grid.flip(-1), 50), to_pixels(grid, 50).flip(-1), atol=1e-6)


def test_nothing_is_left_behind_after_success_or_failure() -> None:
    class Broken(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner, self.fails = inner, False

        def forward(self, pictures: Tensor) -> Tensor:
            answer: Tensor = self.inner(pictures)
            if self.fails:
                raise RuntimeError("disk")
            return answer

    network = Broken(blob_model().network)
    model = as_loaded(network, input_size=(32, 32))
    network.train()
    grad_cam(model, _pictures(1))
    network.fails = True
    with pytest.raises(RuntimeError, match="disk"):
        grad_cam(model, _pictures(1))
    assert all(not module._forward_hooks for module in network.modules())
    assert network.training
    assert all(parameter.grad is None for parameter in network.parameters())


def test_it_works_in_inference_mode_and_refuses_classes_that_do_not_exist() -> None:
    model = blob_model()
    with torch.inference_mode():
        pictures = _pictures(1)
        inside = grad_cam(model, pictures)
    assert torch.allclose(inside.maps, grad_cam(model, pictures.clone()).maps)
    with pytest.raises(ValueError, match=r"0 \.\. 1"):
        grad_cam(model, _pictures(1), 2)
