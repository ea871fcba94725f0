"""Maps that sharpen while one looks, runs that are stopped, workers that die, answers that were there already."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import expect

from tests.journey.conftest import Invite
from tests.journey.house import House, wait_for
from tests.journey.questions import make_noise
from tests.journey.visitor import Visitor, coloured_share, run_of

pytestmark = [pytest.mark.browser, pytest.mark.redis, pytest.mark.xdist_group("house")]

BATCH = 16
SLOW_PAMI = {"preset": "fast", "batch_size": BATCH}
"""A batch of the slow model takes longer than the time between two reports, so every pass made is reported."""
PASSES = re.compile(r"Running, [\d,]+ / [\d,]+ passes")


def passes_made(house: House, run: str) -> int:
    progress = house.get(f"/api/v1/runs/{run}")["progress"]
    return int(progress["done"]) if progress else 0


def start_slow_run(visitor: Visitor, seed: int) -> str:
    """Uploads a picture that nobody asked about before and returns the run of its only cell, already running."""
    visitor.remember(models=["slow"], methods=["pami"], params={"pami": SLOW_PAMI}).open()
    visitor.upload(make_noise(seed), f"patches-{seed}.png")
    cell = visitor.cell("slow", "pami")
    expect(cell).to_have_attribute("data-state", "running")
    return run_of(cell)


def test_a_partial_map_is_seen_before_the_run_ends(house: House, visitor: Visitor) -> None:
    run = start_slow_run(visitor, 1)
    cell = visitor.cell("slow", "pami")
    expect(visitor.page.locator('[data-live="cost-pami"]')).to_contain_text("450 passes")
    expect(cell).to_have_attribute("data-partial", "true")
    expect(cell.locator(".v-viewer-badge-note")).to_have_text("partial map")
    expect(cell).to_have_attribute("data-state", "running")
    expect(cell.locator(".v-state-words")).to_have_text(PASSES)
    expect(cell.locator(".v-viewer")).to_have_attribute("data-viewer-state", "ready")
    wait_for(lambda: coloured_share(cell) > 0.1, "the partial map has colours")
    assert house.get(f"/api/v1/runs/{run}")["state"] == "running"
    visitor.finished("slow", "pami")
    expect(cell.locator(".v-viewer-badge-note")).to_be_hidden()


def test_cancel_ends_a_run_within_one_batch_and_the_worker_takes_the_next(house: House, visitor: Visitor) -> None:
    run = start_slow_run(visitor, 2)
    cell = visitor.cell("slow", "pami")
    wait_for(lambda: passes_made(house, run) >= 2 * BATCH, "some batches are done")
    with visitor.page.expect_response(lambda answer: answer.request.method == "DELETE"):
        cell.get_by_test_id("cancel").click()
    asked_at = passes_made(house, run)
    ended = house.finished(run)
    assert ended["state"] == "cancelled"
    assert ended["progress"]["done"] - asked_at <= BATCH
    assert ended["progress"]["done"] < ended["progress"]["total"]
    expect(cell).to_have_attribute("data-state", "cancelled")
    expect(cell).to_contain_text("You stopped this map")

    visitor.page.get_by_role("button", name="Change", exact=True).first.click()
    visitor.choose_sample("drawn-crested-indol")
    visitor.page.get_by_role("button", name="Remove slow").click()
    visitor.page.get_by_test_id("model-search").click()
    visitor.page.get_by_role("option", name="red-squash").click()
    expect(visitor.cell("red-squash", "pami")).to_have_attribute("data-state", "idle")
    visitor.page.get_by_test_id("run").click()
    visitor.finished("red-squash", "pami")


def test_a_killed_worker_is_replaced_and_the_page_shows_the_result_without_a_reload(
    house: House, visitor: Visitor
) -> None:
    run = start_slow_run(visitor, 3)
    cell = visitor.cell("slow", "pami")
    wait_for(lambda: passes_made(house, run) >= BATCH, "the run is under way")
    (worker,) = house.worker_pids()
    visitor.page.evaluate("window.stillTheSamePage = true")
    os.kill(worker, signal.SIGKILL)
    visitor.finished("slow", "pami")
    view = house.get(f"/api/v1/runs/{run}")
    assert view["state"] == "done"
    assert worker not in house.worker_pids()
    assert visitor.page.evaluate("window.stillTheSamePage") is True
    assert coloured_share(cell) > 0.1


def test_the_same_question_is_answered_at_once_without_any_worker(house: House, invite: Invite) -> None:
    def ask_again() -> Visitor:
        person = invite()
        person.remember(models=["red-squash"], methods=["nave", "pami"], params={"pami": {"preset": "fast"}}).open()
        person.choose_sample("drawn-crowned-ochre")
        return person

    first = ask_again()
    before = {method: run_of(first.finished("red-squash", method)) for method in ("nave", "pami")}
    house.stop("worker")
    try:
        second = ask_again()
        for method, run in before.items():
            cell = second.finished("red-squash", method)
            assert run_of(cell) == run
            expect(cell.locator(".v-viewer-badge-note")).to_have_text("from cache")
    finally:
        house.start_worker()
