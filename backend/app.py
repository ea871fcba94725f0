"""The HTTP API as one FastAPI application; the page's server adds itself to it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from fastapi import FastAPI

from backend.documentation import describe_api
from backend.errors import add_error_handlers
from backend.middleware import BodyLimit, ContentPolicy, ForeignRequests, RequestLog, SecurityHeaders
from backend.routes import PREFIX, add_routes
from backend.services import open_services
from backend.settings import WebSettings
from backend.sweeping import sweep_shares

FORM_OVERHEAD_BYTES = 100_000


def create_api(settings: WebSettings, *, csp_script_hashes: Iterable[str] = ()) -> FastAPI:
    """Returns the API: lifespan, middleware, error handlers and routes.

    ``api.state.content_policy.allow_scripts(hashes)`` allows further inline scripts, and every function in
    ``api.state.on_start`` (``async () -> None``) is awaited when the server starts.

    Args:
        settings: Of the web process.
        csp_script_hashes: Hashes (``sha256-...``) of the inline scripts that the page needs.
    """

    @asynccontextmanager
    async def lifespan(api: FastAPI) -> AsyncIterator[None]:
        async with open_services(settings) as services, sweep_shares(services.shares):
            api.state.services = services
            for start in api.state.on_start:
                await start()
            yield

    api = FastAPI(lifespan=lifespan, **describe_api())
    api.state.settings = settings
    api.state.on_start = []
    api.state.content_policy = ContentPolicy(csp_script_hashes)
    # The last one added is the outermost.
    larger = {f"{PREFIX}/datasets": settings.max_archive_bytes + FORM_OVERHEAD_BYTES}
    api.add_middleware(BodyLimit, most=settings.max_upload_bytes + FORM_OVERHEAD_BYTES, larger=larger)
    api.add_middleware(ForeignRequests)
    api.add_middleware(RequestLog)
    api.add_middleware(SecurityHeaders, policy=api.state.content_policy)
    add_error_handlers(api)
    add_routes(api)
    return api
