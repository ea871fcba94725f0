"""The two scripts beside the viewer: one event stream for the whole page, and pictures on their way in."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest
from playwright.sync_api import Browser, Page, Route

from tests.e2e.viewer_harness import Harness, Viewers, open_viewers

pytestmark = pytest.mark.browser

PNG = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, *range(60)]
RECORD = {"id": "a" * 64, "width": 4, "height": 3, "name": "bird.png", "source": "upload", "notes": [], "truth": None}


def _page(site: Harness, script: str, *, folder: str = "") -> str:
    target = site.folder / folder
    target.mkdir(exist_ok=True)
    text = (
        '<!doctype html><meta charset="utf-8"><title>x</title><body><button data-upload-choose>Choose</button>'
        f'<script src="/assets/{script}"></script>'
    )
    (target / f"{script}.html").write_text(text, encoding="utf-8")
    return f"{site.url}/{folder + '/' if folder else ''}{script}.html"


def _serve_stream(page: Page, asked: list[list[str]]) -> None:
    def answer(route: Route) -> None:
        query = parse_qs(urlparse(route.request.url).query)
        runs = query.get("runs", [""])[0]
        asked.append(runs.split(",") if runs else [])
        events = "".join(
            f"id: {k}-0\nevent: run\ndata: {json.dumps({'run': run})}\n\n" for k, run in enumerate(asked[-1])
        )
        body = f'retry: 60000\n\n: still here\n\n{events}event: workers\ndata: {{"workers": 1, "waiting": 2}}\n\n'
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/api/v1/events*", answer)


def test_one_stream_carries_all_runs_and_becomes_events_of_the_document(
    chromium: Browser, viewer_site: Harness
) -> None:
    asked: list[list[str]] = []
    with open_viewers(chromium) as viewers:
        _serve_stream(viewers.page, asked)
        viewers.page.goto(_page(viewer_site, "events.js"))
        viewers.listen("vitrine:run")
        viewers.listen("vitrine:workers")
        viewers.page.evaluate(
            """() => {
                const { follow } = window.vitrine.events;
                follow(['b']);
                follow(['b', 'a', 'b', null]);
                follow(['a', 'b']);
            }"""
        )
        viewers.until("window.heard['vitrine:workers'].length === 1")
        assert asked == [["a", "b"]]
        assert viewers.heard("vitrine:run") == [{"run": "a"}, {"run": "b"}]
        assert viewers.heard("vitrine:workers") == [{"workers": 1, "waiting": 2}]
        viewers.page.evaluate("window.vitrine.events.follow(['b', 'a'])")
        viewers.page.evaluate("window.vitrine.events.follow(['c'])")
        viewers.until("window.heard['vitrine:workers'].length === 2")
        assert asked == [["a", "b"], ["c"]]
        viewers.page.evaluate("window.vitrine.events.follow([])")
        viewers.until("window.heard['vitrine:workers'].length === 3")
        assert asked[-1] == []


def test_a_refused_stream_is_asked_for_again(chromium: Browser, viewer_site: Harness) -> None:
    asked: list[list[str]] = []
    with open_viewers(chromium) as viewers:
        viewers.page.route("**/api/v1/events*", lambda route: route.fulfill(status=503))
        viewers.page.goto(_page(viewer_site, "events.js"))
        viewers.listen("vitrine:connection")
        viewers.listen("vitrine:workers")
        viewers.page.evaluate("window.vitrine.events.follow(['a'])")
        viewers.until("window.heard['vitrine:connection'].length === 1")
        viewers.page.unroute("**/api/v1/events*")
        _serve_stream(viewers.page, asked)
        viewers.until("window.heard['vitrine:workers'].length === 1")
        assert asked == [["a"]]
        assert viewers.heard("vitrine:connection")[:2] == [{"connected": False}, {"connected": True}]
        assert all("503" in complaint for complaint in viewers.complaints)
        viewers.complaints.clear()


def _upload_page(site: Harness, viewers: Viewers, *, folder: str = "") -> list[bytes]:
    site.posted.clear()
    site.answer = (201, RECORD)
    viewers.page.goto(_page(site, "upload.js", folder=folder))
    for name in ("vitrine:picture", "vitrine:problem", "vitrine:upload-progress"):
        viewers.listen(name)
    return site.posted


def _send(viewers: Viewers, content: list[int], name: str, *, size: int = 0) -> Any:
    return viewers.page.evaluate(
        """([content, name, size]) => {
            const bytes = new Uint8Array(Math.max(size, content.length));
            bytes.set(content);
            return window.vitrine.upload(new File([bytes], name)).catch(problem => problem);
        }""",
        [content, name, size],
    )


def test_a_picture_is_posted_as_a_file_and_its_record_announced(chromium: Browser, viewer_site: Harness) -> None:
    with open_viewers(chromium) as viewers:
        bodies = _upload_page(viewer_site, viewers)
        assert _send(viewers, PNG, "bird.png") == RECORD
        assert viewers.heard("vitrine:picture") == [RECORD]
        progress = viewers.heard("vitrine:upload-progress")[-1]
        assert viewers.heard("vitrine:problem") == []
    assert b'name="file"; filename="bird.png"' in bodies[0]
    assert bytes(PNG) in bodies[0]
    assert progress["share"] == 1
    assert progress["name"] == "bird.png"


REFUSED = {
    "too large": (PNG, 20_000_001, "picture_too_large", "“x.png” has 20.1 MB; 20 MB is the most."),
    "far too large": (PNG, 31_400_000, "picture_too_large", "“x.png” has 31.4 MB; 20 MB is the most."),
    "empty": ([], 0, "picture_unreadable", "“x.png” is empty."),
    "PDF": (list(b"%PDF-1.7 ....."), 0, "picture_format", "“x.png” is a PDF document. Use JPEG, PNG, WebP, GIF,"),
    "HEIC": (list(b"\0\0\0\x18ftypheic...."), 0, "picture_format", "“x.png” is a HEIC picture."),
    "text": (list(b"hello, this is no picture"), 0, "picture_format", "“x.png” is not a picture."),
}


@pytest.mark.parametrize(("content", "size", "code", "words"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_taken_is_refused_before_it_travels(
    chromium: Browser, viewer_site: Harness, content: list[int], size: int, code: str, words: str
) -> None:
    with open_viewers(chromium) as viewers:
        bodies = _upload_page(viewer_site, viewers)
        problem = _send(viewers, content, "x.png", size=size)
        assert viewers.heard("vitrine:problem") == [problem]
    assert bodies == []
    assert problem["code"] == code
    assert problem["message"].startswith(words)
    assert problem["retry"] is False


def test_a_problem_of_the_server_is_passed_on_in_its_own_words(chromium: Browser, viewer_site: Harness) -> None:
    told = {"code": "picture_too_many_pixels", "title": "Too many pixels", "message": "Too many.", "retry": False}
    with open_viewers(chromium) as viewers:
        _upload_page(viewer_site, viewers)
        viewer_site.answer = (422, told)
        assert _send(viewers, PNG, "x.png") == told
        viewers.page.route("**/api/v1/images", lambda route: route.abort())
        silent = _send(viewers, PNG, "x.png")
        assert viewers.heard("vitrine:problem") == [told, silent]
        viewers.complaints.clear()
    assert silent["retry"] is True
    assert "did not answer" in silent["message"]


def test_dropping_pasting_and_choosing_all_bring_a_picture_in(chromium: Browser, viewer_site: Harness) -> None:
    with open_viewers(chromium) as viewers:
        bodies = _upload_page(viewer_site, viewers)
        for kind in ("drop", "paste"):
            viewers.page.evaluate(
                """([kind, content]) => {
                    const transfer = new DataTransfer();
                    transfer.items.add(new File([new Uint8Array(content)], 'bird.png', { type: 'image/png' }));
                    const options = { bubbles: true, cancelable: true };
                    if (kind === 'drop') {
                        const over = new DragEvent('dragenter', { ...options, dataTransfer: transfer });
                        document.body.dispatchEvent(over);
                        window.hinted = document.body.classList.contains('v-dropping');
                    }
                    const event = kind === 'drop'
                        ? new DragEvent('drop', { ...options, dataTransfer: transfer })
                        : new ClipboardEvent('paste', { ...options, clipboardData: transfer });
                    document.body.dispatchEvent(event);
                }""",
                [kind, PNG],
            )
        viewers.until("window.heard['vitrine:picture'].length >= 1")
        assert viewers.page.evaluate("window.hinted")
        assert not viewers.page.evaluate("document.body.classList.contains('v-dropping')")
        with viewers.page.expect_file_chooser() as chooser:
            viewers.page.get_by_role("button", name="Choose").click()
        before = len(bodies)
        chooser.value.set_files({"name": "chosen.png", "mimeType": "image/png", "buffer": bytes(PNG)})
        viewers.until("window.heard['vitrine:picture'].length >= 2")
    assert before >= 1
    assert b'filename="chosen.png"' in bodies[-1]


def test_a_read_only_page_takes_nothing_in(chromium: Browser, viewer_site: Harness) -> None:
    with open_viewers(chromium) as viewers:
        bodies = _upload_page(viewer_site, viewers, folder="s")
        prevented = viewers.page.evaluate(
            """content => {
                const transfer = new DataTransfer();
                transfer.items.add(new File([new Uint8Array(content)], 'bird.png', { type: 'image/png' }));
                const event = new ClipboardEvent('paste', { bubbles: true, cancelable: true, clipboardData: transfer });
                document.body.dispatchEvent(event);
                return event.defaultPrevented;
            }""",
            PNG,
        )
    assert prevented is False
    assert bodies == []
