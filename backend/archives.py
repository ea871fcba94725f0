"""Unpacks a zip of pictures that a stranger sent: nothing outside its folder, no links, no bombs, only pictures.

What the archive says of itself (names, sizes, number of entries) is checked before a byte is unpacked, and measured
again while unpacking, because it may lie.
"""

from __future__ import annotations

import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from backend.contract.decoding import MAX_BYTES, read_picture
from backend.contract.problems import ProblemCode, ProblemError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
PARTS = ("train", "val", "valid", "validation", "test")
CHUNK_BYTES = 1 << 20
RATIO_FROM_BYTES = 1 << 20
DIRECTORY_BYTES = 64 << 20
"""Largest list of contents that is read into memory."""
TAIL_BYTES = 66_000
LONGEST_NAME = 200
DEEPEST = 6
_DRIVE = re.compile(r"[A-Za-z]:")
_JUNK = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_ENCRYPTED = 0x1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


@dataclass(frozen=True)
class ArchiveLimits:
    """What an archive may hold.

    Args:
        files: Most pictures.
        total_bytes: Most bytes of all pictures together.
        file_bytes: Most bytes of one picture.
        ratio: How many times larger than its packed form a file above a megabyte may be.
        max_pixels: Most pixels of one picture.
    """

    files: int = 100_000
    total_bytes: int = 8_000_000_000
    file_bytes: int = MAX_BYTES
    ratio: int = 200
    max_pixels: int = 50_000_000


@dataclass(frozen=True)
class Unpacked:
    """What was unpacked: pictures by part and class, and their bytes."""

    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    total_bytes: int = 0


@dataclass(frozen=True)
class _Entry:
    info: zipfile.ZipInfo
    parts: tuple[str, ...]

    @property
    def name(self) -> str:
        return "/".join(self.parts)


def unpack(
    file: BinaryIO,
    target: Path,
    limits: ArchiveLimits,
    *,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    decoding: Callable[[], AbstractContextManager[object]] = nullcontext,
) -> Unpacked:
    """Unpacks pictures into a folder: a sub-folder for each class, or ``train``, ``val`` and ``test`` with such.

    A single folder around everything is taken away. Hidden files of other systems are passed over.

    Args:
        file: The archive; must be seekable.
        target: Empty folder. What is in it after an error is the caller's to remove.
        limits: What the archive may hold.
        on_progress: Told (pictures unpacked, pictures in all).
        decoding: Entered while one picture is decoded.

    Raises:
        ProblemError: ``archive_refused``, ``data_unusable`` or what is wrong with a picture, with its name.
    """
    size = _check_directory(file)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = _checked(archive, limits, size=size)
            counts = _laid_out(entries)
            total = 0
            for done, entry in enumerate(entries, start=1):
                data = _read(archive, entry, limits, left=limits.total_bytes - total)
                total += len(data)
                with decoding():
                    _check_picture(entry, data, limits)
                path = target.joinpath(*entry.parts)
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as written:
                    written.write(data)
                on_progress(done, len(entries))
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, UnicodeDecodeError) as error:
        raise refused(
            "This archive is damaged or not of a form that is read here. Pack it again as a plain zip."
        ) from error
    return Unpacked(counts, total)


def refused(message: str) -> ProblemError:
    """Returns the refusal of an archive."""
    return ProblemError(ProblemCode.ARCHIVE_REFUSED, message)


def _check_directory(file: BinaryIO) -> int:
    """Returns the archive's bytes; refuses what is no zip, or whose list of contents alone would fill the memory."""
    end = file.seek(0, 2)
    file.seek(max(0, end - TAIL_BYTES))
    tail = file.read(TAIL_BYTES)
    place = tail.rfind(b"PK\x05\x06")
    if place < 0 or len(tail) - place < 22:
        raise refused("This file is not a zip archive.")
    listed = int.from_bytes(tail[place + 12 : place + 16], "little")
    larger = tail.rfind(b"PK\x06\x06")
    if listed == 0xFFFFFFFF and larger >= 0:
        listed = int.from_bytes(tail[larger + 40 : larger + 48], "little")
    if listed > DIRECTORY_BYTES:
        raise refused("This archive has too many entries.")
    file.seek(0)
    return end


def _checked(archive: zipfile.ZipFile, limits: ArchiveLimits, *, size: int) -> list[_Entry]:
    """Returns the pictures of an archive after a look at everything that it says of itself."""
    entries: list[_Entry] = []
    for info in archive.infolist():
        parts = _safe_parts(info)
        if info.is_dir() or any(part.startswith(".") or part in _JUNK for part in parts):
            continue
        if Path(parts[-1]).suffix.lower() not in SUFFIXES:
            raise refused(f"{_shown(info)} is not a picture. Only JPEG, PNG, WebP, GIF, BMP and TIFF belong here.")
        if info.file_size > limits.file_bytes:
            raise refused(
                f"{_shown(info)} would have {_megabytes(info.file_size)}; {_megabytes(limits.file_bytes)} is the most "
                "for one picture."
            )
        entries.append(_Entry(info, parts))
        if len(entries) > limits.files:
            raise refused(f"This archive has more than {limits.files} pictures, which is the most.")
    total = sum(entry.info.file_size for entry in entries)
    if total > limits.total_bytes:
        raise refused(f"The pictures would have {_megabytes(total)}; {_megabytes(limits.total_bytes)} is the most.")
    if sum(entry.info.compress_size for entry in entries) > size:
        raise refused("The files of this archive lie over one another, as in an archive bomb.")
    return _unwrapped(entries)


def _safe_parts(info: zipfile.ZipInfo) -> tuple[str, ...]:
    """Returns the components of an entry's name; refuses every name that leads elsewhere and everything but files."""
    name = info.filename
    if "\x00" in info.orig_filename or "\\" in name or any(not letter.isprintable() for letter in name):
        raise refused(f"The archive holds the name {_shown(info)}, which has characters that are not allowed.")
    if name.startswith("/") or _DRIVE.match(name):
        raise refused(f"The archive holds the absolute name {_shown(info)}; names must be relative.")
    parts = tuple(part for part in name.split("/") if part not in ("", "."))
    if ".." in parts:
        raise refused(f"The archive holds the name {_shown(info)}, which leads out of its folder.")
    if not parts or len(parts) > DEEPEST or any(len(part.encode()) > LONGEST_NAME for part in parts):
        raise refused(f"The archive holds the name {_shown(info)}, which is too long or lies too deep.")
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind == stat.S_IFLNK:
        raise refused(f"{_shown(info)} is a link. Pack the pictures themselves.")
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused(f"{_shown(info)} is neither a file nor a folder.")
    if info.flag_bits & _ENCRYPTED:
        raise refused("This archive is locked with a password. Pack it again without one.")
    if info.compress_type not in _METHODS:
        raise refused("This archive is packed in a way that is not read here. Pack it again as a plain zip.")
    return parts


def _unwrapped(entries: Sequence[_Entry]) -> list[_Entry]:
    """Returns the entries without a single folder around everything; a name may occur only once."""
    outer = {entry.parts[0] for entry in entries}
    is_wrapped = len(outer) == 1 and not outer & set(PARTS) and all(len(entry.parts) >= 3 for entry in entries)
    found = [_Entry(entry.info, entry.parts[1:]) for entry in entries] if is_wrapped else list(entries)
    names = [entry.name.casefold() for entry in found]
    if len(set(names)) < len(names):
        raise refused("The archive holds the same name twice.")
    return found


def _laid_out(entries: Sequence[_Entry]) -> dict[str, dict[str, int]]:
    """Returns how many pictures each class of each part has.

    Raises:
        ProblemError: ``data_unusable`` if a picture lies beside the class folders or there are fewer than two classes.
    """
    has_parts = any(entry.parts[0] == "train" for entry in entries)
    counts: dict[str, dict[str, int]] = {}
    for entry in entries:
        part = entry.parts[0] if has_parts else "train"
        inner = entry.parts[1:] if has_parts else entry.parts
        if len(inner) < 2 or part not in PARTS:
            raise _unusable(
                f"{_shown(entry.info)} does not lie in a class folder. One folder for each class holds its pictures."
            )
        part = "validation" if part in PARTS[1:4] else part
        counts.setdefault(part, {}).setdefault(inner[0], 0)
        counts[part][inner[0]] += 1
    classes = counts.get("train", {})
    if len(classes) < 2:
        found = f"only the class {next(iter(classes))!r}" if classes else "no class"
        raise _unusable(f"The archive has {found}; two classes are the least: one folder with pictures for each class.")
    for part in counts:
        foreign = sorted(set(counts[part]) - set(classes))
        if foreign:
            raise _unusable(f"The class {foreign[0]!r} has pictures for {part} but none to learn from.")
    return counts


def _read(archive: zipfile.ZipFile, entry: _Entry, limits: ArchiveLimits, *, left: int) -> bytes:
    """Returns the bytes of one file, counted while they come."""
    data = bytearray()
    most = min(limits.file_bytes, left)
    with archive.open(entry.info) as packed:
        while chunk := packed.read(CHUNK_BYTES):
            data += chunk
            if len(data) > most:
                raise refused(f"{_shown(entry.info)} is larger than the archive says, or more than fits.")
            if len(data) > RATIO_FROM_BYTES and len(data) > limits.ratio * max(1, entry.info.compress_size):
                raise refused(f"{_shown(entry.info)} grows more than {limits.ratio} times, as in an archive bomb.")
    return bytes(data)


def _check_picture(entry: _Entry, data: bytes, limits: ArchiveLimits) -> None:
    try:
        read_picture(data, max_pixels=limits.max_pixels, max_bytes=limits.file_bytes)
    except ProblemError as error:
        raise ProblemError(error.code, f"{_shown(entry.info)}: {error.message}") from error


def _unusable(message: str) -> ProblemError:
    return ProblemError(ProblemCode.DATA_UNUSABLE, message)


def _shown(info: zipfile.ZipInfo) -> str:
    """Returns a name fit to be shown: printable and not too long."""
    name = "".join(letter if letter.isprintable() else "?" for letter in info.orig_filename)
    return f"'{name[:60]}{'...' if len(name) > 60 else ''}'"


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.1f} MB".replace(".0 MB", " MB")
