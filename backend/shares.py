"""Durable shares: a pinned comparison that opens when Redis is empty and its models are gone.

A share is a row plus content-addressed files. Its id is its key: 128 random bits that nobody can guess. The owner
holds a second secret of which only the hash is stored. Files leave when the last share that needs them does.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import Field, TypeAdapter

from backend.contract.artifacts import ArtifactStore, FolderArtifactStore
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Contract, Manifest
from backend.contract.schemas import PictureRecord
from backend.preview import Exhibit, draw_preview
from backend.share_rows import (
    Reference,
    ShareRow,
    ShareRows,
    find,
    insert,
    is_referenced,
    references_of,
    replace_preview,
)

ID_BYTES = 16
TOKEN_BYTES = 32
MOST_RUNS = 100
DAY_S = 86_400.0
BLOB, PICTURE = "blob", "picture"
_PICTURES = TypeAdapter(tuple[PictureRecord, ...])
_MANIFESTS = TypeAdapter(tuple[Manifest, ...])
_GONE = "This link is not valid: its share was removed, has expired, or never existed."


class ShareSizes(Contract):
    """Bytes on disk."""

    pictures: int
    arrays: int
    total: int


class Share(Contract):
    """A share as everybody sees it who has its id."""

    id: str
    title: str
    created: float
    expires: float | None = Field(description="Seconds since the epoch; null: it does not expire.")
    pictures: tuple[PictureRecord, ...]
    manifests: tuple[Manifest, ...]
    looks: dict[str, Any]
    sizes: ShareSizes


class ShareStore:
    """Shares in a folder.

    Args:
        root: Folder of the database and the files.
        results: Where finished runs and pictures are copied from.
        max_bytes: Largest share.
        clock: Seconds since the epoch.
    """

    def __init__(
        self, root: Path, results: ArtifactStore, *, max_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._files = FolderArtifactStore(root)
        self._rows = ShareRows(root / "shares.sqlite3")
        self._results = results
        self._max_bytes = max_bytes
        self._clock = clock

    def create(
        self, title: str, runs: tuple[str, ...], *, looks: dict[str, Any], days: float | None
    ) -> tuple[Share, str]:
        """Returns the new share and its owner's secret, which is told only here.

        Args:
            title: Shown above the share.
            runs: Keys of finished runs.
            looks: How the page shows them; stored as it is.
            days: Life, or ``None`` for no end.

        Raises:
            ProblemError: ``result_gone``, ``picture_gone`` or ``request_invalid``.
        """
        manifests = tuple(self._manifest(key) for key in dict.fromkeys(runs))
        records = tuple(self._record(image_id) for image_id in _image_ids(manifests))
        now, token = self._clock(), secrets.token_urlsafe(TOKEN_BYTES)
        drawn = self._draw(title, manifests, records)
        # Inside one write transaction, so that no sweep removes a file before the row that needs it is there.
        with self._rows.writing() as database:
            references = self._copy(manifests, records)
            preview = self._files.put_blob(drawn)
            references.append(Reference(BLOB, preview, self._size(BLOB, preview)))
            row = ShareRow(
                id=secrets.token_urlsafe(ID_BYTES),
                title=title,
                created=now,
                expires=None if days is None else now + days * DAY_S,
                owner_hash=_hash(token),
                looks=looks,
                pictures=_PICTURES.dump_json(records).decode(),
                manifests=_MANIFESTS.dump_json(manifests).decode(),
                preview=preview,
            )
            insert(database, row, references)
        return self.get(row.id), token

    def get(self, share_id: str) -> Share:
        """Returns a share.

        Raises:
            ProblemError: ``share_gone``.
        """
        with self._rows.reading() as database:
            row = self._find(database, share_id)
            references = references_of(database, share_id)
        pictures = sum(item.bytes for item in references if item.kind == PICTURE)
        total = sum(item.bytes for item in references)
        return Share(
            id=row.id,
            title=row.title,
            created=row.created,
            expires=row.expires,
            pictures=_PICTURES.validate_json(row.pictures),
            manifests=_MANIFESTS.validate_json(row.manifests),
            looks=row.looks,
            sizes=ShareSizes(pictures=pictures, arrays=total - pictures, total=total),
        )

    def picture(self, share_id: str, image_id: str) -> bytes:
        """Returns the PNG of one of the share's pictures."""
        self._validate_needed(share_id, PICTURE, image_id)
        return _there(self._files.get_picture(image_id))

    def array(self, share_id: str, digest: str) -> bytes:
        """Returns the ``.npy`` bytes of one of the share's arrays."""
        self._validate_needed(share_id, BLOB, digest)
        return _there(self._files.get_blob(digest))

    def preview(self, share_id: str) -> bytes:
        """Returns the PNG that stands for the share in messages, 1200 x 630 pixels."""
        with self._rows.reading() as database:
            return _there(self._files.get_blob(self._find(database, share_id).preview))

    def change(
        self,
        share_id: str,
        owner_token: str,
        *,
        title: str | None = None,
        looks: dict[str, Any] | None = None,
        days: float | None = None,
    ) -> Share:
        """Returns the share after its owner changed it; ``None`` leaves a value as it is, days count from now.

        Raises:
            ProblemError: ``share_gone`` or ``forbidden``.
        """
        with self._rows.reading() as database:
            row = self._find_owned(database, share_id, owner_token)
        drawn = None if title in (None, row.title) else self._draw_again(str(title), row)
        with self._rows.writing() as database:
            row = self._find_owned(database, share_id, owner_token)
            values = (
                row.title if title is None else title,
                TypeAdapter(dict[str, Any]).dump_json(row.looks if looks is None else looks).decode(),
                row.expires if days is None else self._clock() + days * DAY_S,
                share_id,
            )
            database.execute("UPDATE shares SET title = ?, looks = ?, expires = ? WHERE id = ?", values)
            if drawn is not None:
                self._replace_preview(database, row, drawn)
        return self.get(share_id)

    def remove(self, share_id: str, owner_token: str) -> None:
        """Removes a share and the files that only it needed.

        Raises:
            ProblemError: ``share_gone`` or ``forbidden``.
        """
        with self._rows.writing() as database:
            self._find_owned(database, share_id, owner_token)
            self._drop(database, share_id)

    def sweep(self) -> int:
        """Removes expired shares and files that no share needs; returns how many shares left."""
        with self._rows.writing() as database:
            expired = database.execute("SELECT id FROM shares WHERE expires <= ?", (self._clock(),)).fetchall()
            for (share_id,) in expired:
                self._drop(database, share_id)
            self._remove_orphans(database)
        return len(expired)

    def restore(self, share_id: str) -> Share:
        """Puts a share's pictures and results back where runs are, so that somebody can go on from it."""
        share = self.get(share_id)
        for record in share.pictures:
            self._results.put_picture(record, self.picture(share_id, record.id))
        for manifest in share.manifests:
            for digest in sorted(manifest.digests()):
                self._results.put_blob(self.array(share_id, digest))
            self._results.put_manifest(manifest)
        return share

    def _manifest(self, key: str) -> Manifest:
        manifest = self._results.get_manifest(key)
        if manifest is None:
            raise ProblemError(
                ProblemCode.RESULT_GONE,
                "One of these results is not finished or was cleared. Run it again, then share.",
            )
        return manifest

    def _record(self, image_id: str) -> PictureRecord:
        record = self._results.get_picture_record(image_id)
        if record is None:
            raise _picture_gone()
        return record

    def _copy(self, manifests: tuple[Manifest, ...], records: tuple[PictureRecord, ...]) -> list[Reference]:
        references: list[Reference] = []
        for record in records:
            png = self._picture(record.id)
            self._files.put_picture(record, png)
            references.append(Reference(PICTURE, record.id, len(png)))
        for digest in sorted(set().union(*(manifest.digests() for manifest in manifests))):
            data = self._results.get_blob(digest)
            if data is None:
                raise ProblemError(ProblemCode.RESULT_GONE, "One of these maps was cleared. Run it again, then share.")
            self._files.put_blob(data)
            references.append(Reference(BLOB, digest, len(data)))
        total = sum(item.bytes for item in references)
        if total > self._max_bytes:
            raise ProblemError(
                ProblemCode.REQUEST_INVALID,
                f"This share would need {total / 1e6:.0f} MB; {self._max_bytes / 1e6:.0f} MB is the most. "
                "Share fewer results.",
            )
        return references

    def _draw(self, title: str, manifests: tuple[Manifest, ...], records: tuple[PictureRecord, ...]) -> bytes:
        exhibits = [Exhibit(manifest, self._results.get_blob) for manifest in manifests]
        return draw_preview(title, self._picture(records[0].id), exhibits)

    def _draw_again(self, title: str, row: ShareRow) -> bytes:
        """Returns the preview with another title, from the share's own files."""
        exhibits = [Exhibit(manifest, self._files.get_blob) for manifest in _MANIFESTS.validate_json(row.manifests)]
        first = _PICTURES.validate_json(row.pictures)[0]
        return draw_preview(title, _there(self._files.get_picture(first.id)), exhibits)

    def _replace_preview(self, database: sqlite3.Connection, row: ShareRow, drawn: bytes) -> None:
        digest = self._files.put_blob(drawn)
        if digest == row.preview:
            return
        replace_preview(database, row, Reference(BLOB, digest, len(drawn)))
        if not is_referenced(database, BLOB, row.preview):
            self._unlink(BLOB, row.preview)

    def _picture(self, image_id: str) -> bytes:
        png = self._results.get_picture(image_id)
        if png is None:
            raise _picture_gone()
        return png

    def _find(self, database: sqlite3.Connection, share_id: str) -> ShareRow:
        row = find(database, share_id, now=self._clock())
        if row is None:
            raise ProblemError(ProblemCode.SHARE_GONE, _GONE)
        return row

    def _find_owned(self, database: sqlite3.Connection, share_id: str, owner_token: str) -> ShareRow:
        row = self._find(database, share_id)
        if not hmac.compare_digest(row.owner_hash, _hash(owner_token)):
            raise ProblemError(ProblemCode.FORBIDDEN, "Only the one who made this share can change or remove it.")
        return row

    def _validate_needed(self, share_id: str, kind: str, name: str) -> None:
        with self._rows.reading() as database:
            self._find(database, share_id)
            if not any(item.kind == kind and item.name == name for item in references_of(database, share_id)):
                raise ProblemError(ProblemCode.NOT_FOUND, "This is not part of the share.")

    def _drop(self, database: sqlite3.Connection, share_id: str) -> None:
        references = references_of(database, share_id)
        database.execute("DELETE FROM shares WHERE id = ?", (share_id,))
        for item in references:
            if not is_referenced(database, item.kind, item.name):
                self._unlink(item.kind, item.name)

    def _remove_orphans(self, database: sqlite3.Connection) -> None:
        # A crash between copying and the row leaves files that no row names.
        for path in (self._root / "blobs").glob("*/*/*"):
            if not is_referenced(database, BLOB, path.name):
                path.unlink(missing_ok=True)
        for path in (self._root / "pictures").glob("*"):
            if not is_referenced(database, PICTURE, path.stem):
                path.unlink(missing_ok=True)

    def _unlink(self, kind: str, name: str) -> None:
        for path in self._paths(kind, name):
            path.unlink(missing_ok=True)

    def _size(self, kind: str, name: str) -> int:
        return sum(path.stat().st_size for path in self._paths(kind, name))

    def _paths(self, kind: str, name: str) -> tuple[Path, ...]:
        if kind == BLOB:
            return (self._files.blob_path(name),)
        return self._root / "pictures" / f"{name}.png", self._root / "pictures" / f"{name}.json"


def _image_ids(manifests: tuple[Manifest, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(image_id for manifest in manifests for image_id in manifest.image_ids))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _picture_gone() -> ProblemError:
    return ProblemError(
        ProblemCode.PICTURE_GONE, "The picture of one of these results is no longer here. Choose it again."
    )


def _there(data: bytes | None) -> bytes:
    if data is None:
        raise ProblemError(ProblemCode.SHARE_GONE, "A file of this share is missing on the server's disk.")
    return data
