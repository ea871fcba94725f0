"""The closed list of failures: code, HTTP status, whether trying again makes sense, and words for people.

A problem is stored like a result. Its message names what, which value and what is allowed; it never holds
a traceback, a path or a host name.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backend.contract.results import Contract


class ProblemCode(StrEnum):
    """Every failure that a person can meet."""

    PICTURE_UNREADABLE = "picture_unreadable"
    PICTURE_FORMAT = "picture_format"
    PICTURE_TOO_LARGE = "picture_too_large"
    PICTURE_TOO_MANY_PIXELS = "picture_too_many_pixels"
    PICTURE_TOO_SMALL = "picture_too_small"
    PICTURE_GONE = "picture_gone"
    REQUEST_INVALID = "request_invalid"
    PARAMS_INVALID = "params_invalid"
    NOT_FOUND = "not_found"
    MODEL_UNKNOWN = "model_unknown"
    MODEL_NOT_READY = "model_not_ready"
    WEIGHTS_MISSING = "weights_missing"
    MODEL_BROKEN = "model_broken"
    METHOD_UNKNOWN = "method_unknown"
    NOT_SUPPORTED = "not_supported"
    TARGET_UNKNOWN = "target_unknown"
    RESULT_GONE = "result_gone"
    NOT_FINITE = "not_finite"
    OUT_OF_MEMORY = "out_of_memory"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    WORKER_LOST = "worker_lost"
    NO_WORKER = "no_worker"
    QUEUE_UNREACHABLE = "queue_unreachable"
    STORE_FULL = "store_full"
    SHARE_GONE = "share_gone"
    DATA_UNUSABLE = "data_unusable"
    ARCHIVE_REFUSED = "archive_refused"
    CHECKPOINT_FOREIGN = "checkpoint_foreign"
    FORBIDDEN = "forbidden"
    TOO_MANY_REQUESTS = "too_many_requests"
    INTERNAL = "internal"


@dataclass(frozen=True)
class ProblemKind:
    """What is the same for every problem of one code."""

    status: int
    retry: bool
    title: str


KINDS: dict[ProblemCode, ProblemKind] = {
    ProblemCode.PICTURE_UNREADABLE: ProblemKind(422, False, "Not a readable picture"),
    ProblemCode.PICTURE_FORMAT: ProblemKind(415, False, "Unknown picture format"),
    ProblemCode.PICTURE_TOO_LARGE: ProblemKind(413, False, "File too large"),
    ProblemCode.PICTURE_TOO_MANY_PIXELS: ProblemKind(422, False, "Too many pixels"),
    ProblemCode.PICTURE_TOO_SMALL: ProblemKind(422, False, "Picture too small"),
    ProblemCode.PICTURE_GONE: ProblemKind(410, False, "Picture no longer here"),
    ProblemCode.REQUEST_INVALID: ProblemKind(422, False, "Request not understood"),
    ProblemCode.PARAMS_INVALID: ProblemKind(422, False, "Settings not possible"),
    ProblemCode.NOT_FOUND: ProblemKind(404, False, "Not found"),
    ProblemCode.MODEL_UNKNOWN: ProblemKind(404, False, "Unknown model"),
    ProblemCode.MODEL_NOT_READY: ProblemKind(503, True, "Model not ready yet"),
    ProblemCode.WEIGHTS_MISSING: ProblemKind(424, True, "Weights not here"),
    ProblemCode.MODEL_BROKEN: ProblemKind(422, False, "Model cannot be loaded"),
    ProblemCode.METHOD_UNKNOWN: ProblemKind(404, False, "Unknown method"),
    ProblemCode.NOT_SUPPORTED: ProblemKind(422, False, "Cannot be combined"),
    ProblemCode.TARGET_UNKNOWN: ProblemKind(422, False, "Unknown class"),
    ProblemCode.RESULT_GONE: ProblemKind(410, True, "Result no longer here"),
    ProblemCode.NOT_FINITE: ProblemKind(422, False, "Model gave no number"),
    ProblemCode.OUT_OF_MEMORY: ProblemKind(507, True, "Not enough memory"),
    ProblemCode.TIMED_OUT: ProblemKind(504, True, "Took too long"),
    ProblemCode.CANCELLED: ProblemKind(409, True, "Cancelled"),
    ProblemCode.WORKER_LOST: ProblemKind(503, True, "Worker stopped"),
    ProblemCode.NO_WORKER: ProblemKind(503, True, "No worker running"),
    ProblemCode.QUEUE_UNREACHABLE: ProblemKind(503, True, "Queue not reachable"),
    ProblemCode.STORE_FULL: ProblemKind(507, True, "Storage is full"),
    ProblemCode.SHARE_GONE: ProblemKind(410, False, "Link no longer valid"),
    ProblemCode.DATA_UNUSABLE: ProblemKind(422, False, "Pictures cannot be trained on"),
    ProblemCode.ARCHIVE_REFUSED: ProblemKind(422, False, "Archive not accepted"),
    ProblemCode.CHECKPOINT_FOREIGN: ProblemKind(409, False, "Checkpoint of another training"),
    ProblemCode.FORBIDDEN: ProblemKind(403, False, "Not allowed"),
    ProblemCode.TOO_MANY_REQUESTS: ProblemKind(429, True, "Too many requests"),
    ProblemCode.INTERNAL: ProblemKind(500, True, "Vitrine made a mistake"),
}


class Problem(Contract):
    """A failure as it is stored and sent."""

    code: ProblemCode
    title: str
    message: str
    """One or two sentences for people: what, which value, what is allowed, what helps."""
    retry: bool

    @property
    def status(self) -> int:
        """HTTP status that carries this problem."""
        return KINDS[self.code].status


class ProblemError(Exception):
    """Raised anywhere; becomes a :class:`Problem` at the border (worker, HTTP, command line).

    Args:
        code: Which failure.
        message: One or two sentences for people, without paths, hosts or tracebacks.
    """

    def __init__(self, code: ProblemCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def to_problem(self) -> Problem:
        """Returns the stored form."""
        return make_problem(self.code, self.message)


def make_problem(code: ProblemCode, message: str) -> Problem:
    """Returns a problem with the title and retry flag that belong to its code."""
    kind = KINDS[code]
    return Problem(code=code, title=kind.title, message=message, retry=kind.retry)
