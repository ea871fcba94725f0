"""The executor answers one question and stores what was found, or says in words why it cannot."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backend.contract.artifacts import FolderArtifactStore, npy_to_array
from backend.contract.keys import run_key
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Manifest
from backend.contract.schemas import Progress, RunSpec
from models.loader import LoadedModel
from tests.fakes_engine import Constant, make_model
from tests.queue_fakes import Counting, OneModelLoader, make_map_result, make_pixels, put_picture
from workers.executor import Measured, Update, _Teller, execute
from workers.method import Context, MapArray, Result
from workers.outcome import Cancelled


class Stage:
    """A store with a picture, a loader with one model, and a method."""

    def __init__(self, folder: Path) -> None:
        self.store = FolderArtifactStore(folder)
        self.record = put_picture(self.store, make_pixels())
        self.model = make_model(Constant([2.0, 1.0, 0.0]), classes=3, class_names=("left", "right", "nowhere"))
        self.method = Counting()
        self.updates: list[Update] = []

    def spec(self, **changes: Any) -> RunSpec:
        card = self.model.card
        known: dict[str, Any] = {
            "image_ids": (self.record.id,),
            "model": card.name,
            "weights": card.weights,
            "preprocessing": card.preprocessing,
            "method": "counting",
            "method_version": 1,
            "params": {"steps": 4, "strength": 1.0},
        }
        return RunSpec(**(known | changes))

    def run(self, spec: RunSpec | None = None, *, check: Callable[[], None] = lambda: None) -> Manifest:
        return execute(
            spec or self.spec(),
            self.store,
            loader=OneModelLoader(self.model),  # type: ignore[arg-type]
            methods={"counting": self.method},
            emit=self.updates.append,
            check_cancelled=check,
        )

    def fails(self, spec: RunSpec) -> ProblemError:
        with pytest.raises(ProblemError) as caught:
            self.run(spec)
        return caught.value

    def finds(self, explain: Callable[[Context], Result]) -> None:
        self.method = Counting(explain)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_run_is_stored_with_its_arrays_under_its_key(stage: Stage) -> None:
    manifest = stage.run()
    assert manifest.run_key == run_key(stage.spec())
    assert stage.store.get_manifest(manifest.run_key) == manifest
    data = stage.store.get_blob(manifest.arrays["map"].digest)
    assert data is not None
    assert (npy_to_array(data) == 1.0).all()
    assert manifest.arrays["map"].shape == (3, 5)


def test_a_method_with_a_way_of_its_own_says_what_it_saw_and_never_more_than_the_picture(stage: Stage) -> None:
    stage.finds(lambda context: replace(make_map_result(context), seen=Box(-4, 2, 60, 30)))
    assert stage.run().seen == (0, 2, 40, 24)


def test_a_manifest_says_what_was_asked_of_what_with_what(stage: Stage) -> None:
    manifest = stage.run(stage.spec(target=1, seed=7))
    assert (manifest.model_title, manifest.method_title, manifest.target_label) == ("Tiny", "Counting", "right")
    assert manifest.seed == 7
    assert manifest.picture_size == (40, 24)
    assert tuple(manifest.seen or ()) == (0.0, 0.0, 40.0, 24.0)
    assert {"python", "torch", "timm", "vitrine"} <= set(manifest.versions)
    assert (manifest.device, manifest.dtype) == ("cpu", "float32")
    assert manifest.passes == 4
    assert manifest.seconds > 0
    assert not manifest.partial


def test_the_manifest_is_stored_after_the_arrays(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    put_blob, put_manifest = stage.store.put_blob, stage.store.put_manifest
    monkeypatch.setattr(stage.store, "put_blob", lambda data, **more: order.append("array") or put_blob(data, **more))
    monkeypatch.setattr(stage.store, "put_manifest", lambda item: order.append("manifest") or put_manifest(item))
    stage.run()
    assert order[-1] == "manifest"
    assert order.count("manifest") == 1


def test_progress_begins_with_the_first_report_and_ends_with_all_done(stage: Stage) -> None:
    stage.run()
    told = [update for update in stage.updates if isinstance(update, Progress)]
    assert (told[0].done, told[0].stage) == (1, "counting")
    assert (told[-1].done, told[-1].total, told[-1].seconds_left) == (4, 4, 0.0)


def test_the_time_left_does_not_count_the_preparation(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([0.0, 60.0, 61.0, 62.0])
    teller = _Teller(stage.updates.append, None, total=4)  # type: ignore[arg-type]
    monkeypatch.setattr("workers.executor.time.monotonic", lambda: next(moments))
    monkeypatch.setattr("workers.executor.Throttle.is_due", lambda _: True)
    next(moments)
    for done in range(1, 5):
        teller.progress(done, 4)
    left = [update.seconds_left for update in stage.updates if isinstance(update, Progress)]
    assert left == [None, 2.0, 1.0, 0.0]


def test_progress_is_told_at_most_eight_times_a_second(stage: Stage) -> None:
    stage.run(stage.spec(params={"steps": 400, "strength": 1.0}))
    told = [update for update in stage.updates if isinstance(update, Progress)]
    seconds = stage.store.get_manifest(run_key(stage.spec(params={"steps": 400, "strength": 1.0}))).seconds  # type: ignore[union-attr]
    assert len(told) <= 2 + 8 * seconds


def test_the_passes_of_a_method_that_reports_nothing_are_told_all_the_same(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.executor.SILENCE_S", 0.0)

    def explain(context: Context) -> Result:
        prepared = context.model.preprocessing.prepare(context.picture.pixels)
        context.engine.forward(prepared.pixels.unsqueeze(0).repeat(4, 1, 1, 1))
        return make_map_result(context)

    stage.finds(explain)
    stage.run()
    assert any(isinstance(update, Progress) and update.done == 4 for update in stage.updates)


def test_a_partial_result_can_be_read_before_the_run_is_done(stage: Stage) -> None:
    seen: list[float] = []

    def look(update: Update) -> None:
        if isinstance(update, Manifest):
            assert update.partial
            assert stage.store.get_manifest(update.run_key) is None
            seen.append(float(npy_to_array(stage.store.get_blob(update.arrays["map"].digest) or b"").max()))

    stage.updates = type("Looking", (list,), {"append": lambda self, update: look(update)})()
    stage.run()
    assert seen[0] == 0.25


def test_unknown_places_are_allowed_in_partial_results_only(stage: Stage) -> None:
    def explain(context: Context) -> Result:
        context.partial(make_map_result(context, value=float("nan")).__class__(**_with_nan(context)))
        return Result(**_with_nan(context))

    stage.finds(explain)
    assert stage.fails(stage.spec()).code is ProblemCode.NOT_FINITE
    assert any(isinstance(update, Manifest) for update in stage.updates)
    assert stage.store.get_manifest(run_key(stage.spec())) is None


def _with_nan(context: Context) -> dict[str, Any]:
    whole = make_map_result(context)
    data = np.ones((3, 5), dtype=np.float32)
    data[0, 0] = np.nan
    return {"arrays": {"map": MapArray(data, whole.arrays["map"].frame)}, "layers": whole.layers}


def test_a_cancelled_run_stops_at_its_next_batch_and_stores_nothing(stage: Stage) -> None:
    passes: list[int] = []

    def check() -> None:
        if passes:
            raise Cancelled

    def explain(context: Context) -> Result:
        prepared = context.model.preprocessing.prepare(context.picture.pixels)
        for _ in range(100):
            context.engine.forward(prepared.pixels.unsqueeze(0))
            passes.append(1)
        return make_map_result(context)

    stage.finds(explain)
    with pytest.raises(Cancelled):
        stage.run(check=check)
    assert len(passes) == 1
    assert stage.store.get_manifest(run_key(stage.spec())) is None


def test_a_run_with_many_passes_tells_how_fast_the_model_is(stage: Stage) -> None:
    stage.run(stage.spec(params={"steps": 32, "strength": 1.0}))
    measured = [update for update in stage.updates if isinstance(update, Measured)]
    assert len(measured) == 1
    assert measured[0].model == "tiny"
    assert measured[0].passes_per_second > 0


def test_a_run_with_few_passes_does_not_tell_how_fast_the_model_is(stage: Stage) -> None:
    stage.run()
    assert not [update for update in stage.updates if isinstance(update, Measured)]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"method": "magic"}, ProblemCode.METHOD_UNKNOWN, "counting"),
        ({"method_version": 2}, ProblemCode.METHOD_UNKNOWN, "version 1"),
        ({"params": {"steps": 0}}, ProblemCode.PARAMS_INVALID, "steps"),
        ({"params": {"speed": 1}}, ProblemCode.PARAMS_INVALID, "speed"),
        ({"image_ids": ("f" * 64,)}, ProblemCode.PICTURE_GONE, "upload"),
        ({"target": 3}, ProblemCode.TARGET_UNKNOWN, "0 to 2"),
        ({"target": -1}, ProblemCode.TARGET_UNKNOWN, "0 to 2"),
        ({"weights": "1" * 64}, ProblemCode.MODEL_UNKNOWN, "changed"),
        ({"preprocessing": "other"}, ProblemCode.MODEL_UNKNOWN, "changed"),
        ({"model": "none"}, ProblemCode.MODEL_UNKNOWN, "none"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused_in_words(
    stage: Stage, changes: dict[str, Any], code: ProblemCode, words: str
) -> None:
    problem = stage.fails(stage.spec(**changes))
    assert problem.code is code
    assert words in problem.message


def test_several_pictures_need_a_method_that_takes_them(stage: Stage) -> None:
    second = put_picture(stage.store, make_pixels(seed=1))
    problem = stage.fails(stage.spec(image_ids=(stage.record.id, second.id)))
    assert problem.code is ProblemCode.REQUEST_INVALID


def test_a_model_that_the_method_does_not_support_is_refused_with_reason_and_remedy(stage: Stage) -> None:
    stage.model = _renamed(stage.model, "uncountable")
    problem = stage.fails(stage.spec())
    assert problem.code is ProblemCode.NOT_SUPPORTED
    assert problem.message == "It cannot be counted. Choose a countable one."


def test_a_result_of_an_earlier_run_can_be_fetched_with_its_arrays(stage: Stage) -> None:
    first = stage.run(stage.spec(params={"steps": 1, "strength": 3.0}))
    found: list[float] = []

    def explain(context: Context) -> Result:
        found.append(float(context.fetch(first.run_key).arrays["map"].data.max()))
        return make_map_result(context)

    stage.finds(explain)
    stage.run()
    assert found == [3.0]


def test_a_result_that_is_gone_cannot_be_built_upon(stage: Stage) -> None:
    stage.finds(lambda context: context.fetch("e" * 64) and make_map_result(context))  # type: ignore[arg-type,return-value]
    assert stage.fails(stage.spec()).code is ProblemCode.RESULT_GONE


def test_wide_numbers_are_stored_as_browsers_can_read_them(stage: Stage) -> None:
    def explain(context: Context) -> Result:
        whole = make_map_result(context)
        further = {
            "doubles": MapArray(np.ones(3)),
            "longs": MapArray(np.arange(3)),
            "flags": MapArray(np.array([True, False])),
            "halves": MapArray(np.ones(2, dtype=np.float16)),
        }
        return replace(whole, arrays=whole.arrays | further)

    stage.finds(explain)
    types = {name: ref.dtype for name, ref in stage.run().arrays.items()}
    assert types == {"map": "float32", "doubles": "float32", "longs": "int32", "flags": "uint8", "halves": "float16"}


def _renamed(model: LoadedModel, name: str) -> LoadedModel:
    return replace(model, card=model.card.model_copy(update={"name": name}))
