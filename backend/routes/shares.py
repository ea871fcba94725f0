"""Shares: pin a comparison, open it, change or remove it."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Body, Header, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from backend.array_response import ImageQuery, SliceQuery, image_response, npy_response, slice_response
from backend.bundle import stream_bundle
from backend.caching import cached_response
from backend.contract.problems import ProblemCode
from backend.dependencies import Digest, ImageId, ServicesDep, ShareId
from backend.errors import problem_responses
from backend.examples import CHANGE_EXAMPLES, SHARE_EXAMPLES
from backend.recipe import make_recipe
from backend.routes.artifacts import NPY_RESPONSES, PNG_RESPONSES
from backend.routes.images import picture_response
from backend.share_requests import NewShare, ShareChange, ShareMade, change_share, make_share
from backend.shares import Share

router = APIRouter(prefix="/shares", tags=["Shares"])

_GONE = problem_responses(ProblemCode.SHARE_GONE)
_OWNED = problem_responses(ProblemCode.SHARE_GONE, ProblemCode.FORBIDDEN)
_MAKE = problem_responses(ProblemCode.RESULT_GONE, ProblemCode.PICTURE_GONE, ProblemCode.REQUEST_INVALID)
Owner = Annotated[str, Header(alias="X-Vitrine-Owner", min_length=1, max_length=200, description="The owner's secret.")]
_NO_STORE = {"Cache-Control": "private, no-cache"}


@router.post("", status_code=201, summary="Share results", responses=_MAKE)
def create(
    body: Annotated[NewShare, Body(openapi_examples=SHARE_EXAMPLES)], request: Request, services: ServicesDep
) -> ShareMade:
    """Pins finished runs; the answer holds the link and, only here, the owner's secret."""
    return make_share(services, body, str(request.base_url))


@router.get("/{share_id}", summary="Open a share", responses=_GONE)
def get(share_id: ShareId, services: ServicesDep, response: Response) -> Share:
    """Returns pictures, results and looks; needs neither queue nor worker."""
    response.headers.update(_NO_STORE)
    return services.shares.get(share_id)


@router.patch("/{share_id}", summary="Change a share", responses=_OWNED)
def change(
    share_id: ShareId,
    body: Annotated[ShareChange, Body(openapi_examples=CHANGE_EXAMPLES)],
    owner: Owner,
    services: ServicesDep,
) -> Share:
    """Changes title, looks or expiry; only its owner can."""
    return change_share(services, share_id, body, owner)


@router.delete("/{share_id}", status_code=204, summary="Remove a share", responses=_OWNED)
def remove(share_id: ShareId, owner: Owner, services: ServicesDep) -> None:
    """Removes the share and the files that only it needed; the link stops at once."""
    services.shares.remove(share_id, owner)


@router.post("/{share_id}/open", summary="Go on from a share", responses=_GONE)
def open_again(share_id: ShareId, services: ServicesDep) -> Share:
    """Puts its pictures and results back among the live ones, so that the page Inspect can show them."""
    return services.shares.restore(share_id)


@router.get("/{share_id}/pictures/{image_id}", response_class=Response, summary="A picture of a share", responses=_GONE)
def picture(
    share_id: ShareId,
    image_id: ImageId,
    request: Request,
    services: ServicesDep,
    max_side: Annotated[int | None, Query(ge=16, le=8192)] = None,
) -> Response:
    """Returns the PNG, or a smaller JPEG when it is larger than `max_side`."""
    png = services.shares.picture(share_id, image_id)
    return picture_response(request, services, png, f"{image_id}-{max_side}", max_side)


@router.get(
    "/{share_id}/artifacts/{digest}", response_class=Response, summary="An array of a share", responses=NPY_RESPONSES
)
def array(share_id: ShareId, digest: Digest, request: Request, services: ServicesDep) -> Response:
    """Returns the `.npy` bytes."""
    data = services.shares.array(share_id, digest)
    return npy_response(request, digest, lambda: data)


@router.get(
    "/{share_id}/artifacts/{digest}/slice",
    response_class=Response,
    summary="One map of a share's stack",
    responses=NPY_RESPONSES,
)
def one_map(
    share_id: ShareId,
    digest: Digest,
    query: Annotated[SliceQuery, Query()],
    request: Request,
    services: ServicesDep,
) -> Response:
    """Returns `[H, W]` (or `[H, W, 3]`) as `.npy`."""
    data = services.shares.array(share_id, digest)
    return slice_response(request, digest, query, lambda: data)


@router.get(
    "/{share_id}/artifacts/{digest}/image",
    response_class=Response,
    summary="A map of a share as PNG",
    responses=PNG_RESPONSES,
)
def image(
    share_id: ShareId,
    digest: Digest,
    query: Annotated[ImageQuery, Query()],
    request: Request,
    services: ServicesDep,
) -> Response:
    """Returns a grey or label PNG."""
    data = services.shares.array(share_id, digest)
    return image_response(request, digest, query, lambda: data)


@router.get("/{share_id}/preview.png", response_class=Response, summary="Link preview", responses=_GONE)
def preview(share_id: ShareId, request: Request, services: ServicesDep) -> Response:
    """Returns a PNG of 1200 x 630 pixels for messages; other sites may show it."""
    body = services.shares.preview(share_id)
    headers = {"Cross-Origin-Resource-Policy": "cross-origin"}
    return cached_response(
        request,
        body,
        media_type="image/png",
        etag=hashlib.sha256(body).hexdigest(),
        cache="private, max-age=3600",
        headers=headers,
    )


@router.get("/{share_id}/recipe.json", response_class=JSONResponse, summary="How to do it again", responses=_GONE)
def recipe(share_id: ShareId, services: ServicesDep) -> JSONResponse:
    """Returns models, weights, methods, settings and versions."""
    data: dict[str, Any] = make_recipe(services.shares.get(share_id))
    return JSONResponse(data, headers={**_NO_STORE, "Content-Disposition": 'attachment; filename="recipe.json"'})


@router.get("/{share_id}/bundle.zip", response_class=StreamingResponse, summary="All evidence", responses=_GONE)
def bundle(share_id: ShareId, services: ServicesDep) -> StreamingResponse:
    """Streams pictures, arrays, drawn maps, tables and the recipe; the manifest comes last."""
    share = services.shares.get(share_id)
    return StreamingResponse(
        stream_bundle(services.shares, share),
        media_type="application/zip",
        headers={**_NO_STORE, "Content-Disposition": 'attachment; filename="vitrine-share.zip"'},
    )
