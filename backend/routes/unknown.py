"""The answer to addresses below ``/api`` that do not exist.

The page's own server answers every unknown address with its HTML; a program that mistyped an address must get a 404.
"""

from __future__ import annotations

from fastapi import FastAPI, Request

from backend.contract.problems import ProblemCode, ProblemError

METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


def refuse_unknown(api: FastAPI) -> None:
    """Adds the route; call it after every other router below ``/api`` and before the page's catch-all."""
    api.add_api_route("/api/{rest:path}", _refuse, methods=METHODS, include_in_schema=False)


async def _refuse(rest: str, request: Request) -> None:
    raise ProblemError(
        ProblemCode.NOT_FOUND,
        f"There is nothing to {request.method} at /api/{rest[:200]}. The list of addresses is at /docs.",
    )
