"""Uploaded archives: good ones become data sets, bad ones get a clear problem and leave nothing behind."""

from __future__ import annotations

import io
import stat
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from backend.archives import ArchiveLimits
from backend.contract.problems import ProblemCode, ProblemError
from backend.datasets import MARKER, DatasetShelf, DatasetSource, DatasetState, dataset_name

SMALL = ArchiveLimits(files=50, total_bytes=3_000_000, file_bytes=2_000_000, ratio=50, max_pixels=100_000)


def png(seed: int = 0, side: int = 20) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (side, side, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return buffer.getvalue()


def pack(files: dict[str, bytes], **options: Any) -> io.BytesIO:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, **options) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return buffer


GOOD = {"finch/1.png": png(1), "finch/2.png": png(2), "owl/1.png": png(3), "owl/2.png": png(4)}


@pytest.fixture
def shelf(tmp_path: Path) -> DatasetShelf:
    return DatasetShelf(tmp_path, SMALL)


def left_behind(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.name != "datasets")


def refuse(shelf: DatasetShelf, archive: io.BytesIO, folder: Path) -> ProblemError:
    with pytest.raises(ProblemError) as caught:
        shelf.add(archive, "birds.zip")
    assert left_behind(folder) == []
    assert [card.name for card in shelf.cards()] == ["birds"]
    return caught.value


def test_a_good_archive_becomes_a_data_set(shelf: DatasetShelf, tmp_path: Path) -> None:
    card = shelf.add(pack(GOOD), "My finches.zip")
    assert (card.name, card.source, card.state) == ("My-finches", DatasetSource.UPLOADED, DatasetState.READY)
    assert (card.classes, card.pictures, card.parts) == (("finch", "owl"), 4, {"train": 4})
    assert (tmp_path / "datasets" / "My-finches" / "owl" / "2.png").read_bytes() == GOOD["owl/2.png"]
    assert shelf.card("My-finches") == card
    assert card in shelf.cards()


def test_a_folder_around_everything_and_the_litter_of_other_systems_are_taken_away(
    shelf: DatasetShelf, tmp_path: Path
) -> None:
    files = {f"wrapper/{name}": data for name, data in GOOD.items()}
    litter = {"__MACOSX/wrapper/finch/._1.png": b"x", "wrapper/.DS_Store": b"x", "wrapper/owl/Thumbs.db": b"x"}
    card = shelf.add(pack(files | litter), "set.zip")
    assert card.classes == ("finch", "owl")
    assert left_behind(tmp_path / "datasets" / "set") == sorted([MARKER, "finch", "owl", *GOOD])


def test_train_val_and_test_folders_are_kept(shelf: DatasetShelf) -> None:
    files = {f"{part}/{name}": data for part in ("train", "val", "test") for name, data in GOOD.items()}
    assert shelf.add(pack(files), "set").parts == {"train": 4, "validation": 4, "test": 4}


def test_progress_is_told_while_an_archive_is_unpacked(tmp_path: Path) -> None:
    seen: list[tuple[DatasetState, int | None, int | None]] = []

    class Looking:
        def __enter__(self) -> None:
            card = shelf.card("set")
            seen.append((card.state, card.done, card.total))

        def __exit__(self, *_: object) -> None:
            return None

    shelf = DatasetShelf(tmp_path, SMALL, decoding=Looking)
    shelf.add(pack(GOOD), "set")
    assert seen[0] == (DatasetState.UNPACKING, 0, None)
    assert seen[-1] == (DatasetState.UNPACKING, 3, 4)
    assert shelf.card("set").state is DatasetState.READY


def test_a_taken_name_gets_a_number(shelf: DatasetShelf) -> None:
    assert [shelf.add(pack(GOOD), "set").name for _ in range(3)] == ["set", "set-2", "set-3"]


@pytest.mark.parametrize(
    "name",
    [
        "../owl/3.png",
        "owl/../../3.png",
        "/etc/3.png",
        "//host/3.png",
        "C:/owl/3.png",
        "owl\\3.png",
        "..\\3.png",
        "owl/\x07.png",
        "owl/" + "x" * 300 + ".png",
        "a/b/c/d/e/f/g/3.png",
    ],
)
def test_names_that_lead_elsewhere_are_refused(shelf: DatasetShelf, tmp_path: Path, name: str) -> None:
    problem = refuse(shelf, pack(GOOD | {name: png(9)}), tmp_path)
    assert problem.code is ProblemCode.ARCHIVE_REFUSED
    assert not (tmp_path.parent / "3.png").exists()


def test_a_name_with_a_nul_is_refused(shelf: DatasetShelf, tmp_path: Path) -> None:
    data = pack(GOOD | {"owl/3X.png": png(9)}).getvalue().replace(b"owl/3X.png", b"owl/3\x00.png")
    assert refuse(shelf, io.BytesIO(data), tmp_path).code is ProblemCode.ARCHIVE_REFUSED


@pytest.mark.parametrize(
    ("kind", "words"), [(stat.S_IFLNK, "link"), (stat.S_IFCHR, "neither"), (stat.S_IFIFO, "neither")]
)
def test_links_and_devices_are_refused(shelf: DatasetShelf, tmp_path: Path, kind: int, words: str) -> None:
    archive = pack(GOOD)
    with zipfile.ZipFile(archive, "a") as file:
        info = zipfile.ZipInfo("owl/link.png")
        info.external_attr = (kind | 0o777) << 16
        file.writestr(info, "/etc/passwd")
    assert words in refuse(shelf, archive, tmp_path).message


def test_ten_gigabytes_of_zeros_are_refused_before_they_are_unpacked(shelf: DatasetShelf, tmp_path: Path) -> None:
    archive = pack(GOOD)
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("owl/zeros.png", b"\x00" * 1000)
    data = bytearray(archive.getvalue())
    place = data.rfind(b"owl/zeros.png") - 46  # its entry in the list of contents
    data[place + 24 : place + 28] = struct.pack("<I", 4_000_000_000)
    problem = refuse(shelf, io.BytesIO(data), tmp_path)
    assert problem.code is ProblemCode.ARCHIVE_REFUSED
    assert "4,000 MB" in problem.message


def test_real_zeros_are_refused_by_their_own_length(tmp_path: Path) -> None:
    bomb = pack(GOOD | {"owl/zeros.bmp": b"BM" + b"\x00" * 1_900_000})
    problem = refuse(DatasetShelf(tmp_path, SMALL), bomb, tmp_path)
    assert "grows more than 50 times" in problem.message


def test_an_archive_that_lies_about_a_length_is_refused(shelf: DatasetShelf, tmp_path: Path) -> None:
    data = bytearray(pack(GOOD | {"owl/zeros.png": b"\x00" * 1_500_000}).getvalue())
    for place, offset in ((data.rfind(b"owl/zeros.png") - 46, 24), (data.find(b"owl/zeros.png") - 30, 22)):
        data[place + offset : place + offset + 4] = struct.pack("<I", 100)
    assert refuse(shelf, io.BytesIO(data), tmp_path).code in (
        ProblemCode.ARCHIVE_REFUSED,
        ProblemCode.PICTURE_FORMAT,
        ProblemCode.PICTURE_UNREADABLE,
    )


def test_too_many_bytes_together_and_too_many_files_are_refused(tmp_path: Path) -> None:
    tight = DatasetShelf(tmp_path, ArchiveLimits(files=50, total_bytes=2_000, ratio=50))
    assert "is the most" in refuse(tight, pack(GOOD), tmp_path).message
    few = DatasetShelf(tmp_path, ArchiveLimits(files=3))
    assert "more than 3 pictures" in refuse(few, pack(GOOD), tmp_path).message


def test_files_that_lie_over_one_another_are_refused(shelf: DatasetShelf, tmp_path: Path) -> None:
    data = bytearray(pack(GOOD).getvalue())
    for name in GOOD:
        place = data.rfind(name.encode()) - 46
        data[place + 20 : place + 24] = struct.pack("<I", 1_000_000)  # packed length
    assert refuse(shelf, io.BytesIO(data), tmp_path).code is ProblemCode.ARCHIVE_REFUSED


@pytest.mark.parametrize(
    ("name", "data", "code"),
    [
        ("owl/notes.txt", b"text", ProblemCode.ARCHIVE_REFUSED),
        ("owl/tool.exe", b"MZ", ProblemCode.ARCHIVE_REFUSED),
        ("owl/3.png", b"no picture", ProblemCode.PICTURE_FORMAT),
        ("owl/3.png", png(5)[:300], ProblemCode.PICTURE_UNREADABLE),
        ("owl/3.png", png(5, side=8), ProblemCode.PICTURE_TOO_SMALL),
        ("owl/3.png", png(5, side=400), ProblemCode.PICTURE_TOO_MANY_PIXELS),
        ("owl/3.svg", b"<svg/>", ProblemCode.ARCHIVE_REFUSED),
    ],
)
def test_what_is_no_picture_is_refused_by_its_name(
    shelf: DatasetShelf, tmp_path: Path, name: str, data: bytes, code: ProblemCode
) -> None:
    problem = refuse(shelf, pack(GOOD | {name: data}), tmp_path)
    assert problem.code is code
    assert name in problem.message


def test_a_single_class_is_refused(shelf: DatasetShelf, tmp_path: Path) -> None:
    files = {name: data for name, data in GOOD.items() if name.startswith("owl")}
    problem = refuse(shelf, pack(files), tmp_path)
    assert problem.code is ProblemCode.DATA_UNUSABLE
    assert "only the class 'owl'" in problem.message
    assert "no class" in refuse(shelf, pack({}), tmp_path).message


def test_pictures_beside_the_class_folders_are_refused(shelf: DatasetShelf, tmp_path: Path) -> None:
    assert "'loose.png'" in refuse(shelf, pack(GOOD | {"loose.png": png(7)}), tmp_path).message
    parts = {f"train/{name}": data for name, data in GOOD.items()} | {"test/stork/1.png": png(7)}
    assert "'stork'" in refuse(shelf, pack(parts), tmp_path).message


def test_the_same_name_twice_is_refused(shelf: DatasetShelf, tmp_path: Path) -> None:
    assert "twice" in refuse(shelf, pack(GOOD | {"OWL/1.png": png(8)}), tmp_path).message


@pytest.mark.parametrize("data", [b"", b"no zip", b"PK\x03\x04" + b"\x00" * 100, b"PK\x05\x06" + b"\xff" * 18])
def test_what_is_no_archive_is_refused(shelf: DatasetShelf, tmp_path: Path, data: bytes) -> None:
    assert refuse(shelf, io.BytesIO(data), tmp_path).code in (ProblemCode.ARCHIVE_REFUSED, ProblemCode.DATA_UNUSABLE)


def test_a_damaged_archive_is_refused(shelf: DatasetShelf, tmp_path: Path) -> None:
    data = bytearray(pack(GOOD).getvalue())
    data[60:90] = b"\xff" * 30
    assert refuse(shelf, io.BytesIO(data), tmp_path).code is ProblemCode.ARCHIVE_REFUSED


def test_a_password_is_refused(shelf: DatasetShelf, tmp_path: Path) -> None:
    data = bytearray(pack(GOOD).getvalue())
    place = data.rfind(b"owl/2.png") - 46
    data[place + 8] |= 1
    assert "password" in refuse(shelf, io.BytesIO(data), tmp_path).message


def test_a_full_disk_is_said_and_nothing_is_left(
    shelf: DatasetShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backend import archives

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archives, "_check_picture", full)
    assert refuse(shelf, pack(GOOD), tmp_path).code is ProblemCode.STORE_FULL


def test_folders_of_the_data_directory_are_data_sets_too(shelf: DatasetShelf, tmp_path: Path) -> None:
    for place in ("datasets/here", "there"):
        for name, data in GOOD.items():
            path = tmp_path / place / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
    (tmp_path / "datasets" / "empty").mkdir()
    for other in ("redis", "shares", "explainers", "cache"):
        (tmp_path / other).mkdir()
    cards = {card.name: card for card in shelf.cards()}
    assert list(cards) == ["birds", "empty", "here", "there"]
    assert cards["here"].source is DatasetSource.FOLDER
    assert cards["empty"].state is DatasetState.UNUSABLE
    assert (cards["there"].pictures, cards["there"].class_count) == (4, 2)


def test_only_what_was_uploaded_can_be_deleted(shelf: DatasetShelf, tmp_path: Path) -> None:
    shelf.add(pack(GOOD), "set")
    shelf.delete("set")
    assert left_behind(tmp_path) == []
    (tmp_path / "datasets" / "mine" / "owl").mkdir(parents=True)
    with pytest.raises(ProblemError) as caught:
        shelf.delete("mine")
    assert caught.value.code is ProblemCode.FORBIDDEN
    for name in ("..", "redis", "nothing"):
        with pytest.raises(ProblemError) as caught:
            shelf.delete(name)
        assert caught.value.code is ProblemCode.NOT_FOUND


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("My birds.zip", "My-birds"),
        ("../../etc/passwd", "passwd"),
        ("birds.zip", "birds-pictures"),
        ("..", "pictures"),
        ("Vögel 2.ZIP", "V-gel-2"),
        ("redis", "redis-pictures"),
    ],
)
def test_the_name_of_a_data_set_is_a_safe_folder_name(given: str, name: str) -> None:
    assert dataset_name(given) == name
