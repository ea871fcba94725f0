"""The API's description: OpenAPI as JSON, and a page for people without a script or another host."""

from __future__ import annotations

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse

from backend.documentation import render_page

router = APIRouter(include_in_schema=False)


@router.get("/docs", response_class=HTMLResponse)
async def page(request: Request) -> HTMLResponse:
    """Returns the list of addresses."""
    return HTMLResponse(render_page(request.app.openapi()), headers={"Cache-Control": "private, max-age=60"})
