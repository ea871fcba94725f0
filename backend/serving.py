"""How uvicorn runs the application."""

from __future__ import annotations

from typing import Any

from backend.settings import WebSettings


def uvicorn_options(settings: WebSettings) -> dict[str, Any]:
    """Returns the keyword arguments of ``uvicorn.Config`` (or ``uvicorn.run``) besides the application.

    An open event stream never ends by itself, so without a limit uvicorn would never leave on SIGTERM.
    """
    return {
        "host": settings.host,
        "port": settings.port,
        "timeout_graceful_shutdown": settings.shutdown_grace_s,
        "log_config": None,  # the process has said already how everything is logged
        "access_log": False,
        "server_header": False,
        "date_header": True,
    }
