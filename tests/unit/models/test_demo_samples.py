from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from models.demo.grammar import find_species
from models.demo.picture import WORLD_VERSION, draw_picture
from models.demo.samples import SAMPLES, write_samples

ENTRIES = json.loads((SAMPLES / "samples.json").read_text())


def test_the_command_writes_every_sample_it_lists(tmp_path: Path) -> None:
    write_samples(tmp_path)
    written = json.loads((tmp_path / "samples.json").read_text())
    assert written == ENTRIES
    assert all((tmp_path / entry["file"]).stat().st_size > 0 for entry in written)


def test_there_are_at_least_six_samples_and_one_is_upright() -> None:
    assert len(ENTRIES) >= 6
    assert any(entry["height"] > entry["width"] for entry in ENTRIES)


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["id"])
def test_a_sample_is_small_and_is_what_its_truth_says(entry: dict[str, object]) -> None:
    path = SAMPLES / str(entry["file"])
    truth = entry["truth"]
    assert isinstance(truth, dict)
    assert path.stat().st_size < 400_000
    assert truth["world_version"] == WORLD_VERSION
    with Image.open(path) as image:
        stored = np.asarray(image.convert("RGB"), dtype=float)
    assert stored.shape[:2] == (entry["height"], entry["width"])
    picture = draw_picture(truth["seed"], size=tuple(truth["size"]), species=truth["species"])
    assert picture.caption == truth["caption"]
    assert find_species(truth["species"]).title == entry["title"]
    assert np.abs(stored - picture.pixels).mean() < 3.0  # JPEG, otherwise the same picture
