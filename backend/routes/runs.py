"""Runs: ask, look, cancel, try again, fetch the result."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Request, Response

from backend.caching import REVALIDATE, cached_response
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Manifest
from backend.contract.schemas import RunRequest, RunView
from backend.dependencies import RunKey, ServicesDep
from backend.errors import problem_responses
from backend.examples import BATCH_EXAMPLES, PREDICTION_EXAMPLES, RUN_EXAMPLES
from backend.submission import BatchAnswer, BatchRequest, PredictionRequest, submit_batch, submit_predictions

router = APIRouter(tags=["Runs"])

_ASK = problem_responses(
    ProblemCode.REQUEST_INVALID,
    ProblemCode.PARAMS_INVALID,
    ProblemCode.TARGET_UNKNOWN,
    ProblemCode.NOT_SUPPORTED,
    ProblemCode.MODEL_UNKNOWN,
    ProblemCode.METHOD_UNKNOWN,
    ProblemCode.PICTURE_GONE,
    ProblemCode.MODEL_NOT_READY,
    ProblemCode.NO_WORKER,
    ProblemCode.QUEUE_UNREACHABLE,
    ProblemCode.TOO_MANY_REQUESTS,
)
_UNKNOWN = problem_responses(ProblemCode.NOT_FOUND)
_RESULT = problem_responses(ProblemCode.NOT_FOUND, ProblemCode.RESULT_GONE, ProblemCode.CANCELLED)


@router.post("/predictions", summary="What models answer for a picture", responses=_ASK)
def predictions(
    body: Annotated[PredictionRequest, Body(openapi_examples=PREDICTION_EXAMPLES)], services: ServicesDep
) -> list[RunView]:
    """Submits one prediction run for each model; results arrive like those of any run."""
    return submit_predictions(services, body)


@router.post("/runs", status_code=202, summary="Explain", responses={200: {"model": RunView}, **_ASK})
def submit(
    body: Annotated[RunRequest, Body(openapi_examples=RUN_EXAMPLES)], services: ServicesDep, response: Response
) -> RunView:
    """Queues the run unless it is under way already (202), or answers at once when its result is known (200)."""
    view = services.runs.submit(services.completer.complete(body))
    response.status_code = 200 if view.state.is_final else 202
    return view


@router.post("/runs/batch", summary="Explain many at once", responses=_ASK)
def batch(
    body: Annotated[BatchRequest, Body(openapi_examples=BATCH_EXAMPLES)], services: ServicesDep
) -> list[BatchAnswer]:
    """Answers for each request in order: its run, or the problem why there is none."""
    return submit_batch(services, body)


@router.get("/runs/{key}", summary="How a run stands", responses=_UNKNOWN)
def view(key: RunKey, services: ServicesDep) -> RunView:
    """Returns state, progress, place in the queue and problem."""
    found = services.runs.view(key)
    if found is None:
        raise ProblemError(ProblemCode.NOT_FOUND, "Nobody asked for this run, or it was more than a week ago.")
    return found


@router.delete("/runs/{key}", summary="Cancel a run", responses=_UNKNOWN)
def cancel(key: RunKey, services: ServicesDep) -> RunView:
    """Takes a waiting run out of the queue; a running one stops after its current batch."""
    return services.runs.cancel(key)


@router.post("/runs/{key}/retry", summary="Try a run again", responses=_UNKNOWN)
def retry(key: RunKey, services: ServicesDep) -> RunView:
    """Queues a failed, cancelled or cleared run again."""
    return services.runs.retry(key)


@router.get("/runs/{key}/result", summary="The result of a run", response_model=Manifest, responses=_RESULT)
def result(key: RunKey, request: Request, services: ServicesDep) -> Response:
    """Returns the manifest; its arrays are fetched by digest. The run key is the ETag."""
    manifest = services.runs.result(key)
    body = manifest.model_dump_json().encode()
    return cached_response(request, body, media_type="application/json", etag=key, cache=REVALIDATE)
