"""One house for all journeys, one Chromium for each file, and visitors with clean browser profiles."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright

from tests.e2e.viewer_harness import CHROMIUM_ARGUMENTS, chromium_path
from tests.fakes_models import write_own_model, write_red_model
from tests.journey.house import PATIENCE_S, House, open_house
from tests.journey.visitor import Visitor

Invite = Callable[..., Visitor]


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A running Vitrine with models of known answers, and one that takes its time."""
    folder = tmp_path_factory.mktemp("house")
    models = folder / "models"
    for mode in ("center", "squash", "border"):
        write_red_model(models, f"red-{mode}", crop_mode=mode)
    write_own_model(
        models, "slow", architecture="resnet10t", preprocessing={"input_size": [224, 224], "crop_pct": 1.0}, seed=3
    )
    with open_house(folder) as running:
        yield running


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A running Chromium. Per module, because Playwright's loop must be gone before asyncio tests run."""
    path = chromium_path()
    if path is None:
        pytest.skip("NO CHROMIUM FOUND: the browser tests did not run. Install it with `make browser`.")
    expect.set_options(timeout=PATIENCE_S * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture
def invite(chromium: Browser, house: House) -> Iterator[Invite]:
    """Opens clean browser profiles; the test fails when a console was not silent or a request left this machine."""
    guests: list[Visitor] = []

    def open_profile(*, width: int = 1440, height: int = 1000, **options: Any) -> Visitor:
        size = {"width": width, "height": height}
        context = chromium.new_context(viewport=size, reduced_motion="reduce", **options)
        guests.append(Visitor(context, house.url))
        return guests[-1]

    yield open_profile
    for guest in guests:
        guest.context.close()
    noise = [line for guest in guests for line in guest.noise]
    assert noise == [], f"{noise}\nThe web process said last:\n{house.said('web')}"
    assert [address for guest in guests for address in guest.strayed] == []


@pytest.fixture
def visitor(invite: Invite) -> Visitor:
    """Somebody who was never here before."""
    return invite()
