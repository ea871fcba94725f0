"""Every way a run can end becomes words for people, and never a path or a trace."""

from __future__ import annotations

import pytest
import redis
import torch

from backend.contract.problems import KINDS, ProblemCode, ProblemError
from workers.outcome import Cancelled, timed_out, to_problem


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ProblemError(ProblemCode.PICTURE_GONE, "Gone."), ProblemCode.PICTURE_GONE),
        (Cancelled(), ProblemCode.CANCELLED),
        (torch.OutOfMemoryError("CUDA out of memory"), ProblemCode.OUT_OF_MEMORY),
        (MemoryError(), ProblemCode.OUT_OF_MEMORY),
        (redis.OutOfMemoryError("OOM command not allowed"), ProblemCode.STORE_FULL),
        (timed_out(3), ProblemCode.TIMED_OUT),
        (ZeroDivisionError(), ProblemCode.INTERNAL),
    ],
)
def test_an_error_becomes_its_problem(error: BaseException, code: ProblemCode) -> None:
    problem = to_problem(error)
    assert problem.code is code
    assert problem.title == KINDS[code].title
    assert problem.retry == KINDS[code].retry


def test_an_unexpected_error_keeps_its_text_to_itself() -> None:
    problem = to_problem(RuntimeError("cannot open /home/somebody/weights.bin"))
    assert "somebody" not in problem.message
    assert "RuntimeError" in problem.message


def test_a_timeout_names_the_limit() -> None:
    assert "90 seconds" in timed_out(90).message
