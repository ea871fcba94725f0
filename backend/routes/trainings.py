"""Trainings of explainers: ask, look, stop, end early, go on, remove."""

from __future__ import annotations

import hashlib
from typing import Annotated

from fastapi import APIRouter, Body, Path, Query, Request, Response

from backend.caching import REVALIDATE, cached_response
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Contract
from backend.contract.trainings import Trainable, TrainingCard, TrainingRequest, TrainingView
from backend.dependencies import ServicesDep, TrainingId
from backend.errors import problem_responses
from backend.examples import TRAINING_EXAMPLES
from backend.trainings import unknown

router = APIRouter(tags=["Trainings"])

_ASK = problem_responses(
    ProblemCode.REQUEST_INVALID,
    ProblemCode.PARAMS_INVALID,
    ProblemCode.NOT_SUPPORTED,
    ProblemCode.MODEL_UNKNOWN,
    ProblemCode.MODEL_NOT_READY,
    ProblemCode.DATA_UNUSABLE,
    ProblemCode.NO_WORKER,
    ProblemCode.QUEUE_UNREACHABLE,
    ProblemCode.TOO_MANY_REQUESTS,
)
_UNKNOWN = problem_responses(ProblemCode.NOT_FOUND)
_CHANGE = problem_responses(ProblemCode.NOT_FOUND, ProblemCode.REQUEST_INVALID)
_MEDIA = {b"\x89PNG": "image/png", b"RIFF": "image/webp", b"\xff\xd8\xff": "image/jpeg"}


class TrainingKinds(Contract):
    """What can be trained."""

    kinds: tuple[TrainingCard, ...]
    trainable: tuple[Trainable, ...] = ()
    """For the models that were asked about: which kinds fit, with a reason where one does not."""


@router.get("/trainings/kinds", summary="What can be trained")
def kinds(
    services: ServicesDep,
    model: Annotated[list[str] | None, Query(max_length=50, description="Model names; repeat the parameter.")] = None,
) -> TrainingKinds:
    """Returns each kind with the JSON schema of its settings and its presets; forms are drawn from this."""
    found = [verdict for name in model or () for verdict in services.trainings.trainable(name)]
    return TrainingKinds(kinds=services.trainings.kinds(), trainable=tuple(found))


@router.post("/trainings", status_code=202, summary="Train an explainer", responses=_ASK)
def submit(
    body: Annotated[TrainingRequest, Body(openapi_examples=TRAINING_EXAMPLES)], services: ServicesDep
) -> TrainingView:
    """Queues a training; follow it with `/api/v1/events?trainings=<id>`."""
    return services.trainings.submit(body)


@router.get("/trainings", summary="All trainings")
def trainings(
    services: ServicesDep,
    model: Annotated[str, Query(max_length=300, description="Only for this model.")] = "",
) -> list[TrainingView]:
    """Returns running, waiting and past trainings, the newest first."""
    return [view for view in services.trainings.views() if model in ("", view.spec.model)]


@router.get("/trainings/{training_id}", summary="How a training stands", responses=_UNKNOWN)
def view(training_id: TrainingId, services: ServicesDep) -> TrainingView:
    """Returns state, progress, curves, problem and, when it is done, the explainer."""
    found = services.trainings.view(training_id)
    if found is None:
        raise unknown()
    return found


@router.post("/trainings/{training_id}/stop", summary="Stop a training", responses=_UNKNOWN)
def stop(training_id: TrainingId, services: ServicesDep) -> TrainingView:
    """Lets the training leave at its next step with its checkpoint kept, so that it can go on later."""
    return services.trainings.stop(training_id)


@router.post("/trainings/{training_id}/finish", summary="End a training early", responses=_CHANGE)
def finish(training_id: TrainingId, services: ServicesDep) -> TrainingView:
    """Lets a running training end now and publish the explainer as far as it has come."""
    return services.trainings.finish(training_id)


@router.post("/trainings/{training_id}/resume", status_code=202, summary="Go on with a training", responses=_CHANGE)
def resume(training_id: TrainingId, services: ServicesDep) -> TrainingView:
    """Queues a stopped or failed training again; it goes on from its last checkpoint."""
    return services.trainings.resume(training_id)


@router.delete("/trainings/{training_id}", status_code=204, summary="Remove a training", responses=_CHANGE)
def delete(training_id: TrainingId, services: ServicesDep) -> None:
    """Removes a training that is over, with its checkpoints; its explainer stays."""
    services.trainings.delete(training_id)


@router.get(
    "/trainings/{training_id}/pictures/{name}",
    summary="A small picture of a training",
    response_class=Response,
    responses={200: {"content": {"image/png": {}, "image/webp": {}}}, **_UNKNOWN},
)
def picture(
    training_id: TrainingId,
    name: Annotated[str, Path(pattern=r"^[A-Za-z0-9._ -]{1,100}$", description="As the training names it.")],
    request: Request,
    services: ServicesDep,
) -> Response:
    """Returns a picture that shows how far the training is; it is replaced while the training goes on."""
    data = services.trainings.picture(training_id, name)
    media = next((media for magic, media in _MEDIA.items() if data and data.startswith(magic)), None)
    if data is None or media is None:
        raise ProblemError(ProblemCode.NOT_FOUND, "This training has no such picture.")
    digest = f"{len(data)}-{hash_of(data)}"
    return cached_response(request, data, media_type=media, etag=digest, cache=REVALIDATE)


def hash_of(data: bytes) -> str:
    """Returns a short identity of some bytes, for an ETag."""
    return hashlib.sha256(data).hexdigest()[:32]
