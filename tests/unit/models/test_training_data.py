"""Pictures to learn from: folders and the built-in world, the split, and what is left out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from backend.contract.problems import ProblemCode, ProblemError
from models.demo.grammar import species_names
from models.training.data import PictureSet, set_of_arrays, split
from models.training.sources import open_birds, open_data


def picture(seed: int, side: int = 20) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (side, side + 4, 3), dtype=np.uint8)


def write(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture(seed)).save(path)
    return path


def fill(root: Path, *, classes: tuple[str, ...] = ("finch", "owl"), each: int = 4, first: int = 0) -> Path:
    for label, name in enumerate(classes):
        for number in range(each):
            write(root / name / f"{number}.png", first + 100 * label + number)
    return root


def memory_set(counts: tuple[int, ...]) -> PictureSet:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    return set_of_arrays([picture(i) for i in range(len(labels))], labels, [f"c{i}" for i in range(len(counts))])


def refusal(root: Path) -> str:
    with pytest.raises(ProblemError) as caught:
        open_data(root)
    assert caught.value.code is ProblemCode.DATA_UNUSABLE
    return caught.value.message


def test_sub_folders_are_classes_and_files_are_their_pictures(tmp_path: Path) -> None:
    source = open_data(fill(tmp_path / "birds-here"))
    assert source.name == "birds-here"
    assert source.classes == ("finch", "owl")
    assert source.train.counts() == (4, 4)
    assert source.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    np.testing.assert_array_equal(source.train.load(5), picture(101))
    assert source.train.names[5] == "owl/1.png"
    assert source.train.parts(5) is None


def test_train_val_and_test_folders_are_the_parts(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    fill(tmp_path / "val", each=2, first=1000)
    fill(tmp_path / "test", each=3, first=2000)
    source = open_data(tmp_path)
    assert source.validation is not None
    assert source.test is not None
    assert (len(source.train), len(source.validation), len(source.test)) == (8, 4, 6)
    data = source.split(0.5)
    assert data.train.digests == source.train.digests
    assert data.validation.digests == source.validation.digests
    assert data.split_rule == "a folder of its own"
    assert not hasattr(data, "test")


def test_what_is_broken_is_left_out_and_counted(tmp_path: Path) -> None:
    root = fill(tmp_path / "set")
    whole = (root / "owl" / "0.png").read_bytes()
    (root / "owl" / "torn.png").write_bytes(whole[: len(whole) // 2])
    (root / "owl" / "text.png").write_text("no picture")
    (root / "owl" / "notes.txt").write_text("no picture")
    (root / "owl" / ".hidden.png").write_bytes(whole)
    (root / "owl" / "link.png").symlink_to(root / "finch" / "0.png")
    source = open_data(root)
    assert source.train.counts() == (4, 4)
    assert source.skipped == {"not readable": 2, "no picture file": 1, "a link": 1}


def test_links_count_where_they_are_asked_for(tmp_path: Path) -> None:
    root = fill(tmp_path / "set")
    (root / "owl" / "link.png").symlink_to(root / "finch" / "0.png")
    assert open_data(root, follow_links=True).train.counts() == (4, 5)


def test_what_cannot_be_trained_on_is_refused_in_words(tmp_path: Path) -> None:
    assert "no folder" in refusal(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no class" in refusal(tmp_path / "empty")
    assert "one class" in refusal(fill(tmp_path / "single", classes=("owl",)))
    lacking = fill(tmp_path / "lacking")
    (lacking / "eagle").mkdir()
    assert "'eagle' has no readable picture" in refusal(lacking)
    foreign = tmp_path / "foreign"
    fill(foreign / "train")
    fill(foreign / "test", classes=("finch", "stork"))
    assert "'stork'" in refusal(foreign)


def test_a_file_that_changes_during_a_training_is_noticed(tmp_path: Path) -> None:
    source = open_data(fill(tmp_path))
    write(tmp_path / "finch" / "0.png", 77)
    with pytest.raises(ProblemError, match=r"finch/0\.png has changed"):
        source.train.load(0)


def test_opening_again_reads_only_what_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.training import sources

    root, index = fill(tmp_path / "set"), tmp_path / "index.json"
    first = open_data(root, index=index)
    decoded: list[bytes] = []
    monkeypatch.setattr(sources, "decode", decoded.append)
    assert open_data(root, index=index).digest == first.digest
    assert decoded == []
    write(root / "owl" / "0.png", 555)
    assert open_data(root, index=index).digest != first.digest
    assert len(decoded) == 1


def test_the_identity_follows_from_content_and_classes_and_not_from_names(tmp_path: Path) -> None:
    one = fill(tmp_path / "one")
    two = fill(tmp_path / "two")
    (two / "owl" / "0.png").rename(two / "owl" / "zzz.png")
    assert open_data(one).digest == open_data(two).digest
    (two / "owl").rename(two / "heron")
    assert open_data(one).digest != open_data(two).digest


@pytest.mark.parametrize(("fraction", "held"), [(0.1, (1, 1)), (0.15, (2, 1)), (0.3, (3, 1)), (0.9, (9, 2))])
def test_a_share_of_each_class_is_held_back_at_least_one_and_never_all(fraction: float, held: tuple[int, int]) -> None:
    train, validation = split(memory_set((10, 3)), fraction, seed=1)
    assert validation.counts() == held
    assert train.counts() == (10 - held[0], 3 - held[1])
    assert not set(train.digests) & set(validation.digests)


def test_the_split_follows_from_seed_and_content_and_not_from_the_order() -> None:
    pictures = memory_set((12, 12))
    order = np.random.default_rng(3).permutation(24)
    first = set(split(pictures, 0.25, seed=1)[1].digests)
    assert set(split(pictures.select(order), 0.25, seed=1)[1].digests) == first
    assert set(split(pictures, 0.25, seed=2)[1].digests) != first


def test_equal_pictures_are_on_one_side() -> None:
    content = [picture(i % 4) for i in range(16)]
    labels = [0] * 8 + [1] * 8
    train, validation = split(set_of_arrays(content, labels, ["a", "b"]), 0.5)
    assert not set(train.digests) & set(validation.digests)
    assert len(train) + len(validation) == 16


def test_a_class_of_one_picture_cannot_be_parted_and_is_named() -> None:
    with pytest.raises(ProblemError, match="'c1' has 1 different picture"):
        split(memory_set((4, 1)), 0.5)
    twins = set_of_arrays([picture(0), picture(1), picture(9), picture(9)], [0, 0, 1, 1], ["a", "b"])
    with pytest.raises(ProblemError, match="'b' has 1 different picture"):
        split(twins, 0.5)
    with pytest.raises(ValueError, match="between 0 and 1"):
        split(memory_set((4, 4)), 1.0)


def test_the_digest_of_the_parts_tells_other_splits_apart() -> None:
    source = open_birds(60)
    digests = {source.split(0.2, 1).digest, source.split(0.2, 2).digest, source.split(0.3, 1).digest}
    assert len(digests) == 3
    assert source.split(0.2, 1).digest == open_birds(60).split(0.2, 1).digest
    described = source.split(0.2, 1).describe()
    assert described["n_train"] + described["n_validation"] == 60
    assert sum(described["counts"]) == described["n_train"]


def test_the_built_in_world_is_opened_without_drawing() -> None:
    source = open_data("birds:96")
    assert source.name == "birds:96"
    assert source.classes == tuple(species_names())
    assert max(source.train.counts()) - min(source.train.counts()) <= 1
    assert source.test is not None
    assert not set(source.train.digests) & set(source.test.digests)
    assert len(open_data("birds", pictures=120).train) == 120
    with pytest.raises(ProblemError, match="not 3"):
        open_data("birds:3")


@pytest.mark.slow
def test_drawn_pictures_come_with_their_classes_and_parts() -> None:
    train = open_birds(48).train
    for index in (0, 47):
        assert train.load(index).shape == (128, 128, 3)
        parts = train.parts(index)
        assert parts is not None
        assert parts.shape == (128, 128)
        assert parts.max() > 0
    assert train.names[5].split("/")[0] == species_names()[train.labels[5]]
