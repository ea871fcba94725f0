"""One Chromium for each test file that asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from tests.e2e.viewer_harness import CHROMIUM_ARGUMENTS, Harness, chromium_path, serve


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """A running Chromium. Per module, because Playwright's loop must be gone before asyncio tests run."""
    path = chromium_path()
    if path is None:
        pytest.skip("NO CHROMIUM FOUND: the browser tests did not run. Install it with `make browser`.")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGUMENTS))
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def viewer_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    """A local server with an empty folder for pages full of viewers."""
    with serve(tmp_path_factory.mktemp("viewers")) as harness:
        yield harness
