"""The only kind of job that a worker performs.

JSON alone is no protection: a JSON job may still name ``os.system``, and a job's callbacks and webhooks are names
and addresses as well. So the function must be on a short list, and callbacks, instances and webhooks do not exist.
"""

from __future__ import annotations

from typing import Any

from rq.job import Job

from backend.contract import names

ALLOWED = frozenset({names.RUN_JOB, names.DESCRIBE_JOB, names.TRAIN_JOB})


class RefusedJob(Exception):  # noqa: N818 - says what it is
    """The job asks for something that a worker does not do."""


class VitrineJob(Job):  # type: ignore[misc]
    """A job that calls one of the allowed functions and nothing else."""

    @property
    def func(self) -> Any:
        """The function to call.

        Raises:
            RefusedJob: If the job names any other function, or a method of an object.
        """
        if self.instance is not None or self.func_name not in ALLOWED:
            raise RefusedJob("the job names a function that workers do not call")
        return super().func

    @property
    def success_callback(self) -> None:
        """Nothing: callbacks would be a way around the list."""
        return None

    @property
    def failure_callback(self) -> None:
        """Nothing: callbacks would be a way around the list."""
        return None

    @property
    def stopped_callback(self) -> None:
        """Nothing: callbacks would be a way around the list."""
        return None

    def send_webhooks(self, status: Any, *, exc_string: str | None = None) -> None:
        """Sends nothing: a job must not choose whom the worker calls."""
