"""The evidence of one run in a folder: the files of :mod:`backend.evidence`, vouched for by a manifest.

The manifest is written last, so a folder without one is not complete.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from backend.contract.results import Manifest
from backend.evidence import run_files

MANIFEST = "manifest.json"
PICTURE = "picture.png"


class FolderTakenError(Exception):
    """The folder holds something already, and nobody said that it may be replaced."""


def check_folder(folder: Path, *, force: bool) -> None:
    """Raises unless evidence may be written into the folder.

    Raises:
        FolderTakenError: If it is a file, or holds anything and ``force`` is not set.
    """
    if folder.is_file() or (not force and folder.is_dir() and any(folder.iterdir())):
        raise FolderTakenError(f"{folder} is not empty. Choose another folder, or replace what is there with --force.")


def write_evidence(
    folder: Path,
    manifest: Manifest,
    fetch: Callable[[str], bytes],
    *,
    picture_png: bytes,
    further_pngs: Sequence[bytes] = (),
    force: bool = False,
) -> Path:
    """Writes the evidence of a run and returns the path of its manifest.

    Args:
        folder: Made when missing.
        manifest: Of the run.
        fetch: Returns the ``.npy`` bytes of a digest.
        picture_png: The run's first picture.
        further_pngs: Its other pictures, in the order of the question.
        force: Whether evidence that is already in the folder is replaced.

    Raises:
        FolderTakenError: If the folder holds anything and ``force`` is not set.
    """
    check_folder(folder, force=force)
    folder.mkdir(parents=True, exist_ok=True)
    _clear(folder)
    listed = []
    for name, data in _files(manifest, fetch, [picture_png, *further_pngs]):
        (folder / name).write_bytes(data)
        listed.append({"file": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()})
    about = {"title": f"{manifest.method_title} of {manifest.model_title}", "files": listed}
    path = folder / MANIFEST
    path.write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def picture_names(count: int) -> list[str]:
    """Returns the file names of a run's pictures: ``picture.png``, or ``picture-000.png`` on when there are several."""
    return [PICTURE] if count == 1 else [f"picture-{place:03d}.png" for place in range(count)]


def _files(manifest: Manifest, fetch: Callable[[str], bytes], pictures: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
    names = picture_names(len(pictures))
    yield from zip(names, pictures, strict=True)
    yield from run_files(manifest, fetch, picture=pictures.__getitem__, picture_paths=names)


def _clear(folder: Path) -> None:
    """Removes earlier evidence, its manifest first, so that what is left is never taken for a whole one."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        return
    listed = json.loads(manifest.read_text(encoding="utf-8")).get("files", [])
    manifest.unlink()
    for entry in listed:
        (folder / Path(entry["file"]).name).unlink(missing_ok=True)
