"""The worker of the training queue: like the one for explanations, but for trainings, and it offers nothing."""

from __future__ import annotations

from rq import worker_registration
from rq.utils import now

from backend.contract.problems import ProblemCode, make_problem
from backend.contract.trainings import TrainingState
from workers.bench import Closing
from workers.gpu_worker import GpuWorker
from workers.training_recovery import TrainingRecovery
from workers.training_reporter import TrainingReporter, read_training
from workers.training_tasks import TrainingEnding


class TrainingWorker(GpuWorker):
    """Performs the trainings of one queue in this very process; see :class:`workers.gpu_worker.GpuWorker`."""

    recovery_class = TrainingRecovery

    def run_maintenance_tasks(self) -> None:
        """Looks after lost trainings and makes sure that this worker can be found."""
        self._recovery.sweep()
        worker_registration.clean_worker_registry(self.queues[0])
        self._announce()
        self.last_cleaned_at = now()

    def _failed_ending(self, job_id: str) -> Closing | None:
        view = read_training(self.connection, job_id)
        if view is None or view.state.is_final:
            return None
        problem = make_problem(ProblemCode.INTERNAL, "The worker could not begin this training. Its log says why.")
        return TrainingEnding(TrainingReporter(self.connection, job_id, view.spec), TrainingState.FAILED, problem)
