"""The evidence of a share as a ZIP archive, streamed, with the manifest that vouches for every file written last."""

from __future__ import annotations

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Iterator
from functools import partial
from typing import Any

from backend.contract.results import Manifest
from backend.evidence import run_files, to_file_name
from backend.recipe import make_recipe
from backend.shares import Share, ShareStore

README = """What is in this archive

pictures/   The pictures that were explained, as the models got them (8-bit sRGB).
runs/       One folder for each result: its numbers (.npy, NumPy's format, at the method's own resolution), each map
            drawn over the picture (.png), its regions as a table (regions.csv), everything about it (run.json), and
            the few lines of Python that compute it again (snippet.py).
recipe.json What was asked, with which weights and versions, to do it again.
manifest.json  Size and sha256 of every file above. It is written last: an archive without it is not complete.
"""


class _Sink(io.RawIOBase):
    """Takes what the archive writes and hands it on; it cannot seek, so the archive streams."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._parts.append(bytes(data))
        return len(self._parts[-1])

    def take(self) -> bytes:
        data = b"".join(self._parts)
        self._parts.clear()
        return data


def stream_bundle(store: ShareStore, share: Share) -> Iterator[bytes]:
    """Yields the archive piece by piece; no more than one file of it is in memory."""
    sink = _Sink()
    listed: list[dict[str, Any]] = []
    moment = time.gmtime(share.created)[:6]
    with zipfile.ZipFile(sink, "w") as archive:
        for name, data in _files(store, share):
            _add(archive, name, data, moment)
            listed.append({"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
            yield sink.take()
        about = {"title": share.title, "created": share.created, "files": listed}
        _add(archive, "manifest.json", _to_json(about), moment)
    yield sink.take()


def _files(store: ShareStore, share: Share) -> Iterator[tuple[str, bytes]]:
    yield "README.txt", README.encode()
    pictures = {record.id: f"pictures/{number}-{record.id[:12]}.png" for number, record in enumerate(share.pictures, 1)}
    for image_id, name in pictures.items():
        yield name, store.picture(share.id, image_id)
    for number, manifest in enumerate(share.manifests, 1):
        folder = f"runs/{number}-{to_file_name(manifest.model)}-{to_file_name(manifest.method)}"
        files = run_files(
            manifest,
            lambda digest: store.array(share.id, digest),
            picture=partial(_picture, store, share, manifest),
            picture_paths=[f"../../{pictures[image_id]}" for image_id in manifest.image_ids],
        )
        for name, data in files:
            yield f"{folder}/{name}", data
    yield "recipe.json", _to_json(make_recipe(share))


def _picture(store: ShareStore, share: Share, manifest: Manifest, place: int) -> bytes:
    return store.picture(share.id, manifest.image_ids[place])


def _add(archive: zipfile.ZipFile, name: str, data: bytes, moment: tuple[int, ...]) -> None:
    entry = zipfile.ZipInfo(name, (moment[0], moment[1], moment[2], moment[3], moment[4], moment[5]))
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(".png") else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, data)


def _to_json(value: Any) -> bytes:
    return json.dumps(value, indent=2, ensure_ascii=False).encode()
