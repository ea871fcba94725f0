"""Durable shares: self-sufficient, unguessable, owned, mortal, and clean about what they leave behind."""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from backend.contract.artifacts import FolderArtifactStore
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Manifest
from backend.contract.schemas import PictureRecord
from backend.shares import DAY_S, Share, ShareStore
from tests.backend_fakes import put_picture, put_result

RUN, OTHER = "1" * 64, "2" * 64


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def results(tmp_path: Path) -> FolderArtifactStore:
    return FolderArtifactStore(tmp_path / "results")


@pytest.fixture
def picture(results: FolderArtifactStore) -> PictureRecord:
    return put_picture(results)


@pytest.fixture
def manifest(results: FolderArtifactStore, picture: PictureRecord) -> Manifest:
    return put_result(results, picture, RUN)


@pytest.fixture
def shares(tmp_path: Path, results: FolderArtifactStore, clock: Clock) -> ShareStore:
    return ShareStore(tmp_path / "shares", results, max_bytes=1_000_000, clock=clock)


def _make(shares: ShareStore, *runs: str, days: float | None = 30) -> tuple[Share, str]:
    return shares.create("Wings", runs or (RUN,), looks={"opacity": 0.5}, days=days)


def _files(root: Path) -> set[str]:
    folders = (root / "blobs", root / "pictures")
    return {path.name for folder in folders if folder.exists() for path in folder.rglob("*") if path.is_file()}


def _code(error: pytest.ExceptionInfo[ProblemError]) -> ProblemCode:
    return error.value.code


def test_a_share_holds_everything_it_shows(
    shares: ShareStore, manifest: Manifest, picture: PictureRecord, results: FolderArtifactStore
) -> None:
    share, _ = _make(shares)
    assert (share.title, share.manifests, share.pictures, share.looks) == (
        "Wings",
        (manifest,),
        (picture,),
        {"opacity": 0.5},
    )
    assert shares.picture(share.id, picture.id) == results.get_picture(picture.id)
    for digest in manifest.digests():
        assert hashlib.sha256(shares.array(share.id, digest)).hexdigest() == digest


def test_a_share_opens_after_everything_else_is_gone(
    tmp_path: Path, manifest: Manifest, picture: PictureRecord, results: FolderArtifactStore
) -> None:
    import shutil

    share, _ = _make(ShareStore(tmp_path / "shares", results, max_bytes=10**6))
    png = results.get_picture(picture.id)
    shutil.rmtree(tmp_path / "results")
    reopened = ShareStore(tmp_path / "shares", FolderArtifactStore(tmp_path / "empty"), max_bytes=10**6)
    assert reopened.get(share.id) == share
    assert reopened.picture(share.id, picture.id) == png
    for digest in manifest.digests():
        assert reopened.array(share.id, digest)
    assert reopened.preview(share.id).startswith(b"\x89PNG")


def test_ids_hold_at_least_128_random_bits_and_never_repeat(shares: ShareStore, manifest: Manifest) -> None:
    ids = [_make(shares)[0].id for _ in range(12)]
    assert len(set(ids)) == 12
    # 22 letters of 64 each hold 132 bits; what is asked of the operating system is 16 bytes.
    assert {len(share_id) for share_id in ids} == {22}
    letters = set("".join(ids))
    assert letters <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")
    assert len(letters) > 45


def test_only_the_hash_of_the_owners_secret_is_stored(shares: ShareStore, manifest: Manifest, tmp_path: Path) -> None:
    share, token = _make(shares)
    stored = b"".join(path.read_bytes() for path in (tmp_path / "shares").glob("shares.sqlite3*"))
    assert token.encode() not in stored
    assert hashlib.sha256(token.encode()).hexdigest().encode() in stored
    assert share.id.encode() in stored


def test_an_unknown_an_expired_and_a_removed_share_look_the_same(
    shares: ShareStore, manifest: Manifest, clock: Clock
) -> None:
    expired, _ = _make(shares, days=1)
    removed, token = _make(shares)
    shares.remove(removed.id, token)
    clock.now += 2 * DAY_S
    messages = set()
    for share_id in ("A" * 22, expired.id, removed.id):
        for act in (shares.get, shares.preview):
            with pytest.raises(ProblemError) as caught:
                act(share_id)
            assert _code(caught) is ProblemCode.SHARE_GONE
            messages.add(caught.value.message)
    assert len(messages) == 1


def test_a_share_lives_exactly_as_long_as_it_was_given(shares: ShareStore, manifest: Manifest, clock: Clock) -> None:
    share, _ = _make(shares, days=2)
    forever, _ = _make(shares, days=None)
    assert share.expires == clock.now + 2 * DAY_S
    clock.now += 2 * DAY_S - 1
    assert shares.get(share.id).id == share.id
    clock.now += 1
    with pytest.raises(ProblemError):
        shares.get(share.id)
    assert shares.get(forever.id).expires is None


def test_only_the_owner_can_change_or_remove(shares: ShareStore, manifest: Manifest, clock: Clock) -> None:
    share, token = _make(shares)
    _, foreign = _make(shares)
    for wrong in ("", "x", foreign, share.id):
        with pytest.raises(ProblemError) as caught:
            shares.remove(share.id, wrong)
        assert _code(caught) is ProblemCode.FORBIDDEN
        with pytest.raises(ProblemError):
            shares.change(share.id, wrong, title="Mine")
    clock.now += 100
    changed = shares.change(share.id, token, title="Feathers", days=5)
    assert (changed.title, changed.expires, changed.looks) == ("Feathers", clock.now + 5 * DAY_S, {"opacity": 0.5})
    assert shares.change(share.id, token, looks={"swipe": True}).looks == {"swipe": True}


def test_another_title_is_on_the_preview_too_and_the_old_one_leaves_nothing(
    shares: ShareStore, manifest: Manifest, tmp_path: Path
) -> None:
    share, token = _make(shares)
    titled, _ = shares.create("Feathers", (RUN,), looks={}, days=None)
    before = shares.preview(share.id)
    assert before != shares.preview(titled.id)
    renamed = shares.change(share.id, token, title="Feathers")
    assert shares.preview(share.id) == shares.preview(titled.id)
    assert hashlib.sha256(before).hexdigest() not in _files(tmp_path / "shares")
    assert renamed.sizes == titled.sizes
    shares.remove(share.id, token)
    assert shares.preview(titled.id)


def test_removing_a_share_frees_what_only_it_needed(
    shares: ShareStore, results: FolderArtifactStore, picture: PictureRecord, manifest: Manifest, tmp_path: Path
) -> None:
    own = put_result(results, picture, OTHER, {"map": np.ones((3, 3), np.float32)})
    first, first_token = _make(shares, RUN)
    second, second_token = _make(shares, RUN, OTHER)
    shares.remove(second.id, second_token)
    left = _files(tmp_path / "shares")
    assert manifest.digests() <= left
    assert not own.digests() & left
    assert f"{picture.id}.png" in left
    assert shares.array(first.id, next(iter(manifest.digests())))
    shares.remove(first.id, first_token)
    assert _files(tmp_path / "shares") == set()


def test_sweeping_removes_expired_shares_and_orphans_and_nothing_else(
    shares: ShareStore,
    results: FolderArtifactStore,
    picture: PictureRecord,
    manifest: Manifest,
    clock: Clock,
    tmp_path: Path,
) -> None:
    put_result(results, picture, OTHER, {"map": np.ones((3, 3), np.float32)})
    kept, _ = _make(shares, RUN, days=10)
    _make(shares, OTHER, days=1)
    orphan = FolderArtifactStore(tmp_path / "shares").put_blob(b"left by a crash")
    clock.now += 2 * DAY_S
    assert shares.sweep() == 1
    files = _files(tmp_path / "shares")
    assert orphan not in files
    assert manifest.digests() <= files
    assert len(files) == len(manifest.digests()) + 1 + 2  # the preview, the picture and its record
    assert shares.get(kept.id)
    assert shares.sweep() == 0


def test_two_shares_of_one_result_store_it_once(shares: ShareStore, manifest: Manifest, tmp_path: Path) -> None:
    _make(shares)
    before = _files(tmp_path / "shares")
    shares.create("Wings", (RUN,), looks={}, days=30)
    assert _files(tmp_path / "shares") == before


def test_a_result_that_is_gone_cannot_be_shared_and_leaves_nothing(
    shares: ShareStore, manifest: Manifest, tmp_path: Path
) -> None:
    with pytest.raises(ProblemError) as caught:
        _make(shares, RUN, OTHER)
    assert _code(caught) is ProblemCode.RESULT_GONE
    shares.sweep()
    assert _files(tmp_path / "shares") == set()


def test_a_share_that_is_too_large_is_refused_with_both_numbers(
    tmp_path: Path, results: FolderArtifactStore, picture: PictureRecord
) -> None:
    put_result(results, picture, RUN, {"map": np.zeros((600, 600), np.float32)})
    shares = ShareStore(tmp_path / "shares", results, max_bytes=1_000_000)
    with pytest.raises(ProblemError, match="1 MB is the most") as caught:
        _make(shares)
    assert _code(caught) is ProblemCode.REQUEST_INVALID


def test_a_share_gives_only_its_own_pictures_and_arrays(
    shares: ShareStore, results: FolderArtifactStore, picture: PictureRecord, manifest: Manifest
) -> None:
    other_picture = put_picture(results, seed=5)
    other = put_result(results, other_picture, OTHER, {"map": np.ones((3, 3), np.float32)})
    mine, _ = _make(shares, RUN)
    _make(shares, OTHER)
    for act, name in ((shares.array, next(iter(other.digests()))), (shares.picture, other_picture.id)):
        with pytest.raises(ProblemError) as caught:
            act(mine.id, name)
        assert _code(caught) is ProblemCode.NOT_FOUND


def test_going_on_from_a_share_brings_back_picture_and_result(
    tmp_path: Path, shares: ShareStore, manifest: Manifest, picture: PictureRecord
) -> None:
    share, _ = _make(shares)
    empty = FolderArtifactStore(tmp_path / "fresh")
    ShareStore(tmp_path / "shares", empty, max_bytes=10**6, clock=lambda: 1_000_000.0).restore(share.id)
    assert empty.get_manifest(RUN) == manifest
    assert empty.get_picture_record(picture.id) == picture


def test_many_at_once_make_and_remove_shares_without_losing_a_file(
    shares: ShareStore, manifest: Manifest, tmp_path: Path
) -> None:
    stop = threading.Event()

    def sweep() -> None:
        while not stop.is_set():
            shares.sweep()

    sweeper = threading.Thread(target=sweep)
    sweeper.start()
    try:
        with ThreadPoolExecutor(4) as pool:
            made = list(pool.map(lambda _: _make(shares), range(8)))
            list(pool.map(lambda item: shares.remove(item[0].id, item[1]), made[1:]))
    finally:
        stop.set()
        sweeper.join()
    survivor = made[0][0]
    assert shares.get(survivor.id) == survivor
    for digest in manifest.digests():
        assert shares.array(survivor.id, digest)
    assert len(_files(tmp_path / "shares")) == len(manifest.digests()) + 1 + 2


def test_the_database_survives_a_writer_that_dies(shares: ShareStore, manifest: Manifest, tmp_path: Path) -> None:
    database = sqlite3.connect(tmp_path / "shares" / "shares.sqlite3", isolation_level=None)
    assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    database.execute("BEGIN IMMEDIATE")
    database.execute("DELETE FROM shares")
    database.close()
    share, _ = _make(shares)
    assert shares.get(share.id) == share
