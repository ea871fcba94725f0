"""The HTTP border of errors: whatever goes wrong leaves as a Problem, never as a traceback, a path or a host name."""

from __future__ import annotations

import sqlite3
from typing import Any

import redis
import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from backend.contract.problems import KINDS, Problem, ProblemCode, ProblemError, make_problem

RETRY_AFTER_S = 2
_log = structlog.get_logger()

_UNREACHABLE = "The queue cannot be reached at the moment, so nothing can be computed or fetched. Try again shortly."
_FULL = "The store is full. Remove old results or give it more memory."
_INTERNAL = "An unexpected error ended this request. The server's log says where it happened."


def add_error_handlers(api: FastAPI) -> None:
    """Registers a handler for everything that a route can raise."""
    api.add_exception_handler(ProblemError, _on_problem)
    api.add_exception_handler(RequestValidationError, _on_invalid_request)
    api.add_exception_handler(HTTPException, _on_http_error)
    for kind in (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
        api.add_exception_handler(kind, _on_unreachable)
    api.add_exception_handler(redis.OutOfMemoryError, _on_full)
    api.add_exception_handler(sqlite3.OperationalError, _on_full_or_unexpected)
    api.add_exception_handler(Exception, _on_unexpected)


def answer(problem: Problem, status: int | None = None) -> JSONResponse:
    """Returns the response that carries a problem."""
    code = status or problem.status
    headers = {"Cache-Control": "no-store"}
    if problem.retry and code in (429, 503):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    return JSONResponse(problem.model_dump(mode="json"), status_code=code, headers=headers)


def problem_responses(*codes: ProblemCode) -> dict[int | str, dict[str, Any]]:
    """Returns the part of a route's OpenAPI description that tells how it can fail."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = KINDS[code]
        entry = by_status.setdefault(
            kind.status,
            {"model": Problem, "description": "", "content": {"application/json": {"examples": {}}}},
        )
        example = {"code": code.value, "title": kind.title, "message": f"{kind.title}.", "retry": kind.retry}
        entry["content"]["application/json"]["examples"][code.value] = {"value": example}
        entry["description"] = ", ".join(filter(None, (entry["description"], f"`{code.value}`: {kind.title}")))
    return by_status


def _on_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ProblemError)
    return answer(error.to_problem())


def _on_invalid_request(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    faults = [_to_sentence(item) for item in error.errors()[:3]]
    return answer(make_problem(ProblemCode.REQUEST_INVALID, " ".join(faults) or "The request has no valid form."))


def _to_sentence(fault: dict[str, Any]) -> str:
    place = " > ".join(str(part) for part in fault["loc"] if part not in ("body", "query", "path", "header"))
    return f"{place or 'The request'}: {fault['msg']}."


def _on_http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    if error.status_code == 413:
        return answer(make_problem(ProblemCode.PICTURE_TOO_LARGE, str(error.detail)))
    if error.status_code in (404, 405):
        message = f"There is nothing to {request.method} at this address. The list of addresses is at /docs."
        return answer(make_problem(ProblemCode.NOT_FOUND, message), error.status_code)
    return answer(make_problem(ProblemCode.REQUEST_INVALID, "The request could not be read."), error.status_code)


def _on_unreachable(_request: Request, error: Exception) -> JSONResponse:
    _log.warning("redis.unreachable", error=type(error).__name__)
    return answer(make_problem(ProblemCode.QUEUE_UNREACHABLE, _UNREACHABLE))


def _on_full(_request: Request, error: Exception) -> JSONResponse:
    _log.warning("store.full", error=type(error).__name__)
    return answer(make_problem(ProblemCode.STORE_FULL, _FULL))


def _on_full_or_unexpected(request: Request, error: Exception) -> JSONResponse:
    return _on_full(request, error) if "full" in str(error) else _on_unexpected(request, error)


def _on_unexpected(_request: Request, error: Exception) -> JSONResponse:
    _log.error("request.failed", error=type(error).__name__, exc_info=error)
    return answer(make_problem(ProblemCode.INTERNAL, _INTERNAL))
