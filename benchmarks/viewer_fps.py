"""How smooth the viewers are: frames a second of a 4 x 3 grid of 224-pixel maps while their looks change.

Run ``python -m benchmarks.viewer_fps``. Every frame changes one look; a frame counts when the browser has drawn it.
Also printed: milliseconds of script per change (what one frame costs the page) and the requests the changes caused.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Page, sync_playwright
from skimage import data as photographs

from tests.e2e.viewer_harness import CHROMIUM_ARGUMENTS, Harness, cell, chromium_path, layer, open_viewers, serve
from tests.e2e.viewer_scene import heat_map

CELLS = 12
SECONDS = 2.0
FRAME = [75.5, 0, 375.5, 300]
SEEN = [75.5, 0, 375.5, 300]
WIDTH = 320

MEASURE = """
async ([change, seconds]) => {
    const changes = {
        opacity: turn => window.vitrine.viewer.setLooks({ opacity: 0.3 + 0.5 * (turn % 50) / 50 }),
        threshold: turn => window.vitrine.viewer.setLooks({ threshold: { kind: 'top', value: 5 + turn % 90 } }),
        colours: turn => window.vitrine.viewer.setLooks({ palette: ['magma', 'viridis', 'cividis', 'grey'][turn % 4] }),
        range: turn => window.vitrine.viewer.setLooks({ range: 'custom', custom: [0, 0.5 + (turn % 50) / 100] }),
        zoom: turn => window.vitrine.viewer.zoom('run-0', { x: 225, y: 150, zoom: 1 + (turn % 60) / 20 }),
    };
    const plain = window.requestAnimationFrame.bind(window);
    let busy = 0;
    window.requestAnimationFrame = work => plain(now => {
        const start = performance.now();
        work(now);
        busy += performance.now() - start;
    });
    const frame = () => new Promise(resolve => plain(resolve));
    for (let turn = 0; turn < 5; turn += 1) { changes[change](turn); await frame(); }
    busy = 0;
    const start = performance.now();
    let turn = 0;
    while (performance.now() - start < seconds * 1000) {
        changes[change](turn);
        turn += 1;
        await frame();
    }
    const spent = performance.now() - start;
    window.requestAnimationFrame = plain;
    return { frames: 1000 * turn / spent, script: busy / turn };
}
"""


def _cells(harness: Harness) -> list[dict[str, Any]]:
    pixels = photographs.chelsea()
    picture = harness.add_picture("cat", pixels)
    crop = pixels[:, 75:375].astype(np.float32)[::1, ::1] / 255
    rows = (np.arange(224) * 300 / 224).astype(int)
    made = []
    for index in range(CELLS):
        values = heat_map(crop[np.ix_(rows, rows)], (0.3 + 0.03 * index, 0.4), index + 1, parts=3)
        url = harness.add_array(f"heat-{index}", values)
        made.append(cell(f"run-{index}", picture, [layer("map", url, FRAME)], seen=SEEN))
    return made


def measure(page: Page, change: str) -> dict[str, float]:
    """Returns frames a second and script milliseconds per change of one look."""
    result: dict[str, float] = page.evaluate(MEASURE, [change, SECONDS])
    page.evaluate(
        "window.vitrine.viewer.setLooks({ range: 'common', palette: 'magma', threshold: { kind: 'all', value: 0 } })"
    )
    return result


def main() -> None:
    """Measures each kind of change on a plain and on a sharp screen and prints one line for each."""
    path = chromium_path()
    if path is None:
        raise SystemExit("No Chromium found; install one with `make browser`.")
    with tempfile.TemporaryDirectory() as folder, serve(Path(folder)) as harness, sync_playwright() as playwright:
        url = harness.add_page("grid", _cells(harness), width=WIDTH, columns=4)
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_ARGUMENTS))
        for scale in (1, 2):
            with open_viewers(browser, scale=scale) as viewers:
                viewers.open(url)
                before = len(viewers.requests)
                for change in ("opacity", "threshold", "colours", "range", "zoom"):
                    result = measure(viewers.page, change)
                    print(
                        f"{CELLS} viewers, {scale}x screen, {change:<9} {result['frames']:5.1f} frames/s "
                        f"{result['script']:6.1f} ms script a frame"
                    )
                print(f"{CELLS} viewers, {scale}x screen, requests caused: {len(viewers.requests) - before}")
        browser.close()


if __name__ == "__main__":
    main()
