"""The address of a share answers with words and a picture for link previews, before any script runs."""

from __future__ import annotations

from html import escape

from dash import Dash
from dash.backends._fastapi import reset_current_request, set_current_request
from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse

from frontend.api import ApiClient, ApiError


def add_share_page(api: FastAPI, page: Dash, client: ApiClient, *, public_url: str) -> None:
    """Adds ``GET /s/<id>``: the page with link preview tags; 404 or 410 when there is no such share.

    Args:
        api: The application to add the route to.
        page: The Dash page whose index is served.
        client: The way to the API.
        public_url: Address under which people reach Vitrine; empty: the request's own.
    """

    @api.get("/s/{share_id}", include_in_schema=False)
    async def share_page(share_id: str, request: Request) -> HTMLResponse:
        address = (public_url or str(request.base_url)).rstrip("/")
        status, tags = 200, ""
        try:
            share = await client.share(share_id)
            tags = preview_tags(share, f"{address}/s/{share_id}", f"{address}/api/v1/shares/{share_id}/preview.png")
        except ApiError as error:
            status = error.problem.status
        token = set_current_request(request)
        try:
            index = page.index()
        finally:
            reset_current_request(token)
        return HTMLResponse(index.replace("<head>", f"<head>{tags}", 1), status_code=status)


def preview_tags(share: dict[str, object], url: str, picture_url: str) -> str:
    """Returns the meta tags that messengers and social pages read."""
    title = str(share.get("title") or "A look into some models")
    manifests = share.get("manifests")
    count = len(manifests) if isinstance(manifests, list) else 0
    words = f"{count} {'map' if count == 1 else 'maps'}, pinned. Read only, nothing is recomputed."
    tags = {
        "og:type": "website",
        "og:site_name": "Vitrine",
        "og:title": title,
        "og:description": words,
        "og:url": url,
        "og:image": picture_url,
        "twitter:card": "summary_large_image",
    }
    lines = [f'<meta property="{name}" content="{escape(value)}">' for name, value in tags.items()]
    lines.append(f'<meta name="description" content="{escape(words)}">')
    # A share is unguessable, not secret: it should not turn up in a search engine.
    lines.append('<meta name="robots" content="noindex">')
    return "\n    " + "\n    ".join(lines)
