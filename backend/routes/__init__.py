"""The addresses of the API, one module per subject."""

from __future__ import annotations

from fastapi import APIRouter, FastAPI

from backend.contract.problems import ProblemCode
from backend.errors import problem_responses
from backend.routes import (
    artifacts,
    catalogue,
    datasets,
    documentation,
    events,
    explainers,
    health,
    images,
    runs,
    shares,
    trainings,
    unknown,
)

PREFIX = "/api/v1"


def add_routes(api: FastAPI) -> None:
    """Adds every route, and last the answer to addresses below ``/api`` that nobody knows."""
    v1 = APIRouter(prefix=PREFIX, responses=problem_responses(ProblemCode.REQUEST_INVALID))
    for module in (health, images, catalogue, runs, events, artifacts, shares, trainings, explainers, datasets):
        v1.include_router(module.router)
    api.include_router(v1)
    api.include_router(documentation.router)
    unknown.refuse_unknown(api)
