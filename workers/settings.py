"""What a worker reads from the environment."""

from __future__ import annotations

import re
from pathlib import Path

from pydantic import Field, field_validator

from backend.contract.settings import CommonSettings

_DEVICE = re.compile(r"auto|cpu|cuda(:\d+)?|mps")
GIBIBYTE = 2**30


class WorkerSettings(CommonSettings):
    """Settings of the supervisor and of the worker processes that it starts."""

    device: str = Field(
        default="auto",
        description="auto (every NVIDIA GPU, else the CPU), cpu, cuda (every GPU), cuda:<number> or mps.",
    )
    models_dir: Path | None = Field(default=None, description="Folder with own models, one directory each.")
    methods_dir: Path | None = Field(
        default=None, description="Folder with further explanation methods, one Python file each. Its code is run."
    )
    embedder_dir: Path | None = Field(
        default=None,
        description="Folder of a sentence-transformers model that says how close two captions are. "
        "Default: the built-in one.",
    )
    model_budget_bytes: int = Field(
        default=8 * GIBIBYTE,
        ge=2**20,
        description="Memory for loaded models, in bytes; the least recently used leaves.",
    )
    job_timeout_s: float = Field(default=900, gt=0, le=86_400, description="Longest time for one run, in seconds.")
    kill_grace_s: float = Field(
        default=30, gt=0, le=3600, description="Seconds after the timeout before a stuck worker is killed."
    )
    run_attempts: int = Field(
        default=3, ge=1, le=10, description="How many workers may die on one run before it is given up."
    )
    training_workers: int = Field(
        default=1,
        ge=0,
        le=16,
        description="Trainings that run at the same time on this machine. Their processes exist only while they train.",
    )
    training_timeout_s: float = Field(
        default=7 * 86_400, gt=0, le=90 * 86_400, description="Longest time for one training, in seconds."
    )
    training_idle_s: int = Field(
        default=120, ge=1, le=86_400, description="Seconds that a process which trained waits for the next training."
    )
    threads: int | None = Field(
        default=None, ge=1, description="Threads of one worker on the CPU. Default: torch's own choice."
    )

    @field_validator("device")
    @classmethod
    def _validate_device(cls, device: str) -> str:
        if not _DEVICE.fullmatch(device):
            raise ValueError("allowed are auto, cpu, cuda, cuda:<number> and mps")
        return device
