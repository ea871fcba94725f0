"""Answers with arrays; live results and shares serve theirs through the same functions."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Literal

import numpy as np
from fastapi import Request, Response
from pydantic import BaseModel, Field

from backend.caching import cached_response, is_known
from backend.contract.artifacts import array_to_npy, npy_to_array
from backend.imaging import array_to_png, take_slice

NPY = "application/x-npy"
RANGE_HEADER = "X-Vitrine-Range"


class SliceQuery(BaseModel):
    """Which map of a stack."""

    index: int = Field(ge=0, description="Position on the first axis of a stack.")
    dtype: Literal["float16", "float32"] | None = Field(
        default=None, description="Smaller or larger numbers; by default as they are stored. Labels never change."
    )


class Depth(IntEnum):
    """Bits of one grey value."""

    EIGHT = 8
    SIXTEEN = 16


class ImageQuery(BaseModel):
    """How a map becomes a PNG."""

    bits: Depth = Field(default=Depth.EIGHT, description="Depth of the grey values.")
    index: int | None = Field(default=None, ge=0, description="Position on the first axis of a stack.")
    low: float | None = Field(default=None, allow_inf_nan=False, description="Value that becomes black.")
    high: float | None = Field(default=None, allow_inf_nan=False, description="Value that becomes white.")


def npy_response(request: Request, digest: str, fetch: Callable[[], bytes]) -> Response:
    """Returns the whole array."""
    body = b"" if is_known(request, digest) else fetch()
    return cached_response(request, body, media_type=NPY, etag=digest)


def slice_response(request: Request, digest: str, query: SliceQuery, fetch: Callable[[], bytes]) -> Response:
    """Returns one map of the array."""
    etag = f"{digest}-{query.index}-{query.dtype or 'as-is'}"
    if is_known(request, etag):
        return cached_response(request, b"", media_type=NPY, etag=etag)
    array = take_slice(npy_to_array(fetch()), query.index)
    if query.dtype is not None and array.dtype.kind == "f":
        array = array.astype(np.dtype(query.dtype))
    return cached_response(request, array_to_npy(array), media_type=NPY, etag=etag)


def image_response(request: Request, digest: str, query: ImageQuery, fetch: Callable[[], bytes]) -> Response:
    """Returns one map of the array as PNG."""
    etag = f"{digest}-{query.index}-{int(query.bits)}-{query.low}-{query.high}"
    if is_known(request, etag):
        return cached_response(request, b"", media_type="image/png", etag=etag)
    array = npy_to_array(fetch())
    picture = array_to_png(take_slice(array, query.index), bits=query.bits, low=query.low, high=query.high)
    headers = {} if picture.low is None else {RANGE_HEADER: f"{picture.low:.9g},{picture.high:.9g}"}
    return cached_response(request, picture.png, media_type="image/png", etag=etag, headers=headers)
