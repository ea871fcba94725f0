"""Several pictures with shared groups: exact, in two levels, and along few directions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from tests.fakes_nave import Cells, Stages, make_context, make_model, make_vit, noise
from workers.methods._nave_blocks import Kept
from workers.methods._nave_grouping import Grouper
from workers.methods._nave_maps import _adjusted_rand
from workers.methods._nave_source import Source, make_sheets
from workers.methods._nave_take import View, model_view
from workers.methods.nave import Nave, Params, composite_features
from workers.validation import validate_result

torch.set_num_threads(1)

STAGES = ("stage0", "stage1", "stage2", "stage3")


def random_kept(seed: int) -> list[Kept]:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(5, 4, 6), (60, 2, 3)]
    return [Kept(torch.randn(*shape, generator=generator, dtype=torch.float64), shape[0]) for shape in shapes]


def plain_view() -> View:
    context, _ = make_context(make_model(Cells()), [noise()])
    return model_view(context.model, context.picture)


def grouper(source: Source, *, refine_passes: int = 1, seed: int = 0) -> Grouper:
    return Grouper(source, seed=seed, n_init=4, max_iter=300, refine_passes=refine_passes, check_cancelled=lambda: None)


def separable_sheets(n_pictures: int = 6, cells: int = 20, n_groups: int = 4) -> tuple[list[object], np.ndarray]:
    """Pictures whose cells belong to one of a few clearly different directions, and the true groups."""
    random = np.random.default_rng(0)
    directions = np.linalg.qr(random.normal(size=(30, n_groups)))[0].T
    truth = random.integers(n_groups, size=(n_pictures, cells, cells))
    kept = [
        [
            Kept(
                torch.from_numpy(
                    (directions[picture] + 0.02 * random.normal(size=(cells, cells, 30))).transpose(2, 0, 1)
                ).float(),
                30,
            )
        ]
        for picture in truth
    ]
    view = plain_view()
    return list(make_sheets(kept, [view] * n_pictures)), truth.reshape(-1)


def test_two_equal_pictures_get_equal_maps_and_proportions() -> None:
    model = make_model(Stages(), (64, 96), blocks=STAGES)
    context, _ = make_context(model, [noise((64, 96)), noise((64, 96))], Params(joint=True))
    result = Nave().explain(context)
    validate_result(result)
    assert np.array_equal(result.arrays["labels_000"].data, result.arrays["labels_001"].data)
    proportions = np.asarray(result.arrays["proportions"].data)
    assert proportions.shape == (2, 5)
    assert np.allclose(proportions.sum(axis=1), 1)
    assert np.array_equal(proportions[0], proportions[1])
    assert context.engine.passes == 1  # the same picture runs once


def test_shared_groups_cost_one_pass_per_picture_and_nothing_again() -> None:
    nave, model = Nave(), make_model(Stages(), (64, 96), blocks=STAGES)
    pictures = [noise((64, 96), seed) for seed in range(6)]
    first, _ = make_context(model, pictures, Params(joint=True))
    nave.explain(first)
    assert first.engine.passes == 6
    second, _ = make_context(model, pictures, Params(joint=True, n_clusters=8))
    nave.explain(second)
    assert second.engine.passes == 0


def test_regions_of_shared_groups_lie_in_a_picture_that_has_them() -> None:
    calm = np.full((32, 48, 3), 40, dtype=np.uint8)
    vivid = calm.copy()
    vivid[:16], vivid[16:, 24:] = (250, 20, 20), (20, 20, 250)
    context, _ = make_context(make_model(Cells()), [calm, vivid], Params(joint=True, n_clusters=3))
    result = Nave().explain(context)
    validate_result(result)
    assert [region.layer for region in result.regions] == ["labels_000", "labels_001", "labels_001"]
    assert [round(region.area, 3) for region in result.regions] == [1.0, 0.5, 0.25]


def test_pictures_without_shared_groups_are_grouped_alone() -> None:
    model = make_model(Cells())
    pictures = [noise(seed=1), noise(seed=2)]
    both, _ = make_context(model, pictures, Params(floors=()))
    second, _ = make_context(model, pictures[1:], Params(floors=()))
    result, alone = Nave().explain(both), Nave().explain(second)
    validate_result(result)
    assert np.array_equal(result.arrays["labels_001"].data, alone.arrays["labels_000"].data)
    assert any("alone" in note for note in result.texts.notes)


def test_sharing_groups_of_one_picture_says_that_there_is_nothing_to_share() -> None:
    context, _ = make_context(make_model(Cells()), [noise()], Params(joint=True))
    assert any("two pictures" in note for note in Nave().explain(context).texts.notes)


def test_distances_between_pictures_are_those_of_the_full_features() -> None:
    taken = [random_kept(0), random_kept(1)]
    full = torch.cat([composite_features([kept.maps for kept in row]) for row in taken])
    source = Source(make_sheets(taken, [plain_view()] * 2), "paper", ceiling_bytes=2**30)
    assert source.n_columns < full.shape[1]  # compressed, but together
    ours, expected = ((rows[:, None] - rows[None]).square().sum(dim=-1) for rows in (source.matrix, full))
    assert torch.allclose(ours, expected, atol=1e-11)


def test_many_positions_are_not_compressed() -> None:
    taken = [random_kept(seed) for seed in range(12)]
    source = Source(make_sheets(taken, [plain_view()] * 12), "paper", ceiling_bytes=2**30)
    assert source.n_columns == 65


def test_streamed_parts_are_the_rows_of_the_matrix() -> None:
    taken = [random_kept(seed) for seed in range(3)]
    sheets = make_sheets(taken, [plain_view()] * 3)
    whole = Source(sheets, "paper", ceiling_bytes=2**30)
    parts = Source(sheets, "paper", ceiling_bytes=1)
    assert not parts.fits
    streamed = list(parts.parts())
    assert len(streamed) > 3
    rows = torch.cat(streamed)
    assert torch.allclose(rows @ rows.T, whole.matrix @ whole.matrix.T, atol=1e-10)
    with pytest.raises(RuntimeError, match="ceiling"):
        _ = parts.matrix


def test_two_levels_are_close_to_exact_on_separable_pictures_and_say_so() -> None:
    sheets, truth = separable_sheets()
    exact = grouper(Source(sheets, "paper", ceiling_bytes=2**30)).group(4)
    rough = grouper(Source(sheets, "paper", ceiling_bytes=2**12)).group(4)
    assert rough.approximate
    assert not exact.approximate
    assert _adjusted_rand(exact.labels, truth) == 1.0
    assert np.array_equal(rough.labels, exact.labels)
    assert rough.clustering.inertia == pytest.approx(exact.clustering.inertia, rel=1e-4)
    assert rough.explained == pytest.approx(exact.explained, abs=1e-4)


def test_refining_never_raises_the_inertia_of_two_levels() -> None:
    random = torch.Generator().manual_seed(3)
    taken = [[Kept(torch.randn(8, 9, 9, generator=random), 8)] for _ in range(5)]
    sheets = make_sheets(taken, [plain_view()] * 5)
    source = Source(sheets, "paper", ceiling_bytes=64)
    inertias = [grouper(source, refine_passes=passes).group(6).clustering.inertia for passes in (0, 1, 3, 10)]
    assert all(later <= earlier * (1 + 1e-6) for earlier, later in itertools.pairwise(inertias))


def test_one_large_picture_is_grouped_along_few_directions_with_an_exact_assignment() -> None:
    sheets, truth = separable_sheets(n_pictures=1, cells=30)
    source = Source(sheets, "paper", ceiling_bytes=2**12)
    found = grouper(source).group(4)
    assert found.approximate
    assert _adjusted_rand(found.labels, truth) == 1.0
    rows = torch.cat(list(source.parts()))
    nearest = torch.cdist(rows.double(), found.centroids.double()).argmin(dim=1).numpy()
    assert np.array_equal(nearest, found.labels)


def test_a_run_over_its_memory_is_marked_approximate_in_result_and_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("workers.methods._nave_run.MIB", 64)
    model = make_model(Stages(), (64, 96), blocks=STAGES)
    params = Params(joint=True, layers=True, floors=("grid", "rgb"), max_feature_mb=64)
    context, _ = make_context(model, [noise((64, 96), seed) for seed in range(3)], params)
    result = Nave().explain(context)
    validate_result(result)
    assert result.scalars["approximate"] is True
    assert any("two levels" in note for note in result.texts.notes)
    exact, _ = make_context(
        model, [noise((64, 96), seed) for seed in range(3)], params.model_copy(update={"max_feature_mb": 16384})
    )
    assert float(result.scalars["explained"] or 0) > 0.8 * float(Nave().explain(exact).scalars["explained"] or 0)


def test_explained_by_a_partition_equals_the_grouping_that_made_it() -> None:
    sheets, _ = separable_sheets()
    for ceiling in (2**30, 2**12):
        runner = grouper(Source(sheets, "paper", ceiling_bytes=ceiling), refine_passes=5)
        found = runner.group(4)
        assert runner.explained_by(found.labels) == pytest.approx(found.explained, abs=1e-5)


def test_shared_groups_work_for_transformers_and_native_sizes() -> None:
    vit, _ = make_context(make_model(make_vit()), [noise(seed=1), noise(seed=2)], Params(joint=True))
    validate_result(Nave().explain(vit))
    pictures = [noise((40, 70), 1), noise((64, 33), 2)]
    cells, _ = make_context(make_model(Cells()), pictures, Params(joint=True, input_mode="native", layers=True))
    result = Nave().explain(cells)
    validate_result(result)
    assert result.arrays["labels_000"].data.shape == (6, 10)
    assert result.arrays["labels_001"].data.shape == (8, 6)
    assert (result.arrays["labels_001"].data[:, 5] == -1).all()
