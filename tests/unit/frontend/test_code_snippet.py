from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import httpx
import pytest

from frontend.components.code_dialog import code_body
from frontend.components.code_snippet import command_line, file_name, file_names, python_snippet
from tests.fakes_page import KEY, by_attribute, by_class, props, scalar_manifest, words_of

CELLS = [
    {"model": "a.b", "method": "one", "params": {"count": 3, "mode": "soft"}, "target": 4},
    {"model": "a.b", "method": "two"},
]


def test_the_command_names_every_model_method_and_setting_once() -> None:
    words = shlex.split(command_line(["my robin.jpg"], CELLS).replace("\\\n", " "))
    assert words[:3] == ["vitrine", "explain", "my robin.jpg"]
    assert words.count("a.b") == 1
    assert words[words.index("--method") + 1] == "one,two"
    assert [word for word in words if word.startswith("one.")] == ["one.count=3", "one.mode=soft"]
    assert words[words.index("--target") + 1] == "4"


def test_a_sample_gets_a_file_name() -> None:
    assert file_name("Lesser ochre") == "lesser-ochre.png"
    assert file_name("robin.jpg") == "robin.jpg"
    assert file_name("") == "picture.png"


def test_the_dialog_says_where_the_picture_of_a_sample_is() -> None:
    body = code_body("http://v", "Lesser ochre", CELLS, "2 maps", url="/p")
    assert by_attribute(body, "href", "/p")
    assert "Save lesser-ochre.png first" in " ".join(words_of(body).split())
    assert by_attribute(code_body("http://v", "a.jpg", CELLS, "2 maps"), "href") == []


def test_cells_with_several_pictures_get_a_command_of_their_own() -> None:
    together = {"model": "a.b", "method": "both", "params": {"joint": True}, "more_image_ids": ["2" * 64]}
    alone, joint = command_line(["a.jpg", "b.jpg"], [*CELLS, together]).split("\n\n")
    assert shlex.split(alone.replace("\\\n", " "))[2:4] == ["a.jpg", "--model"]
    words = shlex.split(joint.replace("\\\n", " "))
    assert words[2:4] == ["a.jpg", "b.jpg"]
    assert "both.joint=true" in words
    assert alone.endswith("--out maps/")
    assert joint.endswith("--out maps-together/")
    assert command_line(["a.jpg", "b.jpg"], [together]).endswith("--out maps/")


def test_pictures_of_one_name_become_different_files() -> None:
    assert file_names(["a.jpg", "a.jpg", "Ochre", "ochre"]) == ["a.jpg", "a-2.jpg", "ochre.png", "ochre-2.png"]


def test_the_dialog_offers_every_sample_that_a_method_looks_at() -> None:
    together = {"model": "a.b", "method": "both", "more_image_ids": ["2" * 64]}
    further = [{"name": "Tam", "url": "/t"}, {"name": "own.jpg", "url": ""}]
    body = code_body("http://v", "Ochre", [together], "1 map", url="/p", further=further)
    assert "Save ochre.png , tam.png first" in " ".join(words_of(body).split())
    assert [props(link)["href"] for link in by_class(body, "v-link") if "href" in props(link)] == ["/p", "/t"]
    plain = code_body("http://v", "Ochre", CELLS, "2 maps", url="/p", further=further)
    assert by_attribute(plain, "href", "/t") == []


def test_the_script_uploads_asks_waits_and_saves_every_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[tuple[str, Any]] = []
    states = iter(["running", "done"])
    run = {"key": KEY, "state": "queued", "problem": None}

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path.removeprefix("/api/v1")
        asked.append((path, request.content))
        if path == "/images":
            return httpx.Response(201, json={"id": "i" * 64})
        if path == "/runs/batch":
            return httpx.Response(200, json=[{"run": run, "problem": None}])
        if path.endswith("/result"):
            return httpx.Response(200, content=scalar_manifest().model_dump_json())
        if path.startswith("/artifacts"):
            return httpx.Response(200, content=b"numbers")
        return httpx.Response(200, json={**run, "state": next(states)})

    transport = httpx.MockTransport(answer)
    real = httpx.Client
    monkeypatch.setattr(httpx, "Client", lambda **given: real(transport=transport, **given))
    monkeypatch.setattr("time.sleep", lambda _seconds: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "robin.jpg").write_bytes(b"picture")
    (tmp_path / "jay.jpg").write_bytes(b"picture")

    exec(compile(python_snippet("http://vitrine.example/", ["robin.jpg"], CELLS[:1]), "snippet", "exec"), {})

    batch = json.loads(next(content for path, content in asked if path == "/runs/batch"))
    assert batch == {"runs": [{"image_id": "i" * 64, **CELLS[0]}]}
    assert [path for path, _content in asked].count("/images") == 1
    assert len(list(tmp_path.glob("*.npy"))) == len(scalar_manifest().arrays)
    assert "Parts give robin 0.9." in capsys.readouterr().out


def test_the_script_sends_every_picture_to_methods_that_take_several() -> None:
    together = {"model": "a.b", "method": "both", "params": {"joint": True}, "more_image_ids": ["2" * 64]}
    script = python_snippet("http://v", ["a.jpg", "b.jpg"], [CELLS[1], together])
    assert 'map(pathlib.Path, ["a.jpg", "b.jpg"])' in script
    scope: dict[str, Any] = {"images": ["one", "two"]}
    exec(script[script.index("wanted = [") : script.index("answers =")], scope)
    assert scope["batch"]["runs"] == [
        {"image_id": "one", "model": "a.b", "method": "two"},
        {"image_id": "one", "model": "a.b", "method": "both", "params": {"joint": True}, "more_image_ids": ["two"]},
    ]
