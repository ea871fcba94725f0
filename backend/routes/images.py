"""Pictures: upload, look up, fetch, and the gallery of samples."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, File, Query, Request, Response, UploadFile

from backend.caching import cached_response, is_known
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import PictureRecord
from backend.dependencies import ImageId, SampleId, ServicesDep
from backend.errors import problem_responses
from backend.imaging import resize_picture
from backend.picture_intake import take_sample, take_upload
from backend.samples import SampleCard

router = APIRouter(tags=["Pictures"])

_UPLOAD = problem_responses(
    ProblemCode.PICTURE_UNREADABLE,
    ProblemCode.PICTURE_FORMAT,
    ProblemCode.PICTURE_TOO_LARGE,
    ProblemCode.PICTURE_TOO_MANY_PIXELS,
    ProblemCode.PICTURE_TOO_SMALL,
    ProblemCode.STORE_FULL,
)
_GONE = problem_responses(ProblemCode.PICTURE_GONE)
_BYTES = {200: {"content": {"image/png": {}, "image/jpeg": {}}, "description": "The picture."}, **_GONE}


@router.post("/images", status_code=201, summary="Upload a picture", responses=_UPLOAD)
def upload(
    file: Annotated[UploadFile, File(description="JPEG, PNG, WebP, GIF (first frame), BMP or TIFF.")],
    services: ServicesDep,
) -> PictureRecord:
    """Stores the canonical picture: 8-bit sRGB, turned as its EXIF tag asks; `notes` say what was changed."""
    data = file.file.read(services.settings.max_upload_bytes + 1)
    return take_upload(services, data, file.filename or "")


@router.get("/images/{image_id}", summary="What is known of a picture", responses=_GONE)
def describe(image_id: ImageId, services: ServicesDep) -> PictureRecord:
    """Returns size, name, origin and notes."""
    record = services.store.get_picture_record(image_id)
    if record is None:
        raise picture_gone()
    return record


@router.get("/images/{image_id}/picture", summary="The picture itself", response_class=Response, responses=_BYTES)
def picture(
    image_id: ImageId,
    request: Request,
    services: ServicesDep,
    max_side: Annotated[
        int | None, Query(ge=16, le=8192, description="Longer side of a smaller JPEG copy, in pixels.")
    ] = None,
) -> Response:
    """Returns the canonical PNG, or a smaller JPEG when the picture is larger than `max_side`."""
    etag = image_id if max_side is None else f"{image_id}-{max_side}"
    if is_known(request, etag):
        return cached_response(request, b"", media_type="", etag=etag)
    png = services.store.get_picture(image_id)
    if png is None:
        raise picture_gone()
    return picture_response(request, services, png, etag, max_side)


@router.get("/samples", summary="The gallery of sample pictures")
def samples(services: ServicesDep) -> list[SampleCard]:
    """Returns drawn birds first, then free photographs."""
    return list(services.samples.cards())


@router.get(
    "/samples/{sample_id}/thumbnail",
    summary="A small copy of a sample",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}}, **problem_responses(ProblemCode.NOT_FOUND)},
)
def thumbnail(sample_id: SampleId, request: Request, services: ServicesDep) -> Response:
    """Returns a JPEG whose longer side has at most 320 pixels."""
    body = services.samples.thumbnail(sample_id)
    return cached_response(request, body, media_type="image/jpeg", etag=f"{sample_id}-{len(body)}", cache=DAY)


@router.post("/samples/{sample_id}", status_code=201, summary="Choose a sample", responses=_UPLOAD)
def choose_sample(sample_id: SampleId, services: ServicesDep) -> PictureRecord:
    """Stores the sample as if it had been uploaded."""
    return take_sample(services, sample_id)


DAY = "private, max-age=86400"


def picture_gone() -> ProblemError:
    """Returns the refusal for a picture that was cleared."""
    return ProblemError(
        ProblemCode.PICTURE_GONE, "This picture is no longer here. Choose it again; it is then kept for a week."
    )


def picture_response(request: Request, services: ServicesDep, png: bytes, etag: str, max_side: int | None) -> Response:
    """Returns picture bytes, made smaller when asked and needed."""
    small = None
    if max_side is not None:
        with services.decoding:
            small = resize_picture(png, max_side)
    if small is not None:
        return cached_response(request, small, media_type="image/jpeg", etag=etag)
    return cached_response(request, png, media_type="image/png", etag=etag)
