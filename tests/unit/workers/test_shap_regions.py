"""The classifier's game: closed forms, where regions come from, and the comparison with another result."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Encoding, Layer
from backend.contract.schemas import ModelCard, ModelKind
from tests.fakes_captions import colour_captioner, explain_caption, numbers, quadrants
from tests.fakes_engine import Additive, Constant, Counted, make_context, make_model, make_network, noise_picture
from workers.method import MapArray, Result, Stored
from workers.methods.shap_regions import ClassParams, ShapRegions
from workers.validation import validate_result

SIZE = (32, 32)


def _explain(
    network: nn.Module,
    pixels: NDArray[np.uint8] | None = None,
    *,
    classes: int = 2,
    target: int | None = None,
    stored: dict[str, Stored] | None = None,
    model: dict[str, Any] | None = None,
    **params: Any,
) -> Result:
    loaded = make_model(network, size=SIZE, classes=classes, **(model or {}))
    settings = ClassParams.model_validate({"regions": "grid", **params})
    pixels = noise_picture(SIZE) if pixels is None else pixels
    context, recorded = make_context(loaded, pixels, settings, target=target, stored=stored)
    result = ShapRegions().explain(context)
    validate_result(result)
    for partial in recorded.partials:
        validate_result(partial, partial=True)
    return result


def _stored(result: Result) -> Stored:
    return Stored(result.arrays, result.layers, result.regions, result.scalars)


@pytest.mark.parametrize("hidden", ["black", "mean"])
def test_a_linear_score_gives_each_region_its_closed_form(hidden: str) -> None:
    weights = torch.rand(SIZE, generator=torch.Generator().manual_seed(0))
    pixels = noise_picture(SIZE)
    result = _explain(Additive(weights), pixels, value="logit", hidden=hidden, target=0)
    red = torch.from_numpy(pixels[:, :, 0] / 255)
    filling = 0.0 if hidden == "black" else float(red.mean())
    change = ((red - filling) * weights).numpy()
    labels = result.arrays["labels"].data
    expected = [change[labels == region].sum() for region in range(9)]
    assert np.allclose(numbers(result, "phi"), expected, atol=2e-4)
    assert result.scalars["unit"] == "logit"
    assert np.allclose(numbers(result, "first_in"), numbers(result, "last_in"), atol=1e-3)


def test_values_are_probabilities_by_default_and_the_best_classes_come_along() -> None:
    network = make_network(classes=7)
    result = _explain(network, classes=7)
    assert result.scalars["unit"] == "probability"
    assert len(result.classes) == 5
    assert [one.score for one in result.classes] == sorted((one.score for one in result.classes), reverse=True)
    assert result.target == result.classes[0].index
    table = next(one for one in result.tables if one.name == "classes")
    values = numbers(result, "class_phi")
    for row, phi in zip(table.rows, values, strict=True):
        assert phi.sum() == pytest.approx(row[2] - row[3], abs=1e-9)
    assert np.allclose(values[0], numbers(result, "phi"))
    assert [row[0] for row in table.rows] == [one.index for one in result.classes]


def test_a_class_beyond_the_best_five_can_be_explained_and_one_that_is_not_there_cannot() -> None:
    network = make_network(classes=7)
    worst = _explain(network, classes=7).classes[-1].index
    last = next(index for index in range(7) if index not in {one.index for one in _explain(network, classes=7).classes})
    result = _explain(network, classes=7, target=last)
    assert result.target == last
    assert len(result.classes) == 6
    assert worst in {one.index for one in result.classes}
    with pytest.raises(ProblemError) as caught:
        _explain(network, classes=7, target=7)
    assert caught.value.code == ProblemCode.TARGET_UNKNOWN


def test_a_network_that_ignores_the_picture_ends_early() -> None:
    network = Counted(Constant([1.0, 2.0]))
    result = _explain(network)
    assert result.scalars["early_stop"] is True
    assert result.scalars["evaluations"] == 20
    assert np.array_equal(numbers(result, "phi"), np.zeros(9))
    assert "does not depend on what is visible" in result.texts.reading


def test_every_masked_picture_is_classified_once() -> None:
    network = Counted(make_network())
    result = _explain(network, classes=4, robustness=True, curves="on", batch_size=1, rows=2)
    pictures = [picture.numpy().tobytes() for batch in network.batches for picture in batch]
    assert len(pictures) == len(set(pictures)) == 3 * 64 - 2
    assert result.scalars["passes"] == len(pictures)


def test_a_network_with_one_output_answers_with_its_sigmoid() -> None:
    class One(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            return pictures.mean(dim=(1, 2, 3))[:, None] * 4 - 1

    result = _explain(One(), classes=1)
    mean = float(torch.from_numpy(noise_picture(SIZE) / 255.0).mean())
    assert result.scalars["v_full"] == pytest.approx(1 / (1 + np.exp(1 - 4 * mean)), abs=1e-5)
    assert result.scalars["v_empty"] == pytest.approx(1 / (1 + np.exp(1)), abs=1e-6)


def test_without_a_grid_of_places_superpixels_take_the_place_of_groups_and_it_is_said() -> None:
    result = _explain(make_network(), classes=4, regions="nave")
    assert result.scalars["regions_from"] == "superpixels"
    assert any("superpixels were used" in note for note in result.texts.notes)


def test_groups_of_another_result_are_used_as_regions() -> None:
    labels = np.zeros((8, 8), np.int16)
    labels[4:] = 1
    labels[:, 6:] = 2
    frame = Box(0, 0, 32, 32)
    layer = Layer(name="groups", title="Groups", array="groups", encoding=Encoding.LABELS, smooth=False)
    stored = Stored({"groups": MapArray(labels, frame)}, (layer,), ())
    for regions in ("nave", "shared"):
        result = _explain(make_network(), classes=4, regions=regions, region_source="k", stored={"k": stored})
        assert result.scalars["regions"] == 3
        grown = np.kron(labels, np.ones((4, 4), np.int16))
        found = result.arrays["labels"].data
        assert len({(int(a), int(b)) for a, b in zip(grown.ravel(), found.ravel(), strict=True)}) == 3
        assert result.scalars["comparison_reason"]
    empty = Stored({"map": MapArray(np.zeros((4, 4), np.float32), frame)}, (), ())
    with pytest.raises(ProblemError, match="no label map"):
        _explain(make_network(), classes=4, regions="shared", region_source="k", stored={"k": empty})


def test_a_classifier_is_compared_with_a_caption_on_the_very_same_regions() -> None:
    caption, _ = explain_caption(colour_captioner())
    result = _explain(make_network(), quadrants(), classes=4, regions="shared", region_source="k",
                      stored={"k": _stored(caption)})  # fmt: skip
    assert result.scalars["region_hash"] == caption.scalars["region_hash"]
    assert result.scalars["comparison_reason"] == ""
    table = next(one for one in result.tables if one.name == "comparison")
    assert [row[3] for row in table.rows] == pytest.approx(numbers(caption, "phi").tolist())
    assert [row[1] for row in table.rows] == pytest.approx(numbers(result, "phi").tolist())
    assert sum(row[4] for row in table.rows) == pytest.approx(1.0)


def test_results_with_another_filling_are_not_compared_and_the_reason_is_given() -> None:
    caption, _ = explain_caption(colour_captioner())
    result = _explain(make_network(), quadrants(), classes=4, regions="shared", region_source="k", hidden="mean",
                      stored={"k": _stored(caption)})  # fmt: skip
    assert result.scalars["comparison_reason"] == "The other result hides regions with black, this one with mean."
    assert not [one for one in result.tables if one.name == "comparison"]


def test_what_a_shared_map_does_not_cover_is_one_region_and_stays_out_of_the_comparison() -> None:
    caption, _ = explain_caption(colour_captioner())
    arrays = {**caption.arrays, "labels": MapArray(caption.arrays["labels"].data, Box(8, 0, 24, 32))}
    stored = Stored(arrays, caption.layers, caption.regions, caption.scalars)
    result = _explain(make_network(), quadrants(), classes=4, regions="shared", region_source="k", stored={"k": stored})
    assert [region.label for region in result.regions] == ["region 1", "region 2", "region 3", "region 4", "rest"]
    assert (result.arrays["labels"].data[:, :8] == 4).all()
    table = next(one for one in result.tables if one.name == "comparison")
    assert len(table.rows) == 4


def test_regions_that_this_model_sees_only_in_part_are_not_compared() -> None:
    caption, _ = explain_caption(colour_captioner())
    arrays = {**caption.arrays, "labels": MapArray(caption.arrays["labels"].data, Box(0, 0, 64, 32))}
    stored = Stored(arrays, caption.layers, caption.regions, caption.scalars)
    result = _explain(make_network(), quadrants(), classes=4, regions="shared", region_source="k", stored={"k": stored})
    assert result.scalars["regions"] == 2
    assert result.scalars["comparison_reason"]


def test_a_result_that_is_gone_is_named_as_such() -> None:
    def fetch(_key: str) -> Stored:
        raise ProblemError(ProblemCode.RESULT_GONE, "A result that this run builds on is no longer here.")

    class Gone(dict[str, Stored]):
        def __getitem__(self, key: str) -> Stored:
            return fetch(key)

    with pytest.raises(ProblemError) as caught:
        _explain(make_network(), classes=4, regions="shared", region_source="k", stored=Gone(k=Stored({}, (), ())))
    assert caught.value.code == ProblemCode.RESULT_GONE


def test_regions_that_all_count_the_same_are_cautioned_against() -> None:
    class AllOrNothing(nn.Module):
        def forward(self, pictures: Tensor) -> Tensor:
            whole = (pictures.amax(dim=1) > 0).float().mean(dim=(1, 2)) > 0.99
            return torch.stack([whole * 8.0, torch.full((len(pictures),), 4.0)], dim=1)

    result = _explain(AllOrNothing(), np.full((*SIZE, 3), 200, np.uint8))
    assert np.allclose(numbers(result, "phi"), result.scalars["delta"] / 9)
    assert any("counts about the same" in caution for caution in result.texts.cautions)


def test_only_classifiers_are_offered() -> None:
    method = ShapRegions()
    card = ModelCard(name="x", title="X", kind=ModelKind.CLASSIFIER, source="demo", weights="0" * 64, class_count=3)
    assert method.supports(card) is None
    for kind in (ModelKind.CAPTIONER, ModelKind.ENCODER):
        assert method.supports(card.model_copy(update={"kind": kind}))
    assert method.cost(card, ClassParams()) == 256
    assert method.card().params_schema["properties"]["regions"]["default"] == "nave"
