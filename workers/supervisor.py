"""Keeps one worker process per device alive: starts it, restarts it, kills it when it is stuck, frees its job.

Light on purpose (no torch): it must survive whatever happens to the processes that compute.
"""

from __future__ import annotations

import argparse
import os
import selectors
import shutil
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import redis
import structlog

from backend.contract import names
from backend.contract.logs import configure_logging
from backend.contract.problems import Problem, ProblemCode, make_problem
from backend.contract.settings import SettingsError, read_settings
from workers.connection import connect, policy_fault
from workers.lifeline import follow_parent
from workers.recovery import Recovery
from workers.settings import WorkerSettings
from workers.training_recovery import TrainingRecovery

log = structlog.get_logger()

TICK_S = 0.5
SWEEP_S = 5.0
STEADY_S = 30.0
"""A worker that lived this long did not die of a broken start, so the next one starts at once."""
LONGEST_PAUSE_S = 30.0
LEAVE_S = 10.0
"""Seconds that workers get to finish their batch and put their run back when everything stops."""
RETRIES = 2
BUSY = b"b"


@dataclass
class Slot:
    """One device and the process that works on it at the moment.

    A slot for trainings has a process only while there is something to train, and a little longer.
    """

    device: str
    queue: str = names.EXPLAIN_QUEUE
    process: subprocess.Popen[bytes] | None = None
    name: str = ""
    lifeline: int = -1
    status: int = -1
    started: float = 0.0
    busy_since: float | None = None
    is_killed: bool = False
    deaths: int = 0
    start_after: float = 0.0


@dataclass(frozen=True)
class _Loss:
    """A dead worker whose jobs are still to be released."""

    name: str
    queue: str
    problem: Problem | None


@dataclass
class Supervisor:
    """Starts and watches the workers of one machine.

    Args:
        settings: Of the workers.
        devices: One worker each.
        training_devices: One training at a time each; by default none.
        command: Program of a worker process, without its arguments.
    """

    settings: WorkerSettings
    devices: Sequence[str]
    command: Sequence[str] = (sys.executable, "-m", "workers.worker_process")
    training_devices: Sequence[str] = ()
    _slots: list[Slot] = field(default_factory=list)
    _losses: list[_Loss] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)
    _last_sweep: float = 0.0

    def __post_init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._slots = [Slot(device) for device in self.devices]
        self._slots += [Slot(device, names.TRAINING_QUEUE) for device in self.training_devices]
        self._connection = connect(self.settings.queue_redis_url, retries=RETRIES)
        attempts = self.settings.run_attempts
        self._recoveries: dict[str, Recovery] = {names.EXPLAIN_QUEUE: Recovery(self._connection, attempts=attempts)}
        if self.training_devices:
            self._recoveries[names.TRAINING_QUEUE] = TrainingRecovery(self._connection, attempts=attempts)

    def run(self) -> None:
        """Works until :meth:`stop` is called, then ends every worker."""
        try:
            while not self._stop.is_set():
                self._tick()
        finally:
            self._end_all()

    def stop(self) -> None:
        """Makes :meth:`run` return soon; safe from a signal handler."""
        self._stop.set()

    def _tick(self) -> None:
        now = time.monotonic()
        for slot in self._slots:
            if slot.process is None and now >= slot.start_after and self._is_wanted(slot):
                self._start(slot)
        for key, _ in self._selector.select(TICK_S):
            self._read_status(key.data)
        for slot in self._slots:
            self._look_after(slot)
        self._release_losses()

    def _is_wanted(self, slot: Slot) -> bool:
        """Whether a process shall work here: always for explanations, else when a training waits."""
        if slot.queue == names.EXPLAIN_QUEUE:
            return True
        try:
            return bool(self._connection.llen(f"rq:queue:{slot.queue}"))
        except redis.RedisError:
            slot.start_after = time.monotonic() + SWEEP_S
            return False

    def _start(self, slot: Slot) -> None:
        kind = "" if slot.queue == names.EXPLAIN_QUEUE else f"{slot.queue}-"
        slot.name = f"{kind}{slot.device.replace(':', '')}-{uuid.uuid4().hex[:8]}"
        lifeline_out, slot.lifeline = os.pipe()
        slot.status, status_in = os.pipe()
        os.set_blocking(slot.status, False)
        arguments = ["--name", slot.name, "--device", slot.device, "--queue", slot.queue]
        arguments += ["--lifeline-fd", str(lifeline_out), "--status-fd", str(status_in)]
        slot.process = subprocess.Popen(
            [*self.command, *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=(lifeline_out, status_in),
            start_new_session=True,  # Ctrl-C reaches the supervisor, which then stops its workers in order
        )
        os.close(lifeline_out)
        os.close(status_in)
        self._selector.register(slot.status, selectors.EVENT_READ, slot)
        slot.started, slot.busy_since, slot.is_killed = time.monotonic(), None, False
        log.info("worker.starting", worker=slot.name, pid=slot.process.pid)

    def _read_status(self, slot: Slot) -> None:
        try:
            data = os.read(slot.status, 4096)
        except BlockingIOError:
            return
        if not data:  # the process has closed its end: it is gone or going
            self._selector.unregister(slot.status)
            return
        slot.busy_since = time.monotonic() if data[-1:] == BUSY else None

    def _look_after(self, slot: Slot) -> None:
        if slot.process is None:
            return
        if slot.process.poll() is not None:
            self._bury(slot)
        elif self._is_stuck(slot) and not slot.is_killed:
            log.error("worker.stuck", worker=slot.name, seconds=self._limit_s(slot.queue))
            slot.is_killed = True
            slot.process.kill()

    def _is_stuck(self, slot: Slot) -> bool:
        limit_s = self._limit_s(slot.queue) + self.settings.kill_grace_s
        return slot.busy_since is not None and time.monotonic() - slot.busy_since > limit_s

    def _limit_s(self, queue: str) -> float:
        is_training = queue == names.TRAINING_QUEUE
        return self.settings.training_timeout_s if is_training else self.settings.job_timeout_s

    def _bury(self, slot: Slot) -> None:
        status = slot.process.returncode if slot.process else None
        if slot.queue == names.TRAINING_QUEUE and status == 0:
            log.info("worker.finished", worker=slot.name)
            slot.deaths, slot.start_after = 0, 0.0
            self._close(slot)
            return
        lived_s = time.monotonic() - slot.started
        slot.deaths = 0 if lived_s > STEADY_S or slot.busy_since is not None else slot.deaths + 1
        pause_s = 0.0 if slot.deaths == 0 else min(LONGEST_PAUSE_S, 0.5 * 2**slot.deaths)
        slot.start_after = time.monotonic() + pause_s
        log.error("worker.died", worker=slot.name, status=status, lived_s=round(lived_s, 1), pause_s=pause_s)
        self._losses.append(_Loss(slot.name, slot.queue, self._too_long(slot.queue) if slot.is_killed else None))
        self._close(slot)

    def _close(self, slot: Slot) -> None:
        if slot.status in self._selector.get_map():
            self._selector.unregister(slot.status)
        os.close(slot.status)
        os.close(slot.lifeline)
        slot.process = None

    def _release_losses(self) -> None:
        """Frees the jobs of dead workers; what cannot be done now, because Redis is away, is done later."""
        try:
            while self._losses:
                lost = self._losses[0]
                self._recoveries[lost.queue].release(lost.name, problem=lost.problem)
                self._losses.pop(0)
            if time.monotonic() - self._last_sweep > SWEEP_S:
                self._last_sweep = time.monotonic()
                for recovery in self._recoveries.values():
                    recovery.sweep()
        except redis.RedisError as error:
            log.warning("queue.unreachable", error=type(error).__name__)

    def _too_long(self, queue: str) -> Problem:
        if queue == names.TRAINING_QUEUE:
            return make_problem(
                ProblemCode.TIMED_OUT,
                f"The training did not end within {self.settings.training_timeout_s:g} seconds, so it was stopped. "
                "It can go on from its last checkpoint.",
            )
        return make_problem(
            ProblemCode.TIMED_OUT,
            f"The run did not end within {self.settings.job_timeout_s:g} seconds, so its worker was stopped. "
            "Choose a smaller model or cheaper settings.",
        )

    def _end_all(self) -> None:
        alive = [slot for slot in self._slots if slot.process is not None]
        for slot in alive:
            _send(slot, signal.SIGTERM)
        deadline = time.monotonic() + LEAVE_S
        for slot in alive:
            self._end(slot, deadline)
        self._release_losses()
        self._selector.close()

    def _end(self, slot: Slot, deadline: float) -> None:
        process = slot.process
        if process is None:
            return
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.returncode != 0:
            self._losses.append(_Loss(slot.name, slot.queue, None))
        self._close(slot)


def find_devices(choice: str, *, count_gpus: Callable[[], int] | None = None) -> list[str]:
    """Returns the devices to work on.

    Args:
        choice: ``auto``, ``cpu``, ``cuda``, ``cuda:<number>`` or ``mps``.
        count_gpus: Answers how many NVIDIA GPUs can be used; by default another process asks torch.

    Raises:
        SettingsError: If GPUs are asked for and there are none.
    """
    if choice not in ("auto", "cuda"):
        return [choice]
    count = (count_gpus or _count_gpus)() if choice == "cuda" or _may_have_gpu() or count_gpus else 0
    if count:
        return [f"cuda:{index}" for index in range(count)]
    if choice == "cuda":
        raise SettingsError("VITRINE_DEVICE is cuda, but no NVIDIA GPU can be used here. Use auto or cpu.")
    return ["cpu"]


def spread(devices: Sequence[str], count: int) -> list[str]:
    """Returns the devices that trainings run on: from the last device on backwards, in turns."""
    return [devices[-1 - index % len(devices)] for index in range(count)]


def refuse_forgetful_queue(url: str) -> None:
    """Raises if the queue's server would throw jobs away when it is full; an unreachable server may come yet.

    Raises:
        SettingsError: With what to change.
    """
    try:
        with connect(url, retries=RETRIES) as server:
            fault = policy_fault(server)
    except redis.RedisError as error:
        log.warning("queue.unreachable", error=type(error).__name__)
        return
    if fault is not None:
        raise SettingsError(fault)


def main(arguments: Sequence[str] | None = None) -> int:
    """Supervises until SIGTERM or Ctrl-C; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m workers.supervisor", description=__doc__)
    parser.add_argument("--lifeline-fd", type=int, help="reading end of the parent's pipe")
    lifeline_fd = parser.parse_args(arguments).lifeline_fd
    if lifeline_fd is not None:
        follow_parent(lifeline_fd)
    try:
        settings = read_settings(WorkerSettings)
        devices = find_devices(settings.device)
        refuse_forgetful_queue(settings.queue_redis_url)
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    configure_logging(settings)
    training_devices = spread(devices, settings.training_workers)
    supervisor = Supervisor(settings, devices, training_devices=training_devices)
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: supervisor.stop())
    log.info("supervisor.started", devices=devices)
    supervisor.run()
    log.info("supervisor.stopped")
    return 0


def _send(slot: Slot, signum: signal.Signals) -> None:
    if slot.process is not None:
        slot.process.send_signal(signum)


def _may_have_gpu() -> bool:
    has_driver = any(Path("/dev").glob("nvidia[0-9]*")) or Path("/dev/dxg").exists()
    return has_driver or shutil.which("nvidia-smi") is not None


def _count_gpus() -> int:
    """Asks torch in another process, so that no GPU context lives in this one."""
    code = "import torch; print(torch.cuda.device_count() if torch.cuda.is_available() else 0)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    return int(answer.stdout.strip() or 0) if answer.returncode == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
