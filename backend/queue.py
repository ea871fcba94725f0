"""Runs on RQ: one job for one run, its id is the run key, so the same question is computed once.

Time limits and the return of jobs from crashed workers are the workers' business. What people see of a run (its
state) lives in a key of its own, written together with its event.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable

import redis
from rq import Queue
from rq.exceptions import DuplicateJobError, NoSuchJobError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.worker.base import WorkerStatus

from backend.contract import names
from backend.contract.artifacts import ArtifactStore
from backend.contract.keys import run_key
from backend.contract.problems import Problem, ProblemCode, ProblemError, make_problem
from backend.contract.results import Manifest
from backend.contract.schemas import RunSpec, RunState, RunView, WorkerCard
from backend.run_states import RunStates
from backend.runs import Crowd
from backend.worker_list import list_workers, worker_is_alive

FAILED_JOB_TTL_S = 60
"""A failed unique job blocks its id until this has passed; the run's own state is kept much longer."""
CANCEL_TTL_S = 3600
GRACE_S = 15.0
"""How long a state may be without a job before its worker counts as lost; covers the moments between two writes."""

_VERDICTS = {
    ProblemCode.REQUEST_INVALID,
    ProblemCode.PARAMS_INVALID,
    ProblemCode.NOT_SUPPORTED,
    ProblemCode.TARGET_UNKNOWN,
    ProblemCode.NOT_FINITE,
}
"""Failures that follow from the question itself. Others pass: a picture comes back, a model is put right."""
_ALIVE = {JobStatus.QUEUED, JobStatus.STARTED, JobStatus.SCHEDULED, JobStatus.DEFERRED, JobStatus.CREATED}
_LOST = "The worker that computed this stopped, and so did those that tried after it. Try again."
_GONE = "This result was cleared to make room. Run it again; the same question gives the same answer."


class QueueRuns:
    """Runs in an RQ queue; see :class:`backend.runs.RunBackend`.

    Args:
        queue: Connection to the queue server, answering bytes.
        store: Where finished results are.
        max_waiting: Runs that may wait.
    """

    def __init__(
        self,
        queue: redis.Redis,
        store: ArtifactStore,
        *,
        max_waiting: int = 1000,
    ) -> None:
        self._redis = queue
        self._store = store
        self._states = RunStates(queue)
        self._jobs = Queue(names.EXPLAIN_QUEUE, connection=queue, serializer=JSONSerializer)
        self._max_waiting = max_waiting

    def submit(self, spec: RunSpec) -> RunView:
        key = run_key(spec)
        before = self._states.read(key)
        if self._store.get_manifest(key) is not None:
            return self._answer_from_store(key, spec, before)
        if before is not None and not before.state.is_final:
            self._redis.delete(names.run_cancel(key))
            if self._is_coming(before):
                return self._placed(before)
        elif before is not None and before.problem is not None and before.problem.code in _VERDICTS:
            return before
        return self._start(key, spec, before)

    def view(self, key: str) -> RunView | None:
        view = self._states.read(key)
        if view is None:
            return self._from_manifest(key)
        if view.state is RunState.DONE and self._store.get_manifest(key) is None:
            return view.model_copy(
                update={"state": RunState.FAILED, "problem": make_problem(ProblemCode.RESULT_GONE, _GONE)}
            )
        if not view.state.is_final and not self._is_coming(view):
            return self._end(view, RunState.FAILED, make_problem(ProblemCode.WORKER_LOST, _LOST))
        return self._placed(view)

    def result(self, key: str) -> Manifest:
        manifest = self._store.get_manifest(key)
        if manifest is not None:
            return manifest
        view = self.view(key)
        if view is None:
            raise _unknown()
        if view.problem is not None:
            raise ProblemError(view.problem.code, view.problem.message)
        if view.state is RunState.CANCELLED:
            raise ProblemError(ProblemCode.CANCELLED, "This run was cancelled before it had a result.")
        raise ProblemError(ProblemCode.NOT_FOUND, "This run is not finished yet, so it has no result.")

    def cancel(self, key: str) -> RunView:
        view = self._states.read(key)
        if view is None:
            raise _unknown()
        if view.state.is_final:
            return view
        # First the flag, then the list: a job that is picked up in between finds the flag when it starts.
        self._redis.set(names.run_cancel(key), b"1", ex=CANCEL_TTL_S)
        if self._jobs.remove(key) or not self._is_held(key):
            self._delete_job(key)
            view = self._end(view, RunState.CANCELLED, make_problem(ProblemCode.CANCELLED, "You stopped this run."))
        return view

    def retry(self, key: str) -> RunView:
        before = self._states.read(key)
        if before is None:
            raise _unknown()
        if self._store.get_manifest(key) is not None:
            return self._answer_from_store(key, before.spec, before)
        if not before.state.is_final and self._is_coming(before):
            return self._placed(before)
        return self._start(key, before.spec, before)

    def places(self) -> dict[str, int]:
        return {job_id: place for place, job_id in enumerate(self._jobs.get_job_ids())}

    def notice_lost(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.view(key)

    def describe(self, name: str) -> None:
        self._refuse_when_full()
        job_id = f"describe-{hashlib.sha256(name.encode()).hexdigest()}"
        self._push(names.DESCRIBE_JOB, {"name": name}, job_id, f"describe {name}", at_front=True)

    def workers(self) -> list[WorkerCard]:
        return list_workers(self._redis)

    def crowd(self) -> Crowd:
        workers = [worker for worker in self.workers() if worker.queue == names.EXPLAIN_QUEUE]
        busy = sum(worker.state == WorkerStatus.BUSY for worker in workers)
        return Crowd(workers=len(workers), waiting=self._jobs.count, busy=busy)

    def _answer_from_store(self, key: str, spec: RunSpec, before: RunView | None) -> RunView:
        if before is not None and before.state is RunState.DONE:
            return before.model_copy(update={"cached": True})
        now = time.time()
        view = RunView(key=key, state=RunState.DONE, spec=spec, cached=True, submitted=now, started=now, finished=now)
        self._states.write(view, expected=before)
        return view

    def _from_manifest(self, key: str) -> RunView | None:
        """Returns a finished run of which only the result is here: a share brought it back, or its state ran out."""
        manifest = self._store.get_manifest(key)
        if manifest is None:
            return None
        spec = RunSpec(
            image_ids=manifest.image_ids,
            model=manifest.model,
            weights=manifest.weights_digest,
            preprocessing=manifest.preprocessing,
            method=manifest.method,
            method_version=manifest.method_version,
            params=manifest.params,
            target=manifest.target,
            seed=manifest.seed,
        )
        made = manifest.created
        return RunView(
            key=key, state=RunState.DONE, spec=spec, cached=True, submitted=made, started=made, finished=made
        )

    def _start(self, key: str, spec: RunSpec, before: RunView | None) -> RunView:
        self._refuse_when_full()
        attempt = 1 if before is None else before.attempt + 1
        view = RunView(key=key, state=RunState.QUEUED, spec=spec, attempt=attempt, submitted=time.time())
        # Before the state: once that is written, somebody may want to stop the run, and that wish must last.
        self._redis.delete(names.run_cancel(key))
        if not self._states.write(view, expected=before):
            # Somebody else asked the same at the same moment; theirs is the run.
            return self._placed(self._states.read(key) or view)
        description = f"{spec.method} on {spec.model}"
        self._push(names.RUN_JOB, {"spec": spec.model_dump(mode="json")}, key, description)
        return self._placed(view)

    def _refuse_when_full(self) -> None:
        if self._jobs.count >= self._max_waiting:
            raise ProblemError(
                ProblemCode.TOO_MANY_REQUESTS,
                f"{self._max_waiting} runs are waiting already, which is the most. Try again when some are done.",
            )

    def _push(
        self, function: str, kwargs: dict[str, object], job_id: str, description: str, *, at_front: bool = False
    ) -> None:
        for _ in range(2):
            try:
                self._jobs.enqueue_call(
                    function,
                    kwargs=kwargs,
                    job_id=job_id,
                    unique=True,
                    result_ttl=0,
                    failure_ttl=FAILED_JOB_TTL_S,
                    description=description,
                    at_front=at_front,
                )
                return
            except DuplicateJobError:
                if self._job_status(job_id) in _ALIVE:
                    return
                self._delete_job(job_id)

    def _end(self, view: RunView, state: RunState, problem: Problem) -> RunView:
        changes = {"state": state, "problem": problem, "position": None, "partial": None, "finished": time.time()}
        ended = view.model_copy(update=changes)
        stored = view.model_copy(update={"position": None})
        return ended if self._states.write(ended, expected=stored) else (self._states.read(view.key) or ended)

    def _placed(self, view: RunView) -> RunView:
        if view.state is not RunState.QUEUED:
            return view
        return view.model_copy(update={"position": self._jobs.get_job_position(view.key)})

    def _is_coming(self, view: RunView) -> bool:
        """Returns whether a job exists that will end the run (or may be about to be written)."""
        if self._job_status(view.key) in _ALIVE:
            return True
        return time.time() - max(view.submitted, view.started or 0.0) < GRACE_S

    def _is_held(self, key: str) -> bool:
        """Returns whether a living worker has the job in its hands, or is just taking it."""
        try:
            job = Job.fetch(key, connection=self._redis, serializer=JSONSerializer)
        except NoSuchJobError:
            return False
        if job.get_status(refresh=False) is not JobStatus.STARTED:
            return key in self._jobs.intermediate_queue.get_job_ids()
        return bool(job.worker_name) and worker_is_alive(self._redis, str(job.worker_name))

    def _job_status(self, job_id: str) -> JobStatus | None:
        status = self._redis.hget(Job.key_for(job_id), "status")
        if status is None:
            return None
        return JobStatus(status.decode() if isinstance(status, bytes) else status)

    def _delete_job(self, job_id: str) -> None:
        try:
            Job.fetch(job_id, connection=self._redis, serializer=JSONSerializer).delete()
        except NoSuchJobError:
            return


def _unknown() -> ProblemError:
    return ProblemError(ProblemCode.NOT_FOUND, "Nobody asked for this run, or it was more than a week ago.")
