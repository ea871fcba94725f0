"""The supervisor finds its devices, stays light, and starts broken workers ever more slowly."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from backend.contract.settings import SettingsError
from workers.settings import WorkerSettings
from workers.supervisor import Supervisor, find_devices


@pytest.mark.parametrize(
    ("choice", "gpus", "devices"),
    [
        ("auto", 0, ["cpu"]),
        ("auto", 2, ["cuda:0", "cuda:1"]),
        ("cuda", 1, ["cuda:0"]),
        ("cuda:1", 2, ["cuda:1"]),
        ("cpu", 4, ["cpu"]),
        ("mps", 0, ["mps"]),
    ],
)
def test_there_is_one_worker_for_each_gpu_or_one_on_the_cpu(choice: str, gpus: int, devices: list[str]) -> None:
    assert find_devices(choice, count_gpus=lambda: gpus) == devices


def test_asking_for_gpus_where_there_are_none_is_refused_in_words() -> None:
    with pytest.raises(SettingsError, match="no NVIDIA GPU"):
        find_devices("cuda", count_gpus=lambda: 0)


def test_the_supervisor_does_not_carry_torch() -> None:
    code = "import sys, workers.supervisor; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_worker_that_cannot_start_is_tried_again_after_ever_longer_pauses(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    code = f"import time; open({str(starts)!r}, 'a').write(f'{{time.time()}}\\n'); raise SystemExit(3)"
    settings = WorkerSettings(queue_redis_url="redis://127.0.0.1:1/0", data_dir=tmp_path)
    supervisor = Supervisor(settings, ["cpu"], command=[sys.executable, "-c", code])
    deadline = time.monotonic() + 20
    while (len(starts.read_text().split()) if starts.exists() else 0) < 3 and time.monotonic() < deadline:
        supervisor._tick()
    supervisor._end_all()
    moments = [float(moment) for moment in starts.read_text().split()]
    assert moments[1] - moments[0] >= 1.0
    assert moments[2] - moments[1] >= 2.0
