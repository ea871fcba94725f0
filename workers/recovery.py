"""Gives the jobs of lost workers back to the queue, or ends them when they keep killing workers.

RQ's own clean-up waits a minute and marks such jobs as failed; here a lost job is requeued at once, counted, and
given up with a stored problem after some attempts. One Lua script does all of it, so that two supervisors that
notice the same loss do not both act. Light on purpose (no torch).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import redis
import structlog
from rq.exceptions import DeserializationError, NoSuchJobError
from rq.queue import Queue
from rq.serializers import JSONSerializer
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from backend.contract import names
from backend.contract.problems import Problem, ProblemCode, make_problem
from backend.contract.schemas import RunState, RunView
from workers.jobs import VitrineJob
from workers.reporter import event_of, problem_card, read_view

log = structlog.get_logger()

STUCK_S = 2.0
"""How long a job may lie between the queue and its worker before it counts as lost on the way."""
GIVEN_BACK, GIVEN_UP, NOT_OURS = 1, 2, 0

_RELEASE = """
-- KEYS: started registry, intermediate list, queue, job, execution, executions of the job, state, events
-- ARGV: registry entry, job id, execution id, attempts, state ttl, events kept,
--       state if given back, its event, state if given up, its event, the stream's field for it
if redis.call('ZREM', KEYS[1], ARGV[1]) == 0 then return 0 end
redis.call('LREM', KEYS[2], 0, ARGV[2])
redis.call('DEL', KEYS[5])
redis.call('ZREM', KEYS[6], ARGV[3])
if redis.call('HEXISTS', KEYS[4], 'data') == 0 then redis.call('DEL', KEYS[4]) return 0 end
local losses = redis.call('HINCRBY', KEYS[4], 'vitrine_losses', 1)
local outcome, state, event = 1, ARGV[7], ARGV[8]
if losses >= tonumber(ARGV[4]) then outcome, state, event = 2, ARGV[9], ARGV[10] end
if outcome == 1 then
  redis.call('HSET', KEYS[4], 'status', 'queued', 'worker_name', '')
  redis.call('LPUSH', KEYS[3], ARGV[2])
else
  redis.call('DEL', KEYS[4])
end
if state ~= '' then
  redis.call('SET', KEYS[7], state, 'EX', ARGV[5])
  redis.call('XADD', KEYS[8], 'MAXLEN', '~', ARGV[6], '*', ARGV[11], event)
end
return outcome
"""

_UNSTICK = """
-- KEYS: intermediate list, queue, job      ARGV: job id
if redis.call('LREM', KEYS[1], 1, ARGV[1]) == 0 then return 0 end
if redis.call('HEXISTS', KEYS[3], 'data') == 0 then return 0 end
redis.call('LPUSH', KEYS[2], ARGV[1])
return 1
"""


@dataclass(frozen=True)
class _Entry:
    """One line of RQ's registry of started jobs."""

    raw: str
    job_id: str
    execution_id: str
    expires: float


@dataclass(frozen=True)
class Account:
    """What is written of a lost job, besides what RQ keeps.

    Args:
        state: Name of its state in Redis.
        ttl_s: Life of that state.
        back: Its state and event when it goes back to the queue; empty texts when there is no state to change.
        given_up: The same when it is given up.
        field: The event stream's field for it.
    """

    state: str
    ttl_s: int
    back: tuple[str, str]
    given_up: tuple[str, str]
    field: str = "event"


class Recovery:
    """Looks after the jobs of workers that are gone.

    Args:
        connection: To the queue server.
        attempts: How many workers may be lost on one job.
        queue_name: The queue that is looked after.
    """

    def __init__(self, connection: redis.Redis, *, attempts: int, queue_name: str = names.EXPLAIN_QUEUE) -> None:
        self._redis = connection
        self._attempts = attempts
        self._queue = Queue(queue_name, connection=connection, serializer=JSONSerializer, job_class=VitrineJob)
        self._release = connection.register_script(_RELEASE)
        self._unstick = connection.register_script(_UNSTICK)
        self._stuck_since: dict[str, float] = {}

    def sweep(self) -> list[str]:
        """Releases jobs whose worker has not been heard of for too long; returns their ids."""
        now = time.time()
        lost = [entry for entry in self._entries() if entry.expires < now]
        return [*self._give_back(lost, None), *self._free_stuck()]

    def release(self, worker_name: str, *, problem: Problem | None = None) -> list[str]:
        """Releases what a dead worker was doing, at once; returns the ids of the jobs.

        Args:
            worker_name: The worker, known to be gone.
            problem: If given, its jobs are not tried again but end with this problem.
        """
        lost = [entry for entry in self._entries() if self._worker_of(entry) == worker_name]
        released = self._give_back(lost, problem)
        self._forget_worker(worker_name)
        return released

    def _entries(self) -> list[_Entry]:
        found: list[Any] = self._redis.zrange(self._queue.started_job_registry.key, 0, -1, withscores=True)
        entries = []
        for raw, score in found:
            text = _text(raw)
            job_id, _, execution_id = text.rpartition(":")
            entries.append(_Entry(raw=text, job_id=job_id, execution_id=execution_id, expires=float(score)))
        return entries

    def _worker_of(self, entry: _Entry) -> str | None:
        name = self._redis.hget(_execution_key(entry), "worker_name")
        return None if name is None else _text(name)

    def _give_back(self, entries: list[_Entry], problem: Problem | None) -> list[str]:
        released = []
        for entry in entries:
            outcome = self._run_release(entry, problem)
            if outcome == NOT_OURS:
                continue
            released.append(entry.job_id)
            log.warning("job.recovered", job=entry.job_id[:12], given_up=outcome == GIVEN_UP)
        return released

    def _run_release(self, entry: _Entry, problem: Problem | None) -> int:
        reason = problem or lost_problem(self._attempts)
        account = self._account(entry.job_id, reason)
        model = self._described_model(entry.job_id) if account.back == ("", "") else None
        outcome = self._release(
            keys=[
                self._queue.started_job_registry.key,
                self._queue.intermediate_queue_key,
                self._queue.key,
                VitrineJob.key_for(entry.job_id),
                _execution_key(entry),
                f"rq:executions:{entry.job_id}",
                account.state,
                names.EVENTS,
            ],
            args=[
                entry.raw,
                entry.job_id,
                entry.execution_id,
                1 if problem else self._attempts,
                account.ttl_s,
                names.EVENTS_KEPT,
                *account.back,
                *account.given_up,
                account.field,
            ],
        )
        if outcome == GIVEN_UP and model is not None:
            self._redis.hset(names.CARDS, model, problem_card(model, reason).model_dump_json())
        return int(outcome)

    def _account(self, job_id: str, reason: Problem) -> Account:
        """Returns what is written of a lost job: its run's state and event."""
        view = read_view(self._redis, job_id)
        return Account(
            state=names.run_state(job_id),
            ttl_s=names.STATE_TTL_S,
            back=_views(view, {"state": RunState.QUEUED, "attempt": _next_attempt(view), **_CLEARED}),
            given_up=_views(
                view, {"state": RunState.FAILED, "problem": reason, "partial": None, "finished": time.time()}
            ),
        )

    def _described_model(self, job_id: str) -> str | None:
        """Returns the model that a describing job was about."""
        try:
            job = VitrineJob.fetch(job_id, connection=self._redis, serializer=JSONSerializer)
            name = job.kwargs.get("name") if job.func_name == names.DESCRIBE_JOB else None
        except (NoSuchJobError, DeserializationError):
            return None
        return name if isinstance(name, str) else None

    def _free_stuck(self) -> list[str]:
        """Gives back jobs that a worker took from the queue and never began."""
        started = {entry.job_id for entry in self._entries()}
        waiting = {_text(raw) for raw in self._redis.lrange(self._queue.intermediate_queue_key, 0, -1)} - started
        now = time.monotonic()
        self._stuck_since = {job_id: self._stuck_since.get(job_id, now) for job_id in waiting}
        freed = []
        for job_id, since in self._stuck_since.items():
            if now - since < STUCK_S:
                continue
            keys = [self._queue.intermediate_queue_key, self._queue.key, VitrineJob.key_for(job_id)]
            if self._unstick(keys=keys, args=[job_id]):
                freed.append(job_id)
                log.warning("job.unstuck", job=job_id[:12])
        return freed

    def _forget_worker(self, worker_name: str) -> None:
        key = f"rq:worker:{worker_name}"
        with self._redis.pipeline() as pipeline:
            pipeline.delete(key)
            pipeline.srem(REDIS_WORKER_KEYS, key)
            pipeline.srem(WORKERS_BY_QUEUE_KEY % self._queue.name, key)
            pipeline.execute()


_CLEARED: dict[str, Any] = {"started": None, "progress": None, "partial": None, "problem": None}


def lost_problem(attempts: int) -> Problem:
    """Returns what people read when a run has killed too many workers."""
    times = "once" if attempts == 1 else f"{attempts} times"
    return make_problem(
        ProblemCode.WORKER_LOST,
        f"The worker stopped {times} while it computed this. The model or the settings may need more memory than "
        "there is.",
    )


def _next_attempt(view: RunView | None) -> int:
    return 1 if view is None else view.attempt + 1


def _views(view: RunView | None, changes: dict[str, Any]) -> tuple[str, str]:
    """Returns JSON of the changed state and of its event; empty texts when there is no state to change."""
    if view is None or view.state.is_final:
        return "", ""
    changed = view.model_copy(update=changes)
    return changed.model_dump_json(), event_of(changed, set(changes)).model_dump_json()


def _execution_key(entry: _Entry) -> str:
    return f"rq:execution:{entry.job_id}:{entry.execution_id}"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
