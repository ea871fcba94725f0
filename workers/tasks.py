"""The queue's entry points: the only two functions that a worker agrees to call."""

from __future__ import annotations

import time
from typing import Any

import structlog
from rq import Retry
from rq.timeouts import JobTimeoutException

from backend.contract import names
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Manifest
from backend.contract.schemas import Progress, RunSpec, RunState
from workers.bench import Bench, Ending, open_bench
from workers.catalogue import find_capabilities, publish_card
from workers.executor import Measured, Update, execute
from workers.outcome import Cancelled, Interrupted, timed_out, to_problem
from workers.reporter import Reporter, problem_card
from workers.settings import WorkerSettings
from workers.training_offer import publish_trainable
from workers.watch import Watch

log = structlog.get_logger()

RATE_WEIGHT = 0.5
"""Weight of the newest measurement in the kept passes per second."""
INTERRUPTIONS = 1000
"""How often a run may go back to the queue because its worker was told to leave; that is nobody's fault."""

_bench: Bench | None = None


def use_bench(bench: Bench | None) -> None:
    """Gives the tasks of this process their bench."""
    global _bench
    _bench = bench


def run(spec: dict[str, Any]) -> Retry | None:
    """Answers one question; how it went is found in its state, never in the job's return value.

    Args:
        spec: JSON form of :class:`backend.contract.schemas.RunSpec`.

    Returns:
        ``None``, or a retry when the worker is leaving and the run goes back to the queue.
    """
    bench = _current_bench()
    question = RunSpec.model_validate(spec)
    reporter = Reporter(bench.queue, question)
    with structlog.contextvars.bound_contextvars(
        run_key=reporter.key[:12], model=question.model, method=question.method
    ):
        ending = _answer(bench, question, reporter)
    _end(bench, ending)
    return Retry(max=INTERRUPTIONS) if ending.state is RunState.QUEUED else None


def describe(name: str) -> None:
    """Reads off a model's network what it offers and publishes that; no weights are loaded.

    Args:
        name: As :meth:`models.loader.ModelLoader.load` takes it.
    """
    bench = _current_bench()
    try:
        card = bench.explainers.on_card(bench.loader.describe(name))
    except Exception as error:
        if not isinstance(error, ProblemError):
            log.exception("model.describe_failed", model=name)
        card = problem_card(name, to_problem(error))
    publish_card(bench.queue, card, find_capabilities(bench.methods, card))
    publish_trainable(bench.queue, bench.kinds, [card])
    log.info("model.described", model=name, problem=card.problem.code.value if card.problem else None)


def _answer(bench: Bench, question: RunSpec, reporter: Reporter) -> Ending:
    started = time.perf_counter()
    try:
        manifest = bench.store.get_manifest(reporter.key)
        if manifest is None:
            reporter.start()
            log.info("run.started", attempt=reporter.view.attempt)
            manifest = _compute(bench, question, reporter)
    except Interrupted:
        log.info("run.interrupted")
        return Ending(reporter, RunState.QUEUED)
    except Cancelled:
        log.info("run.cancelled", seconds=round(time.perf_counter() - started, 3))
        return Ending(reporter, RunState.CANCELLED, to_problem(Cancelled()))
    except Exception as error:
        return _failure(bench, reporter, error)
    log.info("run.done", seconds=round(manifest.seconds, 3), peak_memory_bytes=manifest.peak_memory_bytes)
    return Ending(reporter, RunState.DONE)


def _compute(bench: Bench, question: RunSpec, reporter: Reporter) -> Manifest:
    def emit(update: Update) -> None:
        if isinstance(update, Progress):
            reporter.progress(update)
        elif isinstance(update, Measured):
            _keep_rate(bench, update)
        else:
            reporter.partial(update)

    return execute(
        question,
        bench.store,
        loader=bench.loader,
        methods=bench.methods,
        emit=emit,
        check_cancelled=Watch(bench.queue, reporter.key, limit_s=bench.limit_s, flags=bench.flags),
        explainers=bench.explainers,
    )


def _failure(bench: Bench, reporter: Reporter, error: Exception) -> Ending:
    problem = to_problem(timed_out(bench.limit_s) if isinstance(error, JobTimeoutException) else error)
    if problem.code is ProblemCode.INTERNAL:
        log.exception("run.failed", problem=problem.code.value)
    else:
        log.warning("run.failed", problem=problem.code.value, message=problem.message)
    if problem.code is ProblemCode.MODEL_UNKNOWN and bench.queue.hexists(names.CARDS, reporter.view.spec.model):
        # Described once when somebody named it, and changed since: asked anew, it must be found as it is now.
        describe(reporter.view.spec.model)
    return Ending(reporter, RunState.FAILED, problem)


def _end(bench: Bench, ending: Ending) -> None:
    if bench.has_owner:
        bench.ending = ending
        return
    with bench.queue.pipeline() as pipeline:
        ending.write(pipeline)
        pipeline.execute()


def _keep_rate(bench: Bench, measured: Measured) -> None:
    known = bench.queue.hget(names.RATES, measured.model)
    rate = measured.passes_per_second
    if known is not None:
        rate = RATE_WEIGHT * rate + (1 - RATE_WEIGHT) * float(known)
    bench.queue.hset(names.RATES, measured.model, f"{rate:.3f}")


def _current_bench() -> Bench:
    """Returns the bench of this process; outside our own worker one is opened from the environment."""
    global _bench
    if _bench is None:
        settings = WorkerSettings()
        _bench = open_bench(settings, device="cpu" if settings.device == "auto" else settings.device)
    return _bench
