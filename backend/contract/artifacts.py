"""Where bytes live: arrays by the sha256 of their ``.npy`` form, manifests by run key, pictures by id."""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path
from typing import Protocol

import numpy as np
import redis
import zstandard
from numpy.typing import NDArray
from pydantic import ValidationError

from backend.contract import names
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Manifest
from backend.contract.schemas import PictureRecord


class ArtifactStore(Protocol):
    """Content-addressed storage for what runs read and write."""

    def put_blob(self, data: bytes, *, ttl_s: int | None = None) -> str:
        """Stores bytes and returns their sha256."""

    def get_blob(self, digest: str) -> bytes | None:
        """Returns the bytes, or ``None`` when they are gone."""

    def has_blobs(self, digests: set[str]) -> bool:
        """Returns whether every one of them is there."""

    def put_manifest(self, manifest: Manifest) -> None:
        """Stores the final manifest of a run, after all its arrays."""

    def get_manifest(self, run_key: str) -> Manifest | None:
        """Returns the final manifest, or ``None`` when it or one of its arrays is gone or cannot be read."""

    def put_picture(self, record: PictureRecord, png: bytes) -> None:
        """Stores a canonical picture as PNG bytes."""

    def get_picture(self, image_id: str) -> bytes | None:
        """Returns the PNG bytes of a canonical picture, or ``None``."""

    def get_picture_record(self, image_id: str) -> PictureRecord | None:
        """Returns what is known of a picture, or ``None``."""


def array_to_npy(array: NDArray[np.generic]) -> bytes:
    """Returns the ``.npy`` bytes (version 1.0, C order, little endian) of an array without objects."""
    if array.dtype.hasobject:
        raise TypeError("arrays of Python objects are not stored")
    buffer = io.BytesIO()
    little = array.astype(array.dtype.newbyteorder("<"), copy=False)
    np.lib.format.write_array(buffer, np.ascontiguousarray(little).reshape(array.shape), version=(1, 0))
    return buffer.getvalue()


def npy_to_array(data: bytes) -> NDArray[np.generic]:
    """Returns the array of ``.npy`` bytes; object arrays are refused."""
    array: NDArray[np.generic] = np.load(io.BytesIO(data), allow_pickle=False)
    return array


class RedisArtifactStore:
    """Artifacts in Redis, compressed with zstd; every key expires.

    Args:
        cache: Connection to the cache server, answering bytes (``decode_responses=False``).
    """

    def __init__(self, cache: redis.Redis) -> None:
        self._cache = cache

    def put_blob(self, data: bytes, *, ttl_s: int | None = None) -> str:
        digest = hashlib.sha256(data).hexdigest()
        life_s = ttl_s or names.RESULT_TTL_S
        key = names.blob(digest)
        known = self._cache.ttl(key)
        if known < 0:
            self._set(key, _compress(data), life_s)
        elif known < life_s:
            self._cache.expire(key, life_s)
        return digest

    def get_blob(self, digest: str) -> bytes | None:
        data = self._get(names.blob(digest))
        return None if data is None else _decompress(data)

    def has_blobs(self, digests: set[str]) -> bool:
        if not digests:
            return True
        return int(self._cache.exists(*(names.blob(digest) for digest in digests))) == len(digests)

    def put_manifest(self, manifest: Manifest) -> None:
        self._set(names.result(manifest.run_key), _compress(manifest.model_dump_json().encode()), names.RESULT_TTL_S)

    def get_manifest(self, run_key: str) -> Manifest | None:
        data = self._get(names.result(run_key))
        if data is None:
            return None
        manifest = _read_manifest(_decompress(data))
        return manifest if manifest is not None and self.has_blobs(manifest.digests()) else None

    def put_picture(self, record: PictureRecord, png: bytes) -> None:
        self._set(names.picture(record.id), png, names.PICTURE_TTL_S)
        self._set(names.picture_record(record.id), record.model_dump_json().encode(), names.PICTURE_TTL_S)

    def get_picture(self, image_id: str) -> bytes | None:
        return self._get(names.picture(image_id), extend_s=names.PICTURE_TTL_S)

    def get_picture_record(self, image_id: str) -> PictureRecord | None:
        data = self._get(names.picture_record(image_id), extend_s=names.PICTURE_TTL_S)
        return None if data is None else PictureRecord.model_validate_json(data)

    def _get(self, key: str, *, extend_s: int | None = None) -> bytes | None:
        data = self._cache.get(key) if extend_s is None else self._cache.getex(key, ex=extend_s)
        if isinstance(data, str):
            raise TypeError("the cache connection must answer bytes (decode_responses=False)")
        return data

    def _set(self, key: str, data: bytes, ttl_s: int) -> None:
        try:
            self._cache.set(key, data, ex=ttl_s)
        except redis.OutOfMemoryError as error:
            raise ProblemError(
                ProblemCode.STORE_FULL, "The result store is full. Remove old results or give Redis more memory."
            ) from error


class FolderArtifactStore:
    """Artifacts in a folder, as ``blobs/ab/cd/<sha256>``; used by shares and by the command line.

    Args:
        root: Folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        root.mkdir(parents=True, exist_ok=True)

    def put_blob(self, data: bytes, *, ttl_s: int | None = None) -> str:  # noqa: ARG002 - files do not expire
        digest = hashlib.sha256(data).hexdigest()
        path = self.blob_path(digest)
        if not path.exists():
            _write_atomically(path, data)
        return digest

    def get_blob(self, digest: str) -> bytes | None:
        return _read(self.blob_path(digest))

    def has_blobs(self, digests: set[str]) -> bool:
        return all(self.blob_path(digest).exists() for digest in digests)

    def put_manifest(self, manifest: Manifest) -> None:
        _write_atomically(self._root / "results" / f"{manifest.run_key}.json", manifest.model_dump_json().encode())

    def get_manifest(self, run_key: str) -> Manifest | None:
        data = _read(self._root / "results" / f"{_checked(run_key)}.json")
        if data is None:
            return None
        manifest = _read_manifest(data)
        return manifest if manifest is not None and self.has_blobs(manifest.digests()) else None

    def put_picture(self, record: PictureRecord, png: bytes) -> None:
        _write_atomically(self._root / "pictures" / f"{record.id}.png", png)
        _write_atomically(self._root / "pictures" / f"{record.id}.json", record.model_dump_json().encode())

    def get_picture(self, image_id: str) -> bytes | None:
        return _read(self._root / "pictures" / f"{_checked(image_id)}.png")

    def get_picture_record(self, image_id: str) -> PictureRecord | None:
        data = _read(self._root / "pictures" / f"{_checked(image_id)}.json")
        return None if data is None else PictureRecord.model_validate_json(data)

    def blob_path(self, digest: str) -> Path:
        """Returns where the bytes of a digest live, whether they exist or not."""
        _checked(digest)
        return self._root / "blobs" / digest[:2] / digest[2:4] / digest


def _read_manifest(data: bytes) -> Manifest | None:
    """Returns a stored manifest; ``None`` for one of another version's shape, which is computed again."""
    try:
        return Manifest.model_validate_json(data)
    except ValidationError:
        return None


def _checked(digest: str) -> str:
    if len(digest) != 64 or set(digest) - set("0123456789abcdef"):
        raise ValueError("a digest has 64 hexadecimal digits")
    return digest


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _write_atomically(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def _compress(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(data)


def _decompress(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(data)
