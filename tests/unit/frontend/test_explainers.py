from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import frontend
from backend.contract.problems import ProblemCode, make_problem
from backend.contract.schemas import Capability, ExplainerCard, ModelCard, ModelKind, Preset
from backend.contract.trainings import Trainable, TrainingCard, TrainingProgress, TrainingState, TrainingView, Wish
from frontend.api import ApiError
from frontend.components.explainer_book import TABLE, Book, read_book
from frontend.components.explainer_card import explainer_card, metrics
from frontend.components.explainer_curves import by_family, curve_charts, curves_of, overlap_chart
from frontend.components.explainer_detail import explainer_detail, read_history, reading
from frontend.components.explainer_form import PREFIX, data_note, data_options, model_options, settings, train_form
from frontend.components.explainer_tensors import tensors_to_arrays
from frontend.components.explainer_training import past_line, running_card
from frontend.components.explainer_words import FIGURES, figure_value
from frontend.components.explainer_words_grid import usage_map, word_view, words_section
from frontend.components.method_card import reason_words, training_offer
from frontend.pages import Visit
from frontend.pages._explainers_detail import detail_page, explainer_path
from frontend.pages.explainers import layout
from tests.fakes_page import by_attribute, by_class, find, props, words_of

DIGEST = "ab" * 32
SCHEMA = {
    "properties": {
        "epochs": {"type": "integer", "default": 3, "minimum": 1, "title": "Epochs"},
        "rate": {"type": "number", "default": 0.1, "title": "Rate"},
    }
}


def explainer(**changes: Any) -> ExplainerCard:
    given: dict[str, Any] = {
        "method": "probe",
        "id": "one",
        "title": "First book",
        "created": 1_795_000_000.0,
        "base": "tiny",
        "base_digest": DIGEST,
        "preprocessing": "p",
        "data": "birds:100",
        "class_count": 2,
    }
    return ExplainerCard(**{**given, **changes})


def training(state: TrainingState, **changes: Any) -> TrainingView:
    spec = {"kind": "probe", "model": "tiny", "weights": "w", "data": "birds", "preset": "", "recipe": {}}
    given: dict[str, Any] = {"id": "t" + "0" * 16, "state": state, "spec": spec, "submitted": 1_795_000_000.0}
    return TrainingView(**{**given, **changes})


def kind(**changes: Any) -> TrainingCard:
    presets = (
        Preset(name="standard", title="Standard", hint="Long.", params={}),
        Preset(name="quick", title="Quick", hint="Short.", params={"epochs": 1}),
    )
    given: dict[str, Any] = {
        "name": "probe",
        "title": "Probe book",
        "summary": "Learns.",
        "recipe_schema": SCHEMA,
        "presets": presets,
        "default_preset": "quick",
        "pictures": {"quick": 60},
    }
    return TrainingCard(**{**given, **changes})


def model(name: str = "tiny", **changes: Any) -> ModelCard:
    given: dict[str, Any] = {"title": name.title(), "kind": ModelKind.CLASSIFIER, "source": "own", "weights": DIGEST}
    return ModelCard(name=name, described=True, **{**given, **changes})


def packed(arrays: dict[str, np.ndarray[Any, Any]]) -> bytes:
    names = {"float32": "F32", "int64": "I64"}
    head, body = {}, b""
    for name, array in arrays.items():
        data = array.tobytes()
        head[name] = {
            "dtype": names[str(array.dtype)],
            "shape": list(array.shape),
            "data_offsets": [len(body), len(body) + len(data)],
        }
        body += data
    text = json.dumps(head).encode()
    return len(text).to_bytes(8, "little") + text + body


def tables() -> dict[str, np.ndarray[Any, Any]]:
    """A book of three words for two classes; the last word is the first one's twin and never used."""
    return {
        "usage": np.array([[0.9, 0.3, 0.0], [0.1, 0.5, 0.0]], np.float32),
        "weights": np.array([[1.0, -1.0, 0.0], [-1.0, 1.0, 0.0]], np.float32),
        "histogram": np.array([[3, 0], [2, 1], [3, 0]], np.int64),
        "entropy": np.array([0.0, 0.92, 0.0], np.float32),
        "prevalence": np.array([0.5, 0.4, 0.0], np.float32),
        "source_label": np.array([0, 1, 0], np.int64),
        "source_index": np.array([7, 8, 7], np.int64),
        "neighbours": np.array([[7, 3, 4], [1, 8, 2], [7, 3, 4]], np.int64),
        "neighbour_label": np.array([[0, 0, 0], [0, 1, 0], [0, 0, 0]], np.int64),
        "neighbour_distance": np.array([[0.0, 0.25, 0.5], [0.1, 0.2, 0.3], [0, 1, 2]], np.float32),
        "duplicate_of": np.array([0, 1, 0], np.int64),
    }


def book() -> Book:
    manifest = {
        "classes": ["red_kite", "tam"],
        "parts": {"part": {"0": "beak", "1": "tail"}, "share": {"0": 0.75, "1": 0.5}},
    }
    files = {TABLE: 1, "words/0000-0.webp": 1, "words/0000-1.webp": 1, "words/0000-2.webp": 1}
    found = read_book(manifest, files, packed(tables()))
    assert found is not None
    return found


class Answers:
    """Answers as the API would, by path."""

    max_upload_bytes = 1

    def __init__(self, answers: dict[str, Any], models: list[ModelCard] | None = None) -> None:
        self.answers, self.cards = answers, models or []

    async def models(self, *_: Any, **__: Any) -> tuple[int, list[ModelCard]]:
        return len(self.cards), self.cards

    async def get(self, path: str, **_: Any) -> Any:
        answer = self.answers.get(path)
        if answer is None:
            raise ApiError(make_problem(ProblemCode.NOT_FOUND, "Nothing here."))
        return answer

    async def file(self, path: str) -> bytes:
        found: bytes = await self.get(path)
        return found


def dumped(*cards: Any) -> list[dict[str, Any]]:
    return [card.model_dump(mode="json") for card in cards]


# ---- Words ---------------------------------------------------------------------------------------------------------


def test_a_tensor_file_is_read_back_as_it_was_written() -> None:
    read = tensors_to_arrays(packed(tables()))
    assert read.keys() == tables().keys()
    for name, array in tables().items():
        np.testing.assert_array_equal(read[name], array)
        assert read[name].dtype == array.dtype


@pytest.mark.parametrize("data", [b"", b"12345678", b"\x02" + b"\0" * 7 + b"{]", b"\xff" * 40])
def test_bytes_that_are_no_tensor_file_are_no_book(data: bytes) -> None:
    assert read_book({}, {TABLE: 1}, data) is None


def test_a_table_that_holds_no_words_is_no_book() -> None:
    assert read_book({"classes": []}, {TABLE: 1}, packed({"sum": np.zeros(3, np.float32)})) is None


def test_a_word_knows_who_uses_it_by_three_measures() -> None:
    first, second, third = book().words
    assert (first.used_by, first.near_in, first.speaks_for) == ((0,), (0,), (0,))
    assert (second.used_by, second.near_in, second.speaks_for) == ((0, 1), (0,), (1,))
    assert third.flags == ("never among the strongest words of a picture", "same patch as word 0")
    assert (first.source, first.part, first.purity, third.purity) == ("red kite", "beak", 0.75, None)
    assert book().distinct == 2


def test_the_crops_beside_a_word_show_other_pictures_only() -> None:
    found = book()
    assert [(one.distance, one.crop) for one in found.neighbours(0)] == [
        (0.25, "words/0000-1.webp"),
        (0.5, "words/0000-2.webp"),
    ]
    assert [one.label for one in found.neighbours(1)] == ["red kite", "red kite"]


def test_the_grid_holds_every_word_with_what_it_is_ordered_by() -> None:
    section = words_section(book(), "/files")
    cards = by_class(section, "v-book-word")
    assert [props(card)["data-number"] for card in cards] == [0, 1, 2]
    assert [props(card)["data-used"] for card in cards] == ["0", "0 1", ""]
    assert "distinct patches 2 of 3" in words_of(section)
    assert props(by_attribute(section, "data-lazy")[0])["data-lazy"] == "/files/words/0000-0.webp"


def test_one_word_says_where_it_comes_from_and_who_shares_it() -> None:
    said = words_of(word_view(book(), 1, "/files"))
    for words in ("Word 1", "40.0 %", "0.92 bits", "tail, 50 %", "red kite, tam", "Classes of its 3 nearest patches"):
        assert words in said


def test_the_usage_map_has_a_row_for_each_class_and_a_column_for_each_word() -> None:
    [graph] = find(usage_map(book()), lambda one: one.to_plotly_json()["type"] == "Graph")
    [cells] = props(graph)["figure"]["data"]
    assert cells["y"] == ["red kite", "tam"]
    assert cells["x"] == ["0", "1", "2"]
    assert cells["z"] == [[90.0, 30.0, 0.0], [10.0, 50.0, 0.0]]
    assert props(graph)["config"]["showSendToCloud"] is False


# ---- Cards and figures ---------------------------------------------------------------------------------------------


def test_a_card_shows_an_overlap_beside_its_floors_only() -> None:
    values = {"accuracy": 0.95, "base_accuracy": 1.0, "agreement": 0.9, "iou": 0.66, "iou_gaussian": 0.57}
    values |= {"iou_other": 0.48, "iou_chance": 0.33}
    said = words_of(metrics(values))
    for words in ("95.0 %", "100.0 %", "90.0 %", "0.66", "0.57", "0.48", "0.33", "chance", "middle of the picture"):
        assert words in said
    assert "nothing was measured" in words_of(metrics({})).lower()
    assert "chance 0.33" in words_of(reading(values, "Tiny"))
    assert "overlap" not in words_of(reading({"agreement": 0.9, "iou": 0.66}, "Tiny"))
    assert reading({}, "Tiny") is None


def test_only_own_explainers_can_be_deleted_and_only_after_a_second_question() -> None:
    own = explainer_card(explainer(), kind="Probe book", model="Tiny")
    [button] = by_attribute(own, "data-action", "explainer-delete")
    assert props(button)["data-explainer"] == f"probe/{DIGEST}/one"
    [sure] = by_class(own, "v-confirm")
    assert props(sure)["hidden"] is True
    builtin = explainer_card(explainer(is_builtin=True), kind="Probe book", model="Tiny")
    assert by_attribute(builtin, "data-action", "explainer-delete") == []
    assert "built in" in words_of(builtin)


def test_losses_and_shares_are_two_charts_and_a_rate_is_none() -> None:
    shares, losses = by_family({"loss": [], "cross_entropy": [], "validation_accuracy": [], "iou": [], "rate": []})
    assert list(shares) == ["validation_accuracy", "iou"]
    assert list(losses) == ["loss", "cross_entropy"]
    charts = curve_charts({"loss": [(1.0, 2.0)]}, owner="t1")
    measured, lost = by_class(charts, "v-curve")
    assert "is-empty" in measured.className
    assert "is-empty" not in lost.className
    assert re.search(props(lost)["data-pattern"], "loss")


def test_a_history_becomes_curves_whether_epochs_are_counted_through_or_by_stage() -> None:
    through = curves_of([{"epoch": 0, "loss": {"total": 3.0}}, {"epoch": 1, "loss": {"total": 2.0}}])
    assert through == {"loss": [(1.0, 3.0), (2.0, 2.0)], "epoch": [(1.0, 0.0), (2.0, 1.0)]}
    by_stage = curves_of([{"epoch": 2, "loss": 3.0}, {"epoch": 1, "loss": 2.0}])
    assert by_stage["loss"] == [(1.0, 3.0), (2.0, 2.0)]


def test_a_history_comes_from_the_file_of_curves_or_from_the_manifest() -> None:
    assert read_history({"history": [{"loss": 1}]}, None) == [{"loss": 1}]
    assert read_history({"history": [{"loss": 1}]}, '{"loss": 2}\n') == [{"loss": 2}]
    assert read_history({}, "no json") == []


def test_an_overlap_chart_needs_percentiles() -> None:
    assert overlap_chart({}) is None
    drawn = overlap_chart({"percentile": [50, 95], "book": [0.6, 0.3], "chance": [0.33, 0.03]})
    assert len(find(drawn, lambda one: one.to_plotly_json()["type"] == "Graph")) == 1


def test_the_page_and_its_script_call_the_same_figures_the_same() -> None:
    script = (Path(frontend.__file__).parent / "assets" / "explainers.js").read_text()
    block = script[script.index("const NAMES = {") :]
    said = dict(re.findall(r'(\w+): "([^"]+)"', block[: block.index("};")]))
    assert said
    assert said == {name: FIGURES[name] for name in said}
    assert figure_value("accuracy", 0.9966) == "99.7 %"
    assert figure_value("loss", 0.01234) == "0.0123"


# ---- Trainings -----------------------------------------------------------------------------------------------------


def test_a_running_training_says_stage_epoch_and_time_left() -> None:
    progress = TrainingProgress(done=30, total=120, seconds_left=240, stage="training", epoch=3, epochs=12)
    card = running_card(
        training(TrainingState.RUNNING, progress=progress, values={"loss": 0.5}, pictures=("word 1",)),
        kind="Probe book",
        model="Tiny",
    )
    said = words_of(card)
    assert "Training, epoch 3 of 12" in said
    assert "4 min left" in said
    [bar] = by_attribute(card, "data-part", "bar")
    assert props(bar)["style"]["width"] == "25.0%"
    [image] = find(card, lambda one: one.to_plotly_json()["type"] == "Img")
    assert props(image)["src"].endswith("/pictures/word%201")


@pytest.mark.parametrize(
    ("state", "wish", "can_finish", "can_stop"),
    [
        (TrainingState.QUEUED, None, False, True),
        (TrainingState.RUNNING, None, True, True),
        (TrainingState.RUNNING, Wish.FINISH, False, True),
        (TrainingState.RUNNING, Wish.STOP, False, False),
    ],
)
def test_only_what_is_possible_can_be_asked(
    state: TrainingState, wish: Wish | None, can_finish: bool, can_stop: bool
) -> None:
    card = running_card(training(state, wish=wish), kind="Probe book", model="Tiny")
    [finish] = by_attribute(card, "data-part", "finish")
    [stop] = by_attribute(card, "data-part", "stop")
    assert (not props(finish)["disabled"], not props(stop)["disabled"]) == (can_finish, can_stop)


def test_a_failed_training_says_why_and_can_go_on() -> None:
    problem = make_problem(ProblemCode.DATA_UNUSABLE, "One class has a single picture.")
    line = past_line(training(TrainingState.FAILED, problem=problem), kind="Probe book", model="Tiny")
    assert "One class has a single picture." in words_of(line)
    assert by_attribute(line, "data-action", "training-resume")
    done = past_line(training(TrainingState.DONE, explainer=explainer()), kind="Probe book", model="Tiny")
    assert not by_attribute(done, "data-action", "training-resume")
    assert by_attribute(done, "href", f"/explainers?open=probe/{DIGEST}/one")


# ---- The form ------------------------------------------------------------------------------------------------------


DATASETS = [
    {"name": "birds", "title": "Drawn birds", "source": "world", "state": "ready", "note": ""},
    {
        "name": "mine",
        "title": "mine",
        "source": "uploaded",
        "state": "ready",
        "class_count": 2,
        "pictures": 40,
        "parts": {"train": 40, "test": 10},
    },
    {"name": "late", "title": "late", "source": "uploaded", "state": "unpacking"},
]
TRAINABLE = [
    Trainable(model="tiny", kind="probe", possible=True),
    Trainable(model="words", kind="probe", possible=False, reason="It writes text."),
]


def test_the_form_offers_models_that_can_get_one_and_says_why_others_cannot() -> None:
    cards = [model("tiny"), model("words")]
    assert model_options("probe", cards, TRAINABLE) == [{"value": "tiny", "label": "Tiny"}]
    form = train_form([kind()], cards, TRAINABLE, DATASETS)
    assert "It writes text." in words_of(form)
    assert "crops are training pictures" in words_of(form)


def test_the_form_chooses_what_the_address_names() -> None:
    kinds = [kind(name="other"), kind()]
    cards = [model("tiny"), model("second")]
    able = [Trainable(model=name, kind="probe", possible=True) for name in ("tiny", "second")]
    form = train_form(kinds, cards, able, DATASETS, wanted_kind="probe", wanted_model="second")
    chosen = {
        props(one)["id"]: props(one)["value"]
        for one in by_attribute(form, "value")
        if isinstance(props(one).get("id"), str)
    }
    assert chosen["explainers-kind"] == "probe"
    assert chosen["explainers-model"] == "second"
    assert chosen["explainers-preset"] == "quick"
    assert chosen["explainers-count"] == 60


def test_settings_are_filled_in_as_the_preset_says_under_ids_of_their_own() -> None:
    drawn = settings(kind(), "quick")
    assert json.loads(props(drawn)["data-defaults"]) == {"epochs": 1, "rate": 0.1}
    [field] = by_attribute(drawn, "label", "Epochs")
    assert props(field)["id"] == {"type": "param", "method": f"{PREFIX}probe", "name": "epochs"}
    assert props(field)["value"] == 1


def test_pictures_that_are_being_unpacked_are_shown_but_not_offered() -> None:
    options = data_options(DATASETS)
    assert [one["disabled"] for one in options] == [False, False, True]
    assert "2 classes, 40 pictures to learn from, 10 for test" in words_of(data_note(DATASETS[1]))
    assert by_attribute(data_note(DATASETS[1]), "data-action", "dataset-delete")
    assert data_note(None) is None


# ---- The page ------------------------------------------------------------------------------------------------------


async def test_the_page_says_so_when_nothing_is_learned_and_no_worker_says_what_can_be() -> None:
    page = await layout(Visit(api=Answers({"/explainers": []}), path="/explainers"))  # type: ignore[arg-type]
    said = words_of(page)
    assert "Nothing yet." in said
    assert "No worker has said yet what can be trained" in said


async def test_the_page_shows_what_runs_what_was_learned_and_what_is_over() -> None:
    answers = {
        "/explainers": dumped(explainer()),
        "/trainings/kinds": {"kinds": dumped(kind()), "trainable": dumped(*TRAINABLE)},
        "/trainings": dumped(training(TrainingState.RUNNING), training(TrainingState.STOPPED, id="t" + "1" * 16)),
        "/datasets": DATASETS,
    }
    page = await layout(Visit(api=Answers(answers, [model()]), path="/explainers"))  # type: ignore[arg-type]
    assert [props(one)["data-training"] for one in by_class(page, "v-training")] == ["t" + "0" * 16]
    assert [props(one)["data-past"] for one in by_class(page, "v-past")] == ["t" + "1" * 16]
    assert "Probe book  for  Tiny" in words_of(by_class(page, "v-explainer"))
    assert by_attribute(page, "data-testid", "train-form")


async def test_one_explainer_is_shown_by_what_its_record_holds() -> None:
    path = f"/explainers/probe/{DIGEST}/one"
    manifest = {"classes": ["red_kite", "tam"], "recipe": {"epochs": 3}, "history": [{"loss": 2.0}, {"loss": 1.0}]}
    found = {"card": dumped(explainer())[0], "manifest": manifest, "files": {TABLE: 9}, "problem": ""}
    answers = {path: found, f"{path}/files/{TABLE}": packed(tables()), "/explainers": []}
    page = await detail_page(Answers(answers), f"probe/{DIGEST}/one")  # type: ignore[arg-type]
    assert len(by_class(page, "v-book-word")) == 3
    without = {**answers, path: {**found, "files": {}}}
    page = await detail_page(Answers(without), f"probe/{DIGEST}/one")  # type: ignore[arg-type]
    assert by_class(page, "v-book-word") == []
    assert "How it learned" in words_of(page)
    broken = {**answers, path: {**found, "problem": "its file a is missing"}}
    page = await detail_page(Answers(broken), f"probe/{DIGEST}/one")  # type: ignore[arg-type]
    assert "its file a is missing" in words_of(page)


@pytest.mark.parametrize("address", ["", "a/b", "probe/nothex/one", f"../{DIGEST}/one", f"probe/{DIGEST}/../x"])
async def test_an_address_that_names_no_explainer_leads_nowhere(address: str) -> None:
    assert explainer_path(address) is None
    page = await detail_page(Answers({}), address)  # type: ignore[arg-type]
    assert "No such explainer" in words_of(page)


def test_a_detail_of_an_explainer_without_words_shows_figures_settings_and_pictures() -> None:
    manifest = {
        "data": {"name": "birds", "train": {"count": 5}},
        "recipe": {"epochs": 3, "seed": None},
        "metrics": {"fidelity": {"deletion": 0.25}},
        "versions": {"torch": "2.8"},
    }
    said = words_of(explainer_detail(explainer(), manifest, kind="Probe book", model="Tiny", base="/files"))
    for words in ("Fidelity deletion", "0.25", "Epochs", "Train count", "2.8", "Seed", "–"):
        assert words in said


# ---- The offer in Inspect ------------------------------------------------------------------------------------------


def test_a_method_that_lacks_its_explainer_offers_to_train_one() -> None:
    reason = "No word book has been trained for tiny yet. Train one: `vitrine train probe --model tiny --data FOLDER`"
    refused = [Capability(model="tiny", method="probe", possible=False, reason=reason)]
    offer = training_offer("probe", [model()], TRAINABLE, reason_words(refused, {}))
    assert words_of(offer) == "No word book has been trained for tiny yet.  Train one"
    [link] = by_attribute(offer, "href")
    assert props(link)["href"] == "/explainers?kind=probe&model=tiny"


def test_a_method_that_runs_without_one_says_that_there_is_none() -> None:
    offer = training_offer("probe", [model()], TRAINABLE, "")
    assert words_of(offer) == "No explainer was trained for Tiny yet.  Train one"


def test_nothing_is_offered_where_there_is_one_or_none_can_be() -> None:
    with_one = model(explainers=(explainer(),))
    assert training_offer("probe", [with_one], TRAINABLE, "") == ""
    assert training_offer("probe", [model("words")], TRAINABLE, "It writes text.") == "It writes text."
    assert training_offer("another", [model()], TRAINABLE, "") == ""
