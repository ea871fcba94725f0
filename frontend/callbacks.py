"""The one way to add a server callback: typed, and only for coroutines, which cannot block the event loop."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from dash import Dash

F = TypeVar("F", bound=Callable[..., Awaitable[Any]])


def on(app: Dash, *dependencies: Any, **options: Any) -> Callable[[F], F]:
    """Returns a decorator that registers a coroutine as a callback.

    Args:
        app: The page.
        dependencies: Dash's ``Output``, ``Input`` and ``State``.
        options: Further arguments of ``Dash.callback``.

    Raises:
        TypeError: If the function is not ``async``: it would stop the event stream of every visitor.
    """

    def register(function: F) -> F:
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"the callback {getattr(function, '__name__', function)!r} is not async")
        registered: F = app.callback(*dependencies, **options)(function)
        return registered

    return register
