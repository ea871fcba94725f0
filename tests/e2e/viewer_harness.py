"""A still page with nothing but viewers: real assets, arrays and pictures made here, a server without any API.

The tests of the viewer drive Chromium on it; ``benchmarks/viewer_fps.py`` measures on it.
"""

from __future__ import annotations

import base64
import html
import json
import shutil
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from playwright.sync_api import Browser, Page

ASSETS = Path(__file__).resolve().parents[2] / "frontend" / "assets"
SCRIPTS = tuple(path.name for path in sorted(ASSETS.glob("overlay_*.js")))
"""In the order of their names, as Dash puts them on the page."""
CHROMIUM_NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM_ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    # Chromium may move a canvas between two rasterisers, which smooth the edges of lines differently.
    "--disable-gpu",
    "--disable-accelerated-2d-canvas",
)
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; font-src 'self'"
)
QUIET_LOOKS = {"opacity": 1, "contour": False, "smooth": False}
"""Looks under which every number of a map is one exact colour on its own rectangle."""

STYLE = """
:root { --v-page: #F6F6F4; --v-surface: #FFF; --v-case: #ECECE9; --v-line: #E2E2DE; --v-control: #868680;
  --v-ink: #1A1B1A; --v-ink-2: #545652; --v-ink-3: #6A6C67; --v-accent: #0B6B61; --v-accent-soft: #E2EFEC; }
:root[data-mantine-color-scheme="dark"] { --v-page: #121313; --v-surface: #1A1B1B; --v-case: #0B0C0C; --v-line: #2C2E2D;
  --v-control: #757872; --v-ink: #ECEDEA; --v-ink-2: #B6B8B3; --v-ink-3: #92948F; --v-accent: #7CCFC1;
  --v-accent-soft: #17302C; }
@font-face { font-family: "Inter"; font-weight: 100 900;
  src: url("/assets/fonts/inter-latin-wght-normal.woff2") format("woff2"); }
body { margin: 20px; background: var(--v-page); color: var(--v-ink); font: 13px/18px Inter, system-ui, sans-serif; }
.grid { display: grid; gap: 16px; }
"""


def chromium_path() -> str | None:
    """Returns the path of a Chromium on this machine, or ``None``."""
    return next((path for name in CHROMIUM_NAMES if (path := shutil.which(name))), None)


class _QuietHandler(SimpleHTTPRequestHandler):
    """Serves the harness folder and, below ``/assets/``, the real assets."""

    def translate_path(self, path: str) -> str:
        name = path.split("?", 1)[0]
        if name.startswith("/assets/"):
            return str(ASSETS / name.removeprefix("/assets/"))
        return super().translate_path(path)

    def do_POST(self) -> None:
        """Keeps what was sent and answers as the harness was told to."""
        harness: Harness = self.server.harness  # type: ignore[attr-defined]
        harness.posted.append(self.rfile.read(int(self.headers["Content-Length"])))
        status, answer = harness.answer
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: the test output stays readable."""


class Harness:
    """A folder of arrays, pictures and pages behind a local address."""

    def __init__(self, folder: Path, url: str) -> None:
        self.folder = folder
        self.url = url
        self.posted: list[bytes] = []
        self.answer: tuple[int, dict[str, Any]] = (404, {})
        (folder / "harness.css").write_text(STYLE, encoding="utf-8")
        (folder / "favicon.ico").write_bytes(b"")

    def add_array(self, name: str, array: NDArray[Any]) -> str:
        """Stores an array as ``.npy`` and returns its address on the server."""
        np.save(self.folder / f"{name}.npy", array)
        return f"/{name}.npy"

    def add_picture(self, name: str, pixels: NDArray[np.uint8]) -> dict[str, Any]:
        """Stores ``pixels`` [H, W, 3] as PNG and returns the viewer's ``picture`` entry."""
        Image.fromarray(pixels).save(self.folder / f"{name}.png")
        return {"url": f"/{name}.png", "width": pixels.shape[1], "height": pixels.shape[0]}

    def add_page(
        self, name: str, cells: Sequence[dict[str, Any]], *, width: int, columns: int = 1, theme: str = "light"
    ) -> str:
        """Writes a page with one viewer of ``width`` CSS pixels for each description; returns its address."""
        viewers = "\n".join(
            f'<div><div class="v-viewer" id="cell-{index}" data-viewer="{html.escape(json.dumps(cell))}"></div></div>'
            for index, cell in enumerate(cells)
        )
        scripts = "\n".join(f'<script src="/assets/{script}"></script>' for script in SCRIPTS)
        sheet = f".grid {{ grid-template-columns: repeat({columns}, {width}px); }}"
        (self.folder / f"{name}.css").write_text(sheet, encoding="utf-8")
        text = (
            f'<!doctype html><html lang="en" data-mantine-color-scheme="{theme}"><head><meta charset="utf-8">'
            f'<meta http-equiv="Content-Security-Policy" content="{POLICY}"><title>{name}</title>'
            f'<link rel="stylesheet" href="/assets/viewer.css"><link rel="stylesheet" href="/harness.css">'
            f'<link rel="stylesheet" href="/{name}.css"></head>'
            f'<body><main class="grid">{viewers}</main>{scripts}</body></html>'
        )
        (self.folder / f"{name}.html").write_text(text, encoding="utf-8")
        return f"{self.url}/{name}.html"


@contextmanager
def serve(folder: Path) -> Iterator[Harness]:
    """Serves ``folder`` on a free port of this machine while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_QuietHandler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        harness = Harness(folder, f"http://127.0.0.1:{server.server_address[1]}")
        server.harness = harness  # type: ignore[attr-defined]
        yield harness
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def layer(name: str, url: str, frame: Sequence[float], **more: Any) -> dict[str, Any]:
    """Returns a sequential layer of a viewer's description; ``more`` overrides any field."""
    plain = {"encoding": "sequential", "range": None, "ends": ["low", "high"], "unit": "", "smooth": True}
    return {
        "name": name,
        "title": name,
        "url": url,
        "frame": list(frame),
        "target": None,
        "role": "main",
        **plain,
        **more,
    }


def cell(run: str, picture: dict[str, Any], layers: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """Returns a viewer's description with its first layer shown; ``more`` overrides any field."""
    plain = {"seen": None, "regions": [], "nested": None, "badge": "", "state": "done", "group": "map"}
    return {
        "run": run,
        "title": run,
        "picture": picture,
        "layers": list(layers),
        "active": layers[0]["name"] if layers else None,
        **plain,
        **more,
    }


class Viewers:
    """A browser page full of viewers, with what the tests ask of it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.requests: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.requests.append(request.url))
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def open(self, url: str) -> Viewers:
        """Opens a page and waits until every viewer stands still."""
        self.page.goto(url)
        self.settle()
        return self

    def settle(self) -> None:
        """Waits until all viewers are loaded and two frames have gone by without a fade."""
        self.until("[...document.querySelectorAll('.v-viewer')].every(one => one.dataset.viewerState === 'ready')")
        self.frames()

    def until(self, condition: str) -> None:
        """Waits until a JavaScript expression is true; works under a policy that forbids ``eval``."""
        self.page.evaluate(
            f"""async () => {{
                const end = performance.now() + 15000;
                while (!({condition})) {{
                    if (performance.now() > end) throw new Error('waited in vain');
                    await new Promise(requestAnimationFrame);
                }}
            }}"""
        )

    def frames(self) -> None:
        """Waits for what was asked of the drawing loop, cross-fades included."""
        self.page.evaluate(
            """() => new Promise(resolve => {
                const start = performance.now();
                const wait = now => now - start > 220 ? resolve() : requestAnimationFrame(wait);
                requestAnimationFrame(wait);
            })"""
        )

    def looks(self, **change: Any) -> None:
        """Changes the looks and waits until they are on screen."""
        self.page.evaluate("change => window.vitrine.viewer.setLooks(change)", change)
        self.frames()

    def call(self, name: str, *arguments: Any) -> None:
        """Calls a function of ``window.vitrine.viewer`` and waits until its effect is on screen."""
        self.page.evaluate("([name, args]) => window.vitrine.viewer[name](...args)", [name, list(arguments)])
        self.frames()

    def pixels(self, index: int = 0) -> NDArray[np.uint8]:
        """Returns the canvas of a viewer as [H, W, 3]."""
        width, height, data = self.page.evaluate(
            """index => {
                const canvas = document.querySelectorAll('.v-viewer-canvas')[index];
                const copy = document.createElement('canvas');
                [copy.width, copy.height] = [canvas.width, canvas.height];
                const context = copy.getContext('2d', { willReadFrequently: true });
                context.drawImage(canvas, 0, 0);
                const bytes = context.getImageData(0, 0, canvas.width, canvas.height).data;
                let text = '';
                for (let at = 0; at < bytes.length; at += 8192) {
                    text += String.fromCharCode(...bytes.subarray(at, at + 8192));
                }
                return [canvas.width, canvas.height, btoa(text)];
            }""",
            index,
        )
        raw = np.frombuffer(base64.b64decode(data), dtype=np.uint8)
        return raw.reshape(height, width, 4)[..., :3]

    def badge(self, index: int = 0) -> str:
        """Returns the words of the badge at the lower left, or an empty text."""
        badge = self.page.locator(".v-viewer-badge-value").nth(index)
        return badge.inner_text() if badge.is_visible() else ""

    def listen(self, name: str) -> None:
        """Collects the details of a document event in ``window.heard[name]``."""
        self.page.evaluate(
            """name => {
                window.heard = window.heard || {};
                window.heard[name] = [];
                document.addEventListener(name, event => window.heard[name].push(event.detail));
            }""",
            name,
        )

    def heard(self, name: str) -> list[Any]:
        """Returns what :meth:`listen` collected."""
        return list(self.page.evaluate("name => window.heard[name]", name))

    def point(self, index: int, x: float, y: float, picture: dict[str, Any]) -> tuple[float, float]:
        """Returns page coordinates of a point of the picture on an unzoomed viewer."""
        box = self.page.locator(".v-viewer-canvas").nth(index).bounding_box()
        assert box is not None
        return (
            box["x"] + x * box["width"] / picture["width"],
            box["y"] + y * box["height"] / picture["height"],
        )


@contextmanager
def open_viewers(
    browser: Browser, *, scale: float = 1, reduced_motion: bool = False, touch: bool = False
) -> Iterator[Viewers]:
    """Opens an empty browser window for viewers; its console must have stayed silent at the end."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 1000},
        device_scale_factor=scale,
        reduced_motion="reduce" if reduced_motion else "no-preference",
        has_touch=touch,
        accept_downloads=True,
    )
    try:
        viewers = Viewers(context.new_page())
        yield viewers
        assert viewers.complaints == [], viewers.complaints
    finally:
        context.close()
