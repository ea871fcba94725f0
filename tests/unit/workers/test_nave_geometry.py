"""Which blocks NAVE takes, and where on the picture its groups lie; through the real engine."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.models.vgg import VGG
from torch import nn

from backend.contract.problems import ProblemCode, ProblemError
from tests.fakes_nave import (
    QUICK,
    Cells,
    Stages,
    bright_cell,
    labels_of,
    make_context,
    make_model,
    make_picture,
    make_vit,
    noise,
    staged_model,
)
from workers.engine import Engine
from workers.methods._nave_blocks import choose_blocks, choose_norm, evenly_spaced
from workers.methods.nave import Nave, Params, _take_blocks
from workers.validation import validate_result

torch.set_num_threads(1)

# Blocks


def test_published_takes_the_last_three_stages_and_the_last_block_of_a_plain_transformer() -> None:
    cnn, vit = staged_model().card, make_model(make_vit(depth=12)).card
    assert [block.name for block in choose_blocks(cnn, "published", ())] == ["stage1", "stage2", "stage3"]
    assert [block.name for block in choose_blocks(cnn, "multi_depth", ())] == ["stage1", "stage2", "stage3"]
    assert [block.name for block in choose_blocks(vit, "published", ())] == ["blocks.11"]
    assert [block.name for block in choose_blocks(vit, "multi_depth", ())] == ["blocks.5", "blocks.8", "blocks.11"]


@pytest.mark.parametrize(("depth", "places"), [(24, [11, 17, 23]), (4, [1, 2, 3]), (2, [0, 1])])
def test_three_depths_follow_the_formula_and_drop_negative_ones(depth: int, places: list[int]) -> None:
    card = make_model(make_vit(depth=depth)).card
    assert [block.name for block in choose_blocks(card, "multi_depth", ())] == [f"blocks.{place}" for place in places]


def test_own_blocks_are_sorted_from_the_finest_and_unknown_ones_are_refused_by_name() -> None:
    card = staged_model().card
    chosen = choose_blocks(card, "custom", ("stage3", "stage0", "stage3"))
    assert [block.name for block in chosen] == ["stage0", "stage3"]
    with pytest.raises(ProblemError, match="'stage9'") as caught:
        choose_blocks(card, "custom", ("stage9",))
    assert caught.value.code == ProblemCode.PARAMS_INVALID


def test_layers_are_evenly_spaced_with_both_ends() -> None:
    blocks = list(make_model(make_vit(depth=12)).card.blocks)
    assert [block.name for block in evenly_spaced(blocks, 4)] == ["blocks.0", "blocks.4", "blocks.7", "blocks.11"]
    assert evenly_spaced(blocks, 24) == blocks


def test_the_final_norm_is_for_dinov2_models_alone_unless_asked_for() -> None:
    vit = make_model(make_vit())
    dino = make_model(make_vit(), name="vit_small_patch14_dinov2.lvd142m")
    assert choose_norm(vit, "auto").path is None
    assert choose_norm(dino, "auto").path == "norm"
    assert choose_norm(dino, "raw").path is None
    assert choose_norm(vit, "normed").path == "norm"
    assert "equal raw" in choose_norm(replace(vit, layout=replace(vit.layout, final_norm=None)), "normed").note
    assert choose_norm(staged_model(), "normed").path is None


def test_normed_blocks_are_the_models_own_norm_of_the_raw_ones() -> None:
    model = make_model(make_vit())
    picture = make_picture(noise())
    engine = Engine(model, check_cancelled=lambda: None)
    blocks = list(model.card.blocks[-1:])
    raw = _take_blocks(model, engine, [picture], blocks, norm=choose_norm(model, "raw"))[0][0]
    normed = _take_blocks(model, engine, [picture], blocks, norm=choose_norm(model, "normed"))[0][0]
    expected = model.network.get_submodule("norm")(raw.flatten(1).T).T.reshape(raw.shape)
    assert torch.allclose(normed, expected, atol=1e-5)
    assert not torch.allclose(normed, raw, atol=1e-2)


# Where things lie


@pytest.mark.parametrize(
    "network",
    [Cells(), Cells(is_last=True), make_vit(), make_vit(registers=4)],
    ids=["cnn", "channels last", "class token", "class token and registers"],
)
@pytest.mark.parametrize(("row", "column"), [(0, 5), (3, 0), (2, 4)])
def test_one_bright_cell_lands_at_its_row_and_column(network: nn.Module, row: int, column: int) -> None:
    model = make_model(network)
    context, _ = make_context(model, [bright_cell(row, column)], Params(n_clusters=2, **QUICK))
    labels = labels_of(Nave().explain(context))
    expected = np.zeros((4, 6), dtype=np.int64)
    expected[row, column] = 1
    assert np.array_equal(labels, expected)


def test_class_and_register_tokens_do_not_change_the_labels() -> None:
    network = make_vit(registers=4)
    first, _ = make_context(make_model(network, digest="one"), [noise()], Params(**QUICK))
    before = labels_of(Nave().explain(first))
    with torch.no_grad():
        network.cls_token.add_(5)
        network.reg_token.sub_(7)
    second, _ = make_context(make_model(network, digest="two"), [noise()], Params(**QUICK))
    assert np.array_equal(labels_of(Nave().explain(second)), before)


def test_a_tap_before_an_activation_in_place_keeps_its_negative_values() -> None:
    model = make_model(Stages(), (64, 96), blocks=["stage1.0"])
    engine = Engine(model, check_cancelled=lambda: None)
    taken = _take_blocks(model, engine, [make_picture(noise((64, 96)))], model.card.blocks)
    assert taken[0][0].min() < 0


def test_the_map_lies_on_what_the_model_saw_of_a_cropped_picture() -> None:
    model = make_model(Cells(), (32, 32), crop_mode="center")
    pixels = np.full((64, 128, 3), 60, dtype=np.uint8)
    pixels[16:32, 64:80] = (250, 40, 90)  # cell (1, 2) of the 4 x 4 cells of 16 pixels in the middle 64 columns
    context, _ = make_context(model, [pixels], Params(n_clusters=2, **QUICK))
    result = Nave().explain(context)
    assert result.arrays["labels_000"].frame == (32, 0, 96, 64)
    region = result.regions[1]
    assert region.box == (64, 16, 80, 32)
    assert region.area == pytest.approx(1 / 16)
    assert labels_of(result)[1, 2] == 1


@given(height=st.integers(20, 90), width=st.integers(20, 90))
@settings(max_examples=12, deadline=None)
def test_native_input_keeps_the_picture_and_marks_padding(height: int, width: int) -> None:
    model = make_model(Cells(), (32, 32), crop_mode="center")
    pixels = noise((height, width))
    context, _ = make_context(model, [pixels], Params(input_mode="native", **QUICK))
    result = Nave().explain(context)
    validate_result(result)
    labels, frame = labels_of(result), result.arrays["labels_000"].frame
    padded = (-(-height // 16) * 16, -(-width // 16) * 16)
    assert labels.shape == (padded[0] // 8, padded[1] // 8)
    assert frame == (0, 0, padded[1], padded[0])
    rows, columns = np.arange(labels.shape[0]) * 8 < height, np.arange(labels.shape[1]) * 8 < width
    assert ((labels >= 0) == (rows[:, None] & columns[None, :])).all()
    assert all(region.box.right <= width and region.box.bottom <= height for region in result.regions)
    assert result.seen == frame, "what the model's own crop would have cut off was seen here"


def test_large_native_pictures_are_reduced_and_still_lie_where_they_should() -> None:
    model = make_model(Cells(), (32, 32))
    context, _ = make_context(model, [noise((150, 300))], Params(input_mode="native", max_side=64, **QUICK))
    array = Nave().explain(context).arrays["labels_000"]
    assert array.data.shape == (4, 8)
    assert array.frame == (0, 0, 300, 150)


def test_a_transformer_of_one_size_falls_back_and_a_dynamic_one_does_not() -> None:
    for is_dynamic in (False, True):
        model = make_model(make_vit(is_dynamic=is_dynamic), digest=str(is_dynamic))
        context, _ = make_context(model, [noise((40, 64))], Params(input_mode="native", **QUICK))
        result = Nave().explain(context)
        assert labels_of(result).shape == ((5, 8) if is_dynamic else (4, 6))
        assert any("only its own input size" in note for note in result.texts.notes) is not is_dynamic


class Fixed(nn.Module):
    """Refuses every input but 32 x 48."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Cells()

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        assert pictures.shape[-2:] == (32, 48)
        answer: torch.Tensor = self.inner(pictures)
        return answer


def test_a_network_that_refuses_other_sizes_while_it_runs_falls_back_too() -> None:
    context, _ = make_context(make_model(Fixed()), [noise((40, 64))], Params(input_mode="native", **QUICK))
    result = Nave().explain(context)
    assert labels_of(result).shape == (4, 6)
    assert any("only its own input size" in note for note in result.texts.notes)


def test_a_token_grid_can_be_refined_and_other_grids_cannot() -> None:
    params = Params(token_upsample=2, **QUICK)
    vit, _ = make_context(make_model(make_vit()), [noise()], params)
    assert labels_of(Nave().explain(vit)).shape == (8, 12)
    cnn, _ = make_context(make_model(Cells()), [noise()], params)
    result = Nave().explain(cnn)
    assert labels_of(result).shape == (4, 6)
    assert any("tokens" in note for note in result.texts.notes)


# Real architectures with random weights


def random_network(name: str) -> nn.Module:
    torch.manual_seed(7)
    if name == "small vgg":
        return VGG(cfg=[8, "M", 16, "M", 16, "M", 24, "M"], num_classes=0)  # type: ignore[list-item]
    network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0)
    return network


@pytest.mark.parametrize("name", ["resnet18", "test_vit4", "test_convnext", "small vgg"])
def test_networks_from_timm_run_through(name: str) -> None:
    network = random_network(name)
    model = make_model(network, (160, 160))
    model = replace(model, card=model.card.model_copy(update={"kind": "encoder"}))
    assert Nave().supports(model.card) is None
    params = Params(layers=True, layers_max=3, floors=("random", "grid"))
    context, _ = make_context(model, [noise((120, 170))], params)
    result = Nave().explain(context)
    validate_result(result)
    assert context.engine.passes == 4
    kept = [row[0] for row in next(table for table in result.tables if table.name == "blocks").rows]
    if name == "resnet18":
        assert kept == ["layer2", "layer3", "layer4"]
    if name == "small vgg":
        assert all(isinstance(network.get_submodule(str(block)), nn.Conv2d) for block in kept)
