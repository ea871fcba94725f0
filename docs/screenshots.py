"""Draws the pictures of the documentation and of the Guide: a real Vitrine, in a real Chromium, in an empty folder.

``python -m docs.screenshots`` writes ``docs/img/*.png`` and ``frontend/assets/guide/<method>.png``.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx
import numpy as np
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Locator, Page, ViewportSize, expect, sync_playwright

ROOT = Path(__file__).parents[1]
IMAGES = ROOT / "docs" / "img"
GUIDE = ROOT / "frontend" / "assets" / "guide"
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = ("--no-sandbox", "--disable-background-networking", "--disable-component-update")
Scheme = Literal["light", "dark"]
DESK = ViewportSize(width=1440, height=1000)
PHONE = ViewportSize(width=390, height=844)
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
LARGEST_BYTES = 350_000
LARGEST_GUIDE_BYTES = 200_000
EDGE = 12
"""Room around a picture of the Guide, in pixels."""
COLOURS = (256, 128, 64, 32)
PATIENCE_S = 300.0

SAMPLE = "drawn-crested-tam"
OTHER_SAMPLE = "drawn-crowned-ochre"
PHOTOGRAPH = "chelsea"
METHODS = ["pami", "nave"]


@dataclass(frozen=True)
class Choice:
    """What somebody chose before the picture is taken."""

    models: list[str]
    methods: list[str]
    params: dict[str, dict[str, Any]] = field(default_factory=dict)
    seeds: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Studio:
    """A running Vitrine and a browser to look at it."""

    address: str
    browser: Browser

    def get(self, path: str) -> Any:
        """Returns the JSON answer of the API."""
        answer = httpx.get(f"{self.address}/api/v1{path}", timeout=30)
        answer.raise_for_status()
        return answer.json()

    @contextmanager
    def visit(self, choice: Choice | None, scheme: Scheme, size: ViewportSize | None = None) -> Iterator[Page]:
        """Opens Inspect in a clean profile; ``choice`` is what the browser remembers of an earlier visit."""
        context = self.browser.new_context(
            viewport=size or DESK, color_scheme=scheme, reduced_motion="reduce", has_touch=size == PHONE
        )
        page = context.new_page()
        page.set_default_timeout(PATIENCE_S * 1000)
        page.goto(self.address)
        if choice is not None:
            kept = {"chosen": choice.methods, "params": choice.params, "seeds": choice.seeds}
            page.evaluate(
                "([models, methods]) => { localStorage.setItem('vitrine.models', JSON.stringify(models));"
                "localStorage.setItem('vitrine.methods', JSON.stringify(methods)); }",
                [choice.models, kept],
            )
            page.reload()
        expect(page.locator(".v-workers:visible, .v-phone-menu:visible").first).to_be_visible()
        yield page
        context.close()


def main() -> None:
    """Takes every picture."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    GUIDE.mkdir(parents=True, exist_ok=True)
    expect.set_options(timeout=PATIENCE_S * 1000)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=list(CHROMIUM_ARGUMENTS))
        studio = Studio(address, browser)
        wait(lambda: studio.get("/methods") and studio.get("/workers")["workers"], "a worker")
        models = [card["name"] for card in studio.get("/models?limit=20")["items"] if card["source"] == "demo"]
        # First what the Guide shows, because the page with the Guide may be open in a picture.
        take_guide(studio, models[0])
        for number, scheme in enumerate(SCHEMES):
            take_empty(studio, scheme)
            take_running(studio, scheme, models, seed=number + 1)
            take_inspect(studio, scheme, models)
            take_share(studio, scheme, models)
            take_models(studio, scheme)
        take_phone(studio, models)
        browser.close()


# The pictures --------------------------------------------------------------------------------------------------------


def take_empty(studio: Studio, scheme: Scheme) -> None:
    """The first visit."""
    with studio.visit(None, scheme) as page:
        expect(page.get_by_test_id(f"sample-{SAMPLE}")).to_be_visible()
        keep(page, f"empty-{scheme}")


def take_running(studio: Studio, scheme: Scheme, models: list[str], *, seed: int) -> None:
    """A grid in which some maps are done, one sharpens and one waits."""
    choice = Choice(models, METHODS, {"pami": {"preset": "thorough"}}, {"pami": seed})
    with studio.visit(choice, scheme) as page:
        choose(page, PHOTOGRAPH)
        sharpening = page.locator('.v-cell[data-partial="true"]').first
        expect(sharpening).to_be_visible()
        expect(page.locator('.v-cell[data-state="done"]').first).to_be_visible()
        # A map that is a tenth done shows what partial means.
        wait(lambda: share_done(sharpening) > 0.1, "a map that sharpens")
        keep(page, f"running-{scheme}")
        page.get_by_test_id("stop-all").click()
        expect(page.locator('.v-cell[data-state="running"], .v-cell[data-state="queued"]')).to_have_count(0)


def take_inspect(studio: Studio, scheme: Scheme, models: list[str]) -> None:
    """A finished grid, with the mouse on the bird."""
    methods = [card["name"] for card in studio.get("/methods") if card["role"] == "explanation"]
    with studio.visit(Choice(models, methods), scheme) as page:
        choose(page, SAMPLE)
        finish(page, len(models) * len(methods))
        point_at(page, 0.55, 0.4)
        keep(page, f"inspect-{scheme}")


def take_share(studio: Studio, scheme: Scheme, models: list[str]) -> None:
    """A share as a stranger sees it."""
    with studio.visit(Choice(models, METHODS), scheme) as page:
        path = share(page, SAMPLE, len(models) * len(METHODS))
    with studio.visit(None, scheme) as page:
        page.goto(f"{studio.address}{path}")
        finish(page, len(models) * len(METHODS))
        keep(page, f"share-{scheme}")


def take_models(studio: Studio, scheme: Scheme) -> None:
    """The capability matrix, with an encoder that has no class scores."""
    with studio.visit(None, scheme) as page:
        httpx.post(f"{studio.address}/api/v1/models", json={"name": "vit_small_patch14_dinov2.lvd142m"}, timeout=30)
        httpx.post(f"{studio.address}/api/v1/models", json={"name": "resnet50.a1_in1k"}, timeout=30)
        wait(
            lambda: sum(card["described"] for card in studio.get("/models?limit=50")["items"]) >= 3, "described models"
        )
        page.goto(f"{studio.address}/models")
        expect(page.locator(".v-matrix tbody tr").nth(2)).to_be_visible()
        keep(page, f"models-{scheme}")


def take_phone(studio: Studio, models: list[str]) -> None:
    """Inspect and a share on a phone."""
    with studio.visit(Choice(models, METHODS), "light", PHONE) as page:
        choose(page, SAMPLE)
        finish(page, len(models) * len(METHODS))
        page.locator('.v-tab[data-method="pami"]').click()
        keep(page, "inspect-mobile")
        path = share(page, None, 0, button="Share")
        page.goto(f"{studio.address}{path}")
        finish(page, len(models) * len(METHODS))
        keep(page, "share-mobile")


def take_guide(studio: Studio, model: str) -> None:
    """One map of every explanation method, for the Guide."""
    for card in studio.get("/methods"):
        if card["role"] != "explanation":
            continue
        with studio.visit(Choice([model], [card["name"]]), "light") as page:
            choose(page, OTHER_SAMPLE)
            finish(page, 1)
            box = page.locator(".v-cell .v-viewer").bounding_box()
            assert box is not None
            clip = FloatRect(
                x=box["x"] - EDGE, y=box["y"] - EDGE, width=box["width"] + 2 * EDGE, height=box["height"] + 2 * EDGE
            )
            picture = page.screenshot(clip=clip)
            write(picture, GUIDE / f"{card['name']}.png", LARGEST_GUIDE_BYTES, width=720)


# What a person does --------------------------------------------------------------------------------------------------


def choose(page: Page, sample: str) -> None:
    """Clicks on a sample."""
    page.get_by_test_id(f"sample-{sample}").click()


def finish(page: Page, maps: int) -> None:
    """Waits until all maps are complete and drawn."""
    expect(page.locator('.v-cell[data-state="done"]')).to_have_count(maps)
    expect(page.locator('.v-cell .v-viewer[data-viewer-state="ready"]')).to_have_count(maps)


def share(page: Page, sample: str | None, maps: int, *, button: str = "") -> str:
    """Pins what is shown and returns the path of the link."""
    if sample is not None:
        choose(page, sample)
        finish(page, maps)
    made = page.locator('[data-action="share-open"]:visible').first if button else page.get_by_test_id("share-button")
    made.click()
    page.get_by_test_id("share-create").click()
    link = page.get_by_test_id("share-link")
    expect(link).to_be_visible()
    return "/s/" + link.input_value().rsplit("/s/", 1)[1]


def point_at(page: Page, x: float, y: float) -> None:
    """Moves the mouse to a place of the first map, given as shares of its sides."""
    box = page.locator(".v-cell .v-viewer-canvas").first.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])


def share_done(cell: Locator) -> float:
    """Returns how far a running map is, 0-1."""
    found = re.search(r"([\d,]+) / ([\d,]+) passes", cell.inner_text())
    done, total = (int(number.replace(",", "")) for number in found.groups()) if found else (0, 1)
    return done / total


# Keeping -------------------------------------------------------------------------------------------------------------


def keep(page: Page, name: str) -> None:
    """Takes the picture of what is in view, when everything in it has arrived."""
    page.evaluate("() => document.fonts.ready")
    page.evaluate("() => Promise.all([...document.images].filter(i => i.loading !== 'lazy').map(i => i.decode()))")
    wait(lambda: not page.locator('.v-viewer[data-viewer-state="loading"]').count(), "every viewer")
    told = page.locator(".v-workers:visible")
    if told.count():
        expect(told).to_contain_text("worker")
    write(page.screenshot(), IMAGES / f"{name}.png", LARGEST_BYTES)


def write(png: bytes, path: Path, largest_bytes: int, *, width: int | None = None) -> None:
    """Writes a PNG with a palette, with as many colours as fit."""
    picture = Image.open(io.BytesIO(png)).convert("RGB")
    if width is not None and picture.width > width:
        picture = picture.resize((width, round(picture.height * width / picture.width)), Image.Resampling.LANCZOS)
    for colours in COLOURS:
        buffer = io.BytesIO()
        with_palette(picture, colours).save(buffer, format="PNG", optimize=True)
        if buffer.tell() <= largest_bytes:
            break
    else:
        raise SystemExit(f"{path.name} stays above {largest_bytes:,} bytes")
    path.write_bytes(buffer.getvalue())
    sys.stdout.write(f"{path.relative_to(ROOT)}  {buffer.tell() / 1000:.0f} kB, {colours} colours\n")


def with_palette(picture: Image.Image, colours: int) -> Image.Image:
    """Returns a picture with a palette: the page's own flat colours exactly, the rest as good as it goes.

    Args:
        picture: RGB.
        colours: Size of the palette; an eighth of it is kept for the most frequent colours.
    """
    pixels = np.asarray(picture).reshape(-1, 3)
    packed = pixels.astype(np.uint32) @ np.array([65536, 256, 1], dtype=np.uint32)
    values, counts = np.unique(packed, return_counts=True)
    flat = values[np.argsort(counts)[::-1][: colours // 8]]
    others = pixels[~np.isin(packed, flat)]
    rest = colours - len(flat)
    strip = Image.fromarray(others.reshape(1, -1, 3)).quantize(rest, method=Image.Quantize.MEDIANCUT, kmeans=2)
    palette = [(int(value) >> 16, int(value) >> 8 & 255, int(value) & 255) for value in flat]
    chosen = Image.new("P", (1, 1))
    chosen.putpalette([*(part for colour in palette for part in colour), *(strip.getpalette() or [])[: 3 * rest]])
    small = picture.quantize(palette=chosen, dither=Image.Dither.FLOYDSTEINBERG)
    indices = np.array(small).reshape(-1)
    for index, value in enumerate(flat):
        indices[packed == value] = index
    exact = Image.fromarray(indices.reshape(picture.height, picture.width))
    exact.putpalette(chosen.getpalette() or [])
    return exact


# The house -----------------------------------------------------------------------------------------------------------


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """Runs ``vitrine up`` in a folder and yields its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "vitrine.log"
    clean = {name: value for name, value in os.environ.items() if not name.startswith("VITRINE_")}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "vitrine", "up", "--port", str(port)],
            env={**clean, "PYTHONPATH": str(ROOT)},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        found = wait(lambda: re.search(r"Vitrine is at (\S+)", log.read_text()), "the address")
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(60)


def wait(look: Callable[[], Any], what: str) -> Any:
    """Returns the first answer that is one, or says what did not come."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        answer = look()
        if answer:
            return answer
        time.sleep(0.1)
    raise SystemExit(f"waited {PATIENCE_S:.0f} s in vain for {what}")


def find_chromium() -> str:
    """Returns the path of a Chromium on this machine."""
    found = next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("No Chromium found. Install one with `make browser`.")
    return found


if __name__ == "__main__":
    main()
