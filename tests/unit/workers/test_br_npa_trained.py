"""The attention of a trained explainer: exact sums, classes by name, geometry, and which explainer answers."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from backend.contract.explainers import ExplainerShelf
from backend.contract.params import fill_params, resolve_explainer
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Region
from models.catalogue import ModelCatalogue
from models.heads.br_npa import _build_trunk
from models.loader import LoadedModel, ModelLoader
from models.training._br_npa_artifact import (
    WEIGHTS,
    architecture_entries,
    base_trunk,
    geometry_entries,
    publish,
    with_head,
)
from models.training._br_npa_pictures import explainer_geometry
from models.training.br_npa import BrNpaRecipe
from tests.fakes_engine import make_context, noise_picture
from tests.fakes_models import write_own_model
from workers.method import Context, Result
from workers.methods import _br_npa_trained as trained
from workers.methods._br_npa_texts import sum_line
from workers.methods.br_npa import LABEL, BrNpa, BrNpaParams
from workers.validation import validate_result

CLASSES = ("finch", "heron", "owl", "wren")
ARGUMENTS = {"layers": [1, 1, 1, 1], "channels": [4, 8, 12, 16]}
SIZE = (64, 64)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    folder = tmp_path_factory.mktemp("models")
    torch.manual_seed(3)
    network = timm.create_model("resnet18", num_classes=len(CLASSES), **ARGUMENTS)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            module.running_var.uniform_(0.5, 1.5)
    write_own_model(
        folder,
        "base",
        architecture="resnet18",
        arguments=ARGUMENTS,
        classes=CLASSES,
        preprocessing={"input_size": list(SIZE), "crop_pct": 1.0},
        state=network.state_dict(),
    )
    return ModelLoader(ModelCatalogue(folder), device="cpu").load("base")


@pytest.fixture(autouse=True)
def _nothing_opened() -> None:
    trained._opened.clear()


def shelve(
    base: LoadedModel,
    shelf: Path,
    *,
    seed: int = 0,
    created: float = 1.0,
    classes: tuple[str, ...] = CLASSES,
    digest: str | None = None,
    **settings: Any,
) -> Path:
    """Puts an explainer with the base's trunk and a random head on a shelf and returns its folder."""
    recipe = BrNpaRecipe(**settings)
    geometry = explainer_geometry(base.preprocessing, recipe)
    assert base.source is not None
    if recipe.scope == "head":
        trunk = base_trunk(base, 8)
    else:
        trunk = _build_trunk("resnet18", base.network.state_dict(), recipe.upscaling, arguments=base.source.arguments)
    network = with_head(trunk, len(classes), recipe, seed=seed).eval()
    entries = {
        "method": BrNpa.name,
        "title": f"explainer {seed}",
        "created": created,
        "base": {"name": base.name, "weights_digest": digest or base.weights_digest, "preprocessing": "any"},
        "architecture": architecture_entries(base),
        "scope": recipe.scope,
        "upscaling": recipe.upscaling,
        "output_stride_built": 8 if recipe.scope == "head" else None,
        "n_maps": recipe.n_maps,
        "geometry": geometry_entries(geometry),
        "classes": list(classes),
        "same_classes_as_base": classes == CLASSES,
        "data": {"name": "squares", "description": "Coloured squares.", "digest": "0" * 64},
        "metrics": {"accuracy": 0.9, "base_accuracy": 0.95, "agreement": 0.875},
    }
    return publish(ExplainerShelf(shelf, builtin=None), network, recipe, entries)


def context(
    base: LoadedModel, shelf: Path, *, picture: tuple[int, int] = SIZE, target: int | None = None, **params: Any
) -> Context:
    made = make_context(base, noise_picture(picture), BrNpaParams(**params), target=target)[0]
    return dataclasses.replace(made, explainers=ExplainerShelf(shelf, builtin=None))


def explain(base: LoadedModel, shelf: Path, **given: Any) -> Result:
    result = BrNpa().explain(context(base, shelf, **given))
    validate_result(result)
    return result


@pytest.mark.parametrize("settings", [{}, {"scope": "head"}, {"n_maps": 5}, {"upscaling": "stride"}])
def test_the_stored_contributions_add_up_to_the_logit(
    base: LoadedModel, tmp_path: Path, settings: dict[str, Any]
) -> None:
    shelve(base, tmp_path, **settings)
    result = explain(base, tmp_path)
    stored = result.arrays["contributions"].data
    logits = result.arrays["logits"].data
    assert stored.dtype == np.float32
    assert stored.shape == (settings.get("n_maps", 3), 8, 8)
    total = stored.astype(np.float64).sum()
    assert abs(total - float(result.scalars["logit"])) <= 1e-4 * max(1.0, abs(total))
    assert np.isclose(float(result.scalars["logit"]), logits.max())
    assert float(result.scalars["split_residual"]) <= 1e-4
    assert np.allclose(stored.sum(0), result.arrays["relevance"].data)
    added = sum(float(region.values["contribution"]) for region in result.regions)
    assert np.isclose(added, total, atol=1e-4)
    assert np.isclose(sum(float(region.values["share"]) for region in result.regions), 1.0)


def test_a_contrast_adds_up_to_the_difference_of_logits(base: LoadedModel, tmp_path: Path) -> None:
    shelve(base, tmp_path)
    plain = explain(base, tmp_path)
    logits = np.sort(plain.arrays["logits"].data.astype(np.float64))[::-1]
    against = explain(base, tmp_path, contrast="runner_up")
    assert np.isclose(against.arrays["contributions"].data.sum(dtype=np.float64), logits[0] - logits[1], atol=1e-4)
    mean = explain(base, tmp_path, contrast="mean")
    assert np.isclose(mean.arrays["contributions"].data.sum(dtype=np.float64), logits[0] - logits.mean(), atol=1e-4)
    assert np.array_equal(plain.arrays["maps"].data, mean.arrays["maps"].data)


def test_maps_do_not_depend_on_the_class_and_contributions_do(base: LoadedModel, tmp_path: Path) -> None:
    shelve(base, tmp_path)
    one, other = explain(base, tmp_path, target=0), explain(base, tmp_path, target=2)
    assert np.array_equal(one.arrays["maps"].data, other.arrays["maps"].data)
    assert not np.allclose(one.arrays["contributions"].data, other.arrays["contributions"].data)
    assert one.target == 0
    assert np.isclose(one.arrays["contributions"].data.sum(), one.arrays["logits"].data[0], atol=1e-4)


def test_classes_are_matched_by_name_and_one_without_a_namesake_is_refused(base: LoadedModel, tmp_path: Path) -> None:
    shelve(base, tmp_path, classes=("owl", "kite", "finch"))
    result = explain(base, tmp_path, target=2)
    assert result.scalars["explained_class"] == "owl"
    assert result.target == 2
    assert np.isclose(result.arrays["contributions"].data.sum(), result.arrays["logits"].data[0], atol=1e-4)
    assert any("other classes" in caution for caution in result.texts.cautions)
    with pytest.raises(ProblemError, match="'heron'") as caught:
        explain(base, tmp_path, target=1)
    assert caught.value.code == ProblemCode.TARGET_UNKNOWN


def test_the_number_of_groups_belongs_to_the_explainer(base: LoadedModel, tmp_path: Path) -> None:
    shelve(base, tmp_path, n_maps=2)
    assert explain(base, tmp_path, n_maps=2).arrays["maps"].data.shape[0] == 2
    with pytest.raises(ProblemError) as caught:
        explain(base, tmp_path, n_maps=3)
    assert caught.value.code == ProblemCode.PARAMS_INVALID


def test_a_trained_result_names_its_explainer_and_both_answers(base: LoadedModel, tmp_path: Path) -> None:
    folder = shelve(base, tmp_path)
    made = context(base, tmp_path)
    result = BrNpa().explain(made)
    assert result.scalars["explainer"] == folder.name
    assert result.scalars["agreement_validation"] == 0.875
    assert {result.scalars["answer"], result.scalars["base_answer"]} <= set(CLASSES)
    assert result.scalars["agree"] == (result.scalars["answer"] == result.scalars["base_answer"])
    assert result.texts.badge == "attention used"
    assert not any(LABEL in note for note in result.texts.notes)
    assert any(folder.name in note and "87.5" in note for note in result.texts.notes)
    assert any("0.9" in caution or "90%" in caution for caution in result.texts.cautions), "it is worse by 5 points"
    assert made.engine.passes == result.scalars["passes"] == BrNpa().cost(base.card, BrNpaParams(mode="trained"))
    assert str(result.scalars["sum"]).endswith("= logit")


def test_without_an_explainer_the_mode_says_what_to_do_and_auto_stays_post_hoc(
    base: LoadedModel, tmp_path: Path
) -> None:
    with pytest.raises(ProblemError, match="train one or choose post_hoc") as caught:
        explain(base, tmp_path, mode="trained")
    assert caught.value.code == ProblemCode.NOT_SUPPORTED
    result = explain(base, tmp_path)
    assert result.scalars["mode"] == "post_hoc"
    assert any("vitrine train br-npa --model base" in note for note in result.texts.notes)
    assert "vitrine train br-npa" in BrNpa().remedy(base.card)
    shelve(base, tmp_path)
    forced = explain(base, tmp_path, mode="post_hoc")
    assert forced.scalars["mode"] == "post_hoc"
    assert "contributions" not in forced.arrays
    assert not any("vitrine train" in note for note in forced.texts.notes)


def test_the_newest_explainer_of_this_very_base_answers_and_a_damaged_one_is_passed_over(
    base: LoadedModel, tmp_path: Path
) -> None:
    old = shelve(base, tmp_path, seed=1, created=1.0)
    new = shelve(base, tmp_path, seed=2, created=2.0)
    shelve(base, tmp_path, seed=3, created=9.0, digest="f" * 64)
    assert explain(base, tmp_path).scalars["explainer"] == new.name
    assert explain(base, tmp_path, explainer=old.name).scalars["explainer"] == old.name
    (new / WEIGHTS).write_bytes(b"no weights")
    assert explain(base, tmp_path).scalars["explainer"] == old.name
    with pytest.raises(ProblemError) as caught:
        explain(base, tmp_path, explainer=new.name)
    assert caught.value.code == ProblemCode.MODEL_BROKEN
    with pytest.raises(ProblemError) as caught:
        explain(base, tmp_path, explainer="0123456789abcdef")
    assert caught.value.code == ProblemCode.NOT_FOUND


def test_a_new_explainer_is_another_question(base: LoadedModel, tmp_path: Path) -> None:
    shelf = ExplainerShelf(tmp_path, builtin=None)
    schema = BrNpa().card().params_schema
    asked = fill_params(schema, {})

    def resolved() -> dict[str, Any]:
        return resolve_explainer(schema, asked, BrNpa.name, shelf.on_card(base.card).explainers)

    assert resolved()["mode"] == "post_hoc"
    first = shelve(base, tmp_path, seed=1, created=1.0)
    before = resolved()
    second = shelve(base, tmp_path, seed=2, created=2.0)
    assert (before["mode"], before["explainer"]) == ("trained", first.name)
    assert resolved()["explainer"] == second.name
    BrNpaParams.model_validate(resolved())


def test_the_base_and_the_explainer_are_left_as_they_were(base: LoadedModel, tmp_path: Path) -> None:
    shelve(base, tmp_path, scope="head")
    picture = torch.randn(1, 3, *SIZE)
    made = context(base, tmp_path)
    with torch.no_grad():
        before = base.network(picture)
    BrNpa().explain(made)
    with torch.no_grad():
        assert torch.equal(before, base.network(picture))
    assert not any(module._forward_hooks for module in base.network.modules())
    for _, opened in trained._opened.values():
        assert opened.network._last is None
        assert not opened.network.training


def test_an_opened_explainer_is_kept_while_its_base_is_there(base: LoadedModel, tmp_path: Path) -> None:
    shelve(base, tmp_path)
    [record] = ExplainerShelf(tmp_path, builtin=None).list()
    first = trained.open_cached(record, base)
    assert trained.open_cached(record, base) is first
    reloaded = dataclasses.replace(base, network=nn.Identity())
    assert trained.open_cached(record, reloaded) is not first


@pytest.mark.parametrize("picture", [(96, 64), (50, 130), (64, 64)])
def test_boxes_and_seeds_lie_where_the_explainer_looked(
    base: LoadedModel, tmp_path: Path, picture: tuple[int, int]
) -> None:
    shelve(base, tmp_path, crop_ratio=0.75)
    result = explain(base, tmp_path, picture=picture)
    frame = result.seen
    assert frame is not None
    width = picture[1]
    assert (frame.right - frame.left) / width < 0.9, "the crop's margins are not seen"
    cells = result.arrays["maps"].data * result.arrays["activity"].data
    for region, weighted in zip(result.regions, cells, strict=True):
        assert frame.left - 1e-6 <= region.box.left < region.box.right <= frame.right + 1e-6
        assert frame.top - 1e-6 <= region.box.top < region.box.bottom <= frame.bottom + 1e-6
        row, column = np.unravel_index(weighted.argmax(), weighted.shape)
        if region.id == 1:
            x = frame.left + (column + 0.5) * (frame.right - frame.left) / weighted.shape[1]
            y = frame.top + (row + 0.5) * (frame.bottom - frame.top) / weighted.shape[0]
            assert np.isclose(float(region.values["seed_x"]), x)
            assert np.isclose(float(region.values["seed_y"]), y)


@pytest.mark.parametrize(
    ("added", "printed"),
    [
        ((2.1, 0.9, 0.2), "2.10 + 0.90 + 0.20 = 3.20 = logit"),
        ((3.014, 2.484, 3.284), "3.014 + 2.484 + 3.284 = 8.782 = logit"),
        ((-0.5, 0.25), "−0.50 + 0.25 = −0.25 = logit"),
    ],
)
def test_the_sum_adds_up_as_it_is_printed(added: tuple[float, ...], printed: str) -> None:
    regions = [
        Region(id=k + 1, label="", area=0.1, box=Box(0, 0, 1, 1), values={"contribution": value})
        for k, value in enumerate(added)
    ]
    assert sum_line(regions, {"explained": sum(added), "contrast_class": None}) == printed
