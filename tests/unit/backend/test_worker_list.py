"""Who computes: workers for explanations count as such, those that train do not."""

from __future__ import annotations

import fakeredis

from backend.contract.artifacts import RedisArtifactStore
from backend.queue import QueueRuns


def test_a_process_that_trains_is_listed_but_answers_nobody() -> None:
    queue = fakeredis.FakeRedis()
    for name, fields in (
        ("cpu-1", {"queues": "explain", "state": "idle"}),
        ("training-cpu-2", {"queues": "training", "state": "busy"}),
        ("cpu-3", {"state": "busy"}),
        ("cpu-4", {"queues": "explain", "state": "idle", "death": "2026-01-01T00:00:00.000000Z"}),
    ):
        queue.sadd("rq:workers", f"rq:worker:{name}")
        queue.hset(f"rq:worker:{name}", mapping=fields)
    runs = QueueRuns(queue, RedisArtifactStore(queue))
    found = {worker.name: worker.queue for worker in runs.workers()}
    assert found == {"cpu-1": "explain", "training-cpu-2": "training", "cpu-3": "explain"}
    crowd = runs.crowd()
    assert (crowd.workers, crowd.busy) == (2, 1)
