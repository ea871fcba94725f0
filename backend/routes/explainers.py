"""Trained explainers: what there is, what each says of itself, its files."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse

from backend.caching import IMMUTABLE, cached_response, is_known
from backend.contract.explainers import ExplainerRecord
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Contract
from backend.contract.schemas import ExplainerCard, Sha256
from backend.dependencies import ExplainerId, MethodName, ServicesDep
from backend.errors import problem_responses

router = APIRouter(tags=["Explainers"])

BaseDigest = Annotated[
    str, Path(pattern=Sha256, description="Digest of the base model's weights: 64 hexadecimal digits.")
]
_UNKNOWN = problem_responses(ProblemCode.NOT_FOUND)
_DAMAGED = problem_responses(ProblemCode.NOT_FOUND, ProblemCode.MODEL_BROKEN)
_MEDIA = {
    ".webp": "image/webp",
    ".png": "image/png",
    ".jpg": "image/jpeg",
    ".json": "application/json",
    ".jsonl": "application/x-ndjson",
}
"""What a browser may show; everything else is sent as a file to keep."""


class ExplainerDetail(Contract):
    """An explainer with everything that it says of itself."""

    card: ExplainerCard
    manifest: dict[str, Any]
    """As it was written: data, settings, metrics, versions, and what its own method adds."""
    files: dict[str, int]
    """Names of its files with their bytes."""
    problem: str = ""
    """What is wrong with its files; empty when they are whole."""


@router.get("/explainers", summary="All explainers")
def explainers(
    services: ServicesDep,
    method: Annotated[str, Query(max_length=64, description="Only of this method.")] = "",
    model: Annotated[str, Query(max_length=300, description="Only for this model.")] = "",
) -> list[ExplainerCard]:
    """Returns the explainers that are complete, the newest first."""
    if model:
        cards = services.explainers.on_card(services.catalogue.model(model)).explainers
    else:
        cards = tuple(record.card() for record in services.explainers.list() if not record.damage())
    return [card for card in cards if method in ("", card.method)]


@router.get("/explainers/{method}/{base_digest}/{explainer_id}", summary="One explainer", responses=_UNKNOWN)
def explainer(
    method: MethodName, base_digest: BaseDigest, explainer_id: ExplainerId, services: ServicesDep
) -> ExplainerDetail:
    """Returns the whole manifest, also of an explainer whose files are damaged."""
    record = _record(services, method, base_digest, explainer_id)
    sizes = {name: path.stat().st_size for name in record.manifest.files if (path := record.path(name)).is_file()}
    return ExplainerDetail(card=record.card(), manifest=record.content, files=sizes, problem=record.damage())


@router.get(
    "/explainers/{method}/{base_digest}/{explainer_id}/files/{name:path}",
    summary="A file of an explainer",
    response_class=Response,
    responses={200: {"content": {"image/webp": {}, "application/octet-stream": {}}}, **_DAMAGED},
)
def explainer_file(
    method: MethodName,
    base_digest: BaseDigest,
    explainer_id: ExplainerId,
    name: Annotated[str, Path(max_length=310, description="As the manifest names it.")],
    request: Request,
    services: ServicesDep,
) -> Response:
    """Returns a file that the manifest names, a crop of a word book say; its sha256 is the ETag."""
    record = _record(services, method, base_digest, explainer_id)
    path, etag = record.path(name), record.manifest.files[name]
    if not path.is_file():
        raise ProblemError(ProblemCode.MODEL_BROKEN, "This file of the explainer is missing. Train it again.")
    media = _MEDIA.get(path.suffix, "application/octet-stream")
    if is_known(request, etag):
        return cached_response(request, b"", media_type=media, etag=etag)
    return FileResponse(
        path,
        media_type=media,
        filename=path.name,
        content_disposition_type="inline" if media.startswith("image/") else "attachment",
        headers={"ETag": f'"{etag}"', "Cache-Control": IMMUTABLE},
    )


@router.delete(
    "/explainers/{method}/{base_digest}/{explainer_id}",
    status_code=204,
    summary="Remove an explainer",
    responses=problem_responses(ProblemCode.NOT_FOUND, ProblemCode.FORBIDDEN),
)
def delete(method: MethodName, base_digest: BaseDigest, explainer_id: ExplainerId, services: ServicesDep) -> None:
    """Removes an explainer that was trained here; results that were made with it stay."""
    services.explainers.delete(method, base_digest, explainer_id)


def _record(services: ServicesDep, method: str, base_digest: str, explainer_id: str) -> ExplainerRecord:
    for record in services.explainers.list(method, base_digest):
        if record.id == explainer_id:
            return record
    raise ProblemError(ProblemCode.NOT_FOUND, "There is no such explainer; perhaps somebody deleted it.")
