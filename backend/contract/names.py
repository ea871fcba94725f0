"""Names in Redis, in one place, so that no two packages disagree about them.

The *queue* server holds what must not be lost (jobs, states, events, the catalogue); the *cache* server holds
what can be computed again (pictures, arrays, manifests). They may be one server in development.
"""

from __future__ import annotations

EXPLAIN_QUEUE = "explain"
RUN_JOB = "workers.tasks.run"
DESCRIBE_JOB = "workers.tasks.describe"
TRAINING_QUEUE = "training"
TRAIN_JOB = "workers.training_tasks.train"
"""The only functions that a worker agrees to call."""

EVENTS = "vitrine:events"
"""Redis stream (queue server): one entry per event, field ``event`` = JSON of RunEvent."""
TRAINING_FIELD = "training"
"""Field of an entry of that stream that is about a training instead: JSON of TrainingEvent."""
EVENTS_KEPT = 5_000
"""About a quarter of an hour of busy work; an entry with a partial result can take 10 KB of a server that keeps all."""
CATALOGUE = "vitrine:catalogue"
"""Queue server: JSON of Catalogue, written by workers."""
CARDS = "vitrine:cards"
"""Queue server, hash: model name -> JSON of ModelCard for models described on demand."""
CAPABILITIES = "vitrine:capabilities"
"""Queue server, hash: model name -> JSON list of Capability, for models described on demand."""
RATES = "vitrine:rates"
"""Queue server, hash: ``<model>`` -> measured passes per second."""

TRAININGS = "vitrine:trainings"
"""Queue server, sorted set: ids of all trainings, by the time they were asked for."""
TRAINING_KINDS = "vitrine:training-kinds"
"""Queue server: JSON list of TrainingCard, written by workers."""
TRAINABLE = "vitrine:trainable"
"""Queue server, hash: model name -> JSON list of Trainable."""
TRAINING_TTL_S = 10 * 365 * 24 * 3600
"""Past trainings stay until somebody deletes them; this only ends what everybody forgot."""
STATE_TTL_S = 7 * 24 * 3600
RESULT_TTL_S = 7 * 24 * 3600
PICTURE_TTL_S = 7 * 24 * 3600
PARTIAL_TTL_S = 3600


def run_state(key: str) -> str:
    """Queue server: JSON of RunView."""
    return f"vitrine:run:{key}"


def run_cancel(key: str) -> str:
    """Queue server: exists while somebody wants the run to stop."""
    return f"vitrine:cancel:{key}"


def result(key: str) -> str:
    """Cache server: compressed JSON of the final Manifest."""
    return f"vitrine:result:{key}"


def blob(digest: str) -> str:
    """Cache server: compressed bytes of an array."""
    return f"vitrine:blob:{digest}"


def picture(image_id: str) -> str:
    """Cache server: PNG bytes of a canonical picture."""
    return f"vitrine:picture:{image_id}"


def picture_record(image_id: str) -> str:
    """Cache server: JSON of PictureRecord."""
    return f"vitrine:picture-record:{image_id}"


def training_state(training_id: str) -> str:
    """Queue server: JSON of TrainingView."""
    return f"vitrine:training:{training_id}"


def training_wish(training_id: str) -> str:
    """Queue server: ``stop`` or ``finish`` while somebody wants that."""
    return f"vitrine:training-wish:{training_id}"


def training_pictures(training_id: str) -> str:
    """Cache server, hash: name -> bytes of a small picture that shows how far a training is."""
    return f"vitrine:training-pictures:{training_id}"
