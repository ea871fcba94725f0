"""Training feature-group classifiers: loss, recipe, trunk, and whole jobs on a world of coloured squares."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import Tensor, nn

from backend.contract.problems import ProblemCode, ProblemError
from models.catalogue import ModelCatalogue
from models.explainers import ExplainerShelf, read_tensors
from models.heads.br_npa import BrNpaClassifier, _build_trunk
from models.loader import LoadedModel, ModelLoader
from models.training import _br_npa_stage as stage_module
from models.training._br_npa_artifact import WEIGHTS, open_explainer
from models.training._br_npa_pictures import augmented, decode_whole, explainer_geometry
from models.training._br_npa_run import Plan, Run
from models.training.br_npa import (
    KIND,
    PRESETS,
    BrNpaRecipe,
    BrNpaTraining,
    TrainingStopped,
    _fit_epochs,
    distillation_loss,
    preset,
)
from models.training.data import DataSource, PictureSet, TrainingData, set_of_arrays
from tests.fakes_models import write_own_model
from workers.faithfulness import deletion_insertion, sparsity

CLASSES = ("red", "green", "blue")
ARGUMENTS = {"layers": [1, 1, 1, 1], "channels": [4, 8, 12, 16]}
SIDE = 64
TINY: dict[str, Any] = {
    "epochs_teacher": 1,
    "epochs_student": 2,
    "batch_size": 8,
    "lr_trunk": 3e-3,
    "lr_head": 3e-2,
    "brightness": 0.0,
    "saturation": 0.0,
    "validation_fraction": 0.25,
    "dropout": 0.2,
}


def squares(count: int, *, seed: int = 0) -> PictureSet:
    """Grey pictures with one square of the class's colour somewhere."""
    random = np.random.default_rng(seed)
    pictures, labels = [], []
    for index in range(count):
        label = index % len(CLASSES)
        picture = random.integers(90, 140, (SIDE, SIDE, 3)).astype(np.uint8)
        top, left = random.integers(8, 40, 2)
        picture[top : top + 16, left : left + 16] = 20
        picture[top : top + 16, left : left + 16, label] = 240
        pictures.append(picture)
        labels.append(label)
    return set_of_arrays(pictures, labels, CLASSES)


class Unread:
    """A test part that nobody may look at."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError("the test part was opened")


def source(count: int = 30) -> DataSource:
    return DataSource(name="squares", description="Squares.", train=squares(count), test=Unread())  # type: ignore[arg-type]


def parted(recipe: BrNpaRecipe, count: int = 30) -> TrainingData:
    return source(count).split(recipe.validation_fraction, recipe.seed)


def randomised(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.2, 0.2)
            module.running_mean.uniform_(-0.2, 0.2)
            module.running_var.uniform_(0.5, 1.5)
    return network


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A small residual network with random weights, of the classes of the squares."""
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(1)
    network = randomised(timm.create_model("resnet18", num_classes=len(CLASSES), **ARGUMENTS))
    write_own_model(
        folder,
        "base",
        architecture="resnet18",
        arguments=ARGUMENTS,
        classes=CLASSES,
        preprocessing={"input_size": [SIDE, SIDE], "crop_pct": 1.0},
        state=network.state_dict(),
    )
    return ModelLoader(ModelCatalogue(folder), device="cpu").load("base")


def train(base: LoadedModel, folder: Path, recipe: BrNpaRecipe, **given: Any) -> Path:
    options = {key: given.pop(key) for key in ("clock", "measures", "shelf") if key in given}
    return BrNpaTraining(recipe, **options).run(parted(recipe), base, folder, **given)


def weights_of(folder: Path) -> dict[str, Tensor]:
    shelf = ExplainerShelf(folder.parents[2], builtin=None)
    [record] = shelf.list()
    return read_tensors(record, WEIGHTS)


# the loss


def test_the_loss_is_a_scalar_that_repeating_the_batch_leaves() -> None:
    student, teacher, labels = torch.randn(4, 3), torch.randn(4, 3), torch.tensor([0, 1, 2, 0])
    loss = distillation_loss(student, teacher, labels, alpha=0.4, temperature=16)
    twice = distillation_loss(student.repeat(2, 1), teacher.repeat(2, 1), labels.repeat(2), alpha=0.4, temperature=16)
    assert loss.shape == ()
    assert loss.dtype == torch.float32
    assert torch.allclose(loss, twice, rtol=1e-6)


def test_the_loss_is_what_its_formula_says() -> None:
    student, teacher = torch.tensor([[1.0, -2.0, 0.5]]), torch.tensor([[0.0, 3.0, 1.0]])
    labels, alpha, t = torch.tensor([2]), 0.3, 4.0
    p, q = (teacher / t).softmax(1), (student / t).softmax(1)
    expected = alpha * t * t * (p * (p.log() - q.log())).sum() - (1 - alpha) * student.log_softmax(1)[0, 2]
    assert torch.allclose(distillation_loss(student, teacher, labels, alpha=alpha, temperature=t), expected)


def test_the_loss_is_finite_for_huge_logits_in_half_precision_and_teaches_only_the_student() -> None:
    student = torch.tensor([[1e4, -1e4]], dtype=torch.float16, requires_grad=True)
    teacher = torch.tensor([[-1e4, 1e4]], dtype=torch.float16, requires_grad=True)
    loss = distillation_loss(student, teacher, torch.tensor([1]), alpha=0.4, temperature=16)
    loss.backward()
    assert torch.isfinite(loss)
    assert teacher.grad is None
    assert student.grad is not None


@pytest.mark.parametrize(
    ("student", "labels", "alpha", "temperature"),
    [
        (torch.zeros(2, 3), torch.tensor([0, 1]), 1.1, 1.0),
        (torch.zeros(2, 3), torch.tensor([0, 1]), 0.5, 0.0),
        (torch.zeros(2, 3), torch.tensor([0, 3]), 0.5, 1.0),
        (torch.zeros(2, 3), torch.tensor([0.0, 1.0]), 0.5, 1.0),
        (torch.zeros(2, 3), torch.tensor([0]), 0.5, 1.0),
        (torch.zeros(2, 4), torch.tensor([0, 1]), 0.5, 1.0),
    ],
)
def test_a_loss_that_means_nothing_is_refused(
    student: Tensor, labels: Tensor, alpha: float, temperature: float
) -> None:
    with pytest.raises(ValueError):
        distillation_loss(student, torch.zeros(2, 3), labels, alpha=alpha, temperature=temperature)


# the recipe


def test_every_preset_is_a_recipe_and_the_offered_ones_are_the_same() -> None:
    assert {one.name: dict(one.params) for one in KIND.presets} == dict(PRESETS)
    for name in PRESETS:
        assert BrNpaRecipe.model_validate(PRESETS[name]) == preset(name)
    assert preset("standard") == BrNpaRecipe()
    with pytest.raises(ValueError, match="no preset"):
        preset("none such")


def test_micro_batches_divide_the_batch() -> None:
    with pytest.raises(ValueError, match="divides"):
        BrNpaRecipe(batch_size=32, micro_batch=5)


def test_epochs_are_cut_in_proportion_to_the_time_and_the_head_remains_when_there_is_none() -> None:
    recipe = BrNpaRecipe(epochs_teacher=4, epochs_student=8, max_minutes=10, fit_time=True)
    assert _fit_epochs(recipe, (1.0, 1.0), 600) == Plan("full", 4, 8)
    cut = _fit_epochs(recipe, (10.0, 20.0), 120)
    assert cut.scope == "full"
    assert 1 <= cut.teacher < 4
    assert cut.student == 2 * cut.teacher
    assert cut.teacher * 10 + cut.student * 20 <= 120
    assert _fit_epochs(recipe, (100.0, 200.0), 120) == Plan("head", 0, 8)


# the trunk


@pytest.mark.parametrize("architecture", ["resnet18", "resnet50"])
def test_a_dilated_trunk_agrees_with_the_base_where_both_have_a_cell(architecture: str) -> None:
    torch.manual_seed(0)
    network = randomised(timm.create_model(architecture, num_classes=5)).eval()
    picture = torch.randn(1, 3, 96, 64)
    with torch.no_grad():
        native = network.forward_features(picture)
        dense = _build_trunk(architecture, network.state_dict(), "dilation").eval().forward_features(picture)
        strided = _build_trunk(architecture, network.state_dict(), "stride").eval().forward_features(picture)
        same = _build_trunk(architecture, network.state_dict(), "none").eval().forward_features(picture)
    assert torch.equal(same, native)
    assert dense.shape == strided.shape == (*native.shape[:2], 12, 8)
    assert float((dense[..., ::4, ::4] - native).abs().max() / native.abs().max()) <= 1e-5
    assert float((strided[..., ::4, ::4] - native).abs().max() / native.abs().max()) > 1e-2


@pytest.mark.parametrize(
    ("architecture", "upscaling"), [("resnetblur18", "stride"), ("densenet121", "none"), ("resnet18", "wider")]
)
def test_a_trunk_that_cannot_be_made_finer_is_refused(architecture: str, upscaling: str) -> None:
    with pytest.raises(ValueError, match=architecture if upscaling != "wider" else "upscaling"):
        _build_trunk(architecture, {}, upscaling)


def test_an_average_pool_in_the_shortcut_loses_its_pooling() -> None:
    network = timm.create_model("resnet18d", num_classes=3)
    trunk = _build_trunk("resnet18d", network.state_dict(), "stride").eval()
    with torch.no_grad():
        assert trunk.forward_features(torch.zeros(1, 3, 64, 64)).shape[-2:] == (8, 8)


# pictures


def test_a_picture_is_changed_by_seed_stage_epoch_and_place_alone(base: LoadedModel) -> None:
    recipe = BrNpaRecipe(crop_ratio=0.8)
    geometry = explainer_geometry(base.preprocessing, recipe)
    data = decode_whole(squares(6), geometry, lambda: None)
    assert data.pixels.shape == (6, 3, 80, 80)
    given = {"side": SIDE, "stage": "student", "device": torch.device("cpu")}
    alone = augmented(data, [4], recipe, epoch=1, **given)
    together = augmented(data, [2, 4, 5], recipe, epoch=1, **given)
    assert torch.equal(alone[0], together[1])
    assert not torch.equal(alone, augmented(data, [4], recipe, epoch=2, **given))
    assert 0 <= float(together.min()) <= float(together.max()) <= 1


def test_a_decoded_picture_is_what_the_explainer_will_see(base: LoadedModel) -> None:
    from models.training._br_npa_measure import centre

    geometry = explainer_geometry(base.preprocessing, BrNpaRecipe())
    pictures = squares(3)
    cut = centre(decode_whole(pictures, geometry, lambda: None), 1, 2, geometry)[0]
    assert torch.allclose(cut, geometry.prepare(pictures.load(1)).pixels, atol=1e-6)


# the job


def test_a_whole_job_leaves_an_explainer_that_answers_as_it_was_measured(base: LoadedModel, tmp_path: Path) -> None:
    recipe = BrNpaRecipe(**TINY)
    told: list[dict[str, Any]] = []
    folder = train(
        base, tmp_path, recipe, emit=told.append,
        measures={"deletion_insertion": deletion_insertion, "sparsity": sparsity},
    )  # fmt: skip
    content = json.loads((folder / "manifest.json").read_text())
    assert content["scope"] == "full"
    assert content["upscaling"] == "dilation"
    assert content["grid"] == [8, 8]
    assert content["classes"] == list(CLASSES)
    assert content["same_classes_as_base"] is True
    assert content["data"]["n_train"] + content["data"]["n_validation"] == 30
    assert len(content["history"]) == 3
    assert content["id"] == folder.name
    found = content["metrics"]["fidelity"]
    assert found["convention"] == "vitrine"
    assert {"random", "centre", "map1"} <= set(found["deletion"])
    assert 1 <= found["sparsity"] <= 64
    points = [event["point"] for event in told if "point" in event]
    assert points == [1, 2, 3]
    assert any(set(event.get("pictures", {})) == {f"validation {k}" for k in range(1, 5)} for event in told)
    last = [event for event in told if "done" in event][-1]
    assert last["done"] == last["total"]
    record = ExplainerShelf(folder.parents[2], builtin=None).find("br_npa", base.weights_digest)
    assert record is not None
    opened = open_explainer(record, base)
    data = parted(recipe)
    pixels = torch.stack([opened.geometry.prepare(data.validation.load(i)).pixels for i in range(len(data.validation))])
    with torch.no_grad():
        answers = opened.network(opened.geometry.normalise(pixels))[0].argmax(1).numpy()
    assert math.isclose((answers == data.validation.labels).mean(), content["metrics"]["accuracy"])
    assert not (tmp_path / "checkpoints").exists() or not list((tmp_path / "checkpoints").glob("*.pt"))


@pytest.mark.parametrize("after", [2, 6])
def test_a_job_that_was_stopped_in_mid_epoch_ends_with_the_same_bits(
    base: LoadedModel, tmp_path: Path, after: int
) -> None:
    recipe = BrNpaRecipe(**TINY)
    whole = weights_of(train(base, tmp_path / "whole", recipe))
    asked = 0

    def stop() -> str | None:
        nonlocal asked
        asked += bool(list((tmp_path / "cut").glob("checkpoints/*.pt")))
        return "stop" if asked == after else None

    with pytest.raises(TrainingStopped):
        train(base, tmp_path / "cut", recipe, cancelled=stop)
    assert not list((tmp_path / "cut").rglob("manifest.json"))
    resumed = weights_of(train(base, tmp_path / "cut", recipe))
    assert whole.keys() == resumed.keys()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_torn_checkpoint_falls_back_and_a_foreign_one_is_refused(base: LoadedModel, tmp_path: Path) -> None:
    recipe = BrNpaRecipe(**TINY)
    whole = weights_of(train(base, tmp_path / "whole", recipe))
    asked = 0

    def stop() -> str | None:
        nonlocal asked
        asked += bool(list((tmp_path / "cut").glob("checkpoints/*.pt")))
        return "stop" if asked == 5 else None

    with pytest.raises(TrainingStopped):
        train(base, tmp_path / "cut", recipe, cancelled=stop)
    files = sorted((tmp_path / "cut" / "checkpoints").glob("*.pt"))
    assert len(files) == 2
    files[-1].write_bytes(files[-1].read_bytes()[:100])
    with pytest.raises(ProblemError) as caught:
        train(base, tmp_path / "cut", recipe.model_copy(update={"alpha": 0.5}))
    assert caught.value.code == ProblemCode.CHECKPOINT_FOREIGN
    resumed = weights_of(train(base, tmp_path / "cut", recipe))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_job_that_is_stopped_while_it_measures_only_measures_again(base: LoadedModel, tmp_path: Path) -> None:
    recipe = BrNpaRecipe(**TINY)
    measuring = False
    told: list[dict[str, Any]] = []

    def listen(event: dict[str, Any]) -> None:
        nonlocal measuring
        measuring = measuring or event.get("stage") == "Measuring"

    measures = {"deletion_insertion": deletion_insertion, "sparsity": sparsity}
    with pytest.raises(TrainingStopped):
        train(base, tmp_path, recipe, emit=listen, cancelled=lambda: "stop" if measuring else None, measures=measures)
    folder = train(base, tmp_path, recipe, emit=told.append)
    assert (folder / "manifest.json").exists()
    assert not any("point" in event for event in told)


def test_finishing_early_in_the_first_stage_keeps_the_coarse_classifier(base: LoadedModel, tmp_path: Path) -> None:
    def finish() -> str | None:
        return "finish" if list(tmp_path.glob("checkpoints/*.pt")) else None

    folder = train(base, tmp_path, BrNpaRecipe(**TINY), cancelled=finish)
    content = json.loads((folder / "manifest.json").read_text())
    assert content["stopped_early"] is True
    assert content["upscaling"] == "none"
    assert content["grid"] == [2, 2]


class Clock:
    """Ten seconds go by whenever somebody looks."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


def test_the_time_limit_ends_the_job_with_the_best_epoch(base: LoadedModel, tmp_path: Path) -> None:
    recipe = BrNpaRecipe(**{**TINY, "epochs_teacher": 50, "max_minutes": 1})
    folder = train(base, tmp_path, recipe, clock=Clock(2.0))
    content = json.loads((folder / "manifest.json").read_text())
    assert content["stopped_early"] is True
    assert 1 <= len(content["history"]) < 50


def test_epochs_cut_to_fit_the_time_stay_cut_when_the_job_goes_on(base: LoadedModel, tmp_path: Path) -> None:
    recipe = BrNpaRecipe(**{**TINY, "epochs_teacher": 40, "epochs_student": 40, "max_minutes": 20, "fit_time": True})
    asked = 0

    def stop() -> str | None:
        nonlocal asked
        asked += bool(list(tmp_path.glob("checkpoints/*.pt")))
        return "stop" if asked == 2 else None

    with pytest.raises(TrainingStopped):
        train(base, tmp_path, recipe, cancelled=stop, clock=Clock(60.0))
    from models.training.checkpoints import Checkpoints

    kept = Checkpoints(
        tmp_path / "checkpoints",
        recipe=recipe.model_dump(mode="json"),
        data=parted(recipe).digest,
        base=base.weights_digest,
    ).load()
    assert kept is not None
    folder = train(base, tmp_path, recipe, clock=Clock(0.0))
    content = json.loads((folder / "manifest.json").read_text())
    assert content["epochs"] == kept["plan"]
    assert content["epochs"]["teacher"] < 40


def test_the_head_alone_learns_on_the_base_models_own_features(base: LoadedModel, tmp_path: Path) -> None:
    recipe = BrNpaRecipe(scope="head", epochs_student=40, lr_head=0.1, batch_size=8, validation_fraction=0.25)
    before = {name: tensor.clone() for name, tensor in base.network.state_dict().items()}
    folder = train(base, tmp_path, recipe)
    record = ExplainerShelf(folder.parents[2], builtin=None).find("br_npa", base.weights_digest)
    assert record is not None
    assert set(read_tensors(record, WEIGHTS)) == {"head.weight"}
    assert record.content["output_stride_built"] == 8
    opened = open_explainer(record, base)
    pointers = {name: tensor.data_ptr() for name, tensor in base.network.named_parameters()}
    shared = {name.removeprefix("trunk."): p.data_ptr() for name, p in opened.network.named_parameters()}
    assert all(shared[name] == pointer for name, pointer in pointers.items() if not name.startswith("fc."))
    assert all(torch.equal(before[name], tensor) for name, tensor in base.network.state_dict().items())
    assert record.content["metrics"]["accuracy"] > 1 / 3
    assert not base.network.training


def test_micro_batches_give_the_gradient_of_the_whole_batch(base: LoadedModel, tmp_path: Path) -> None:
    found = []
    for micro in (8, 2):
        recipe = BrNpaRecipe(**{**TINY, "freeze_batchnorm": True, "micro_batch": micro, "dropout": 0.0})
        stage = make_stage(base, tmp_path, recipe)
        stage._gradients(np.arange(8, dtype=np.int64))
        found.append([p.grad.clone() for p in stage.network.parameters() if p.grad is not None])
    assert all(float((a - b).abs().max()) <= 1e-5 * float(a.abs().max()) for a, b in zip(*found, strict=True))


def make_stage(base: LoadedModel, folder: Path, recipe: BrNpaRecipe) -> Any:
    run = Run(
        recipe=recipe, data=parted(recipe), base=base, folder=folder, shelf=ExplainerShelf(folder, builtin=None),
        emit=lambda _event: None, cancelled=lambda: None, clock=lambda: 0.0, fit=_fit_epochs, measures={}, title="",
        method="br_npa",
    )  # fmt: skip
    run.plan = Plan("full", 1, 1)
    run._read()
    return run._stage("teacher", teacher=None)


def test_memory_that_runs_out_halves_what_is_done_at_once(
    base: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage(base, tmp_path, BrNpaRecipe(**TINY))
    inner: Callable[..., Any] = stage._forward

    def forward(chosen: Any) -> Any:
        if len(chosen) > 2:
            raise torch.OutOfMemoryError("full")
        return inner(chosen)

    monkeypatch.setattr(stage, "_forward", forward)
    stage._one_step(np.arange(8, dtype=np.int64))
    assert stage.micro_batch == 2
    assert float(stage.sums[3]) == 8


def test_steps_without_a_number_are_skipped_and_many_of_them_end_the_job(
    base: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage(base, tmp_path, BrNpaRecipe(**TINY))
    before = {name: tensor.clone() for name, tensor in stage.network.named_parameters()}
    real = stage_module.loss_terms

    def broken(*given: Any, **named: Any) -> Any:
        terms = real(*given, **named)
        return terms._replace(total=terms.total * math.nan)

    monkeypatch.setattr(stage_module, "loss_terms", broken)
    stage._one_step(np.arange(8, dtype=np.int64))
    assert all(torch.equal(before[name], tensor) for name, tensor in stage.network.named_parameters())
    with pytest.raises(ProblemError) as caught:
        stage.run(lambda _stage: False, lambda _stage: None)
    assert caught.value.code == ProblemCode.NOT_FINITE


def test_networks_without_the_stages_cannot_be_trained(base: LoadedModel, tmp_path: Path) -> None:
    card = base.card
    blocks = tuple(block.model_copy(update={"name": f"blocks.{i}"}) for i, block in enumerate(card.blocks))
    assert KIND.supports(card) is None
    assert "layer3" in (KIND.supports(card.model_copy(update={"blocks": blocks})) or "")
    assert KIND.supports(card.model_copy(update={"kind": "captioner"})) is not None


def test_the_class_with_one_picture_is_refused_by_name() -> None:
    pictures = squares(7).select([0, 1, 2, 3, 4])
    with pytest.raises(ProblemError, match="'blue'"):
        DataSource(name="few", description="", train=pictures).split(0.25)


def test_a_classifier_needs_no_bias_to_split_exactly(base: LoadedModel) -> None:
    trunk = _build_trunk("resnet18", base.network.state_dict(), "dilation", arguments=ARGUMENTS)
    network = BrNpaClassifier(trunk, 3).eval()
    with torch.no_grad():
        logits, _ = network(torch.randn(2, 3, 64, 64))
        split = network.decompose(1)
    assert network.head.bias is None
    assert torch.allclose(split.sum((1, 2, 3)), logits[:, 1], rtol=1e-4, atol=1e-6)
