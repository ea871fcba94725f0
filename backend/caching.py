"""HTTP caching: what is addressed by its content never changes, so browsers may keep it."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request, Response

IMMUTABLE = "private, max-age=31536000, immutable"
REVALIDATE = "private, no-cache"


def is_known(request: Request, etag: str) -> bool:
    """Returns whether the browser already holds this version."""
    given = request.headers.get("if-none-match", "")
    tags = {tag.strip().removeprefix("W/") for tag in given.split(",")}
    return f'"{etag}"' in tags or given.strip() == "*"


def cached_response(
    request: Request,
    body: bytes,
    *,
    media_type: str,
    etag: str,
    cache: str = IMMUTABLE,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Returns the body, or 304 when the browser already holds it.

    Args:
        request: May carry ``If-None-Match``.
        body: What is sent.
        media_type: Its MIME type.
        etag: Identity of the body, without quotes.
        cache: The ``Cache-Control`` header.
        headers: Further headers.
    """
    all_headers = {"ETag": f'"{etag}"', "Cache-Control": cache, **(headers or {})}
    if is_known(request, etag):
        return Response(status_code=304, headers=all_headers)
    return Response(body, media_type=media_type, headers=all_headers)
