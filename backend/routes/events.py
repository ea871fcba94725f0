"""The one live stream of a page."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Annotated

import redis
from fastapi import APIRouter, Depends, Header, Query
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from backend.contract.problems import ProblemCode, ProblemError
from backend.dependencies import ServicesDep
from backend.errors import problem_responses
from backend.events import EventHub
from backend.subscription import PING

MOST_RUNS = 400
RETRY_MS = 1500
_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
_KEY = re.compile(r"[0-9a-f]{64}")

router = APIRouter(tags=["Events"])


def get_run_keys(
    runs: Annotated[str, Query(max_length=MOST_RUNS * 65, description="Keys of runs, with commas between them.")] = "",
) -> tuple[str, ...]:
    """Returns the run keys of a query."""
    keys = tuple(dict.fromkeys(part for part in runs.split(",") if part))
    if any(not _KEY.fullmatch(key) for key in keys):
        raise ProblemError(ProblemCode.REQUEST_INVALID, "A run key has 64 hexadecimal digits.")
    return keys


@router.get(
    "/events",
    response_class=StreamingResponse,
    summary="Follow runs live",
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."},
        **problem_responses(ProblemCode.REQUEST_INVALID),
    },
)
async def events(
    services: ServicesDep,
    runs: Annotated[tuple[str, ...], Depends(get_run_keys)],
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Sends how each run stands, then every change.

    `event: run` holds a RunEvent (fields that did not change are null), `event: workers` holds
    `{"workers": 1, "waiting": 0}`. After a break the browser resumes by itself where it was.
    """
    # A generator endpoint would do the same, but logs an error whenever a browser leaves while it is being written to.
    stream = _write(services.hub, runs, last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)


async def _write(hub: EventHub, runs: tuple[str, ...], last_event_id: str | None) -> AsyncIterator[bytes]:
    yield format_sse_event(comment="follow", retry=RETRY_MS)
    try:
        async for entry in hub.follow(runs, last_event_id):
            if entry is PING:
                yield KEEPALIVE_COMMENT
            else:
                yield format_sse_event(data_str=entry.data, event=entry.kind, id=entry.id)
    except redis.RedisError:
        return  # the stream ends; the browser comes back by itself and resumes
