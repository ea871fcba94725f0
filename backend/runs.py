"""What the API needs from whatever computes: submit, look, cancel, try again.

The routes know only this protocol. :mod:`backend.queue` fulfils it with RQ; another scheduler would be another file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from backend.contract.results import Manifest
from backend.contract.schemas import RunSpec, RunView, WorkerCard


@dataclass(frozen=True)
class Crowd:
    """How busy it is: workers alive, runs waiting, and workers that compute just now."""

    workers: int
    waiting: int
    busy: int = 0


class RunBackend(Protocol):
    """Runs by their key. Every method blocks and is called from a thread."""

    def submit(self, spec: RunSpec) -> RunView:
        """Returns how the run stands: at once done when its result is known, else queued exactly once."""

    def view(self, key: str) -> RunView | None:
        """Returns how the run stands, or ``None`` when nobody asked for it (or long ago)."""

    def result(self, key: str) -> Manifest:
        """Returns the manifest of a finished run.

        Raises:
            ProblemError: The stored problem of a failed run, ``result_gone``, or ``not_found``.
        """

    def cancel(self, key: str) -> RunView:
        """Returns how the run stands after the wish to stop it was recorded."""

    def retry(self, key: str) -> RunView:
        """Returns how the run stands after it was asked for again."""

    def places(self) -> dict[str, int]:
        """Returns the place in the queue of every waiting run; 0 is next."""

    def notice_lost(self, keys: Iterable[str]) -> None:
        """Ends runs that are marked as running although no worker will ever come back to them."""

    def describe(self, name: str) -> None:
        """Asks a worker to describe a model, once."""

    def workers(self) -> list[WorkerCard]:
        """Returns the workers that are alive."""

    def crowd(self) -> Crowd:
        """Returns how many workers are alive and how many runs wait."""
