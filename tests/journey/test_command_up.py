"""One command in an empty folder, as on a machine where nothing of Vitrine ran before."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.journey.house import free_port, wait_for
from tests.journey.visitor import Visitor

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

Started = tuple["subprocess.Popen[bytes]", Path]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Started]:
    """``vitrine up`` in an empty folder, with nothing of Vitrine in its environment."""
    log = tmp_path.with_name(f"{tmp_path.name}.log")
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VITRINE_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vitrine", "up", "--port", str(free_port())],
            env=clean,
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    yield process, log
    if process.poll() is None:
        process.kill()
        process.wait()


def descendants(pid: int) -> set[int]:
    """Returns the processes below another one, whatever their sessions."""
    listed = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in map(str.split, listed.splitlines())}
    found: set[int] = set()
    wave = {pid}
    while wave:
        wave = {child for child, parent in parents.items() if parent in wave} - found
        found |= wave
    return found


def is_running(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state.strip()) and not state.startswith("Z")


def test_one_command_starts_everything_and_a_polite_end_leaves_nothing_behind(
    started: Started, chromium: Browser
) -> None:
    process, log = started
    address = wait_for(lambda: re.search(r"Vitrine is at (\S+)", log.read_text()), "the address").group(1)
    person = Visitor(chromium.new_context(), address)
    page = person.open()
    expect(page.get_by_role("heading", name="See what a model sees.")).to_be_visible()
    expect(page.locator(".v-workers")).to_contain_text("1 worker, free")
    below = descendants(process.pid)
    assert len(below) >= 3
    person.context.close()
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 0
    wait_for(lambda: not [pid for pid in below if is_running(pid)], "nothing is left running")
    assert "Traceback" not in log.read_text()
    assert person.noise == []
