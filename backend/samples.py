"""The gallery of sample pictures: drawn birds of the built-in world and free photographs that scikit-image carries."""

from __future__ import annotations

import importlib.util
import io
import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Contract

DRAWN_DIR = Path(__file__).parent / "samples"
THUMBNAIL_SIDE = 320


class SampleCard(Contract):
    """A sample as the gallery shows it."""

    id: str
    title: str
    group: str
    """``drawn`` or ``photograph``."""
    width: int
    height: int
    thumbnail: str
    """Address of a small copy."""
    credit: str


@dataclass(frozen=True)
class Sample:
    """A sample picture on disk."""

    id: str
    title: str
    group: str
    path: Path
    credit: str
    truth: dict[str, Any] | None = field(default=None, compare=False)


@dataclass(frozen=True)
class _Photograph:
    file: str
    title: str
    credit: str


# Colour photographs first: that is what most models were trained on. Authors and terms as scikit-image states them.
_PHOTOGRAPHS: tuple[_Photograph, ...] = (
    _Photograph("chelsea.png", "Chelsea the cat", "Stefan van der Walt, CC0"),
    _Photograph("astronaut.png", "Astronaut Eileen Collins", "NASA, public domain"),
    _Photograph("coffee.png", "Cup of coffee", "Rachel Michetti, CC0"),
    _Photograph("rocket.jpg", "Rocket on its pad", "SpaceX, public domain"),
    _Photograph("hubble_deep_field.jpg", "Hubble deep field", "NASA, public domain"),
    _Photograph("retina.jpg", "Human retina", "Mikael Häggström, CC0"),
    _Photograph("camera.png", "Photographer with camera", "Lav Varshney, CC0"),
    _Photograph("clock_motion.png", "Clock in motion", "Stefan van der Walt, public domain"),
    _Photograph("coins.png", "Greek coins from Pompeii", "Brooklyn Museum, no known restrictions"),
    _Photograph("gravel.png", "Gravel", "CC0Textures, CC0"),
    _Photograph("grass.png", "Grass", "Linolafett, CC0"),
    _Photograph("brick.png", "Brick wall", "CC0Textures, CC0"),
)


class SampleGallery:
    """Sample pictures by id.

    Args:
        drawn_dir: Folder with ``samples.json`` and the drawn pictures.
        photograph_dir: Folder with scikit-image's pictures, or ``None`` when it is not installed.
    """

    def __init__(self, drawn_dir: Path = DRAWN_DIR, photograph_dir: Path | None = None) -> None:
        found = [*_read_drawn(drawn_dir), *_find_photographs(photograph_dir)]
        self._samples = {sample.id: sample for sample in found}
        self._cards: tuple[SampleCard, ...] | None = None
        self._thumbnails: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def cards(self) -> Sequence[SampleCard]:
        """Returns all samples, drawn ones first."""
        with self._lock:
            if self._cards is None:
                self._cards = tuple(_to_card(sample) for sample in self._samples.values())
            return self._cards

    def get(self, sample_id: str) -> Sample:
        """Returns one sample.

        Raises:
            ProblemError: ``not_found``.
        """
        sample = self._samples.get(sample_id)
        if sample is None:
            raise ProblemError(ProblemCode.NOT_FOUND, f"There is no sample picture {sample_id!r}.")
        return sample

    def thumbnail(self, sample_id: str) -> bytes:
        """Returns a small JPEG copy of a sample, made once."""
        sample = self.get(sample_id)
        with self._lock:
            if sample_id not in self._thumbnails:
                self._thumbnails[sample_id] = _make_thumbnail(sample.path)
            return self._thumbnails[sample_id]


def find_photograph_dir() -> Path | None:
    """Returns scikit-image's folder of pictures without importing the library, or ``None``."""
    spec = importlib.util.find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    return folder if folder.is_dir() else None


def _read_drawn(folder: Path) -> list[Sample]:
    index = folder / "samples.json"
    if not index.is_file():
        return []
    entries = json.loads(index.read_text(encoding="utf-8"))
    items = entries["samples"] if isinstance(entries, dict) else entries
    return [_to_drawn(folder, item) for item in items]


def _to_drawn(folder: Path, item: dict[str, Any]) -> Sample:
    name = str(item["id"])
    path = folder / Path(str(item.get("file", f"{name}.png"))).name
    about = {key: value for key, value in item.items() if key not in ("id", "file", "title", "credit", "truth")}
    truth = item.get("truth") or about
    title = str(item.get("title") or item.get("caption") or name)
    return Sample(name, title, "drawn", path, str(item.get("credit", "Drawn by Vitrine")), truth)


def _find_photographs(folder: Path | None) -> list[Sample]:
    if folder is None:
        return []
    return [
        Sample(Path(item.file).stem.replace("_", "-"), item.title, "photograph", folder / item.file, item.credit)
        for item in _PHOTOGRAPHS
        if (folder / item.file).is_file()
    ]


def _to_card(sample: Sample) -> SampleCard:
    with Image.open(sample.path) as image:
        width, height = image.size
    return SampleCard(
        id=sample.id,
        title=sample.title,
        group=sample.group,
        width=width,
        height=height,
        thumbnail=f"/api/v1/samples/{sample.id}/thumbnail",
        credit=sample.credit,
    )


def _make_thumbnail(path: Path) -> bytes:
    with Image.open(path) as image:
        small = image.convert("RGB")
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="JPEG", quality=88, optimize=True)
    return buffer.getvalue()
