"""PAMI: what it refuses, what it costs, and regions that a person brings along."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Encoding, Layer
from backend.contract.schemas import ModelCard, ModelKind
from tests.fakes_engine import Constant, make_context, make_model, make_network, noise_picture
from tests.fakes_pami import PRESETS, SIZE, Probability, array, cut_in_thread, explain, use_three_views
from workers.method import MapArray, Stored
from workers.methods._pami_cuts import partition_indices
from workers.methods.pami import Pami, PamiParams


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    cut_in_thread(monkeypatch)


@pytest.fixture
def three_views(monkeypatch: pytest.MonkeyPatch) -> None:
    use_three_views(monkeypatch)


def test_the_target_is_the_models_answer_and_kept_classes_follow_it() -> None:
    result = explain(
        Constant([0.1, 3.0, 2.0, 3.0]),
        classes=4,
        top_k=2,
    )
    assert result.target == 1
    assert array(result, "kept_classes").tolist() == [1, 3]
    asked = explain(
        Constant([0.1, 3.0, 2.0, 3.0]), classes=4, top_k=2, target=0, **{"classes_kept": None} if False else {}
    )
    assert array(asked, "kept_classes").tolist() == [0, 1]


def test_listed_classes_are_kept_even_beyond_the_number_asked_for() -> None:
    loaded = make_model(Constant([0.1, 3.0, 2.0, 1.0]), classes=4)
    context, _ = make_context(loaded, noise_picture(SIZE), PamiParams(preset="fast", top_k=1, classes=(0, 3)))
    result = Pami().explain(context)
    assert array(result, "kept_classes").tolist() == [1, 0, 3]
    assert [layer.target for layer in result.layers if layer.array == "maps"] == [1, 0, 3]


@pytest.mark.parametrize("target", [-1, 2, 99])
def test_a_target_that_does_not_exist_is_refused(target: int) -> None:
    with pytest.raises(ProblemError, match=f"classes 0 to 1, not {target}") as caught:
        explain(Constant([1.0, 0.0]), target=target)
    assert caught.value.code is ProblemCode.TARGET_UNKNOWN


def test_a_score_that_is_not_a_number_ends_the_run() -> None:
    network = Probability(lambda pictures: pictures[:, 0].mean(dim=(1, 2)) * torch.nan)
    with pytest.raises(ProblemError) as caught:
        explain(network, target=0)
    assert caught.value.code is ProblemCode.NOT_FINITE


@pytest.mark.parametrize(
    "params",
    [
        {"window_radius": 0.1, "window_stride": 0.2},
        {"substrate": "picture"},
        {"early_stop": 0.5},
        {"top_k": 0},
        {"classes": [-1]},
        {"preset": "slow"},
        {"view_seed": -1},
        {"unknown": 1},
    ],
)
def test_settings_that_do_not_go_together_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        PamiParams(**params)


def test_keeping_all_scores_is_refused_when_they_are_too_many() -> None:
    network = Constant([0.0] * 3000)
    with pytest.raises(ProblemError, match="36 million numbers; at most 32") as caught:
        explain(network, classes=3000, preset="thorough", keep_scores=True)
    assert caught.value.code is ProblemCode.PARAMS_INVALID


def card(kind: ModelKind, **more: Any) -> ModelCard:
    return ModelCard(name="m", title="M", kind=kind, source="demo", weights="0" * 64, **more)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (card(ModelKind.CLASSIFIER, described=True, class_count=10, input_size=(224, 224)), None),
        (card(ModelKind.CLASSIFIER), None),
        (card(ModelKind.ENCODER), "This encoder has no class scores."),
        (card(ModelKind.CAPTIONER), "This model writes text; PAMI needs class scores."),
        (
            card(ModelKind.CLASSIFIER, described=True, class_count=10, input_size=(8, 8)),
            "This model sees 8 pixels a side; PAMI needs at least 16.",
        ),
    ],
)
def test_models_without_class_scores_are_refused_with_a_reason(given: ModelCard, reason: str | None) -> None:
    assert Pami().supports(given) == reason


def test_the_costs_of_the_presets_are_as_published() -> None:
    typical = card(ModelKind.CLASSIFIER, described=True, class_count=10, input_size=(224, 224))
    costs = {preset: Pami().cost(typical, PamiParams(preset=preset)) for preset in PRESETS}
    assert costs == {"fast": 450, "standard": 2270, "thorough": 12_000, "window": 2478}


def test_own_regions_of_a_token_grid_are_added_to_each_view() -> None:
    labels = np.arange(16, dtype=np.int16).reshape(4, 4)
    layer = Layer(name="clusters", title="Clusters", array="k", index=1, encoding=Encoding.LABELS)
    own = Stored({"k": MapArray(np.stack((labels * 0, labels)), Box(0, 0, 32, 32))}, (layer,), ())
    result = explain(make_network(), classes=4, preset="standard", regions="own", keep_scores=True, stored={"own": own})
    maps = array(result, "all_labels")
    assert len(maps) == 105
    expected = np.kron(labels, np.ones((8, 8), np.int16))
    assert all(np.array_equal(maps[view * 21 + 20], expected) for view in range(5))
    index = array(result, "region_index")
    assert (index[:, 2] == 20).sum() == 5 * 16


def test_own_regions_partly_outside_the_picture_leave_a_rest_and_are_listed() -> None:
    labels = np.arange(4, dtype=np.int16).reshape(2, 2)
    own = Stored({"labels": MapArray(labels, Box(0, 0, 16, 64))}, (), ())
    result = explain(
        make_network(), classes=4, regions="own", regions_mode="only", keep_scores=True, stored={"own": own}
    )
    maps = array(result, "all_labels")[0]
    assert maps[:, :8].max() == 0
    assert set(maps[:, 8:16].ravel()) == {1}
    assert set(maps[:, 16:].ravel()) == {2}
    assert any("2 of your regions lie outside" in note and "2, 3" in note for note in result.texts.notes)


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (Stored({"labels": MapArray(np.zeros((5, 6), np.int16))}, (), ()), "5 x 6 do not fit the picture of 32 x 32"),
        (Stored({"heat": MapArray(np.zeros((5, 6), np.float32))}, (), ()), "no label map"),
        (
            Stored({"labels": MapArray(np.arange(6400, dtype=np.int16).reshape(80, 80), Box(0, 0, 32, 32))}, (), ()),
            None,
        ),
    ],
)
def test_own_regions_that_do_not_fit_give_a_clear_message(stored: Stored, words: str | None) -> None:
    if words is None:
        assert explain(make_network(), classes=4, regions="own", stored={"own": stored}).scalars["regions"]
        return
    with pytest.raises(ProblemError, match=words) as caught:
        explain(make_network(), classes=4, regions="own", stored={"own": stored})
    assert caught.value.code is ProblemCode.PARAMS_INVALID


def test_with_own_regions_alone_there_is_no_second_round() -> None:
    own = Stored(
        {
            "labels": MapArray(
                np.kron(np.arange(4).reshape(2, 2), np.ones((16, 16))).astype(np.int16), Box(0, 0, 32, 32)
            )
        },
        (),
        (),
    )
    result = explain(
        make_network(), classes=4, preset="thorough", regions="own", regions_mode="only", stored={"own": own}
    )
    assert result.scalars["rounds_used"] == 1
    assert result.scalars["passes"] == 13 * (4 + 2)


def test_training_mode_and_hooks_are_as_before_after_a_cancelled_run() -> None:
    class Stop(Exception):
        pass

    def stop(count: int) -> None:
        if count == 6:
            raise Stop

    network = make_network().train()
    loaded = make_model(network, size=SIZE, classes=4)
    context, _ = make_context(
        loaded, noise_picture(SIZE), PamiParams(preset="standard", precision="bf16"), batch_size=16, on_check=stop
    )
    with pytest.raises(Stop):
        Pami().explain(context)
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    assert context.engine.passes < 100


def test_an_unknown_partition_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="add or only"):
        partition_indices(True, "both")


def test_the_card_describes_every_setting_for_people() -> None:
    described = Pami().card()
    assert [preset.name for preset in described.presets] == ["fast", "standard", "thorough", "window"]
    assert described.has_target
    for name, schema in described.params_schema["properties"].items():
        assert schema.get("title"), name
        assert schema.get("description"), name
        assert "default" in schema, name
