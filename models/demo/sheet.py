"""The command that paints the contact sheet of the documentation: ``python -m models.demo.sheet``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import numpy.typing as npt
import typer
from PIL import Image

from models.demo.grammar import SPECIES, Part
from models.demo.picture import DrawnPicture, draw_picture

SHEET = Path(__file__).parents[2] / "docs" / "img" / "demo-world.jpg"
_COLUMNS = 4
_TILE = (192, 256)
_PART_COLOURS: dict[Part, tuple[int, int, int]] = {
    Part.BODY: (0, 114, 178),
    Part.HEAD: (86, 180, 233),
    Part.BEAK: (230, 159, 0),
    Part.CREST: (204, 121, 167),
    Part.WING: (0, 158, 115),
    Part.TAIL: (213, 94, 0),
    Part.FEET: (240, 228, 66),
    Part.PERCH: (130, 130, 130),
}


def contact_sheet(first_seed: int) -> npt.NDArray[np.uint8]:
    """All species in the order of the table, four in a row, then the parts of the last four in flat colours."""
    pictures = [draw_picture(first_seed + i, size=_TILE, species=species) for i, species in enumerate(SPECIES)]
    tiles = [picture.pixels for picture in pictures] + [_parts_shown(picture) for picture in pictures[-_COLUMNS:]]
    rows = [np.concatenate(tiles[i : i + _COLUMNS], axis=1) for i in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows, axis=0)


def write_sheet(
    out: Annotated[Path, typer.Option(help="File to write.")] = SHEET,
    first_seed: Annotated[int, typer.Option(min=0, help="Seed of the first picture.")] = 350,
) -> None:
    """Paint the contact sheet and write it as JPEG."""
    out.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(contact_sheet(first_seed)).save(out, quality=88, optimize=True)


def _parts_shown(picture: DrawnPicture) -> npt.NDArray[np.uint8]:
    grey = picture.pixels.mean(-1, keepdims=True) * 0.5 + 110
    shown = np.repeat(grey, 3, axis=-1)
    for part, colour in _PART_COLOURS.items():
        shown[picture.masks[part]] = colour
    return np.asarray(shown, dtype=np.uint8)


if __name__ == "__main__":
    typer.run(write_sheet)
