"""Several questions at once: each gets its own answer, and one refusal never stops the others."""

from __future__ import annotations

import time

from pydantic import Field

from backend.contract.keys import run_key
from backend.contract.problems import Problem, ProblemCode, ProblemError
from backend.contract.results import Contract
from backend.contract.schemas import RunRequest, RunState, RunView, Sha256
from backend.services import Services

MOST_MODELS = 50
MOST_RUNS = 200


class PredictionRequest(Contract):
    """Asks what models answer for a picture."""

    image_id: str = Field(pattern=Sha256)
    models: tuple[str, ...] = Field(min_length=1, max_length=MOST_MODELS)


class BatchRequest(Contract):
    """Asks for a grid of runs."""

    runs: tuple[RunRequest, ...] = Field(min_length=1, max_length=MOST_RUNS)


class BatchAnswer(Contract):
    """One of both."""

    run: RunView | None = None
    problem: Problem | None = None


def submit_predictions(services: Services, request: PredictionRequest) -> list[RunView]:
    """Returns one run for each model, in order; models that cannot answer now get a failed one with the reason.

    A model that no worker has looked at yet is described first.

    Raises:
        ProblemError: ``model_unknown``, ``picture_gone`` or ``no_worker``.
    """
    views = []
    for name in request.models:
        spec, problem = services.completer.prediction(request.image_id, name)
        if problem is None:
            views.append(services.runs.submit(spec))
            continue
        if problem.code is ProblemCode.MODEL_NOT_READY:
            services.runs.describe(name)
        now = time.time()
        views.append(
            RunView(key=run_key(spec), state=RunState.FAILED, spec=spec, problem=problem, submitted=now, finished=now)
        )
    return views


def submit_batch(services: Services, request: BatchRequest) -> list[BatchAnswer]:
    """Returns for each request its run, or why there is none."""
    return [_submit_one(services, item) for item in request.runs]


def _submit_one(services: Services, request: RunRequest) -> BatchAnswer:
    try:
        return BatchAnswer(run=services.runs.submit(services.completer.complete(request)))
    except ProblemError as error:
        return BatchAnswer(problem=error.to_problem())
