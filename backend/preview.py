"""The picture that stands for a share in a message: the photograph, its maps, the title; 1200 x 630 pixels."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from backend.contract.artifacts import npy_to_array
from backend.contract.results import Encoding, Layer, Manifest
from backend.overlay import draw_overlay, fit_picture
from backend.palettes import ACCENT, INK, INK_2, PAGE

SIZE = (1200, 630)
MARGIN = 48
GAP = 20
LABEL_HEIGHT = 34
TITLE_TOP = 476
TITLE_SIZES = (40, 36, 32)
MOST_MAPS = 5
PICTURE_WORTH = 0.35
ENLARGED = 16.0
RADIUS = 8
ROOM = (SIZE[0] - 2 * MARGIN, TITLE_TOP - MARGIN)
Cell = tuple[int, int, int, int]
"""Left, top, width, height."""
SCALE = 2
"""Corners are drawn at this many times the size and reduced, so that they are smooth."""


@dataclass(frozen=True)
class Exhibit:
    """A finished run and where its arrays are."""

    manifest: Manifest
    fetch: Callable[[str], bytes | None]

    def main_layer(self) -> Layer | None:
        """Returns the layer that is shown first, or ``None`` when the run has no map."""
        layers = [layer for layer in self.manifest.layers if self.manifest.arrays[layer.array].frame is not None]
        return next((layer for layer in layers if layer.role == "main"), layers[0] if layers else None)

    def draw(self, picture: NDArray[np.uint8], layer: Layer) -> NDArray[np.uint8] | None:
        """Returns the layer over the picture ``[h, w, 3]``, or ``None`` when its array is gone."""
        data = self.fetch(self.manifest.arrays[layer.array].digest)
        if data is None:
            return None
        return draw_overlay(picture, self.manifest, layer, take_layer(npy_to_array(data), layer))


def take_layer(array: NDArray[np.generic], layer: Layer) -> NDArray[np.generic]:
    """Returns the map ``[H, W]`` or ``[H, W, 3]`` that a layer shows."""
    index = layer.index
    if index is None and array.ndim == 3 and layer.encoding is not Encoding.RGB:
        index = 0
    one: NDArray[np.generic] = array if index is None else array[index]
    return one


def draw_preview(title: str, picture_png: bytes, exhibits: Sequence[Exhibit]) -> bytes:
    """Returns the preview as PNG.

    Args:
        title: Of the share.
        picture_png: The first picture.
        exhibits: Its runs; the first five with a map on it are shown.
    """
    first = exhibits[0].manifest.image_ids[0] if exhibits else ""
    shown = [(item, layer) for item in exhibits if item.manifest.image_ids[0] == first and (layer := item.main_layer())]
    shown = shown[:MOST_MAPS]
    canvas = Image.new("RGB", SIZE, PAGE)
    cells = _cells(1 + len(shown), _aspect(picture_png))
    _place(canvas, cells[0], fit_picture(picture_png, *cells[0][2:], most_scale=ENLARGED), "Picture")
    for cell, (item, layer) in zip(cells[1:], shown, strict=True):
        drawn = item.draw(fit_picture(picture_png, *cell[2:], most_scale=ENLARGED), layer)
        if drawn is not None:
            _place(canvas, cell, drawn, f"{item.manifest.method_title} · {item.manifest.model_title}")
    _write_title(canvas, title, [item for item, _ in shown] or exhibits)
    buffer = io.BytesIO()
    canvas.save(buffer, format="PNG", compress_level=4)
    return buffer.getvalue()


def _aspect(png: bytes) -> float:
    with Image.open(io.BytesIO(png)) as image:
        return image.width / image.height


def _cells(count: int, aspect: float) -> list[Cell]:
    """Returns boxes for the picture and its maps: of the possible layouts, the one that leaves them largest.

    The maps are what the share is about, so the picture's own size counts for less.
    """
    layouts = [_rows(count, rows, aspect) for rows in (1, 2)]
    if count > 2:
        layouts.append(_large_and_small(count, aspect))
    areas = [[width * height for _, _, width, height in cells] for cells in layouts]
    worth = [PICTURE_WORTH * picture + sum(maps) for picture, *maps in areas]
    return layouts[worth.index(max(worth))]


def _rows(count: int, rows: int, aspect: float) -> list[Cell]:
    """Returns boxes of one size."""
    columns = -(-count // rows)
    widest = (ROOM[0] - GAP * (columns - 1)) / columns
    tallest = (ROOM[1] - GAP * (rows - 1)) / rows - LABEL_HEIGHT
    width = min(widest, tallest * aspect)
    height = width / aspect
    top = MARGIN + (ROOM[1] - rows * (height + LABEL_HEIGHT) - GAP * (rows - 1)) / 2
    return [
        _cell(
            MARGIN + (place % columns) * (width + GAP),
            top + (place // columns) * (height + LABEL_HEIGHT + GAP),
            width,
            height,
        )
        for place in range(count)
    ]


def _large_and_small(count: int, aspect: float) -> list[Cell]:
    """Returns a large box for the picture and two rows of small ones beside it."""
    columns = -(-(count - 1) // 2)
    between = LABEL_HEIGHT + GAP
    widest = (ROOM[0] - aspect * between - columns * GAP) / (aspect * (2 + columns))
    small = min(widest, (ROOM[1] - LABEL_HEIGHT - between) / 2)
    large = 2 * small + between
    top = MARGIN + (ROOM[1] - LABEL_HEIGHT - large) / 2
    left = MARGIN + aspect * large + GAP
    maps = [
        _cell(
            left + (place % columns) * (aspect * small + GAP),
            top + (place // columns) * (small + between),
            aspect * small,
            small,
        )
        for place in range(count - 1)
    ]
    return [_cell(MARGIN, top, aspect * large, large), *maps]


def _cell(left: float, top: float, width: float, height: float) -> Cell:
    return round(left), round(top), max(1, int(width)), max(1, int(height))


def _place(canvas: Image.Image, cell: Cell, pixels: NDArray[np.uint8], label: str) -> None:
    left, top, width, _ = cell
    picture = Image.fromarray(pixels)
    canvas.paste(picture, (left, top), _rounded(*picture.size))
    font = ImageFont.load_default(17)
    ImageDraw.Draw(canvas).text((left, top + picture.height + 9), _shorten(label, font, width), INK_2, font)


def _rounded(width: int, height: int) -> Image.Image:
    mask = Image.new("L", (width * SCALE, height * SCALE), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, width * SCALE - 1, height * SCALE - 1), RADIUS * SCALE, 255)
    return mask.resize((width, height), Image.Resampling.LANCZOS)


def _write_title(canvas: Image.Image, title: str, exhibits: Sequence[Exhibit]) -> None:
    draw = ImageDraw.Draw(canvas)
    room = SIZE[0] - 2 * MARGIN
    title, small = " ".join(title.split()) or "Untitled", ImageFont.load_default(21)
    sizes = [ImageFont.load_default(size) for size in TITLE_SIZES]
    large = next((font for font in sizes if font.getlength(title) <= room), sizes[-1])
    draw.text((MARGIN, TITLE_TOP + 56), _shorten(title, large, room), INK, large, anchor="ls")
    draw.text((MARGIN, TITLE_TOP + 76), _shorten(_summary(exhibits), small, room - 160), INK_2, small)
    mark = "Vitrine"
    draw.text((SIZE[0] - MARGIN - small.getlength(mark), TITLE_TOP + 76), mark, ACCENT, small)
    draw.rectangle((0, SIZE[1] - 8, SIZE[0], SIZE[1]), ACCENT)


def _summary(exhibits: Sequence[Exhibit]) -> str:
    models = list(dict.fromkeys(item.manifest.model_title for item in exhibits))
    methods = list(dict.fromkeys(item.manifest.method_title for item in exhibits))
    return " · ".join((", ".join(methods), ", ".join(models)))


def _shorten(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, room: float) -> str:
    text = " ".join(text.split())
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"
