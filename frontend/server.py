"""The web process: the API, with the page on it."""

from __future__ import annotations

from pathlib import Path

from dash import Dash
from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from backend.app import create_api
from backend.settings import WebSettings
from frontend.api import ApiClient
from frontend.link_preview import add_share_page
from frontend.pages import find_pages
from frontend.shell import make_shell, register_shell

ASSETS = Path(__file__).parent / "assets"
INDEX = """<!DOCTYPE html>
<html lang="en">
  <head>
    {%metas%}
    <title>{%title%}</title>
    <link rel="icon" type="image/svg+xml" href="/assets/favicon.svg">
    <script src="/assets/head/appearance.js"></script>
    {%css%}
  </head>
  <body>
    {%app_entry%}
    <footer>
      {%config%}
      {%scripts%}
      {%renderer%}
    </footer>
  </body>
</html>
"""


def create_server(settings: WebSettings) -> FastAPI:
    """Returns the application that serves the API and the page on one port.

    Args:
        settings: Settings of the web process.
    """
    api = create_api(settings)
    client = ApiClient(api)
    page = make_page(api, client)
    add_share_page(api, page, client, public_url=settings.public_url)
    # Everything but event streams is compressed; Dash's scripts shrink to a quarter.
    api.add_middleware(GZipMiddleware, minimum_size=1024, compresslevel=4)
    api.state.content_policy.allow_scripts(page.csp_hashes())
    # A cold process would answer a deep link without our assets until some request came to "/".
    api.state.on_start.append(client.warm_up)
    return api


def make_page(api: FastAPI, client: ApiClient) -> Dash:
    """Returns Dash on the API's own server (a mounted sub-application would answer 500), with all callbacks."""
    page = Dash(
        "vitrine",
        server=api,
        assets_folder=str(ASSETS),
        # The head's script is loaded by hand; licence texts and example data are fetched, never run.
        assets_ignore=r"(^appearance\.js$|\.txt$|\.npy$|\.json$)",
        index_string=INDEX,
        title="Vitrine",
        update_title="",
        suppress_callback_exceptions=True,
        serve_locally=True,
        meta_tags=[{"name": "viewport", "content": "width=device-width, initial-scale=1"}],
    )
    # No callback of ours uses it, and a socket held open by every visitor would have to be waited for at the end.
    page.backend.websocket_capability = False
    pages = find_pages()
    page.layout = make_shell(pages)
    register_shell(page, client, pages)
    for one in pages:
        one.register(page, client)
    return page
