"""How a run can end other than well, and how an error becomes a stored problem."""

from __future__ import annotations

import redis
import torch

from backend.contract.problems import Problem, ProblemCode, ProblemError, make_problem


class Cancelled(Exception):  # noqa: N818 - the word of the glossary
    """Nobody wants the run any more."""


class Interrupted(Exception):  # noqa: N818 - an event, not an error
    """The worker is going away; the run goes back to the queue."""


def to_problem(error: BaseException) -> Problem:
    """Returns the problem for people; it never holds the error's own text, which may name paths or hosts."""
    if isinstance(error, ProblemError):
        return error.to_problem()
    if isinstance(error, Cancelled):
        return make_problem(ProblemCode.CANCELLED, "The run was stopped before it was done.")
    if isinstance(error, redis.OutOfMemoryError):
        return make_problem(
            ProblemCode.STORE_FULL, "The result store is full. Remove old results or give Redis more memory."
        )
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return make_problem(
            ProblemCode.OUT_OF_MEMORY,
            "The device has not enough memory for this run. Choose a smaller model or fewer regions.",
        )
    return make_problem(
        ProblemCode.INTERNAL,
        f"An unexpected error ({type(error).__name__}) ended this run. The worker's log says where it happened.",
    )


def timed_out(limit_s: float) -> ProblemError:
    """Returns the error of a run that took longer than it may."""
    return ProblemError(
        ProblemCode.TIMED_OUT,
        f"The run took longer than the {limit_s:g} seconds that are allowed. "
        "Choose a smaller model or cheaper settings.",
    )
