"""The command that paints the sample pictures: ``python -m models.demo.samples``."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.console import Console

from models.demo.grammar import find_species
from models.demo.picture import WORLD_VERSION, DrawnPicture, draw_picture

SAMPLES = Path(__file__).parents[2] / "backend" / "samples"
CREDIT = "Drawn for this project by its own generator"


@dataclass(frozen=True)
class Sample:
    """One sample picture: what to draw."""

    species: str
    seed: int
    height: int
    width: int


CHOSEN: tuple[Sample, ...] = (
    Sample("crested-tam", 105, 480, 640),
    Sample("crested-indol", 121, 480, 640),
    Sample("lesser-ochre", 122, 480, 640),
    Sample("swallow-tailed-sylve", 211, 640, 480),
    Sample("broad-tailed-indol", 113, 480, 640),
    Sample("crowned-ochre", 124, 480, 640),
)


def draw_sample(sample: Sample) -> DrawnPicture:
    """The picture and the truth of a sample."""
    return draw_picture(sample.seed, size=(sample.height, sample.width), species=sample.species)


def write_samples(
    out: Annotated[Path, typer.Option(help="Folder that gets the pictures and samples.json.")] = SAMPLES,
) -> None:
    """Paint all samples and write them with samples.json, which holds enough to draw their masks again."""
    out.mkdir(parents=True, exist_ok=True)
    entries = [_write(sample, out) for sample in CHOSEN]
    (out / "samples.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    Console(stderr=True).print(f"{len(entries)} samples written to {out}")


def _write(sample: Sample, out: Path) -> dict[str, Any]:
    picture = draw_sample(sample)
    identifier = f"drawn-{sample.species}"
    file = f"{identifier}.jpg"
    Image.fromarray(picture.pixels).save(out / file, quality=92, subsampling=0, optimize=True)
    return {
        "id": identifier,
        "title": find_species(sample.species).title,
        "group": "drawn",
        "file": file,
        "width": sample.width,
        "height": sample.height,
        "credit": CREDIT,
        "seed": sample.seed,
        "truth": {
            "world_version": WORLD_VERSION,
            "seed": sample.seed,
            "species": sample.species,
            "size": [sample.height, sample.width],
            "caption": picture.caption,
            "perch": picture.perch.value,
            "scene": picture.scene,
        },
    }


if __name__ == "__main__":
    typer.run(write_samples)
