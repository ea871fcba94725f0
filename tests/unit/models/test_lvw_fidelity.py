"""Facts about measuring a word book: overlap at every percentile, floors, answers; and trunks of every family."""

from __future__ import annotations

import dataclasses

import pytest
import timm
import torch
from torch import Tensor

from models.heads.lvw import VisualWordNetwork, attention_view
from models.heads.spatial_trunk import SpatialTrunk
from models.heads.word_places import nearest_cells, place_on_cells, word_box
from models.layout import Layout
from models.loader import LoadedModel
from models.preprocessing import Preprocessing
from models.training._lvw_evidence import Evidence, derangement, match_classes
from models.training._lvw_fidelity import PERCENTILES, chance, fidelity, gaussian, headline, iou_curve, tied_cuts
from tests.fakes_models import as_loaded
from workers.faithfulness import attention_iou, centred_gaussian


def _noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def _evidence(view: Tensor, attention: Tensor, *, base: list[int] | None = None) -> Evidence:
    count = len(view)
    return Evidence(
        view=view,
        attention=attention,
        other=attention.roll(1, 0),
        mirrored=attention,
        constant=attention.flatten(1).amax(1) <= 0,
        answers=torch.zeros(count, dtype=torch.long),
        base_answers=torch.tensor(base if base is not None else [0] * count),
        labels=torch.zeros(count, dtype=torch.long),
    )


def test_the_curve_is_the_shared_measure_at_every_percentile() -> None:
    a, b = _noise(5, 12, 12), _noise(5, 12, 12, seed=1)
    a[0, :6] = 0  # ties, as after a rectifier
    b[1] = 0.3
    curve = iou_curve(a, b)
    for at, percentile in enumerate(PERCENTILES):
        assert torch.equal(curve[:, at], attention_iou(a, b, percentile))
    assert torch.equal(iou_curve(a, a), torch.ones(5, 19, dtype=torch.float64))


def test_independent_maps_overlap_as_chance_says() -> None:
    curve = iou_curve(_noise(200, 30, 30), _noise(200, 30, 30, seed=1)).mean(0)
    assert torch.allclose(curve, torch.tensor(chance(900), dtype=torch.float64), atol=0.01)


def test_cuts_inside_a_tie_are_counted() -> None:
    maps = torch.zeros(2, 10, 10)
    maps[0] = torch.arange(100.0).reshape(10, 10)
    maps[1, :3] = 1
    tied = tied_cuts(maps)
    assert not tied[0].any()
    cut_at_30 = PERCENTILES.index(70)
    assert not tied[1, cut_at_30]
    assert tied[1, cut_at_30 - 1]


def test_the_middle_is_the_shared_gaussian() -> None:
    assert torch.allclose(gaussian(17), centred_gaussian((17, 17)))


def test_figures_count_right_wrong_unknown_and_constant_pictures() -> None:
    attention = _noise(6, 8, 8)
    attention[5] = 0
    figures = fidelity([_evidence(attention.clone(), attention, base=[0, 0, 1, -1, 0, 1])])
    assert figures["accuracy"] == 1
    assert figures["agreement"] == pytest.approx(3 / 5)
    assert figures["base_accuracy"] == pytest.approx(3 / 5)
    assert figures["agreement_base_right"] == 1
    assert figures["agreement_base_wrong"] == 0
    assert figures["iou"] == figures["iou_low"] == figures["iou_high"] == figures["iou_mirrored"] == 1
    assert figures["constant"] == 1
    assert figures["iou_other"] < 1
    assert figures["iou_chance"] == pytest.approx(1 / 3)
    assert "chance 0.33" in headline(figures)
    unknown = fidelity([_evidence(attention, attention, base=[-1] * 6)])
    assert unknown["agreement"] is None


def test_every_picture_gets_the_attention_of_another_one() -> None:
    for count in (2, 3, 17):
        other = derangement(count)
        assert sorted(other.tolist()) == list(range(count))
        assert not (other == torch.arange(count)).any()


def test_classes_are_matched_by_name_or_by_a_map() -> None:
    assert match_classes(("cat", "dog", "owl"), ("dog", "cat")).tolist() == [1, 0, -1]
    assert match_classes(("n01", "n02"), ("dog", "cat"), {"n02": "cat"}).tolist() == [-1, 1]


# places -------------------------------------------------------------------------------------------------------------


def test_the_nearest_cell_is_the_first_with_the_least_distance() -> None:
    distances = torch.ones(1, 2, 3, 4)
    distances[0, 0, 1, 2] = distances[0, 0, 2, 0] = 0.5
    least, cells = nearest_cells(distances)
    assert least.tolist() == [[0.5, 1.0]]
    assert cells.tolist() == [[[1, 2], [0, 0]]]


def test_placing_on_cells_keeps_the_sum() -> None:
    values = torch.tensor([1.5, -2.0, 0.25])
    placed = place_on_cells(values, torch.tensor([[0, 1], [2, 2], [0, 1]]), (3, 4))
    assert placed.sum() == values.sum()
    assert placed[0, 1] == 1.75
    assert placed[2, 2] == -2


def test_a_box_holds_the_peak_and_leaves_a_second_blob_out() -> None:
    similarity_map = torch.zeros(8, 8)
    similarity_map[1, 1] = 9
    similarity_map[6, 6] = 8.9
    left, top, right, bottom = word_box(similarity_map, 64)
    assert left <= 12 < right
    assert top <= 12 < bottom
    assert right <= 32
    assert bottom <= 32
    assert word_box(torch.zeros(4, 4), 32)[1] == 0  # a constant map: the first pixels, no error


def test_the_drawn_overlap_keeps_cell_centres_and_its_whole_range() -> None:
    maps = torch.zeros(2, 3, 8, 8)
    maps[:, 1, 0, 0] = 5
    view = attention_view(maps, torch.tensor([[0.0, 5.0, 0.0]] * 2), 1, 64)
    row, column = divmod(int(view[0].argmax()), 64)
    assert row < 8
    assert column < 8
    assert (float(view.min()), float(view.max())) == (0, 1)
    assert torch.equal(attention_view(torch.ones(1, 2, 4, 4), torch.ones(1, 2), 2, 16), torch.zeros(1, 16, 16))


# trunks -------------------------------------------------------------------------------------------------------------


def _model(name: str, size: int, **arguments: object) -> LoadedModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(name, num_classes=3, **arguments)
    return as_loaded(network, classes="abc", preprocessing=Preprocessing(input_size=(size, size), crop_pct=1.0))


VIT = {"img_size": 64, "patch_size": 16, "embed_dim": 24, "depth": 2, "num_heads": 2}
FAMILIES = [
    ("test_resnet", 96, {}),
    ("test_convnext", 96, {}),
    ("test_efficientnet", 96, {}),
    (
        "swin_tiny_patch4_window7_224",
        64,
        {"img_size": 64, "window_size": 2, "embed_dim": 12, "depths": (1, 1), "num_heads": (1, 2)},
    ),
    ("vit_tiny_patch16_224", 64, VIT),
    ("vit_tiny_patch16_224", 64, {**VIT, "reg_tokens": 4}),
    ("vit_tiny_patch16_224", 64, {**VIT, "global_pool": "avg"}),
]


@pytest.mark.parametrize(("name", "size", "arguments"), FAMILIES, ids=[f"{f[0]}-{n}" for n, f in enumerate(FAMILIES)])
def test_every_family_gives_cells_on_its_own_grid(name: str, size: int, arguments: dict[str, object]) -> None:
    model = _model(name, size, **arguments)
    network = VisualWordNetwork.for_base(model, class_count=3, word_count=4, depth=8, classifier_init="zero")
    pictures = _noise(2, 3, size, size)
    with torch.no_grad():
        cells = network.eval().cells(pictures)
        moved = network.cells(pictures + 0.5)
    assert tuple(cells.shape[2:]) == model.layout.blocks[-1].grid
    assert not torch.equal(cells, moved)
    frozen = VisualWordNetwork.for_base(
        model, class_count=3, word_count=4, depth=8, classifier_init="zero", train_trunk=False
    )
    assert any(module is model.network for module in frozen.trunk.modules())
    with torch.no_grad():
        assert torch.allclose(frozen.trunk(pictures), network.trunk(pictures), atol=1e-5)
    frozen.train()
    assert not model.network.training


@pytest.mark.parametrize(("name", "size", "arguments"), [FAMILIES[0], FAMILIES[3]], ids=["resnet", "swin"])
def test_a_changed_block_of_the_picture_changes_its_own_cell_most(
    name: str, size: int, arguments: dict[str, object]
) -> None:
    model = _model(name, size, **arguments)
    trunk = SpatialTrunk.of(model, trainable=False)
    plain, bright = torch.zeros(1, 3, size, size), torch.zeros(1, 3, size, size)
    height, width = model.layout.blocks[-1].grid
    row, column = height // 2, width - 1
    step = size // height
    bright[:, :, row * step : (row + 1) * step, column * step : (column + 1) * step] = 3
    with torch.no_grad():
        change = (trunk(bright) - trunk(plain)).square().sum(1)[0]
    assert divmod(int(change.argmax()), width) == (row, column)


def test_prefix_tokens_reach_no_cell_by_themselves() -> None:
    model = _model("vit_tiny_patch16_224", 64, **{**VIT, "depth": 1})
    trunk = SpatialTrunk.of(model, trainable=True)
    pictures = _noise(1, 3, 64, 64)
    with torch.no_grad():
        before = trunk(pictures)
        block = trunk.network.blocks[0]  # type: ignore[union-attr,index]
        block.attn.proj.weight.zero_()  # type: ignore[union-attr]
        cut = trunk(pictures)
        trunk.network.cls_token.add_(5)  # type: ignore[union-attr,operator]
        assert torch.equal(trunk(pictures), cut)  # without attention, the class token touches no patch
    assert not torch.equal(before, cut)


def test_resnet_34_gives_128_numbers_on_a_grid_of_7() -> None:
    model = _model("resnet34", 224)
    network = VisualWordNetwork.for_base(model, class_count=3, word_count=3)
    with torch.no_grad():
        assert network.eval().cells(torch.zeros(1, 3, 224, 224)).shape == (1, 128, 7, 7)


def test_a_network_without_a_map_is_refused() -> None:
    model = _model("test_resnet", 96)
    bare = dataclasses.replace(model, layout=Layout())
    with pytest.raises(ValueError, match="spatial map"):
        SpatialTrunk.of(bare, trainable=True)
