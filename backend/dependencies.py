"""Typed dependencies of the routes, and the types of what stands in addresses."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Path, Request

from backend.contract.explainers import ID
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.trainings import TRAINING_ID
from backend.services import Services

EXPLAINER_ID = f"^{ID.pattern}$"


def get_services(request: Request) -> Services:
    """Returns the services of this process."""
    services = getattr(request.app.state, "services", None)
    if not isinstance(services, Services):
        raise ProblemError(ProblemCode.QUEUE_UNREACHABLE, "The server is still starting. Try again in a moment.")
    return services


ServicesDep = Annotated[Services, Depends(get_services)]
ImageId = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="Identity of a picture: 64 hexadecimal digits.")]
RunKey = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="Identity of a run: 64 hexadecimal digits.")]
Digest = Annotated[str, Path(pattern=r"^[0-9a-f]{64}$", description="Sha256 of an array's `.npy` bytes.")]
ShareId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{16,64}$", description="The unguessable id of a share.")]
TrainingId = Annotated[str, Path(pattern=TRAINING_ID, description="Id of a training: a t and 16 hexadecimal digits.")]
ExplainerId = Annotated[str, Path(pattern=EXPLAINER_ID, description="Id of an explainer.")]
MethodName = Annotated[str, Path(pattern=EXPLAINER_ID, description="Name of a method.")]
SampleId = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{1,100}$", description="Id of a sample picture.")]
