"""Ranked feature groups of frozen networks: the ladder of grids, tokens, colours, geometry, and honest words."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from backend.contract.problems import ProblemCode, ProblemError
from models.catalogue import ModelCatalogue
from models.loader import LoadedModel, ModelLoader
from models.twins import dilated_twin, exact_float32
from tests.fakes_engine import make_context, noise_picture
from tests.fakes_models import write_own_model
from workers.engine import Engine
from workers.method import Context
from workers.methods import _br_npa_features as features_of
from workers.methods.br_npa import LABEL, BrNpa, BrNpaParams, _composite

Load = Callable[..., LoadedModel]


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Loads an architecture with random weights and batch statistics (a zeroed last norm would prove nothing)."""
    folder = tmp_path_factory.mktemp("models")

    def make(architecture: str, *, size: tuple[int, int] = (64, 64), **arguments: Any) -> LoadedModel:
        name = f"{architecture}-{size[0]}x{size[1]}"
        if not (folder / name).exists():
            torch.manual_seed(0)
            network = timm.create_model(architecture, num_classes=3, **arguments)
            for module in network.modules():
                if isinstance(module, nn.BatchNorm2d):
                    nn.init.uniform_(module.weight, 0.5, 1.5)
                    nn.init.uniform_(module.bias, -0.2, 0.2)
                    module.running_mean.uniform_(-0.2, 0.2)
                    module.running_var.uniform_(0.5, 1.5)
            write_own_model(
                folder,
                name,
                architecture=architecture,
                arguments=arguments,
                preprocessing={"input_size": list(size), "crop_pct": 1.0},
                state=network.state_dict(),
            )
        return ModelLoader(ModelCatalogue(folder), device="cpu").load(name)

    return make


@pytest.fixture(autouse=True)
def _no_verdicts() -> None:
    features_of._refused.clear()


def _context(model: LoadedModel, *, picture: tuple[int, int] = (64, 64), **params: Any) -> Context:
    return make_context(model, noise_picture(picture), BrNpaParams(**params))[0]


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_a_dilated_twin_says_the_same_where_both_have_a_cell(load: Load, architecture: str) -> None:
    model = load(architecture, size=(96, 96))
    context = _context(model)
    native = features_of.native_features(context)
    dense = features_of.sharpened(context, native)
    assert dense.stride == 8
    assert dense.map.shape[1:] == (12, 12)
    assert dense.error is not None
    assert dense.error <= 1e-5
    assert torch.allclose(dense.map[:, ::4, ::4], native.map, rtol=1e-4, atol=1e-4 * float(native.map.abs().max()))


def test_stride_one_without_dilation_would_fail_the_same_check(load: Load) -> None:
    model = load("resnet18", size=(96, 96))
    context = _context(model)
    native = features_of.native_features(context)
    undilated = timm.create_model("resnet18", num_classes=3)
    undilated.load_state_dict(model.network.state_dict())
    for stage in (undilated.layer3, undilated.layer4):
        stage[0].conv1.stride = stage[0].downsample[0].stride = (1, 1)
    prepared = model.preprocessing.prepare(context.picture.pixels)
    with torch.no_grad():
        wrong = undilated.eval().forward_features(model.preprocessing.normalise(prepared.pixels[None]))[0]
    difference = features_of._difference(wrong, native.map, 4)
    assert difference is not None
    assert difference > 1e-2


@pytest.mark.parametrize(
    ("architecture", "stride"), [("resnet18", 8), ("resnet18d", 16), ("seresnet50", 32), ("densenet121", 32)]
)
def test_the_ladder_stops_at_the_finest_exact_grid(load: Load, architecture: str, stride: int) -> None:
    result = BrNpa().explain(_context(load(architecture)))
    assert result.scalars["output_stride"] == stride
    said = " ".join(result.texts.cautions)
    assert ("finer grid" in said) == (stride == 32)


def test_a_refused_stride_is_not_tried_again_for_the_same_weights(load: Load) -> None:
    model = load("resnet18d")
    first, second = BrNpa().explain(_context(model)), BrNpa().explain(_context(model))
    assert first.scalars["passes"] == 3
    assert second.scalars["passes"] == 2
    assert np.array_equal(first.arrays["maps"].data, second.arrays["maps"].data)


@pytest.mark.parametrize(("error", "tries"), [(5e-4, 2), (0.5, 1), (None, 1)])
def test_one_picture_that_just_misses_refuses_nothing_for_the_next(
    load: Load, monkeypatch: pytest.MonkeyPatch, error: float | None, tries: int
) -> None:
    tried: list[int] = []

    def dense(_context: Context, native: features_of.Features, stride: int) -> features_of.Features:
        tried.append(stride)
        return dataclasses.replace(native, error=error)

    monkeypatch.setattr(features_of, "_dense", dense)
    model = load("resnet18")
    for _ in range(2):
        BrNpa().explain(_context(model))
    assert tried == [8, 16] * tries
    tried.clear()
    BrNpa().explain(_context(model, input_size=96))
    assert tried == [8, 16], "what holds for one input size says nothing of another"


def test_precision_flags_are_restored_also_after_an_error() -> None:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    def fail() -> None:
        with exact_float32():
            assert not torch.backends.cudnn.allow_tf32
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert before == (torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32)


def test_the_twin_shares_its_weights_and_leaves_the_base_untouched(load: Load) -> None:
    model = load("resnet18")
    context = _context(model)  # an engine lays the weights out channels-last, once
    picture = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = model.network(picture)
    twin = dilated_twin(model, 8)
    assert twin is not None
    pointers = {name: p.data_ptr() for name, p in model.network.named_parameters()}
    assert pointers == {name: p.data_ptr() for name, p in twin.network.named_parameters()}
    BrNpa().explain(context)
    assert pointers == {name: p.data_ptr() for name, p in twin.network.named_parameters()}
    with torch.no_grad():
        assert torch.equal(before, model.network(picture))
    assert not any(module._forward_hooks for module in model.network.modules())


def test_cancelling_between_the_grids_leaves_no_hook(load: Load) -> None:
    model = load("resnet18")

    class StopError(Exception):
        pass

    def stop(count: int) -> None:
        if count == 2:
            raise StopError

    context, recorded = make_context(model, noise_picture((64, 64)), BrNpaParams(), on_check=stop)
    with pytest.raises(StopError):
        BrNpa().explain(context)
    assert len(recorded.partials) == 1
    assert not any(module._forward_hooks for module in model.network.modules())


def test_a_planted_token_is_no_seed_with_mask_and_one_with_keep(load: Load) -> None:
    model = load("vit_tiny_patch16_224", size=(64, 64), img_size=64, depth=2, num_heads=3, embed_dim=48)
    block = model.network.blocks[-1]

    def plant(_module: nn.Module, _inputs: Any, output: torch.Tensor) -> torch.Tensor:
        planted = output.clone()
        planted[:, 1 + 5] *= 50
        planted[:, 0] = 1e6  # the class token must never matter
        return planted

    handle = block.register_forward_hook(plant)
    try:
        masked = BrNpa().explain(_context(model))
        kept = BrNpa().explain(_context(model, outlier_tokens="keep"))
    finally:
        handle.remove()
    assert masked.arrays["activity"].data.shape == (4, 4)
    assert masked.arrays["activity"].data.ravel().argmax() == 5
    assert masked.scalars["masked_tokens"] == 1
    assert masked.arrays["maps"].data[0].ravel().argmax() != 5
    assert kept.arrays["maps"].data[0].ravel().argmax() == 5
    assert kept.arrays["activity"].data.max() < 1e5


def test_every_result_says_what_it_is_and_claims_no_contribution(load: Load) -> None:
    result = BrNpa().explain(_context(load("resnet18")))
    assert any(LABEL in note for note in result.texts.notes)
    assert LABEL in result.texts.reading
    assert result.texts.badge == "post hoc"
    assert "contributions" not in result.arrays
    assert result.scalars["mode"] == "post_hoc"


def test_maps_sum_to_one_and_the_native_grid_comes_first(load: Load) -> None:
    context, recorded = make_context(load("resnet18"), noise_picture((64, 64)), BrNpaParams(n_maps=4))
    result = BrNpa().explain(context)
    assert np.allclose(result.arrays["maps"].data.sum((1, 2)), 1, atol=1e-5)
    assert recorded.partials[0].arrays["maps"].data.shape == (4, 2, 2)
    assert result.arrays["maps"].data.shape == (4, 8, 8)
    assert recorded.progress[-1][0] == recorded.progress[-1][1]
    assert result.arrays["logits"].data.shape == (3,)


def test_a_larger_input_gives_a_finer_map_and_the_same_prediction(load: Load) -> None:
    model = load("resnet18")
    small, large = BrNpa().explain(_context(model)), BrNpa().explain(_context(model, input_size=128))
    assert large.arrays["maps"].data.shape == (3, 16, 16)
    assert np.array_equal(small.arrays["logits"].data, large.arrays["logits"].data)
    assert large.scalars["passes"] == 3


@pytest.mark.parametrize("picture", [(96, 64), (50, 130), (64, 64)])
def test_boxes_lie_in_the_picture_and_hold_the_strongest_cell(load: Load, picture: tuple[int, int]) -> None:
    result = BrNpa().explain(_context(load("resnet18", size=(64, 96)), picture=picture))
    frame = result.arrays["maps"].frame
    assert frame is not None
    height, width = picture
    maps = result.arrays["maps"].data * result.arrays["activity"].data
    for region, weighted in zip(result.regions, maps, strict=False):
        row, column = np.unravel_index(weighted.argmax(), weighted.shape)
        x = frame.left + (column + 0.5) * (frame.right - frame.left) / weighted.shape[1]
        y = frame.top + (row + 0.5) * (frame.bottom - frame.top) / weighted.shape[0]
        assert 0 <= region.box.left <= region.box.right <= width
        assert 0 <= region.box.top <= region.box.bottom <= height
        assert region.box.left <= np.clip(x, 0, width) <= region.box.right
        assert region.box.top <= np.clip(y, 0, height) <= region.box.bottom


def test_three_one_hot_maps_draw_pure_colours_and_the_brightest_cell_does_not_wrap() -> None:
    maps = np.zeros((3, 1, 3), np.float32)
    maps[[0, 1, 2], 0, [0, 1, 2]] = 1
    drawn = _composite(maps, np.full((1, 3), 255.0, np.float32), np.array([True] * 3))
    assert drawn[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    without = _composite(maps, np.ones((1, 3), np.float32), np.array([True, False, True]))
    assert without[0, :, 1].tolist() == [0, 0, 0]
    flat = _composite(np.full((3, 2, 2), 0.25, np.float32), np.zeros((2, 2), np.float32), np.array([True] * 3))
    assert flat.shape == (2, 2, 3)


def test_running_out_of_memory_steps_down_to_the_next_grid(load: Load, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load("resnet18")
    inner = Engine.capture

    def capture(self: Engine, *arguments: Any) -> Any:
        if self.model.network is not model.network and self.model.layout.blocks[-1].grid == (8, 8):
            raise ProblemError(ProblemCode.OUT_OF_MEMORY, "full")
        return inner(self, *arguments)

    monkeypatch.setattr(Engine, "capture", capture)
    assert BrNpa().explain(_context(model)).scalars["output_stride"] == 16


def test_a_forced_dense_map_says_that_it_is_approximate(load: Load) -> None:
    result = BrNpa().explain(_context(load("seresnet50"), resolution="dense"))
    assert result.scalars["output_stride"] == 8
    assert any("approximate" in caution for caution in result.texts.cautions)


def test_networks_without_a_map_and_captioners_are_refused_with_a_reason(load: Load) -> None:
    card = load("resnet18").card
    assert BrNpa().supports(card) is None
    assert BrNpa().supports(card.model_copy(update={"blocks": ()})) is not None
    assert "text" in (BrNpa().supports(card.model_copy(update={"kind": "captioner"})) or "")


def test_a_model_made_by_hand_has_no_twin_and_keeps_its_own_grid(load: Load) -> None:
    model = dataclasses.replace(load("resnet18"), source=None)
    assert dilated_twin(model, 8) is None
    assert BrNpa().explain(_context(model)).scalars["output_stride"] == 32


def test_the_module_is_found_by_its_place() -> None:
    assert (Path(features_of.__file__).parent / f"{BrNpa.name}.py").exists()
