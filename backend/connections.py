"""Bounded pools of Redis connections, so that many visitors never become many connections."""

from __future__ import annotations

import redis
import redis.asyncio

BUSY_WAIT_S = 10
"""How long a request waits for a free connection before it is told that the queue cannot be reached."""
LISTENER_CONNECTIONS = 4
"""One waits for events, the others fetch what returning browsers missed."""


def open_pool(url: str, *, most: int) -> redis.Redis:
    """Returns a thread-safe client that opens at most ``most`` connections and answers bytes."""
    pool = redis.BlockingConnectionPool.from_url(url, max_connections=most, timeout=BUSY_WAIT_S, socket_timeout=10)
    return redis.Redis.from_pool(pool)


def open_listener(url: str) -> redis.asyncio.Redis:
    """Returns an asynchronous client for blocking reads.

    redis-py gives up a read after five seconds unless told otherwise; a listener waits for as long as it takes.
    """
    pool = redis.asyncio.BlockingConnectionPool.from_url(
        url, max_connections=LISTENER_CONNECTIONS, timeout=None, socket_timeout=None, socket_connect_timeout=5
    )
    return redis.asyncio.Redis.from_pool(pool)
