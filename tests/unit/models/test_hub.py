from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from backend.contract.problems import ProblemCode, ProblemError
from models import hub
from models.catalogue import ModelCatalogue
from models.loader import ModelLoader
from tests.fakes_models import write_hub_folder

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub(ThreadingHTTPServer):
    """Serves folders the way the hub does: ``/<organisation>/<name>/resolve/<revision>/<file>``."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        self.asked: list[str] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeHub

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        self.server.asked.append(self.path)
        organisation, name, _, _, filename = (*self.path.strip("/").split("/"), "", "", "", "", "")[:5]
        folder = self.server.root / organisation / name
        if not (folder / filename).is_file():
            self.send_response(404)
            code = "EntryNotFound" if filename and folder.is_dir() else "RepoNotFound"
            if name == "gated":
                code = "GatedRepo"
            self.send_header("X-Error-Code", code)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = (folder / filename).read_bytes()
        self.send_response(200)
        self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if with_body:
            self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty hub cache, and a hub that nobody answers for."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{_closed_port()}")
    return tmp_path / "cache"


@pytest.fixture
def served(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine with one model, ``birds/finches``."""
    write_hub_folder(tmp_path / "hub" / "birds", "finches")
    (tmp_path / "hub" / "birds" / "empty").mkdir()
    server = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(constants, "ENDPOINT", server.address)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.address + "/{repo_id}/resolve/{revision}/{filename}"
    )
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def _closed_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def problem(name: str) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        ModelLoader(ModelCatalogue(None), device="cpu").load(name)
    assert "127.0.0.1" not in caught.value.message
    return caught.value


@pytest.mark.parametrize("name", ["resnet18.a1_in1k", "test_vit", "hf-hub:birds/finches"])
def test_weights_that_are_not_here_while_the_hub_is_unreachable_are_missing_without_a_single_retry(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    asked_online: list[str] = []
    real = hub.hf_hub_download

    def watched(repository: str, filename: str, *, local_files_only: bool, **rest: object) -> str:
        if not local_files_only:
            asked_online.append(filename)
        return real(repository, filename, local_files_only=local_files_only, **rest)

    monkeypatch.setattr(hub, "hf_hub_download", watched)
    error = problem(name)
    assert error.code == ProblemCode.WEIGHTS_MISSING
    assert "not on this machine" in error.message
    assert asked_online == []


def test_a_model_without_weights_here_can_still_be_described(cache: Path) -> None:
    card = ModelLoader(ModelCatalogue(None), device="cpu").describe("resnet18.a1_in1k")
    assert card.described
    assert card.weights == "hub:resnet18.a1_in1k"


def test_a_hub_model_is_fetched_once_and_then_needs_no_hub(served: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = ModelLoader(ModelCatalogue(None), device="cpu").load("hf-hub:birds/finches")
    assert first.class_names == ("finch", "heron")
    assert first.card.source == "hub"
    assert first.card.weights == "hub:birds/finches"
    file = served.root / "birds" / "finches" / "model.safetensors"
    assert first.weights_digest == hashlib.sha256(file.read_bytes()).hexdigest()

    asked = len(served.asked)
    monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{_closed_port()}")
    again = ModelLoader(ModelCatalogue(None), device="cpu").load("hf-hub:birds/finches")
    assert len(served.asked) == asked
    x = torch.rand(1, 3, 96, 96)
    assert torch.equal(first.network(x), again.network(x))


def test_what_the_hub_does_not_have_is_told_apart_from_a_hub_that_does_not_answer(served: FakeHub) -> None:
    assert problem("hf-hub:birds/penguins").code == ProblemCode.MODEL_UNKNOWN
    assert problem("hf-hub:birds/empty").code == ProblemCode.MODEL_BROKEN
    (served.root / "birds" / "finches" / "model.safetensors").unlink()
    assert problem("hf-hub:birds/finches").code == ProblemCode.MODEL_BROKEN
    assert problem("hf-hub:not a name").code == ProblemCode.MODEL_UNKNOWN
    assert problem("hf-hub:").code == ProblemCode.MODEL_UNKNOWN


def test_a_server_that_takes_the_call_but_never_speaks_counts_as_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "PROBE_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        assert not hub.is_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}")


def test_any_answer_counts_as_reachable_unless_offline_mode_is_asked_for(
    served: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub.is_reachable(served.address)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert not hub.is_reachable(served.address)


def test_weights_outside_the_hub_come_from_the_cache_or_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub, "get_cache_dir", lambda: str(tmp_path))
    address = f"http://127.0.0.1:{_closed_port()}/weights-0123.pth"
    with pytest.raises(ProblemError) as caught:
        hub.fetch_url(address, title="a model")
    assert caught.value.code == ProblemCode.WEIGHTS_MISSING
    (tmp_path / "weights-0123.pth").write_bytes(b"x")
    assert hub.fetch_url(address, title="a model") == tmp_path / "weights-0123.pth"
