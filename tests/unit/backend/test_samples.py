"""The gallery of samples: what is there, what is known of it, who made it."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from PIL import Image

from backend.contract.problems import ProblemCode, ProblemError
from backend.samples import DRAWN_DIR, SampleGallery, find_photograph_dir
from tests.backend_fakes import encode, make_pixels


@pytest.fixture
def gallery(tmp_path: Path) -> SampleGallery:
    (tmp_path / "robin.png").write_bytes(encode(make_pixels(400, 300)))
    entry = {"id": "robin", "title": "Robin", "truth": {"species": "robin", "seed": 3}}
    (tmp_path / "samples.json").write_text(json.dumps([entry]))
    return SampleGallery(tmp_path, find_photograph_dir())


def test_drawn_birds_come_first_then_photographs_in_colour(gallery: SampleGallery) -> None:
    groups = [card.group for card in gallery.cards()]
    assert groups == sorted(groups)
    assert gallery.cards()[0].title == "Robin"
    first = next(card for card in gallery.cards() if card.group == "photograph")
    with Image.open(gallery.get(first.id).path) as image:
        assert image.mode == "RGB"


def test_every_photograph_names_its_author_and_terms(gallery: SampleGallery) -> None:
    photographs = [card for card in gallery.cards() if card.group == "photograph"]
    assert len(photographs) >= 6
    for card in photographs:
        assert any(term in card.credit for term in ("CC0", "public domain", "no known restrictions"))


def test_cards_tell_the_real_size(gallery: SampleGallery) -> None:
    for card in gallery.cards():
        with Image.open(gallery.get(card.id).path) as image:
            assert (card.width, card.height) == image.size


def test_a_thumbnail_is_small_and_keeps_the_shape(gallery: SampleGallery) -> None:
    image = Image.open(io.BytesIO(gallery.thumbnail("robin")))
    assert (image.size, image.format) == ((320, 240), "JPEG")


def test_truth_goes_with_the_drawn_picture_only(gallery: SampleGallery) -> None:
    assert gallery.get("robin").truth == {"species": "robin", "seed": 3}
    assert gallery.get("chelsea").truth is None


def test_an_unknown_sample_is_not_found(gallery: SampleGallery) -> None:
    with pytest.raises(ProblemError) as caught:
        gallery.get("../settings")
    assert caught.value.code is ProblemCode.NOT_FOUND


def test_a_file_name_in_the_index_cannot_leave_the_folder(tmp_path: Path) -> None:
    (tmp_path / "samples.json").write_text(json.dumps([{"id": "x", "file": "../../etc/passwd"}]))
    assert SampleGallery(tmp_path).get("x").path.parent == tmp_path


def test_without_drawings_and_photographs_the_gallery_is_empty(tmp_path: Path) -> None:
    assert list(SampleGallery(tmp_path, None).cards()) == []


def test_the_drawn_samples_that_ship_are_all_there() -> None:
    gallery = SampleGallery(DRAWN_DIR)
    for card in gallery.cards():
        sample = gallery.get(card.id)
        assert sample.path.is_file()
        assert sample.truth


def test_finding_the_photographs_imports_nothing_heavy() -> None:
    code = (
        "import sys; from backend.samples import find_photograph_dir; assert find_photograph_dir();"
        "print([name for name in ('skimage', 'scipy', 'torch') if name in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


async def test_choosing_a_sample_is_like_uploading_it(client: httpx.AsyncClient) -> None:
    listed = (await client.get("/api/v1/samples")).json()
    chelsea = next(card for card in listed if card["id"] == "chelsea")
    thumbnail = await client.get(chelsea["thumbnail"])
    assert thumbnail.headers["content-type"] == "image/jpeg"
    first = await client.post("/api/v1/samples/chelsea")
    second = await client.post("/api/v1/samples/chelsea")
    assert (first.status_code, first.json()) == (201, second.json())
    assert (first.json()["source"], first.json()["width"]) == ("photograph", chelsea["width"])
    assert (await client.get(f"/api/v1/images/{first.json()['id']}")).status_code == 200
    assert (await client.post("/api/v1/samples/none")).status_code == 404
