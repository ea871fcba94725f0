"""What is on offer: models, methods, which go together, and who computes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body, Query
from pydantic import Field

from backend.contract.problems import ProblemCode
from backend.contract.results import Contract
from backend.contract.schemas import Capability, MethodCard, ModelCard, WorkerCard
from backend.dependencies import ServicesDep
from backend.errors import problem_responses
from backend.examples import MODEL_EXAMPLES

router = APIRouter(tags=["Catalogue"])

_UNKNOWN = problem_responses(ProblemCode.MODEL_UNKNOWN, ProblemCode.NO_WORKER)


class ModelList(Contract):
    """Part of the list of models."""

    total: int
    items: tuple[ModelCard, ...]


class ModelName(Contract):
    """Names a model to add."""

    name: str = Field(
        min_length=1,
        max_length=300,
        description="A timm name, `hf-hub:<owner>/<name>`, or `local-dir:<path>`.",
    )


class WorkerList(Contract):
    """Who computes, and how much waits."""

    workers: tuple[WorkerCard, ...]
    waiting: int


@router.get("/models", summary="Search the models")
def models(
    services: ServicesDep,
    search: Annotated[str, Query(max_length=200, description="Words that the name must contain.")] = "",
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
    offset: Annotated[int, Query(ge=0)] = 0,
) -> ModelList:
    """Returns described models first, then pretrained names that nobody has used yet."""
    page = services.catalogue.models(search=search, limit=limit, offset=offset)
    return ModelList(total=page.total, items=page.items)


@router.post("/models", status_code=202, summary="Add a model", responses=_UNKNOWN)
def add_model(body: Annotated[ModelName, Body(openapi_examples=MODEL_EXAMPLES)], services: ServicesDep) -> ModelCard:
    """Asks a worker to describe the model; fetch its card until `described` is true or it has a `problem`."""
    card = services.catalogue.nameable(body.name.strip())
    if not card.described:
        services.catalogue.forget_problem(card.name)
        services.runs.describe(card.name)
    return card


@router.get("/models/{name:path}", summary="What is known of a model", responses=_UNKNOWN)
def model(name: str, services: ServicesDep) -> ModelCard:
    """Returns the card of one model."""
    return services.catalogue.model(name)


@router.get("/methods", summary="The explanation methods")
def methods(services: ServicesDep) -> list[MethodCard]:
    """Returns every method as it describes itself; forms and pages are drawn from this."""
    return list(services.catalogue.methods())


@router.get("/capabilities", summary="What can be combined, and what it costs", responses=_UNKNOWN)
def capabilities(
    services: ServicesDep,
    model: Annotated[list[str], Query(max_length=50, description="Model names; repeat the parameter.")],
) -> list[Capability]:
    """Returns one entry for every model and explanation method, with a reason where it cannot run."""
    return services.catalogue.capabilities(model)


@router.get("/workers", summary="Who computes")
def workers(services: ServicesDep) -> WorkerList:
    """Returns the living workers and the number of waiting runs."""
    return WorkerList(workers=tuple(services.runs.workers()), waiting=services.runs.crowd().waiting)
