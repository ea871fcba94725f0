"""``python -m benchmarks``: runs every benchmark of this folder, one after the other, and prints what it measured.

Each file is also a command of its own (``python -m benchmarks.pami --help``). Ratios within one run are comparable;
absolute times belong to the machine and the minute they were taken in.
"""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path

import torch

PARTS = sorted(
    path.stem
    for path in Path(__file__).parent.glob("*.py")
    if path.stem != "__main__" and "def main(" in path.read_text(encoding="utf-8")
)


def main() -> None:
    """Runs all parts in processes of their own, so that none warms up another; exits with the worst status."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    print(f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d %H:%M} UTC, {platform.machine()}, {cores} cores, {gpu}")
    print(f"Python {platform.python_version()}, torch {torch.__version__}")
    worst = 0
    for part in PARTS:
        print(f"\n== {part} ==", flush=True)
        worst = max(worst, abs(subprocess.run([sys.executable, "-m", f"benchmarks.{part}"], check=False).returncode))
    sys.exit(worst)


if __name__ == "__main__":
    main()
