"""Answers one question: loads picture and model, checks, runs the method, stores what it found.

Knows nothing of queues, Redis or pages: the worker and the command line call the same function.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydantic import ValidationError

from backend.contract.artifacts import ArtifactStore, npy_to_array
from backend.contract.explainers import ExplainerShelf
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Manifest
from backend.contract.schemas import ModelCard, ModelKind, Progress, RunSpec
from workers import measure
from workers.engine import Engine
from workers.method import Context, MapArray, Method, Picture, Result, Stored
from workers.recording import Recorder
from workers.throttle import Throttle
from workers.validation import validate_result

if TYPE_CHECKING:
    from models.loader import LoadedModel, ModelLoader


@dataclass(frozen=True)
class Measured:
    """How fast the model answered, told once at the end of a run that had enough passes to tell."""

    model: str
    passes_per_second: float


Update = Progress | Manifest | Measured
"""What is told while a run goes on: how far it is, a partial manifest whose arrays are already stored, its speed."""

PROGRESS_INTERVAL_S = 0.125
PARTIAL_INTERVAL_S = 0.2
SILENCE_S = 0.5
"""A method that has not reported by then has its passes counted against its own estimate."""
MEASURED_PASSES = 16
"""Fewer passes than these say little about a model's speed."""


def execute(
    spec: RunSpec,
    store: ArtifactStore,
    *,
    loader: ModelLoader,
    methods: Mapping[str, Method],
    emit: Callable[[Update], None],
    check_cancelled: Callable[[], None],
    explainers: ExplainerShelf | None = None,
) -> Manifest:
    """Returns the manifest of a run after storing its arrays and, last of all, the manifest itself.

    Args:
        spec: The question, complete.
        store: Where pictures are read and results are put.
        loader: Gives models; keeps them warm.
        methods: What can be asked, by name.
        emit: Told of progress (at most eight times a second) and of partial results.
        check_cancelled: Raises when the run is no longer wanted; asked between any two batches.
        explainers: Where trained explainers are; by default those that came with Vitrine.

    Raises:
        ProblemError: With words for people, when the question cannot be answered.
        workers.outcome.Cancelled: From ``check_cancelled``.
    """
    check_cancelled()
    method = _find_method(spec, methods)
    params = _read_params(method, spec)
    pictures = [_load_picture(store, image_id) for image_id in spec.image_ids]
    model = loader.load(spec.model)
    shelf = explainers or ExplainerShelf()
    _validate_question(spec, method, model, shelf.on_card(model.card, model.weights_digest))
    check_cancelled()
    recorder = Recorder(spec, store, method=method, model=model, pictures=[one.record for one in pictures])
    teller = _Teller(emit, recorder, total=method.cost(model.card, params))
    engine = Engine(model, check_cancelled=check_cancelled, on_passes=teller.count)
    context = Context(
        pictures=pictures,
        model=model,
        engine=engine,
        params=params,
        target=spec.target,
        seed=spec.seed,
        progress=teller.progress,
        partial=teller.partial,
        check_cancelled=check_cancelled,
        fetch=lambda key: _fetch(store, key),
        load_model=loader.load,
        explainers=shelf,
    )
    manifest = _run(method, context, recorder)
    if engine.rate is not None and engine.passes >= MEASURED_PASSES:
        emit(Measured(model=spec.model, passes_per_second=engine.rate))
    return manifest


def _run(method: Method, context: Context, recorder: Recorder) -> Manifest:
    device = context.model.device
    measure.reset_peak(device)
    started = time.perf_counter()
    result = method.explain(context)
    seconds = time.perf_counter() - started
    validate_result(result)
    context.check_cancelled()
    return recorder.finish(
        result,
        passes=context.engine.passes,
        seconds=seconds,
        peak_memory_bytes=measure.peak_bytes(device),
        dtype=str(context.engine.dtype).removeprefix("torch."),
    )


class _Teller:
    """Turns a method's reports into updates, not too many of them.

    Counts the engine's passes against the method's estimate until the method reports progress itself.
    """

    def __init__(self, emit: Callable[[Update], None], recorder: Recorder, *, total: int) -> None:
        self._emit = emit
        self._recorder = recorder
        self._total = max(1, total)
        self._passes = 0
        self._is_told_by_method = False
        self._started = time.monotonic()
        self._stage = ""
        self._pace_from: tuple[float, int] | None = None
        self._progress_throttle = Throttle(PROGRESS_INTERVAL_S)
        self._partial_throttle = Throttle(PARTIAL_INTERVAL_S)

    def count(self, passes: int) -> None:
        self._passes += passes
        if not self._is_told_by_method and time.monotonic() - self._started >= SILENCE_S:
            self._tell(self._passes, max(self._total, self._passes), stage="")

    def progress(self, done: int, total: int, stage: str = "") -> None:
        self._is_told_by_method = True
        self._tell(done, total, stage=stage)

    def partial(self, result: Result) -> None:
        if not self._partial_throttle.is_due():
            return
        validate_result(result, partial=True)
        self._emit(self._recorder.partial(result))

    def _tell(self, done: int, total: int, *, stage: str) -> None:
        is_turn = done >= total or stage != self._stage
        if not self._progress_throttle.is_due() and not is_turn:
            return
        self._stage = stage
        self._emit(Progress(done=done, total=total, seconds_left=self._left_s(done, total), stage=stage))

    def _left_s(self, done: int, total: int) -> float | None:
        """Returns the time left at the pace since the first pass: loading and preparing happen once."""
        if done >= total:
            return 0.0
        now = time.monotonic()
        if self._pace_from is None:
            self._pace_from = (now, done) if done > 0 else None
            return None
        since, first = self._pace_from
        return (now - since) / (done - first) * (total - done) if done > first else None


def _find_method(spec: RunSpec, methods: Mapping[str, Method]) -> Method:
    method = methods.get(spec.method)
    if method is None:
        known = ", ".join(sorted(methods)) or "none"
        raise ProblemError(ProblemCode.METHOD_UNKNOWN, f"There is no method {spec.method!r}. Known methods: {known}.")
    if method.version != spec.method_version:
        raise ProblemError(
            ProblemCode.METHOD_UNKNOWN,
            f"{method.title} is now version {method.version}, the question was for version {spec.method_version}. "
            "Ask again.",
        )
    return method


def _read_params(method: Method, spec: RunSpec) -> Any:
    try:
        return method.Params.model_validate(spec.params)
    except ValidationError as error:
        faults = [f"{'.'.join(map(str, fault['loc'])) or 'settings'}: {fault['msg']}" for fault in error.errors()]
        raise ProblemError(
            ProblemCode.PARAMS_INVALID, f"{method.title} cannot use these settings. {'; '.join(faults)}."
        ) from error


def _load_picture(store: ArtifactStore, image_id: str) -> Picture:
    record, png = store.get_picture_record(image_id), store.get_picture(image_id)
    if record is None or png is None:
        raise ProblemError(ProblemCode.PICTURE_GONE, "The picture is no longer here. Choose or upload it again.")
    with Image.open(io.BytesIO(png)) as image:
        pixels = np.asarray(image.convert("RGB"), dtype=np.uint8)
    if pixels.shape[:2] != (record.height, record.width):
        raise ProblemError(ProblemCode.PICTURE_UNREADABLE, "The stored picture is damaged. Upload it again.")
    return Picture(record=record, pixels=pixels)


def _validate_question(spec: RunSpec, method: Method, model: LoadedModel, card: ModelCard) -> None:
    if (spec.weights, spec.preprocessing) != (card.weights, card.preprocessing):
        raise ProblemError(
            ProblemCode.MODEL_UNKNOWN, f"{card.title} has changed since the question was asked. Choose it again."
        )
    reason = method.supports(card)
    if reason is not None:
        raise ProblemError(ProblemCode.NOT_SUPPORTED, " ".join(filter(None, (reason, method.remedy(card)))))
    if len(spec.image_ids) > 1 and not method.several_pictures:
        raise ProblemError(ProblemCode.REQUEST_INVALID, f"{method.title} explains one picture at a time.")
    _validate_target(spec.target, method, model)


def _validate_target(target: int | None, method: Method, model: LoadedModel) -> None:
    if target is None:
        return
    if not method.has_target or model.card.kind == ModelKind.ENCODER:
        raise ProblemError(ProblemCode.TARGET_UNKNOWN, f"{method.title} does not explain single classes of this model.")
    count = model.card.class_count
    if target < 0 or (count is not None and target >= count):
        raise ProblemError(
            ProblemCode.TARGET_UNKNOWN, f"{model.card.title} has the classes 0 to {(count or 0) - 1}, not {target}."
        )


def _fetch(store: ArtifactStore, key: str) -> Stored:
    manifest = store.get_manifest(key)
    gone = ProblemError(
        ProblemCode.RESULT_GONE, "A result that this run builds on is no longer here. Compute it again."
    )
    if manifest is None:
        raise gone
    arrays: dict[str, MapArray] = {}
    for name, ref in manifest.arrays.items():
        data = store.get_blob(ref.digest)
        if data is None:
            raise gone
        arrays[name] = MapArray(data=npy_to_array(data), frame=ref.frame)
    return Stored(
        arrays=arrays,
        layers=manifest.layers,
        regions=manifest.regions,
        scalars=manifest.scalars,
        model=manifest.model,
        titles=(manifest.method_title, manifest.model_title),
        image_ids=manifest.image_ids,
        target=manifest.target,
    )
