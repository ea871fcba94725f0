from __future__ import annotations

from dataclasses import replace

import pytest
import timm
import torch
from torch import Tensor, nn

from models import taps
from models.architectures import Block, find_layout, to_grid, token_grid
from tests.fakes_models import BlockEvidence

# A small network of each family; timm's own intermediate features are the oracle.
SMALL = {"depth": 2, "embed_dim": 32, "num_heads": 2}
SMALL_STAGES = {"depths": (1, 1, 1, 1), "embed_dim": 24, "num_heads": (1, 2, 4, 8)}
QUICK: dict[str, dict] = {
    "test_resnet": {},
    "test_byobnet": {},
    "test_coatnet": {},
    "test_convnext": {},
    "test_efficientnet": {},
    "test_nfnet": {},
    "test_mambaout": {},
    "test_maxvit": {},
    "test_vit": {},
    "test_vit4": {},
    "test_vit_relpos": {},
    "seresnet18": {},
    "mobilenetv2_035": {},
    "mobilenetv3_small_050": {},
    "mobilenetv4_conv_small_050": {},
    "ghostnet_050": {},
    "mobilevit_xxs": {},
    "edgenext_xx_small": {},
    "pvt_v2_b0": {},
    "swin_tiny_patch4_window7_224": SMALL_STAGES,
    "swinv2_tiny_window8_256": SMALL_STAGES,
    "pit_ti_distilled_224": {},
    "xcit_nano_12_p16_224": {"depth": 2},
    "cait_xxs24_224": {"depth": 2},
    "convit_tiny": {"depth": 4, "local_up_to_layer": 2},
    "beit_base_patch16_224": SMALL,
    "eva02_tiny_patch14_224": {"depth": 2},
    "deit3_small_patch16_224": SMALL,
    "deit_tiny_distilled_patch16_224": {"depth": 2},
    "vit_small_patch14_reg4_dinov2": {**SMALL, "img_size": 112},
    "vit_small_patch16_dinov3": SMALL,
    "samvit_base_patch16_224": {**SMALL, "global_attn_indexes": (1,)},
    "hiera_tiny_224": {"embed_dim": 24, "stages": (1, 1, 2, 1)},
}
THOROUGH = [
    "resnet18",
    "resnext50_32x4d",
    "regnetx_002",
    "densenet121",
    "repvgg_a0",
    "hrnet_w18_small",
    "inception_v3",
    "dla46_c",
    "hardcorenas_a",
    "rexnet_100",
    "ese_vovnet19b_dw",
    "convmixer_768_32",
    "poolformer_s12",
    "caformer_s18",
    "efficientformer_l1",
    "levit_128s",
    "twins_svt_small",
    "mvitv2_tiny",
    "coat_tiny",
    "crossvit_tiny_240",
    "mixer_s32_224",
    "resmlp_12_224",
    "gmixer_12_224",
    "volo_d1_224",
    "sequencer2d_s",
    "nest_tiny",
    "tnt_s_legacy_patch16_224",
    "gcvit_xxtiny",
    "davit_tiny",
    "focalnet_tiny_srf",
    "fastvit_t8",
    "efficientvit_b0",
    "efficientvit_m0",
    "repvit_m0_9",
    "inception_next_atto",
    "tiny_vit_5m_224",
    "selecsls42",
    "visformer_tiny",
    "legacy_xception",
    "xception41",
    "skresnet18",
    "resnest14d",
    "res2net50_14w_8s",
    "nf_regnet_b0",
    "vit_tiny_r_s16_p8_224",
]


def build(name: str, **arguments: object) -> tuple[nn.Module, tuple[int, int]]:
    torch.manual_seed(0)
    network = timm.create_model(name, **arguments).eval()
    size = arguments.get("img_size") or timm.data.resolve_model_data_config(network)["input_size"][1:]
    return network, (size, size) if isinstance(size, int) else tuple(size)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in THOROUGH)])
@torch.inference_mode()
def test_the_blocks_found_are_timms_own_intermediate_features_bit_for_bit(name: str) -> None:
    network, size = build(name, **QUICK.get(name, {}))
    with torch.device("meta"):
        layout = find_layout(timm.create_model(name, **QUICK.get(name, {})), size)
    picture = torch.randn(1, 3, *size)
    with taps.capture(network, [block.name for block in layout.blocks]) as seen:
        network(picture)
    expected = network.forward_intermediates(picture, intermediates_only=True)

    assert len(layout.blocks) == len(expected)
    for block in layout.blocks:
        maps = to_grid(seen[block.name], block, input_size=size)
        assert maps.shape == (1, block.channels, *block.grid)
        assert any(torch.equal(maps, other) for other in expected if other.shape == maps.shape), block
    stages = [block.stage for block in layout.blocks]
    assert {block.grid for block in layout.blocks if block.stage == 0} == {max(block.grid for block in layout.blocks)}
    assert sorted(set(stages)) == list(range(max(stages) + 1))


def test_a_network_on_shapes_alone_has_the_same_layout_as_with_weights() -> None:
    for name in ("test_resnet", "test_vit4", "test_mambaout"):
        network, size = build(name)
        with torch.device("meta"):
            shapes = timm.create_model(name)
        assert find_layout(network, size) == find_layout(shapes, size)


def test_every_block_of_a_plain_transformer_is_kept_and_only_the_last_of_each_stage_elsewhere() -> None:
    vit = find_layout(*build("test_vit4"))
    assert vit.is_plain
    assert [block.name for block in vit.blocks] == [f"blocks.{index}" for index in range(len(vit.blocks))]
    assert vit.stage_blocks() == (vit.blocks[-1],)
    resnet = find_layout(*build("test_resnet"))
    assert not resnet.is_plain
    assert [block.name for block in resnet.blocks] == ["act1", "layer1", "layer2", "layer3", "layer4"]
    assert resnet.stage_blocks() == resnet.blocks
    assert resnet.outputs == 1000


def test_vgg_is_tapped_at_the_last_convolution_of_each_stage_before_its_relu() -> None:
    with torch.device("meta"):
        layout = find_layout(timm.create_model("vgg16"), (224, 224))
        normed = find_layout(timm.create_model("vgg16_bn"), (224, 224))
        modules = dict(timm.create_model("vgg16").named_modules())
    assert [(block.channels, block.grid[0]) for block in layout.blocks[-3:]] == [(256, 56), (512, 28), (512, 14)]
    assert all(isinstance(modules[block.name], nn.Conv2d) for block in layout.blocks)
    assert [block.channels for block in normed.blocks] == [block.channels for block in layout.blocks]


@torch.inference_mode()
def test_a_vgg_activation_keeps_its_negative_values() -> None:
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(inplace=True), nn.MaxPool2d(2))
    with taps.capture(features, ["0"]) as seen:
        features(torch.randn(1, 3, 8, 8))
    assert (seen["0"] < 0).any()


@pytest.mark.parametrize(
    ("name", "prefix"), [("vit_small_patch14_reg4_dinov2", 5), ("test_vit", 1), ("test_vit_relpos", 0)]
)
def test_class_and_register_tokens_never_reach_the_grid(name: str, prefix: int) -> None:
    network, size = build(name, **QUICK[name])
    layout = find_layout(network, size)
    block = layout.blocks[-1]
    assert block.prefix_tokens == prefix == network.num_prefix_tokens
    tokens = torch.randn(2, prefix + block.grid[0] * block.grid[1], block.channels)
    spoiled = tokens.clone()
    spoiled[:, :prefix] = torch.nan
    assert torch.equal(to_grid(tokens, block, input_size=size), to_grid(spoiled, block, input_size=size))
    assert to_grid(spoiled, block, input_size=size).isfinite().all()


def test_the_final_norm_is_named_only_where_it_does_something() -> None:
    assert find_layout(*build("test_vit")).final_norm == "norm"
    averaged = find_layout(*build("beit_base_patch16_224", **QUICK["beit_base_patch16_224"]))
    assert averaged.final_norm is None
    assert find_layout(*build("test_resnet")).final_norm is None


@torch.inference_mode()
@pytest.mark.parametrize("name", ["test_vit", "test_mambaout", "test_resnet"])
@pytest.mark.parametrize("place", [(1, 3), (4, 0), (2, 5)])
def test_a_changed_patch_changes_its_own_cell_most_on_a_picture_that_is_not_square(
    name: str, place: tuple[int, int]
) -> None:
    size = (96, 192)
    arguments = {"img_size": size} if name == "test_vit" else {}
    network, _ = build(name, **arguments)
    layout = find_layout(network, size)
    block = layout.blocks[0]
    assert block.grid[1] == 2 * block.grid[0]
    picture = torch.randn(1, 3, *size)
    changed = picture.clone()
    row, column = place[0] * 16, place[1] * 16
    changed[:, :, row : row + 16, column : column + 16] += 3
    grids = []
    for x in (picture, changed):
        with taps.capture(network, [block.name]) as seen:
            network(x)
        grids.append(to_grid(seen[block.name], block, input_size=size))
    difference = (grids[1] - grids[0]).abs().sum(1)[0]
    cell = int(difference.argmax())
    found = (
        (cell // block.grid[1] + 0.5) * size[0] / block.grid[0],
        (cell % block.grid[1] + 0.5) * size[1] / block.grid[1],
    )
    assert row - 4 <= found[0] < row + 20
    assert column - 4 <= found[1] < column + 20


def test_a_token_grid_takes_its_height_from_the_height_and_its_width_from_the_width() -> None:
    block = Block("blocks.0", 8, (14, 14), "tokens", 0, prefix_tokens=1, input_size=(224, 224))
    assert token_grid(196, block, (224, 224)) == (14, 14)
    assert token_grid(98, block, (112, 224)) == (7, 14)
    assert token_grid(98, block, (224, 112)) == (14, 7)
    assert token_grid(14 * 19, block, (224, 300)) == (14, 19)
    with pytest.raises(ValueError, match="fill no grid"):
        token_grid(97, block, (112, 224))


def test_an_activation_of_another_form_is_refused() -> None:
    maps = Block("x", 4, (2, 2), "nchw", 0)
    for block, shape in ((maps, (1, 5, 4)), (replace(maps, layout="tokens"), (1, 4, 2, 2))):
        with pytest.raises(ValueError, match="which is no"):
            to_grid(torch.zeros(shape), block, input_size=(224, 224))


def test_named_blocks_override_what_would_be_found_and_come_in_the_order_of_the_pass() -> None:
    network, size = build("test_resnet")
    layout = find_layout(network, size, override=["layer3.0.conv1", "layer1", "layer1"])
    assert [block.name for block in layout.blocks] == ["layer1", "layer3.0.conv1"]
    assert [block.stage for block in layout.blocks] == [0, 1]


@pytest.mark.parametrize(
    ("name", "message"), [("layer9", "no module 'layer9'"), ("fc", "lies on no grid"), ("drop_block", "no module")]
)
def test_a_named_block_that_cannot_be_one_is_refused(name: str, message: str) -> None:
    network, size = build("test_resnet")
    with pytest.raises(ValueError, match=message):
        find_layout(network, size, override=[name])


class Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Linear(channels, channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens + self.mix(tokens)


class UnknownTransformer(nn.Module):
    """Tokens with one class token; declares nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 12, 8, 8)
        self.layers = nn.ModuleList(Residual(12) for _ in range(3))
        self.head = nn.Linear(12, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        tokens = self.embed(pictures).flatten(2).transpose(1, 2)
        tokens = torch.cat((tokens.mean(1, keepdim=True), tokens), 1)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.head(tokens[:, 0])


class UnknownStages(nn.Module):
    """Two convolutional stages; declares nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 5, 3, 2, 1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(5, 7, 3, 2, 1), nn.ReLU(inplace=True))
        self.head = nn.Linear(7, 2)

    def forward(self, pictures: Tensor) -> Tensor:
        return self.head(self.second(self.first(pictures)).mean((2, 3)))


def test_networks_that_declare_nothing_are_read_off_their_shapes() -> None:
    tokens = find_layout(UnknownTransformer(), (32, 48))
    assert [block.name for block in tokens.blocks] == ["layers.0", "layers.1", "layers.2"]
    assert {(block.grid, block.prefix_tokens, block.channels) for block in tokens.blocks} == {((4, 6), 1, 12)}
    stages = find_layout(UnknownStages(), (32, 48))
    assert [(block.name, block.grid, block.stage) for block in stages.blocks] == [
        ("first", (16, 24), 0),
        ("second", (8, 12), 1),
    ]
    cells = find_layout(BlockEvidence((0, 0, 8, 8)), (64, 64))
    assert [(block.name, block.channels, block.grid) for block in cells.blocks] == [("cells", 3, (8, 8))]


def test_a_network_without_any_grid_has_no_blocks() -> None:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4), nn.ReLU(), nn.Linear(4, 2))
    layout = find_layout(flat, (8, 8))
    assert layout.blocks == ()
    assert layout.outputs == 2


def test_finding_the_layout_changes_neither_mode_nor_hooks_nor_running_statistics() -> None:
    network, size = build("test_resnet")
    network.train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    find_layout(network, size)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
