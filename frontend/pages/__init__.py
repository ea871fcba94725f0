"""The pages. Adding one is adding one file.

A file in this folder (its name not starting with ``_``) that defines ``PAGE``, a :class:`Page`, is a page::

    PAGE = Page(
        path="/library",            # or a prefix ending in "/" for pages with an id: "/s/"
        title="Library",            # in the browser's tab and, with nav=30, in the top bar
        nav=30,                     # place in the top bar; None keeps the page out of it
        layout=layout,              # async (Visit) -> component; asks the API through visit.api
        register=register,          # (Dash, ApiClient) -> None; adds the page's callbacks (optional)
    )

Callbacks are ``async def`` or clientside (a test walks the callback map). JavaScript goes to
``assets/<page>.js``; actions of buttons are registered there with ``window.vitrine.actions.name = (element) => ...``
and started by ``data-action="name"``. History of this browser: ``window.vitrine.history.list()`` and, for shares,
``window.vitrine.history.shares()``, both kept in localStorage.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from dash import Dash
from dash.development.base_component import Component

from frontend.api import ApiClient


@dataclass(frozen=True)
class Visit:
    """One visit of a page.

    Attributes:
        api: The way to the API.
        path: Path of the address (``/s/abc``).
        search: Query of the address with its question mark, or empty.
        stores: What the browser's stores hold, by id (see :mod:`frontend.ids`).
    """

    api: ApiClient
    path: str
    search: str = ""
    stores: dict[str, Any] = field(default_factory=dict)


def _register_nothing(_app: Dash, _api: ApiClient) -> None:
    return None


@dataclass(frozen=True)
class Page:
    """A page: its address, its name, what it shows and its callbacks."""

    path: str
    title: str
    layout: Callable[[Visit], Awaitable[Component]]
    register: Callable[[Dash, ApiClient], None] = _register_nothing
    nav: int | None = None
    reduced: bool = False
    """Whether the top bar shows only the mark (read-only pages)."""

    def matches(self, path: str) -> bool:
        """Whether the page answers at ``path``."""
        if self.path.endswith("/") and self.path != "/":
            return path.startswith(self.path) and len(path) > len(self.path)
        return path.rstrip("/") == self.path.rstrip("/")


def find_pages() -> list[Page]:
    """Returns every page of this folder, in the order of the top bar."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
    modules = [importlib.import_module(f"{__name__}.{name}") for name in names]
    pages = [module.PAGE for module in modules if isinstance(getattr(module, "PAGE", None), Page)]
    return sorted(pages, key=lambda page: (page.nav is None, page.nav or 0, page.path))


def find_page(pages: list[Page], path: str) -> Page | None:
    """Returns the page that answers at ``path``, if there is one."""
    return next((page for page in pages if page.matches(path)), None)
