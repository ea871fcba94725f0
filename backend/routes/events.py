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
from backend.contract.trainings import is_training_id
from backend.dependencies import ServicesDep
from backend.errors import problem_responses
from backend.events import EventHub
from backend.subscription import PING

MOST_RUNS = 400
MOST_TRAININGS = 100
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


def get_training_ids(
    trainings: Annotated[
        str, Query(max_length=MOST_TRAININGS * 18, description="Ids of trainings, with commas between them.")
    ] = "",
) -> tuple[str, ...]:
    """Returns the training ids of a query."""
    ids = tuple(dict.fromkeys(part for part in trainings.split(",") if part))
    if not all(is_training_id(one) for one in ids):
        raise ProblemError(ProblemCode.REQUEST_INVALID, "The id of a training is a t and 16 hexadecimal digits.")
    return ids


@router.get(
    "/events",
    response_class=StreamingResponse,
    summary="Follow runs and trainings live",
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "Server-sent events."},
        **problem_responses(ProblemCode.REQUEST_INVALID),
    },
)
async def events(
    services: ServicesDep,
    runs: Annotated[tuple[str, ...], Depends(get_run_keys)],
    trainings: Annotated[tuple[str, ...], Depends(get_training_ids)],
    last_event_id: Annotated[str | None, Header()] = None,
) -> StreamingResponse:
    """Sends how each run and training stands, then every change.

    `event: run` holds a RunEvent (fields that did not change are null), `event: training` a TrainingEvent (its
    `points` are appended to the curves, or replace them where `whole` is true), `event: workers` holds
    `{"workers": 1, "waiting": 0}`. After a break the browser resumes by itself where it was.
    """
    # A generator endpoint would do the same, but logs an error whenever a browser leaves while it is being written to.
    stream = _write(services.hub, runs, trainings, last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=_HEADERS)


async def _write(
    hub: EventHub, runs: tuple[str, ...], trainings: tuple[str, ...], last_event_id: str | None
) -> AsyncIterator[bytes]:
    yield format_sse_event(comment="follow", retry=RETRY_MS)
    try:
        async for entry in hub.follow(runs, last_event_id, trainings):
            if entry is PING:
                yield KEEPALIVE_COMMENT
            else:
                yield format_sse_event(data_str=entry.data, event=entry.kind, id=entry.id)
    except redis.RedisError:
        return  # the stream ends; the browser comes back by itself and resumes
