"""Is the server there, and can it work."""

from __future__ import annotations

from fastapi import APIRouter, Response

from backend.dependencies import ServicesDep
from backend.readiness import Health, Readiness, check_readiness, version

router = APIRouter(tags=["Health"])


@router.get("/health", summary="Whether the server answers")
async def health() -> Health:
    """Answers as long as the process lives; asks nobody else."""
    return Health(status="ok", version=version())


@router.get("/ready", summary="Whether pictures can be explained now", responses={503: {"model": Readiness}})
def ready(services: ServicesDep, response: Response) -> Readiness:
    """Says for each thing that is needed whether it is there; 503 when one is missing."""
    readiness = check_readiness(services)
    response.status_code = 200 if readiness.ready else 503
    response.headers["Cache-Control"] = "no-store"
    return readiness
