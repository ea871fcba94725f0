"""Both stores keep the same promises: content addresses, whole results or none, nothing that unpickles."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path

import fakeredis
import numpy as np
import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from backend.contract import names
from backend.contract.artifacts import (
    ArtifactStore,
    FolderArtifactStore,
    RedisArtifactStore,
    array_to_npy,
    npy_to_array,
)
from backend.contract.problems import KINDS, ProblemCode, ProblemError, make_problem
from tests.backend_fakes import put_picture, put_result

RUN = "1" * 64


@pytest.fixture(params=["redis", "folder"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> ArtifactStore:
    return RedisArtifactStore(fakeredis.FakeRedis()) if request.param == "redis" else FolderArtifactStore(tmp_path)


@given(
    hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.uint8, np.int32, np.dtype(">f4")]),
        hnp.array_shapes(min_dims=0, max_dims=3, max_side=5),
    )
)
def test_an_array_comes_back_bit_for_bit_and_always_little_endian(array: np.ndarray) -> None:
    data = array_to_npy(array)
    back = npy_to_array(data)
    assert back.shape == array.shape
    assert np.array_equal(back, array, equal_nan=array.dtype.kind == "f")
    assert back.dtype.byteorder in "<|="
    assert array_to_npy(array.copy(order="F")) == data


def test_objects_are_neither_written_nor_read() -> None:
    with pytest.raises(TypeError):
        array_to_npy(np.array([object()]))
    buffer = io.BytesIO()
    np.save(buffer, np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        npy_to_array(buffer.getvalue())


def test_bytes_are_found_by_their_own_sum(store: ArtifactStore) -> None:
    digest = store.put_blob(b"wing")
    assert digest == hashlib.sha256(b"wing").hexdigest()
    assert store.put_blob(b"wing") == digest
    assert store.get_blob(digest) == b"wing"
    assert store.get_blob("0" * 64) is None
    assert store.has_blobs({digest})
    assert not store.has_blobs({digest, "0" * 64})
    assert store.has_blobs(set())


def test_pictures_and_results_come_back(store: ArtifactStore) -> None:
    record = put_picture(store)
    manifest = put_result(store, record, RUN)
    assert store.get_picture_record(record.id) == record
    assert (store.get_picture(record.id) or b"").startswith(b"\x89PNG")
    assert store.get_manifest(RUN) == manifest
    assert store.get_manifest("2" * 64) is None
    assert store.get_picture("2" * 64) is None


def test_a_result_without_all_its_arrays_is_no_result(tmp_path: Path) -> None:
    folder = FolderArtifactStore(tmp_path)
    manifest = put_result(folder, put_picture(folder), RUN)
    folder.blob_path(next(iter(manifest.digests()))).unlink()
    assert folder.get_manifest(RUN) is None


def test_a_result_of_another_versions_shape_is_no_result(tmp_path: Path) -> None:
    folder = FolderArtifactStore(tmp_path)
    put_result(folder, put_picture(folder), RUN)
    stored = tmp_path / "results" / f"{RUN}.json"
    stored.write_text(stored.read_text().replace('"seconds"', '"duration"'))
    assert folder.get_manifest(RUN) is None


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "0" * 63, "", "0" * 63 + "/"])
def test_a_folder_is_never_left(tmp_path: Path, name: str) -> None:
    folder = FolderArtifactStore(tmp_path)
    for read in (folder.get_blob, folder.get_manifest, folder.get_picture, folder.get_picture_record):
        with pytest.raises(ValueError, match="64"):
            read(name)


def test_a_write_that_breaks_off_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        FolderArtifactStore(tmp_path).put_blob(b"wing")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_everything_in_redis_expires_and_a_long_life_is_never_shortened() -> None:
    client = fakeredis.FakeRedis()
    store = RedisArtifactStore(client)
    put_result(store, put_picture(store), RUN)
    assert all(client.ttl(key) > 0 for key in client.scan_iter())
    digest = store.put_blob(b"x")
    store.put_blob(b"x", ttl_s=10)
    assert client.ttl(names.blob(digest)) > 1000
    short = store.put_blob(b"y", ttl_s=10)
    store.put_blob(b"y")
    assert client.ttl(names.blob(short)) > 1000


def test_looking_at_a_picture_prolongs_its_life() -> None:
    client = fakeredis.FakeRedis()
    store = RedisArtifactStore(client)
    record = put_picture(store)
    client.expire(names.picture(record.id), 10)
    store.get_picture(record.id)
    assert client.ttl(names.picture(record.id)) > 1000


def test_a_full_redis_is_a_problem_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    client = fakeredis.FakeRedis()

    def refuse(*_: object, **__: object) -> None:
        raise redis.OutOfMemoryError("OOM command not allowed")

    monkeypatch.setattr(client, "set", refuse)
    with pytest.raises(ProblemError) as caught:
        RedisArtifactStore(client).put_blob(b"x")
    assert caught.value.code is ProblemCode.STORE_FULL


def test_a_connection_that_answers_text_is_refused() -> None:
    client = fakeredis.FakeRedis(decode_responses=True)
    client.set(names.blob("0" * 64), "text")
    with pytest.raises(TypeError, match="bytes"):
        RedisArtifactStore(client).get_blob("0" * 64)


@pytest.mark.parametrize("code", list(ProblemCode))
def test_every_problem_has_a_status_a_title_and_words(code: ProblemCode) -> None:
    problem = make_problem(code, "Words.")
    assert 400 <= problem.status < 600
    assert problem.title
    assert problem.retry is KINDS[code].retry
