"""PAMI's cutting processes: same parts as without them, and no process left behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch

from backend.contract.problems import ProblemCode, ProblemError
from tests.fakes_engine import make_context, make_model, make_network, noise_picture
from workers.methods import _pami_pool
from workers.methods._pami_cuts import cut, timed_cut
from workers.methods._pami_pool import Cutter
from workers.methods.pami import Pami, PamiParams

DEADLINE_S = 60.0


@pytest.fixture(autouse=True)
def fresh_pool() -> Iterator[None]:
    torch.set_num_threads(1)
    _pami_pool.close_pool()
    yield
    _pami_pool.close_pool()


def wait_until(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def pool_pids() -> list[int]:
    assert _pami_pool._pool is not None
    return list(_pami_pool._pool._processes)


def warm_pool(cutter: Cutter) -> None:
    """Starts the pool and waits for its first answer (the first view is cut by a thread, hence key 1)."""
    cutter.submit(noise_picture((32, 32)), 1, [3])
    cutter.take(1, 3)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_processes_cut_exactly_as_this_process_does_and_leave_nothing_behind() -> None:
    view = noise_picture((48, 64))
    with Cutter(check_cancelled=lambda: None) as cutter:
        for key in (0, 1):
            cutter.submit(view, key, range(3, 20))
        assert _pami_pool.is_warm()
        for key in (0, 1):
            for index in range(3, 20):
                np.testing.assert_array_equal(cutter.take(key, index), cut(view, index))
        assert cutter.seconds > 0
    pids = pool_pids()
    _pami_pool.close_pool()
    assert not any(is_running(pid) for pid in pids)


def test_one_view_with_a_cold_pool_starts_no_process() -> None:
    with Cutter(check_cancelled=lambda: None) as cutter:
        cutter.submit(noise_picture((32, 32)), 0, range(3, 20))
        cutter.take(0, 3)
        assert not _pami_pool.is_warm()


def test_whole_runs_agree_with_and_without_processes() -> None:
    results = []
    for _ in range(2):  # the first run starts the pool, the second one finds it warm
        loaded = make_model(make_network(), classes=4)
        context, _ = make_context(loaded, noise_picture(), PamiParams(preset="standard"), batch_size=16)
        results.append(Pami().explain(context).arrays["maps"].data)
    assert _pami_pool.is_warm()
    np.testing.assert_array_equal(results[0], results[1])


def test_a_process_that_dies_gives_one_clear_error_and_the_next_run_works() -> None:
    def lose_one() -> None:
        with Cutter(check_cancelled=lambda: None) as cutter:
            warm_pool(cutter)
            cutter.submit(noise_picture((256, 256)), 1, range(3, 20))
            for pid in pool_pids():
                os.kill(pid, signal.SIGKILL)
            for index in range(19, 2, -1):
                cutter.take(1, index)

    with pytest.raises(ProblemError, match="stopped unexpectedly") as caught:
        lose_one()
    assert caught.value.code is ProblemCode.INTERNAL
    assert not _pami_pool.is_warm()
    with Cutter(check_cancelled=lambda: None) as cutter:
        cutter.submit(noise_picture((32, 32)), 1, [4])
        np.testing.assert_array_equal(cutter.take(1, 4), cut(noise_picture((32, 32)), 4))


def test_cancelling_a_run_ends_every_cutting_process() -> None:
    class Stop(Exception):
        pass

    pids: list[int] = []

    def stop(_count: int) -> None:
        if _pami_pool.is_warm() and pool_pids():
            pids.extend(pool_pids())
            raise Stop

    loaded = make_model(make_network(), size=(64, 64), classes=4)
    context, _ = make_context(
        loaded, noise_picture((64, 64)), PamiParams(preset="thorough"), batch_size=8, on_check=stop
    )
    with pytest.raises(Stop):
        Pami().explain(context)
    assert pids
    assert not any(is_running(pid) for pid in pids)
    assert not _pami_pool.is_warm()
    assert not multiprocessing.active_children()


def test_cancelling_is_noticed_while_waiting_for_a_part() -> None:
    class Stop(Exception):
        pass

    def check() -> None:
        raise Stop

    def wait_for_nothing() -> None:
        with Cutter(check_cancelled=check) as cutter:
            cutter.submit(noise_picture((256, 256)), 1, range(3, 20))
            cutter.take(1, 3)

    with pytest.raises(Stop):
        wait_for_nothing()
    assert not _pami_pool.is_warm()


PARENT = """
import sys, time
import numpy as np
from workers.methods import _pami_pool

if __name__ == "__main__":
    cutter = _pami_pool.Cutter(check_cancelled=lambda: None)
    cutter.submit(np.zeros((32, 32, 3), np.uint8), 1, [3])
    cutter.take(1, 3)
    print(*_pami_pool._pool._processes, flush=True)
    sys.stdin.read()
"""


def test_cutting_processes_end_with_a_killed_parent(tmp_path: object) -> None:
    script = f"{tmp_path}/parent.py"
    with open(script, "w") as file:  # noqa: PTH123 - a plain script
        file.write(PARENT)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert pids
        parent.kill()
    assert wait_until(lambda: not any(is_running(pid) for pid in pids))


def test_the_cutting_module_loads_no_torch() -> None:
    code = "import sys, workers.methods._pami_cuts, workers.methods._pami_child; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_parts_travel_as_int16_with_the_time_they_took() -> None:
    labels, seconds = timed_cut(noise_picture((32, 32)), 10)
    assert labels.dtype == np.int16
    assert seconds > 0
