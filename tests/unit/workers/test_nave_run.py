"""Whole runs of NAVE through the real engine: results, caching, streaming, cancelling, refusing."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from backend.contract.params import fill_params
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Encoding, ResultKind
from tests.fakes_nave import STAGES, Cells, Stages, labels_of, make_context, make_model, noise, staged_model
from workers.method import Result
from workers.methods._nave_blocks import BlockCache, Kept
from workers.methods.nave import Nave, Params, _adjusted_rand
from workers.outcome import Cancelled
from workers.validation import validate_result

torch.set_num_threads(1)

# What a result holds


def full_run() -> Result:
    params = Params(layers=True, floors=("random", "grid", "rgb", "rgb_xy"), n_clusters=4)
    context, _ = make_context(staged_model(), [noise((64, 96))], params)
    return Nave().explain(context)


def test_a_full_result_has_every_array_in_its_shape_and_range() -> None:
    result = full_run()
    validate_result(result)
    arrays = {name: array.data for name, array in result.arrays.items()}
    assert arrays["labels_000"].dtype == np.int16
    assert arrays["labels_000"].shape == arrays["margin_000"].shape == arrays["nested_base_000"].shape == (16, 24)
    base = int(arrays["nested_base_000"].max()) + 1
    assert arrays["nested_lut"].shape == arrays["nested_colour"].shape == (base, base)
    assert arrays["nested_lut"].dtype == np.uint8
    assert arrays["nested_explained"].shape == (base,)
    assert arrays["centroid_cosine"].shape == (4, 4)
    assert np.allclose(np.diag(arrays["centroid_cosine"]), 1)
    for name in ("random", "grid", "rgb", "rgb_xy"):
        floor = arrays[f"floor/{name}_000"]
        assert floor.shape == (16, 24)
        assert 0 <= floor.min() <= floor.max() < 4
    shapes = [arrays[f"layer/{name}_000"].shape for name in STAGES]
    assert shapes == [(32, 48), (16, 24), (8, 12), (4, 6)]
    assert result.arrays["nested_lut"].frame is None
    assert {layer.name for layer in result.layers} >= {"labels_000", "margin_000", "nested_base_000"}
    assert result.layers[0].name == "labels_000"
    assert result.layers[0].encoding == Encoding.LABELS
    assert [layer.name for layer in result.layers if layer.name.startswith("layer/")] == [
        f"layer/{name}_000" for name in STAGES
    ]
    assert all(layer.role == "detail" for layer in result.layers if "/" in layer.name or "margin" in layer.name)
    assert all(not layer.smooth for layer in result.layers)


def test_regions_add_up_to_the_picture_with_the_largest_first_in_the_palest_colour() -> None:
    result = full_run()
    labels = labels_of(result)
    assert sum(region.area for region in result.regions) == pytest.approx(1)
    assert [region.id for region in result.regions] == [0, 1, 2, 3]
    assert [region.colour for region in result.regions] == [4, 0, 1, 2]
    keys = {column.key for column in result.region_columns}
    shares = 0.0
    for region in result.regions:
        assert set(region.values) == keys
        assert region.values["cells"] == (labels == region.id).sum()
        assert -1 <= (region.score or 0) <= 1
        shares += float(region.values["frame_share"] or 0)
    assert shares == pytest.approx(1)


def test_tables_sentences_and_scalars_tell_numbers_with_their_counterparts() -> None:
    result = full_run()
    tables = {table.name: table for table in result.tables}
    assert set(tables) == {"blocks", "granularity", "layers", "floors", "likeness"}
    shares = [row[4] for row in tables["blocks"].rows]
    assert sum(float(share or 0) for share in shares) == pytest.approx(1)
    assert [row[0] for row in tables["layers"].rows] == list(STAGES)
    assert tables["layers"].rows[-1][3] is None
    assert [row[0] for row in tables["granularity"].rows][-1] == "exact"
    reading = result.texts.reading
    assert "stage1, stage2 and stage3" in reading
    assert "4 groups" in reading
    assert "A plain grid of 4 cells accounts for" in reading
    assert "untrained" in reading
    scalars = result.scalars
    assert scalars["k"] == scalars["n_effective"] == 4
    assert scalars["n_positions"] == 16 * 24
    assert scalars["n_columns"] == 10 + 40 + 90
    assert scalars["n_columns_compressed"] == 10 + 40 + 24
    assert scalars["approximate"] is False
    for name in ("explained", "explained_grid", "explained_rgb", "explained_rgb_xy", "explained_random"):
        assert 0 <= float(scalars[name] or 0) <= 1
    nested = np.asarray(result.arrays["nested_explained"].data)
    assert float(scalars["explained"] or 0) >= nested[3] - 1e-3  # the exact map is not worse than the nested one
    json.dumps(scalars)


def test_nested_colours_are_the_regions_own_where_groups_match() -> None:
    pixels = np.full((32, 48, 3), 30, dtype=np.uint8)
    pixels[:, 16:32], pixels[:, 40:] = (250, 30, 30), (30, 250, 30)
    context, _ = make_context(make_model(Cells()), [pixels], Params(n_clusters=3, floors=()))
    result = Nave().explain(context)
    labels, base = labels_of(result), labels_of(result, "nested_base_000")
    colours = np.asarray(result.arrays["nested_colour"].data)[2]
    for region in result.regions:
        assert set(colours[base[labels == region.id]].tolist()) == {region.colour}


def test_layers_carry_the_numbers_of_the_next_deeper_one() -> None:
    result = full_run()
    deeper, shallow = labels_of(result, "layer/stage3_000"), labels_of(result, "layer/stage2_000")
    carried = deeper.repeat(2, axis=0).repeat(2, axis=1)
    agree = float((carried == shallow).mean())
    for numbers in ([1, 0, 2, 3], [3, 2, 1, 0], [1, 2, 3, 0]):
        assert agree >= float((carried == np.array([*numbers, *range(4, 20)])[shallow]).mean()) - 0.2
    table = next(table for table in result.tables if table.name == "layers")
    assert table.rows[2][3] == pytest.approx(_adjusted_rand(carried, shallow))


def test_a_uniform_picture_is_one_group_that_explains_nothing() -> None:
    pixels = np.full((32, 48, 3), 90, dtype=np.uint8)
    context, _ = make_context(make_model(Cells()), [pixels], Params(floors=("grid", "rgb", "rgb_xy")))
    result = Nave().explain(context)
    validate_result(result)
    assert result.scalars["n_effective"] == 1
    assert result.scalars["explained"] == 0.0
    assert "nothing varies" in result.texts.reading


def test_black_pictures_give_zero_vectors_and_no_nan() -> None:
    context, _ = make_context(make_model(Cells()), [np.zeros((32, 48, 3), dtype=np.uint8)], Params())
    result = Nave().explain(context)
    validate_result(result)
    assert result.scalars["n_zero_vectors"] == 24


# Passes, streams, cancelling


def test_groups_blocks_weights_seed_layers_and_slider_never_run_the_model_again() -> None:
    nave, model, pixels = Nave(), staged_model(), noise((64, 96))
    first, _ = make_context(model, [pixels], Params(n_clusters=5, layers=True))
    nave.explain(first)
    assert first.engine.passes == 1
    for params in (
        Params(n_clusters=9),
        Params(weighting="equal"),
        Params(preset="custom", blocks=("stage0", "stage3")),
        Params(layers=True, layers_max=2),
        Params(nested_max=7, n_init=2),
        Params(final_norm="raw"),
    ):
        context, _ = make_context(model, [pixels], params, seed=3)
        nave.explain(context)
        assert context.engine.passes == 0
    other, _ = make_context(model, [noise((64, 96), 7)], Params())
    nave.explain(other)
    assert other.engine.passes == 1


def test_the_untrained_floor_costs_three_passes_once() -> None:
    nave, model = Nave(), staged_model()
    params = Params(floors=("random",))
    assert nave.cost(model.card, params) == 4
    assert nave.cost(model.card, Params()) == 1
    counts = []
    for _ in range(2):
        context, _ = make_context(model, [noise((64, 96))], params)
        nave.explain(context)
        counts.append(context.engine.passes)
    assert counts == [4, 0]


def test_the_random_floor_leaves_the_inspected_model_untouched() -> None:
    model = staged_model()
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    context, _ = make_context(model, [noise((64, 96))], Params(floors=("random",)))
    result = Nave().explain(context)
    assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
    plain, _ = make_context(model, [noise((64, 96))], Params(floors=()))
    assert np.array_equal(labels_of(Nave().explain(plain)), labels_of(result))
    assert not np.array_equal(labels_of(result, "floor/random_000"), labels_of(result))


def test_partial_results_come_in_order_and_progress_ends_at_its_total() -> None:
    params = Params(layers=True, floors=("grid", "rgb"))
    context, told = make_context(staged_model(), [noise((64, 96))], params)
    result = Nave().explain(context)
    new = []
    seen: set[str] = set()
    for partial in told.partials:
        new.append(sorted(set(partial.arrays) - seen))
        seen |= set(partial.arrays)
    assert new[0] == ["labels_000"]
    assert "nested_lut" in new[1]
    assert [names[0] for names in new[2:6]] == [f"layer/{name}_000" for name in reversed(STAGES)]
    assert [names[0] for names in new[6:]] == ["floor/rgb_000", "floor/grid_000"]
    assert seen == set(result.arrays)
    done = [step[0] for step in told.progress]
    assert done == sorted(done)
    assert told.progress[-1][0] <= told.progress[-1][1]


def hooks_of(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_cancelling_at_any_moment_leaves_the_model_as_it_was_and_caches_nothing_half() -> None:
    model, params = staged_model(), Params(layers=True, floors=("random", "rgb"))
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    whole, told = make_context(model, [noise((64, 96))], params)
    expected = Nave().explain(whole)
    assert told.checks > 8

    def stop_at(moment: int) -> None:
        nave = Nave()

        def stop(count: int) -> None:
            if count == moment:
                raise Cancelled

        context, _ = make_context(model, [noise((64, 96))], params, on_check=stop)
        with pytest.raises(Cancelled):
            nave.explain(context)
        assert hooks_of(model.network) == 0
        assert not any(module.training for module in model.network.modules())
        assert all(torch.equal(value, before[name]) for name, value in model.network.state_dict().items())
        again, _ = make_context(model, [noise((64, 96))], params)
        assert np.array_equal(labels_of(nave.explain(again)), labels_of(expected))

    for moment in range(1, told.checks + 1):
        stop_at(moment)


def test_the_cache_is_bounded_and_knows_when_channels_are_missing() -> None:
    cache = BlockCache(budget_bytes=4 * 100)
    cache.put("a", Kept(torch.zeros(50), 50))
    cache.put("b", Kept(torch.zeros(40), 40))
    assert cache.get("a", is_full=True) is not None  # now the most recently used
    cache.put("c", Kept(torch.zeros(30), 60))
    assert cache.get("b", is_full=True) is None
    assert cache.get("c", is_full=True) is None
    assert cache.get("c", is_full=False) is not None
    assert cache.size_bytes == 4 * 80
    cache.put("huge", Kept(torch.zeros(101), 101))
    assert cache.size_bytes == 0


def test_a_run_survives_a_cache_that_keeps_nothing() -> None:
    context, _ = make_context(staged_model(), [noise((64, 96))], Params(layers=True))
    validate_result(Nave(BlockCache(budget_bytes=0)).explain(context))


def test_the_same_question_gives_the_same_bytes() -> None:
    first, second = full_run(), full_run()
    for name, array in first.arrays.items():
        assert np.asarray(array.data).tobytes() == np.asarray(second.arrays[name].data).tobytes(), name


# Refusing


class Broken(nn.Module):
    """Has NaN in its block."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = nn.AvgPool2d(8)
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        means: torch.Tensor = self.cells(pictures / 0 * self.gain) * 0
        return torch.nan_to_num(means.mean(dim=(2, 3)))


def test_activations_that_are_no_numbers_are_a_clear_problem() -> None:
    model = make_model(Broken())
    context, _ = make_context(model, [noise()], Params())
    with pytest.raises(ProblemError) as caught:
        Nave().explain(context)
    assert caught.value.code == ProblemCode.NOT_FINITE
    assert hooks_of(model.network) == 0


class Half(Stages):
    """Computes in half precision inside."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return super().forward(pictures.bfloat16()).float()


def test_a_network_that_computes_in_half_precision_gives_float32_results() -> None:
    network = Half().to(torch.bfloat16)
    model = replace(make_model(network, (64, 96), blocks=STAGES), dtype=torch.bfloat16)
    context, _ = make_context(model, [noise((64, 96))], Params())
    result = Nave().explain(context)
    validate_result(result)
    assert result.arrays["margin_000"].data.dtype == np.float32


@pytest.mark.parametrize(
    "given_",
    [
        {"n_clusters": 0},
        {"n_clusters": 21},
        {"preset": "custom"},
        {"preset": "other"},
        {"max_iter": 5},
        {"floors": ["chance"]},
        {"token_upsample": 3},
        {"blocks": ["a"] * 25},
        {"seed": 3},
        {"max_side": 10},
    ],
)
def test_settings_out_of_bounds_are_refused(given_: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Params.model_validate(given_)


def test_settings_come_back_from_their_own_schema() -> None:
    schema = json.loads(json.dumps(Nave().card().params_schema))
    filled = fill_params(schema, {})
    assert Params.model_validate(filled) == Params()
    assert all(entry.get("title") and entry.get("description") for entry in schema["properties"].values())
    for preset in Nave.presets:
        Params.model_validate(fill_params(schema, dict(preset.params)))


def test_an_unknown_block_is_refused_before_the_model_runs() -> None:
    context, told = make_context(staged_model(), [noise((64, 96))], Params(preset="custom", blocks=("nowhere",)))
    with pytest.raises(ProblemError, match="nowhere"):
        Nave().explain(context)
    assert context.engine.passes == 0
    assert not told.partials


def test_models_without_a_grid_are_refused_with_a_reason() -> None:
    nave, card = Nave(), staged_model().card
    assert nave.supports(card) is None
    flat = card.model_copy(update={"blocks": (card.blocks[0].model_copy(update={"grid": (1, 9)}),)})
    assert "2 x 2" in (nave.supports(flat) or "")
    assert nave.remedy(flat)
    assert nave.supports(card.model_copy(update={"described": False})) is not None


def test_the_method_describes_itself() -> None:
    card = Nave().card()
    assert card.kind == ResultKind.LABEL_MAP
    assert card.has_seed
    assert card.several_pictures
    assert not card.has_target
    assert "seed" not in card.params_schema["properties"]
    assert card.help
