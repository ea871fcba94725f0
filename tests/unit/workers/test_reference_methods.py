"""The reference methods find a block of evidence that is known, and obey the identities that define them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import timm
import torch
from captum.attr import LayerGradCam
from torch import Tensor, nn

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelKind
from models import taps
from models.architectures import to_grid
from models.grad_cam import cam_layer, grad_cam, min_max
from models.loader import LoadedModel
from tests.fakes_engine import Constant, make_context, make_model, noise_picture
from tests.fakes_models import BlockEvidence, as_loaded
from workers.method import Context, Method, Result
from workers.methods._reference_map import CHECK_PASSES, in_smaller_batches
from workers.methods.attention_rollout import AttentionRollout, AttentionRolloutParams, roll_out
from workers.methods.grad_cam import GradCam, GradCamParams
from workers.methods.integrated_gradients import IntegratedGradients, IntegratedGradientsParams
from workers.methods.occlusion import Occlusion, OcclusionParams
from workers.methods.rise import Rise, RiseParams, random_masks

BOX = (16, 24, 32, 40)
METHODS: tuple[tuple[Method, Any], ...] = (
    (IntegratedGradients(), IntegratedGradientsParams(steps=8)),
    (Occlusion(), OcclusionParams(window=0.25, step=0.125, substrate="black")),
    (Rise(), RiseParams(masks=256, substrate="black", early_stop=False)),
)


def bright_block() -> np.ndarray:
    """A dim picture with one bright block where the evidence of the model lies."""
    pixels = np.full((64, 64, 3), 40, dtype=np.uint8)
    left, top, right, bottom = BOX
    pixels[top:bottom, left:right] = 230
    return pixels


def block_model() -> LoadedModel:
    return as_loaded(BlockEvidence(BOX))


def run(method: Method, params: Any, model: LoadedModel, pixels: np.ndarray, **options: Any) -> tuple[Result, Context]:
    context, recorded = make_context(model, pixels, params, **options)
    result = method.explain(context)
    assert all(done <= total for done, total, _ in recorded.progress)
    return result, context


def place_of_maximum(heat: np.ndarray) -> tuple[float, float]:
    """Column and row of the highest value as shares of the map's sides."""
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    return (column + 0.5) / heat.shape[1], (row + 0.5) / heat.shape[0]


@pytest.mark.parametrize(("method", "params"), METHODS, ids=lambda value: getattr(value, "name", ""))
def test_the_highest_value_lies_on_the_only_evidence(method: Method, params: Any) -> None:
    result, context = run(method, params, block_model(), bright_block(), target=0)
    x, y = place_of_maximum(result.arrays["maps"].data[0])
    slack = 5 / 64
    assert BOX[0] / 64 - slack <= x <= BOX[2] / 64 + slack
    assert BOX[1] / 64 - slack <= y <= BOX[3] / 64 + slack
    assert result.target == 0
    assert context.engine.passes == pytest.approx(method.cost(context.model.card, params), abs=1)
    assert result.scalars["p_without_tenth"] < result.scalars["p_without_chance_tenth"]
    assert "no better than chance" not in result.texts.reading


@pytest.mark.parametrize(("method", "params"), METHODS, ids=lambda value: getattr(value, "name", ""))
def test_a_model_that_looks_at_nothing_gets_a_flat_map_and_a_sentence_that_says_so(method: Method, params: Any) -> None:
    model = make_model(Differentiable([2.0, 1.0]), size=(32, 32))
    result, _ = run(method, params, model, noise_picture())
    heat = result.arrays["maps"].data[0]
    assert float(np.ptp(heat)) == pytest.approx(0, abs=1e-6)
    assert np.isfinite(heat).all()


@pytest.mark.parametrize(("method", "params"), METHODS, ids=lambda value: getattr(value, "name", ""))
def test_a_class_that_the_model_does_not_know_is_a_clear_problem(method: Method, params: Any) -> None:
    with pytest.raises(ProblemError) as caught:
        run(method, params, block_model(), bright_block(), target=7)
    assert caught.value.code is ProblemCode.PARAMS_INVALID
    assert "from 0 to 1" in caught.value.message


@pytest.mark.parametrize("method", [GradCam(), IntegratedGradients(), Occlusion(), Rise(), AttentionRollout()])
def test_an_encoder_without_classes_is_refused_with_a_reason(method: Method) -> None:
    encoder = make_model(Constant([1.0]), kind=ModelKind.ENCODER).card
    assert "no class scores" in (method.supports(encoder) or "")


def test_pixel_values_add_up_to_the_difference_of_the_logits() -> None:
    result, _ = run(IntegratedGradients(), IntegratedGradientsParams(steps=8), block_model(), bright_block(), target=0)
    total = float(result.arrays["maps"].data[0].astype(np.float64).sum())
    difference = result.scalars["logit"] - result.scalars["logit_empty"]
    assert total == pytest.approx(difference, rel=1e-5)
    assert difference == pytest.approx(8.0 * 230 / 255, rel=1e-5)
    assert result.texts.cautions == ()


def test_pixel_values_are_zero_outside_the_evidence() -> None:
    result, _ = run(IntegratedGradients(), IntegratedGradientsParams(steps=8), block_model(), bright_block(), target=0)
    heat = result.arrays["maps"].data[0].copy()
    heat[BOX[1] : BOX[3], BOX[0] : BOX[2]] = 0
    assert not heat.any()


def test_occlusion_is_the_mean_fall_over_the_windows_that_held_a_pixel() -> None:
    params = OcclusionParams(window=0.25, step=0.25, substrate="black")
    model = block_model()
    result, _ = run(Occlusion(), params, model, bright_block(), target=0)
    heat = result.arrays["maps"].data[0]
    picture = torch.from_numpy(bright_block()).permute(2, 0, 1)[None].float() / 255
    intact = torch.softmax(model.network(picture), 1)[0, 0]
    for row in range(4):
        for column in range(4):
            hidden = picture.clone()
            place = np.s_[row * 16 : row * 16 + 16, column * 16 : column * 16 + 16]
            hidden[0, :, place[0], place[1]] = 0
            fall = float(intact - torch.softmax(model.network(hidden), 1)[0, 0])
            np.testing.assert_allclose(heat[place], fall, atol=1e-6)


def test_random_masks_show_the_wanted_share_and_begin_the_same_for_every_count() -> None:
    many, few = (random_masks(count, 7, 0.3, (50, 64), seed=5) for count in (400, 10))
    visible = many.visible(0, 400)
    assert visible.shape == (400, 50, 64)
    assert float(visible.mean()) == pytest.approx(0.3, abs=0.02)
    assert float(visible.min()) >= 0
    assert float(visible.max()) <= 1
    torch.testing.assert_close(visible[:10], few.visible(0, 10), rtol=0, atol=0)
    torch.testing.assert_close(many.part(128, 192).visible(3, 9), visible[131:137], rtol=0, atol=0)


def test_random_masks_end_when_the_map_no_longer_changes() -> None:
    params = RiseParams(masks=8192, substrate="black")
    result, context = run(Rise(), params, block_model(), bright_block(), target=0)
    assert result.scalars["stopped_early"] is True
    assert result.scalars["masks"] < 8192
    assert result.scalars["last_correlation"] >= 0.99
    assert context.engine.passes < 8192


def test_the_same_seed_gives_the_same_map_and_another_seed_another() -> None:
    params = RiseParams(masks=64)
    one, two, other = (
        run(Rise(), params, block_model(), bright_block(), seed=seed)[0].arrays["maps"].data for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_a_run_that_is_stopped_leaves_between_two_batches() -> None:
    class Stopped(Exception):
        pass

    def stop(count: int) -> None:
        if count == 5:
            raise Stopped

    for method, params in METHODS:
        context, _ = make_context(block_model(), bright_block(), params, batch_size=4, on_check=stop)
        with pytest.raises(Stopped):
            method.explain(context)


def test_attention_that_stays_at_home_flows_nowhere_else() -> None:
    torch.testing.assert_close(roll_out([torch.eye(5).expand(2, 5, 5)] * 3, "mean", 0.5), torch.eye(5).double())


def test_uniform_attention_mixes_with_the_residual_path_in_closed_form() -> None:
    layers = [torch.full((3, 4, 4), 0.25)] * 2
    # Each layer is E/2 + J/2 with J J = J, so two of them are E/4 + 3 J / 4.
    expected = torch.eye(4).double() / 4 + 0.75 * torch.full((4, 4), 0.25).double()
    torch.testing.assert_close(roll_out(layers, "mean", 0.5), expected)


@pytest.mark.parametrize("heads", ["mean", "max", "min"])
def test_rows_of_the_flow_are_shares(heads: str) -> None:
    generator = torch.Generator().manual_seed(0)
    layers = [torch.softmax(torch.randn(2, 6, 6, generator=generator), -1) for _ in range(3)]
    flow = roll_out(layers, heads, 0.5)
    torch.testing.assert_close(flow.sum(1), torch.ones(6, dtype=torch.float64))


def vit(**options: Any) -> LoadedModel:
    torch.manual_seed(0)
    arguments = {"img_size": 64, "patch_size": 16, "embed_dim": 32, "depth": 3, "num_heads": 2, "num_classes": 5}
    network = timm.create_model("vit_tiny_patch16_224", **{**arguments, **options})
    return as_loaded(network, input_size=(64, 64), classes=tuple("abcde"))


@pytest.mark.parametrize("registers", [0, 3])
def test_rollout_leaves_the_fused_kernels_as_they_were_and_drops_other_tokens(registers: int) -> None:
    model = vit(reg_tokens=registers)
    before = [layer.fused_attn for layer in attention_layers(model.network)]
    result, context = run(AttentionRollout(), AttentionRolloutParams(), model, noise_picture((64, 64)))
    assert result.arrays["maps"].data.shape == (1, 4, 4)
    assert [layer.fused_attn for layer in attention_layers(model.network)] == before
    total = float(result.arrays["maps"].data.sum()) + result.scalars["on_other_tokens"]
    assert total == pytest.approx(1, abs=1e-5)
    assert context.engine.passes == 2 + CHECK_PASSES


def test_rollout_of_a_network_that_averages_its_patches_is_the_mean_of_their_rows() -> None:
    model = vit(global_pool="avg", class_token=False)
    result, _ = run(AttentionRollout(), AttentionRolloutParams(), model, noise_picture((64, 64)))
    assert "mean of the rows" in result.texts.notes[0]
    assert float(result.arrays["maps"].data.sum()) == pytest.approx(1, abs=1e-5)


def test_rollout_refuses_attention_in_windows() -> None:
    torch.manual_seed(0)
    network = timm.create_model("swin_tiny_patch4_window7_224", img_size=64, window_size=4, embed_dim=24, num_classes=3)
    model = as_loaded(network, input_size=(64, 64), classes=("a", "b", "c"))
    if AttentionRollout().supports(model.card) is None:
        with pytest.raises(ProblemError, match="cannot be multiplied"):
            run(AttentionRollout(), AttentionRolloutParams(), model, noise_picture((64, 64)))


FAMILIES: dict[str, dict[str, Any]] = {
    "resnet10t": {},
    "mobilenetv3_small_050": {},
    "convnext_atto": {},
    "efficientnet_lite0": {},
    "vit_tiny_patch16_224": {"img_size": 64},
}


@pytest.mark.parametrize("architecture", FAMILIES)
def test_three_ways_to_compute_grad_cam_agree(architecture: str) -> None:
    torch.manual_seed(0)
    network = timm.create_model(architecture, num_classes=6, **FAMILIES[architecture])
    model = as_loaded(network, input_size=(64, 64), classes=tuple("abcdef"))
    with torch.no_grad():
        for parameter in network.parameters():  # so that blocks with an initial scale of nearly zero count too
            parameter.add_(0.02 * torch.randn_like(parameter))
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    targets = torch.tensor([1, 4])
    ours = grad_cam(model, pictures, targets, relu=False, scale=False).maps
    block = cam_layer(model)
    layer = network.get_submodule(block.name)
    network.requires_grad_(True)

    def weighted(activation: Tensor, gradient: Tensor) -> Tensor:
        features, weights = (to_grid(each, block, input_size=(64, 64)) for each in (activation, gradient))
        return (weights.mean((2, 3), keepdim=True) * features).sum(1)

    kept: dict[str, Tensor] = {}
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out: kept.__setitem__("activation", out)),
        layer.register_full_backward_hook(lambda _m, _i, out: kept.__setitem__("gradient", out[0])),
    ]
    with taps.evaluation_mode(network):
        network(pictures).gather(1, targets[:, None]).sum().backward()
    for hook in hooks:
        hook.remove()
    by_hooks = weighted(kept["activation"].detach(), kept["gradient"])
    torch.testing.assert_close(min_max(ours), min_max(by_hooks), atol=1e-4, rtol=0)

    if block.layout == "nchw":
        captum = LayerGradCam(network, layer).attribute(pictures, target=targets)[:, 0]
        torch.testing.assert_close(min_max(ours), min_max(captum.detach()), atol=1e-4, rtol=0)
    assert float(min_max(ours).std()) > 0.05


def test_grad_cam_speaks_of_several_classes_and_of_any_layer() -> None:
    torch.manual_seed(0)
    model = as_loaded(timm.create_model("resnet10t", num_classes=4), classes=tuple("abcd"))
    result, context = run(GradCam(), GradCamParams(classes=3), model, noise_picture((64, 64)), target=2)
    assert result.layers[0].target == 2
    assert len({layer.target for layer in result.layers}) == 3
    assert context.engine.passes == 1 + 2 * 3 + CHECK_PASSES * bool(np.ptp(result.arrays["maps"].data[0]))
    first = model.layout.blocks[0]
    finer, _ = run(GradCam(), GradCamParams(layer=first.name), model, noise_picture((64, 64)))
    assert finer.arrays["maps"].data.shape[1:] == first.grid
    with pytest.raises(ProblemError, match="There is no layer 'attic'"):
        run(GradCam(), GradCamParams(layer="attic"), model, noise_picture((64, 64)))


class Differentiable(nn.Module):
    """Fixed logits that depend on the picture with weight zero, so that gradients exist and vanish."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits), requires_grad=False)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.logits + 0 * pictures.mean((1, 2, 3))[:, None]


def attention_layers(network: nn.Module) -> list[Any]:
    return [module for module in network.modules() if hasattr(module, "fused_attn")]


def test_a_batch_that_does_not_fit_is_halved_and_one_picture_that_does_not_fit_is_the_end() -> None:
    tried: list[int] = []

    def run_some(batch: int, *, fits: int) -> int:
        tried.append(batch)
        if batch > fits:
            raise MemoryError
        return batch

    assert in_smaller_batches(lambda batch: run_some(batch, fits=3), 16) == 2
    assert tried == [16, 8, 4, 2]
    with pytest.raises(MemoryError):
        in_smaller_batches(lambda batch: run_some(batch, fits=0), 2)
    with pytest.raises(ZeroDivisionError):
        in_smaller_batches(lambda batch: batch // 0, 8)
