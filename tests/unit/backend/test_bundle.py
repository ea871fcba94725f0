"""The evidence of a share: complete, checkable, its manifest written last."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
import shlex
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from backend.bundle import stream_bundle
from backend.contract.artifacts import FolderArtifactStore, npy_to_array
from backend.contract.results import Encoding, Layer, Manifest
from backend.overlay import draw_overlay, fit_picture
from backend.preview import SIZE, Exhibit, draw_preview, take_layer
from backend.recipe import make_recipe, to_command
from backend.shares import Share, ShareStore
from tests.backend_fakes import encode, make_pixels, put_picture, put_result

RUN = "1" * 64
FILES = ("map.npy", "stack.npy", "map.png", "second.png", "run.json", "snippet.py")


@pytest.fixture
def pinned(tmp_path: Path) -> tuple[ShareStore, Share]:
    results = FolderArtifactStore(tmp_path / "results")
    record = put_picture(results)
    stack = np.random.default_rng(0).random((3, 5, 7), np.float32)
    put_result(results, record, RUN, {"map": np.ones((5, 7), np.float32), "stack": stack})
    manifest = results.get_manifest(RUN)
    assert manifest is not None
    layers = (*manifest.layers, Layer(name="second", title="2", array="stack", index=1, encoding=Encoding.SEQUENTIAL))
    results.put_manifest(manifest.model_copy(update={"layers": layers}))
    store = ShareStore(tmp_path / "shares", results, max_bytes=10**6)
    share, _ = store.create("Wings and tail", (RUN,), looks={}, days=1)
    return store, share


@pytest.fixture
def archive(pinned: tuple[ShareStore, Share]) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(stream_bundle(*pinned))))


def test_the_manifest_comes_last_and_vouches_for_every_other_file(archive: zipfile.ZipFile) -> None:
    names = archive.namelist()
    assert names[-1] == "manifest.json"
    listed = json.loads(archive.read("manifest.json"))["files"]
    assert [item["file"] for item in listed] == names[:-1]
    for item in listed:
        data = archive.read(item["file"])
        assert (len(data), hashlib.sha256(data).hexdigest()) == (item["bytes"], item["sha256"])


def test_it_arrives_in_pieces_and_the_pieces_are_a_whole_archive(pinned: tuple[ShareStore, Share]) -> None:
    pieces = list(stream_bundle(*pinned))
    assert len(pieces) > 5
    assert zipfile.ZipFile(io.BytesIO(b"".join(pieces))).testzip() is None
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(io.BytesIO(b"".join(pieces[:-1])))


def test_numbers_pictures_and_tables_are_inside(archive: zipfile.ZipFile, pinned: tuple[ShareStore, Share]) -> None:
    folder = "runs/1-tiny-cnn-plain"
    assert {f"{folder}/{name}" for name in FILES} <= set(archive.namelist())
    manifest = Manifest.model_validate_json(archive.read(f"{folder}/run.json"))
    assert manifest == pinned[1].manifests[0]
    stack = archive.read(f"{folder}/stack.npy")
    assert hashlib.sha256(stack).hexdigest() == manifest.arrays["stack"].digest
    picture = fit_picture(archive.read(archive.namelist()[1]), 60, 40)
    drawn = draw_overlay(picture, manifest, manifest.layers[1], npy_to_array(stack)[1])
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(archive.read(f"{folder}/second.png")))), drawn)
    rows = list(csv.reader(io.StringIO(archive.read(f"{folder}/regions.csv").decode())))
    assert rows == [
        ["id", "label", "layer", "score", "area", "left", "top", "right", "bottom"],
        ["1", "beak", "map", "0.5", "0.1", "1.0", "2.0", "3.0", "4.0"],
    ]


def test_the_code_of_a_run_finds_its_picture_in_the_archive(archive: zipfile.ZipFile, tmp_path: Path) -> None:
    archive.extractall(tmp_path)
    (script,) = tmp_path.glob("runs/*/snippet.py")
    code = script.read_text()
    compile(code, "snippet.py", "exec")
    (relative,) = re.findall(r'parent / "([^"]+)"', code)
    assert (script.parent / relative).resolve().is_file()


def test_neither_recipe_nor_archive_hold_the_shares_key(
    archive: zipfile.ZipFile, pinned: tuple[ShareStore, Share]
) -> None:
    share_id = pinned[1].id.encode()
    assert all(share_id not in archive.read(name) for name in archive.namelist())


def test_the_recipe_names_weights_versions_and_a_command(pinned: tuple[ShareStore, Share]) -> None:
    (run,) = make_recipe(pinned[1])["runs"]
    assert (run["weights_digest"], run["method_version"], run["versions"]) == ("f" * 64, 3, {"vitrine": "0"})
    words = shlex.split(run["command"])
    assert words[:2] == ["vitrine", "explain"]
    assert words[words.index("--model") + 1] == "tiny-cnn"
    assert words[words.index("--target") + 1] == "2"
    assert words[words.index("--param") + 1] == "steps=8"


def test_a_command_quotes_what_a_shell_would_read(pinned: tuple[ShareStore, Share]) -> None:
    manifest = pinned[1].manifests[0].model_copy(update={"model": "local-dir:my birds; rm"})
    assert "local-dir:my birds; rm" in shlex.split(to_command(manifest))


@pytest.mark.parametrize(
    ("maps", "size"),
    [(0, (60, 40)), (1, (30, 90)), (2, (200, 20)), (3, (16, 16)), (4, (60, 40)), (5, (30, 90)), (7, (200, 20))],
)
def test_a_preview_has_the_size_that_messages_expect(
    pinned: tuple[ShareStore, Share], maps: int, size: tuple[int, int]
) -> None:
    store, share = pinned
    manifest = share.manifests[0].model_copy(update={"picture_size": size})
    exhibits = [Exhibit(manifest, lambda digest: store.array(share.id, digest))] * maps
    png = draw_preview("A title of the usual length", encode(make_pixels(*size)), exhibits)
    image = Image.open(io.BytesIO(png))
    assert (image.size, image.format) == (SIZE, "PNG")
    assert len(np.unique(np.asarray(image).reshape(-1, 3), axis=0)) > 50


def test_a_preview_survives_any_title_and_a_lost_map(pinned: tuple[ShareStore, Share]) -> None:
    exhibit = Exhibit(pinned[1].manifests[0], lambda _: None)
    for title in ("", "x" * 500, "Ärger mit Vögeln — 鳥 🐦"):
        assert draw_preview(title, encode(make_pixels()), [exhibit]).startswith(b"\x89PNG")


def test_a_stack_without_an_index_shows_its_first_map() -> None:
    stack = np.arange(24.0).reshape(2, 3, 4)
    layer = Layer(name="a", title="a", array="a", encoding=Encoding.SEQUENTIAL)
    assert np.array_equal(take_layer(stack, layer), stack[0])
    colours = layer.model_copy(update={"encoding": Encoding.RGB})
    assert take_layer(np.zeros((3, 4, 3)), colours).shape == (3, 4, 3)
