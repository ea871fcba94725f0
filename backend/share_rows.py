"""The rows of shares in SQLite: what is pinned, for whom it may be changed, until when it lives."""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCHEMA = """
CREATE TABLE IF NOT EXISTS shares (
  id TEXT PRIMARY KEY, title TEXT NOT NULL, created REAL NOT NULL, expires REAL, owner_hash TEXT NOT NULL,
  looks TEXT NOT NULL, pictures TEXT NOT NULL, manifests TEXT NOT NULL, preview TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS references_ (
  share_id TEXT NOT NULL REFERENCES shares(id) ON DELETE CASCADE,
  kind TEXT NOT NULL, name TEXT NOT NULL, bytes INTEGER NOT NULL, PRIMARY KEY (share_id, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS references_by_name ON references_(kind, name);
CREATE INDEX IF NOT EXISTS shares_by_expiry ON shares(expires);
PRAGMA user_version = 1;
"""
BUSY_S = 30.0


@dataclass(frozen=True)
class ShareRow:
    """One share as it is stored; ``pictures`` and ``manifests`` are JSON lists."""

    id: str
    title: str
    created: float
    expires: float | None
    owner_hash: str
    looks: dict[str, Any]
    pictures: str
    manifests: str
    preview: str


@dataclass(frozen=True)
class Reference:
    """Something a share needs: a ``blob`` by digest or a ``picture`` by id, with its size."""

    kind: str
    name: str
    bytes: int


class ShareRows:
    """A small database of shares; every operation opens its own connection, so any thread may call it.

    Args:
        path: The database file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._open() as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA)

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Opens a transaction that no other writer overlaps, in this or another process."""
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
                database.execute("COMMIT")
            except BaseException:
                database.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Opens a connection to read from."""
        with self._open() as database:
            yield database

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path, timeout=BUSY_S, isolation_level=None)
        try:
            database.execute("PRAGMA foreign_keys = ON")
            database.execute("PRAGMA synchronous = FULL")
            yield database
        finally:
            database.close()


def insert(database: sqlite3.Connection, row: ShareRow, references: list[Reference]) -> None:
    """Adds a share and what it needs."""
    database.execute(
        "INSERT INTO shares VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            row.id,
            row.title,
            row.created,
            row.expires,
            row.owner_hash,
            json.dumps(row.looks),
            row.pictures,
            row.manifests,
            row.preview,
        ),
    )
    database.executemany(
        "INSERT INTO references_ VALUES (?, ?, ?, ?)",
        [(row.id, item.kind, item.name, item.bytes) for item in references],
    )


def replace_preview(database: sqlite3.Connection, row: ShareRow, preview: Reference) -> None:
    """Gives a share another preview in place of the one it has."""
    database.execute("UPDATE shares SET preview = ? WHERE id = ?", (preview.name, row.id))
    database.execute(
        "DELETE FROM references_ WHERE share_id = ? AND kind = ? AND name = ?", (row.id, preview.kind, row.preview)
    )
    database.execute(
        "INSERT OR IGNORE INTO references_ VALUES (?, ?, ?, ?)", (row.id, preview.kind, preview.name, preview.bytes)
    )


def find(database: sqlite3.Connection, share_id: str, *, now: float) -> ShareRow | None:
    """Returns a share that has not expired, or ``None``."""
    found = database.execute(
        "SELECT id, title, created, expires, owner_hash, looks, pictures, manifests, preview FROM shares "
        "WHERE id = ? AND (expires IS NULL OR expires > ?)",
        (share_id, now),
    ).fetchone()
    if found is None:
        return None
    share_id, title, created, expires, owner_hash, looks, pictures, manifests, preview = found
    return ShareRow(share_id, title, created, expires, owner_hash, json.loads(looks), pictures, manifests, preview)


def references_of(database: sqlite3.Connection, share_id: str) -> list[Reference]:
    """Returns what a share needs."""
    found = database.execute("SELECT kind, name, bytes FROM references_ WHERE share_id = ?", (share_id,))
    return [Reference(*item) for item in found]


def is_referenced(database: sqlite3.Connection, kind: str, name: str) -> bool:
    """Returns whether any share needs this."""
    found = database.execute("SELECT 1 FROM references_ WHERE kind = ? AND name = ? LIMIT 1", (kind, name))
    return found.fetchone() is not None
