"""Arrays by digest: as ``.npy``, one map of a stack, or as a grey or label PNG."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from backend.array_response import ImageQuery, SliceQuery, image_response, npy_response, slice_response
from backend.contract.problems import ProblemCode, ProblemError
from backend.dependencies import Digest, ServicesDep
from backend.errors import problem_responses

router = APIRouter(tags=["Arrays"])

_GONE = problem_responses(ProblemCode.RESULT_GONE, ProblemCode.REQUEST_INVALID)
NPY_RESPONSES = {200: {"content": {"application/x-npy": {}}, "description": "An array in NumPy's format."}, **_GONE}
PNG_RESPONSES = {200: {"content": {"image/png": {}}, "description": "A map at its native resolution."}, **_GONE}


@router.get("/artifacts/{digest}", response_class=Response, summary="A whole array", responses=NPY_RESPONSES)
def whole(digest: Digest, request: Request, services: ServicesDep) -> Response:
    """Returns the `.npy` bytes whose sha256 is the digest."""
    return npy_response(request, digest, lambda: _fetch(services, digest))


@router.get("/artifacts/{digest}/slice", response_class=Response, summary="One map of a stack", responses=NPY_RESPONSES)
def one_map(digest: Digest, query: Annotated[SliceQuery, Query()], request: Request, services: ServicesDep) -> Response:
    """Returns `[H, W]` (or `[H, W, 3]`) as `.npy`."""
    return slice_response(request, digest, query, lambda: _fetch(services, digest))


@router.get("/artifacts/{digest}/image", response_class=Response, summary="A map as PNG", responses=PNG_RESPONSES)
def image(digest: Digest, query: Annotated[ImageQuery, Query()], request: Request, services: ServicesDep) -> Response:
    """Returns a grey PNG (the header `X-Vitrine-Range` tells the values of black and white) or a label PNG."""
    return image_response(request, digest, query, lambda: _fetch(services, digest))


def _fetch(services: ServicesDep, digest: str) -> bytes:
    data = services.store.get_blob(digest)
    if data is None:
        raise ProblemError(
            ProblemCode.RESULT_GONE, "This map was cleared to make room. Run it again; it comes out the same."
        )
    return data
