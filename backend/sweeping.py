"""Removes expired shares and files that no share needs, once an hour."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog

from backend.shares import ShareStore

SWEEP_S = 3600.0
_log = structlog.get_logger()


@contextlib.asynccontextmanager
async def sweep_shares(shares: ShareStore) -> AsyncIterator[None]:
    """Sweeps in the background for as long as the context is open."""
    task = asyncio.create_task(_sweep(shares))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _sweep(shares: ShareStore) -> None:
    while True:
        try:
            removed = await asyncio.to_thread(shares.sweep)
            if removed:
                _log.info("shares.swept", shares=removed)
        except Exception as error:  # the next hour may go better, and the server must go on
            _log.warning("shares.sweep_failed", error=type(error).__name__)
        await asyncio.sleep(SWEEP_S)
