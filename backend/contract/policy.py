"""What a Redis server does when it is full."""

from __future__ import annotations

import redis


def read_policy(server: redis.Redis) -> str | None:
    """Returns the server's ``maxmemory-policy``, or ``None`` where it does not tell."""
    try:
        policy = server.info("memory").get("maxmemory_policy")
    except redis.ResponseError:
        return None
    return str(policy) if policy else None
