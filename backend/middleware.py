"""What happens to every request: an id, a limit on its size, a look at where it came from, safe headers.

Plain ASGI classes, because event streams must pass through without being buffered.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from backend.contract.problems import ProblemCode, make_problem
from backend.errors import answer

REQUEST_ID = "X-Request-ID"
DRAINED = 10
"""An upload of up to this many times the limit is read to its end, so that browsers see the answer."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_log = structlog.get_logger()


class ContentPolicy:
    """The Content-Security-Policy header: nothing from other hosts, no inline script but those named by hash.

    Args:
        script_hashes: Hashes of inline scripts as ``'sha256-...'``; the page's server adds its own.
    """

    def __init__(self, script_hashes: Iterable[str] = ()) -> None:
        self._hashes: tuple[str, ...] = ()
        self.header = ""
        self.allow_scripts(script_hashes)

    def allow_scripts(self, hashes: Iterable[str]) -> None:
        """Allows further inline scripts by their hash."""
        quoted = (f"'{item.strip(chr(39))}'" for item in hashes)
        self._hashes = tuple(dict.fromkeys((*self._hashes, *quoted)))
        self.header = "; ".join(
            (
                "default-src 'self'",
                " ".join(("script-src 'self'", *self._hashes)),
                "style-src 'self' 'unsafe-inline'",
                "img-src 'self' data: blob:",
                "font-src 'self' data:",
                "connect-src 'self'",
                "worker-src 'self' blob:",
                "object-src 'none'",
                "base-uri 'self'",
                "form-action 'self'",
                "frame-ancestors 'none'",
            )
        )


class SecurityHeaders:
    """Adds the headers that keep a page's content where it belongs."""

    def __init__(self, app: ASGIApp, *, policy: ContentPolicy) -> None:
        self._app = app
        self._policy = policy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = self._policy.header
                headers["X-Content-Type-Options"] = "nosniff"
                headers["X-Frame-Options"] = "DENY"
                # The address of a share is its key: it must not travel to other hosts in a Referer.
                headers["Referrer-Policy"] = "same-origin"
                headers["Cross-Origin-Opener-Policy"] = "same-origin"
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                headers["Permissions-Policy"] = "camera=(), microphone=(), geolocation=()"
            await send(message)

        await self._app(scope, receive, send_with_headers)


class ForeignRequests:
    """Refuses changes that another site's page makes a visitor's browser send."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            headers = Headers(scope=scope)
            if headers.get("sec-fetch-site") == "cross-site":
                problem = make_problem(ProblemCode.FORBIDDEN, "This request came from another site's page.")
                await answer(problem)(scope, receive, send)
                return
        await self._app(scope, receive, send)


class BodyLimit:
    """Refuses request bodies above a limit, by their announced and by their real length.

    Args:
        app: What is limited.
        most: Bytes.
        larger: Bytes for the addresses that take more, by path.
    """

    def __init__(self, app: ASGIApp, *, most: int, larger: Mapping[str, int] | None = None) -> None:
        self._app = app
        self._most = most
        self._larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = _announced_length(scope)
        most = self._larger.get(scope["path"].rstrip("/"), self._most)
        if announced > most:
            if announced <= DRAINED * self._most:
                await _drain(receive)
            await answer(make_problem(ProblemCode.PICTURE_TOO_LARGE, _words(announced, most)))(scope, receive, send)
            return
        seen = 0

        async def receive_counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > most:
                raise HTTPException(413, _words(seen, most))
            return message

        await self._app(scope, receive_counted, send)


def _words(size: int, most: int) -> str:
    return (
        f"This request has {size / 1e6:.1f} MB; {most / 1e6:.0f} MB is the most. "
        "Make the file smaller and drop it again."
    )


class RequestLog:
    """Gives every request an id, binds it to the log, and writes one line when an API request ends."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = uuid.uuid4().hex
        started = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_with_id)
            finally:
                if scope["path"].startswith("/api/"):
                    _log.debug(
                        "request.end",
                        method=scope["method"],
                        # The route, not the address: an address may hold the key of a share.
                        route=getattr(scope.get("route"), "path", "unknown"),
                        status=status,
                        seconds=round(time.perf_counter() - started, 4),
                    )


def _announced_length(scope: Scope) -> int:
    value = Headers(scope=scope).get("content-length", "0")
    return int(value) if value.isdecimal() else 0


async def _drain(receive: Receive) -> None:
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body", False):
            return
