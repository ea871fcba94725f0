"""What must be there before a picture can be explained, and what to do when it is not."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable

import redis

from backend.contract.policy import read_policy
from backend.contract.results import Contract
from backend.services import Services


class Health(Contract):
    """The process lives."""

    status: str
    version: str


class Check(Contract):
    """One thing that is needed."""

    name: str
    ok: bool
    message: str


class Readiness(Contract):
    """Whether everything that is needed is there."""

    ready: bool
    checks: tuple[Check, ...]


def version() -> str:
    """Returns the version of Vitrine."""
    return importlib.metadata.version("vitrine")


def check_readiness(services: Services) -> Readiness:
    """Returns every check; those that need an unreachable server fail with it."""
    checks = (
        _check("queue", services, _check_queue),
        _check("queue keeps what it is given", services, _check_policy),
        _check("cache", services, _check_cache),
        _check("workers", services, _check_workers),
        _check("catalogue", services, _check_catalogue),
    )
    return Readiness(ready=all(check.ok for check in checks), checks=checks)


def _check(name: str, services: Services, test: Callable[[Services], tuple[bool, str]]) -> Check:
    try:
        ok, message = test(services)
    except redis.RedisError:
        ok, message = False, "Its Redis server cannot be reached. Check that it runs and that the address is right."
    return Check(name=name, ok=ok, message=message)


def _check_queue(services: Services) -> tuple[bool, str]:
    services.queue.ping()
    return True, "The queue answers."


def _check_cache(services: Services) -> tuple[bool, str]:
    services.cache.ping()
    return True, "The cache answers."


def _check_policy(services: Services) -> tuple[bool, str]:
    policy = read_policy(services.queue)
    if policy is None:
        return True, "The server does not tell its policy; make sure that it is noeviction."
    if policy.startswith("allkeys-"):
        return False, (
            f"The queue's Redis has the policy {policy} and would throw away jobs when it is full. "
            "Set maxmemory-policy to noeviction, or give the queue a server of its own."
        )
    return True, f"The policy is {policy}."


def _check_workers(services: Services) -> tuple[bool, str]:
    count = services.runs.crowd().workers
    if count == 0:
        return False, "No worker is running, so runs only wait. Start one with `vitrine worker`."
    return True, "1 worker is running." if count == 1 else f"{count} workers are running."


def _check_catalogue(services: Services) -> tuple[bool, str]:
    catalogue = services.catalogue.published()
    if catalogue is None:
        return False, "No worker has announced its models and methods yet. It does so when it starts."
    return True, f"{len(catalogue.methods)} methods and {len(catalogue.models)} models are announced."
