"""A person at a browser: what they do on the page, in their words; what the page shows them."""

from __future__ import annotations

import base64
import json
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import BrowserContext, ConsoleMessage, FilePayload, Locator, Page, Request, Route, expect

from tests.journey.house import PATIENCE_S, wait_for

LOCAL = {"127.0.0.1"}
FAST_PAMI = {"preset": "fast"}
LEVELS = 6


class Visitor:
    """A person with a clean browser profile; the console and all requests are listened to.

    Attributes:
        noise: Errors and warnings of the browser's console.
        forgiven: Words that make a line of the console no noise; Chromium itself reports every refused request.
        strayed: Addresses of requests that tried to leave this machine; they were stopped.
        requests: Every request, as (method, path).
    """

    def __init__(self, context: BrowserContext, url: str) -> None:
        self.context = context
        self.url = url
        self.noise: list[str] = []
        self.forgiven: list[str] = []
        self.strayed: list[str] = []
        self.requests: list[tuple[str, str]] = []
        context.route(lambda address: urlsplit(address).hostname not in LOCAL, self._stop)
        context.on("request", self._note)
        self.page: Page = context.new_page()
        self.page.set_default_timeout(PATIENCE_S * 1000)
        self.page.on("console", self._hear)
        self.page.on("pageerror", lambda error: self.noise.append(f"page error: {error}"))

    def _hear(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not any(words in message.text for words in self.forgiven):
            self.noise.append(f"{message.type}: {message.text}")

    def _note(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme in {"http", "https"}:
            self.requests.append((request.method, parts.path))

    def _stop(self, route: Route) -> None:
        self.strayed.append(route.request.url)
        route.abort()

    def remember(self, *, models: list[str], methods: list[str], params: dict[str, dict[str, Any]]) -> Visitor:
        """Gives the browser what an earlier visit would have left: chosen models, methods and settings."""
        kept = {"models": models, "methods": {"chosen": methods, "params": params, "seeds": {}}}
        lines = [
            f"if (!localStorage.getItem('vitrine.{name}')) "
            f"localStorage.setItem('vitrine.{name}', {json.dumps(json.dumps(value))});"
            for name, value in kept.items()
        ]
        self.context.add_init_script("\n".join(lines))
        return self

    def open(self, path: str = "/") -> Page:
        """Opens a page of the house."""
        self.page.goto(f"{self.url}{path}")
        expect(self.page.locator("#content > *").first).to_be_visible()
        return self.page

    def choose_sample(self, name: str) -> None:
        """Clicks on a picture of the gallery."""
        self.page.get_by_test_id(f"sample-{name}").click()

    def upload(self, data: bytes, name: str, *, mime: str = "image/png") -> None:
        """Chooses a picture file with the button on the page."""
        with self.page.expect_file_chooser() as chooser:
            self.page.get_by_test_id("choose-picture").click()
        chooser.value.set_files(FilePayload(name=name, mimeType=mime, buffer=data))

    def cell(self, model: str, method: str) -> Locator:
        """Returns a cell of the grid."""
        return self.page.locator(f'.v-cell[data-model="{model}"][data-method="{method}"]')

    def finished(self, model: str, method: str) -> Locator:
        """Returns a cell after its map is complete and drawn."""
        cell = self.cell(model, method)
        expect(cell).to_have_attribute("data-state", "done")
        expect(cell.locator(".v-viewer")).to_have_attribute("data-viewer-state", "ready")
        return cell

    def point_at(self, cell: Locator, x: float, y: float) -> None:
        """Moves the mouse to a place of the picture, given in its pixels."""
        canvas = cell.locator(".v-viewer-canvas")
        canvas.scroll_into_view_if_needed()
        box, picture = canvas.bounding_box(), description(cell)["picture"]
        assert box is not None
        self.page.mouse.move(
            box["x"] + x / picture["width"] * box["width"], box["y"] + y / picture["height"] * box["height"]
        )


def run_of(cell: Locator) -> str:
    """Returns the key of a cell's run."""
    return cell.get_attribute("data-run") or ""


def description(cell: Locator) -> dict[str, Any]:
    """Returns what a cell's viewer was told to draw."""
    told: dict[str, Any] = json.loads(cell.locator(".v-viewer").get_attribute("data-viewer") or "{}")
    return told


def pixels(cell: Locator) -> NDArray[np.uint8]:
    """Returns what the canvas of a cell shows, ``[H, W, 3]`` uint8."""
    width, height, text = cell.locator(".v-viewer-canvas").evaluate(
        """async canvas => {
          // What was asked for is drawn in the next frame.
          await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
          // A copy, because a canvas that is read again and again warns that it would rather live elsewhere.
          const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d", { willReadFrequently: true });
          copy.drawImage(canvas, 0, 0);
          const { data } = copy.getImageData(0, 0, canvas.width, canvas.height);
          let text = "";
          for (let i = 0; i < data.length; i += 32768) text += String.fromCharCode(...data.subarray(i, i + 32768));
          return [canvas.width, canvas.height, btoa(text)];
        }"""
    )
    flat = np.frombuffer(base64.b64decode(text), dtype=np.uint8)
    return flat.reshape(height, width, 4)[:, :, :3]


def alike(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> bool:
    """Returns whether two canvases show the same; the smoothing of a line may differ by some of 256 levels."""
    return one.shape == other.shape and bool((np.abs(one.astype(np.int16) - other) <= LEVELS).all())


def still(cell: Locator) -> NDArray[np.uint8]:
    """Returns what a canvas shows once it no longer changes (maps beside each other wait for a common range)."""
    last = pixels(cell)

    def is_still() -> bool:
        nonlocal last
        before, last = last, pixels(cell)
        return alike(before, last)

    wait_for(is_still, "the map stands still")
    return last


def coloured_share(cell: Locator) -> float:
    """Returns the share of a canvas that has a colour; the picture under a map is grey, so colour is the map."""
    shown = pixels(cell).astype(np.int16)
    return float(((shown.max(axis=2) - shown.min(axis=2)) > 24).mean())
