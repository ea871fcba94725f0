"""Connections to Redis that survive its restart."""

from __future__ import annotations

import redis
from redis.backoff import ExponentialWithJitterBackoff
from redis.retry import Retry

from backend.contract.policy import read_policy

RETRIES = 20
LONGEST_PAUSE_S = 2.0
"""A command is repeated for about half a minute while Redis cannot be reached."""
READ_TIMEOUT_S = 20.0
"""redis-py gives up a read after five seconds unless told otherwise; a worker's blocking read takes as long."""


def connect(url: str, *, retries: int = RETRIES) -> redis.Redis:
    """Returns a connection that answers bytes and repeats commands while the server is away.

    Args:
        url: Address of the server.
        retries: How often a command is repeated.
    """
    return redis.Redis.from_url(
        url,
        retry=Retry(ExponentialWithJitterBackoff(base=0.1, cap=LONGEST_PAUSE_S), retries),
        socket_connect_timeout=5,
        socket_timeout=READ_TIMEOUT_S,
        socket_keepalive=True,
        health_check_interval=15,
    )


def policy_fault(server: redis.Redis) -> str | None:
    """Returns why a server must not hold the queue, or ``None`` when it may."""
    policy = read_policy(server)
    if policy is None or not policy.startswith("allkeys-"):
        return None
    return (
        f"The queue's Redis has the policy {policy} and would throw away jobs when it is full. "
        "Set maxmemory-policy to noeviction, or give the queue a server of its own."
    )
