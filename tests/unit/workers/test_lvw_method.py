"""Facts about explaining by visual words: sums, lists, boxes, crops, refusals, and the view of a whole book."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.contract.explainers import ExplainerShelf
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Encoding
from backend.contract.schemas import ModelCard, ModelKind, PictureRecord
from models.loader import LoadedModel
from models.training.lvw import train
from tests.fakes_lvw import CLASSES, blob_job, blob_model, blob_picture
from workers.engine import Engine
from workers.faithfulness import attention_iou, centred_gaussian
from workers.method import Context, Picture, Result
from workers.methods.lvw import Lvw, LvwParams, global_view
from workers.validation import validate_result


@pytest.fixture(scope="module", params=[True, False], ids=["own trunk", "frozen trunk"])
def trained(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[LoadedModel, ExplainerShelf]:
    torch.set_num_threads(1)
    job = blob_job(tmp_path_factory.mktemp("book"), train_trunk=request.param, warm_epochs=6)
    train(job)
    return job.base, job.shelf


def _context(
    model: LoadedModel, shelf: ExplainerShelf, *, target: int | None = None, wide: bool = False, **params: Any
) -> Context:
    pixels, _ = blob_picture(0, 77)
    if wide:
        pixels = np.concatenate([pixels, np.full((32, 16, 3), 90, np.uint8)], axis=1)
    record = PictureRecord(id="0" * 64, width=pixels.shape[1], height=pixels.shape[0])
    return Context(
        pictures=[Picture(record, pixels)],
        model=model,
        engine=Engine(model, check_cancelled=lambda: None),
        params=LvwParams.model_validate(params),
        target=target,
        seed=0,
        progress=lambda *_args, **_more: None,
        partial=lambda result: validate_result(result, partial=True),
        check_cancelled=lambda: None,
        fetch=lambda _key: pytest.fail("nothing is fetched"),
        load_model=lambda _name: pytest.fail("no other model is loaded"),
        explainers=shelf,
    )


def _explained(trained: tuple[LoadedModel, ExplainerShelf], **asked: Any) -> Result:
    result = Lvw().explain(_context(*trained, **asked))
    validate_result(result)
    return result


def test_contributions_and_cells_add_up_to_the_logit_in_the_stored_arrays(trained: Any) -> None:
    for target in (None, 0, 1):
        result = _explained(trained, target=target, contrast=1)
        arrays = {name: array.data for name, array in result.arrays.items()}
        logit = arrays["logits"][result.target]
        assert np.abs(arrays["contributions"].sum(1) - arrays["logits"]).max() <= 1e-4
        assert abs(float(arrays["logit_cells"].sum()) - logit) <= 1e-4
        shown = sum(float(region.values["contribution"]) for region in result.regions)  # type: ignore[arg-type]
        against = sum(float(region.values["contrast"]) for region in result.regions)  # type: ignore[arg-type]
        assert shown == pytest.approx(float(logit), abs=1e-4)
        assert against == pytest.approx(float(logit - arrays["logits"][1]), abs=1e-4)
        assert arrays["contributions"].dtype == np.float32


def test_every_array_of_the_specification_is_there_with_its_shape_and_range(trained: Any) -> None:
    arrays = {name: array.data for name, array in _explained(trained).arrays.items()}
    assert arrays["word_maps"].shape == (6, 8, 8)
    assert arrays["word_ids"].tolist() == list(range(6))
    assert arrays["word_maps"].min() > 0
    assert arrays["word_maps"].max() <= 9.2104
    assert np.allclose(arrays["word_maps"].max((1, 2)), arrays["scores"])
    for word, (row, column) in enumerate(arrays["word_cells"]):
        assert arrays["word_maps"][word, row, column] == arrays["word_maps"][word].max()
    assert arrays["integrated"].dtype == np.float16
    assert arrays["integrated"].shape == (32, 32)
    assert (float(arrays["integrated"].min()), float(arrays["integrated"].max())) == (0, 1)
    assert arrays["base_attention"].shape == (8, 8)
    assert arrays["iou_curve"].shape == (19, 2)
    assert arrays["iou_floors"].shape == (19, 3)
    assert arrays["contribution_classes"].tolist() == [0, 1]
    assert arrays["crops"].dtype == np.uint8
    assert arrays["crops"].shape[1:] == (72, 72, 3)


def test_the_overlap_of_this_picture_is_that_of_the_shared_measure(trained: Any) -> None:
    model, shelf = trained
    result = _explained(trained, percentile=70)
    from models.grad_cam import grad_cam, to_pixels

    context = _context(model, shelf)
    batch = model.preprocessing.normalise(model.preprocessing.prepare(context.picture.pixels).pixels[None])
    seen = to_pixels(grad_cam(model, batch).maps, 32)[0]
    view = torch.from_numpy(result.arrays["integrated"].data.astype(np.float32))
    assert result.scalars["iou"] == pytest.approx(float(attention_iou(view, seen, 70)), abs=0.02)
    assert result.scalars["iou_gaussian"] == pytest.approx(float(attention_iou(centred_gaussian((32, 32)), seen, 70)))
    share = round(1024 * 0.3) / 1024
    assert result.scalars["iou_chance"] == pytest.approx(share / (2 - share))
    curve = dict(result.arrays["iou_curve"].data.tolist())
    assert curve[70.0] == pytest.approx(result.scalars["iou"], abs=0.02)


def test_both_lists_are_in_order_and_each_listed_word_has_a_layer_a_box_and_crops(trained: Any) -> None:
    result = _explained(trained, top_words=3, exemplars=2)
    arrays = {name: array.data for name, array in result.arrays.items()}
    rows = [region for region in result.regions if region.id >= 0]
    by_rank = {
        key: sorted((r for r in rows if r.values[key]), key=lambda r: r.values[key])
        for key in ("similar_rank", "decide_rank")
    }  # type: ignore[arg-type,return-value]
    scores = [row.score for row in by_rank["similar_rank"]]
    efforts = [abs(float(row.values["contribution"])) for row in by_rank["decide_rank"]]  # type: ignore[arg-type]
    assert len(scores) == len(efforts) == 3
    assert scores == sorted(scores, reverse=True) == sorted(arrays["scores"].tolist(), reverse=True)[:3]
    assert efforts == sorted(efforts, reverse=True)
    layers = {layer.name: layer for layer in result.layers}
    assert layers["logit"].encoding is Encoding.SIGNED
    crops = next(table for table in result.tables if table.name == "crops").rows
    for row in rows:
        assert layers[f"word {row.id}"].index == row.id
        assert 0 <= row.box.left < row.box.right <= 32
        assert row.values["source_class"] in CLASSES
        first = row.values["crop"]
        assert isinstance(first, int)
        assert crops[first][1:3] == (row.id, "source")
        assert [crop[2] for crop in crops[first + 1 : first + 3]] == ["neighbour", "neighbour"]
        assert arrays["crops"][first].std() > 0
    assert len(crops) == len(arrays["crops"])
    assert result.regions[-1].id == -1
    assert "other" in result.regions[-1].label


def test_more_words_asked_than_there_are_lists_all_and_leaves_nothing_over(trained: Any) -> None:
    result = _explained(trained, top_words=50)
    assert len(result.regions) == 7
    assert result.regions[-1].values["contribution"] == 0
    assert result.scalars["share_shown"] == pytest.approx(1.0)


def test_maps_and_boxes_lie_where_the_model_saw_them_in_a_picture_that_was_cropped(trained: Any) -> None:
    result = _explained(trained, wide=True)
    frame = result.arrays["word_maps"].frame
    assert frame is not None
    assert (frame.right - frame.left, frame.bottom - frame.top) == (32, 32)
    assert frame.left == 8
    for region in result.regions:
        assert region.box.left >= 8
        assert region.box.right <= 40


def test_words_come_first_and_the_attention_of_the_model_after_three_passes(trained: Any) -> None:
    told: list[Result] = []
    context = dataclasses.replace(_context(*trained), partial=told.append)
    final = Lvw().explain(context)
    assert "base_attention" not in told[0].arrays
    assert "base_attention" in final.arrays
    assert context.engine.passes == Lvw().cost(context.model.card, context.params) == 3


def test_the_same_question_gives_the_same_bits(trained: Any) -> None:
    first, second = _explained(trained), _explained(trained)
    assert all(np.array_equal(first.arrays[name].data, second.arrays[name].data) for name in first.arrays)


def test_the_explainer_leaves_its_base_as_it_was(trained: Any) -> None:
    model, _ = trained
    before = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    _explained(trained)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.network.state_dict().items())
    assert not model.network.training
    assert all(not module._forward_hooks for module in model.network.modules())


def test_a_class_that_the_book_does_not_have_is_refused_with_those_it_has(trained: Any) -> None:
    with pytest.raises(ProblemError, match="0 red, 1 green") as caught:
        _explained(trained, contrast=5)
    assert caught.value.code is ProblemCode.TARGET_UNKNOWN


def test_a_disagreement_is_said_before_anything_else(trained: Any) -> None:
    model, shelf = trained
    turned = dataclasses.replace(model, class_names=("green", "red"))
    result = Lvw().explain(_context(turned, shelf))
    assert result.scalars["agree"] is False
    assert "red" in result.texts.cautions[0]
    assert "green" in result.texts.cautions[0]
    strange = dataclasses.replace(model, class_names=("a", "b"))
    result = Lvw().explain(_context(strange, shelf))
    assert result.scalars["agree"] is None
    assert any("other class names" in text for text in result.texts.cautions)


def test_the_head_line_never_shows_an_overlap_without_its_floors(trained: Any) -> None:
    note = _explained(trained).texts.notes[0]
    assert all(word in note for word in ("IoU", "Gaussian", "other picture", "chance", "same answer"))


# who is supported ---------------------------------------------------------------------------------------------------


def _card(**changes: Any) -> ModelCard:
    return blob_model().card.model_copy(update=changes)


def test_reasons_come_in_their_order_and_end_with_the_command_that_helps() -> None:
    method = Lvw()
    assert "writes text" in (method.supports(_card(kind=ModelKind.CAPTIONER, blocks=())) or "")
    assert "class scores" in (method.supports(_card(kind=ModelKind.ENCODER, blocks=())) or "")
    assert "spatial map" in (method.supports(_card(blocks=())) or "")
    reason = method.supports(_card()) or ""
    assert reason == (
        "No word book has been trained for blobs yet. Train one: `vitrine train lvw --model blobs --data FOLDER`"
    )


def test_after_training_the_method_is_offered_and_for_another_preprocessing_it_is_not(trained: Any) -> None:
    model, shelf = trained
    card = shelf.on_card(model.card)
    assert Lvw().supports(card) is None
    other = card.model_copy(update={"preprocessing": "another"})
    assert "preprocessing" in (Lvw().supports(other) or "")
    assert "vitrine train" in Lvw().remedy(other)


def test_without_a_book_or_with_a_damaged_one_the_problem_is_said_in_words(trained: Any, tmp_path: Path) -> None:
    model, shelf = trained
    with pytest.raises(ProblemError, match="vitrine train") as caught:
        Lvw().explain(_context(model, ExplainerShelf(tmp_path, builtin=None)))
    assert caught.value.code is ProblemCode.NOT_SUPPORTED
    with pytest.raises(ProblemError):
        Lvw().explain(_context(model, shelf, explainer="unknown-book"))


# the book as a whole ------------------------------------------------------------------------------------------------


def test_the_view_of_the_book_needs_neither_network_nor_pictures(trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.training._lvw_artifact.VisualWordNetwork", None)
    record = trained[1].list()[0]
    view = global_view(record)
    validate_result(view)
    shapes = {name: array.data.shape for name, array in view.arrays.items()}
    assert shapes["usage"] == (2, 6)
    assert shapes["neighbours"] == shapes["neighbour_distance"] == (6, 12)
    assert shapes["histogram"] == (6, 2)
    assert (view.arrays["histogram"].data.sum(1) == 12).all()
    distances = view.arrays["neighbour_distance"].data
    assert (np.diff(distances, axis=1) >= 0).all()
    assert np.allclose(distances[:, 0], 0, atol=1e-9)  # the source is its own nearest
    assert (view.arrays["entropy"].data <= 1 + 1e-6).all()
    assert len(view.tables[0].rows) == 6
