"""A strict reader of foreign pictures: unknown bytes in, one canonical 8-bit sRGB picture out.

Everything that can be refused is refused before a pixel is decoded: size in bytes, format by content (never by
name), size in pixels.
"""

from __future__ import annotations

import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from backend.contract.colours import to_srgb
from backend.contract.keys import picture_id
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import PictureRecord

MIN_SIDE = 16
MAX_BYTES = 20_000_000
MAX_NAME = 200

_MAGIC: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("JPEG", re.compile(rb"\xff\xd8\xff")),
    ("PNG", re.compile(rb"\x89PNG\r\n\x1a\n")),
    ("WEBP", re.compile(rb"RIFF....WEBP", re.DOTALL)),
    ("GIF", re.compile(rb"GIF8[79]a")),
    ("BMP", re.compile(rb"BM")),
    ("TIFF", re.compile(rb"II\*\x00|MM\x00\*|II\+\x00|MM\x00\+")),
)
_FOREIGN: tuple[tuple[str, re.Pattern[bytes]], ...] = (
    ("a HEIC picture", re.compile(rb"....ftyp(heic|heix|hevc|mif1|msf1)", re.DOTALL)),
    ("an AVIF picture", re.compile(rb"....ftypavi[fs]", re.DOTALL)),
    ("an SVG drawing", re.compile(rb"\s*(<\?xml[^>]*>\s*)?(<!--.*?-->\s*)?(<!DOCTYPE svg[^>]*>\s*)?<svg", re.DOTALL)),
    ("a PDF document", re.compile(rb"%PDF-")),
    ("a ZIP archive", re.compile(rb"PK\x03\x04")),
)
_SEVERAL = {"GIF": "animation", "WEBP": "animation", "PNG": "animation", "TIFF": "document"}


def read_picture(
    data: bytes, *, max_pixels: int, name: str = "", max_bytes: int = MAX_BYTES, source: str = "upload"
) -> tuple[PictureRecord, NDArray[np.uint8]]:
    """Returns the canonical picture of a file and what was changed on the way.

    The picture is turned as its EXIF tag asks, converted to sRGB by its own profile, laid on white where it is
    transparent, and reduced to 8 bits.

    Args:
        data: The file.
        max_pixels: Most pixels (width x height) that are accepted.
        name: File name given by the person; shown, never used as a path.
        max_bytes: Largest file that is accepted.
        source: ``upload``, ``drawn`` or ``photograph``.

    Returns:
        The record and the pixels, ``[H, W, 3]`` uint8 sRGB.

    Raises:
        ProblemError: ``picture_too_large``, ``picture_format``, ``picture_unreadable``,
            ``picture_too_many_pixels`` or ``picture_too_small``.
    """
    if len(data) > max_bytes:
        raise too_large(len(data), max_bytes)
    image = _open(data, max_pixels)
    _check_size(image.size, max_pixels)
    notes: list[str] = []
    pixels = _decode(image, notes)
    _check_size((pixels.shape[1], pixels.shape[0]), max_pixels)
    height, width = pixels.shape[:2]
    record = PictureRecord(
        id=picture_id(pixels), width=width, height=height, name=clean_name(name), source=source, notes=tuple(notes)
    )
    return record, pixels


def too_large(size: int, limit: int) -> ProblemError:
    """Returns the refusal of a file that has too many bytes."""
    return ProblemError(
        ProblemCode.PICTURE_TOO_LARGE,
        f"This file has {_megabytes(size)} MB; {_megabytes(limit)} MB is the most. Make it smaller and drop it again.",
    )


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Returns a canonical picture ``[H, W, 3]`` as PNG bytes without any metadata."""
    buffer = io.BytesIO()
    Image.fromarray(pixels, mode=None).save(buffer, format="PNG", compress_level=3)
    return buffer.getvalue()


def clean_name(name: str) -> str:
    """Returns a file name fit to be shown: no folders, no control characters, at most 200 characters."""
    last = re.split(r"[/\\]", name)[-1]
    return "".join(letter for letter in last if letter.isprintable()).strip()[:MAX_NAME]


def _open(data: bytes, max_pixels: int) -> Image.Image:
    kind = next((kind for kind, magic in _MAGIC if magic.match(data)), None)
    if kind is None:
        raise _unknown_format(data)
    try:
        return Image.open(io.BytesIO(data), formats=[kind])
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        # Pillow's own limits: a warning from 89 million pixels on, an error at twice that. Ours is lower and follows.
        found = re.search(r"\((\d+) pixels\)", str(error))
        raise _too_many_pixels(int(found[1]) if found else 2 * max_pixels, max_pixels) from error
    except Exception as error:  # a decoder of foreign bytes may fail in any way; all of them mean the same
        raise _unreadable() from error


def _decode(image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    try:
        several = bool(getattr(image, "is_animated", False))
        kind = image.format or ""
        if several:
            image.seek(0)
        size = image.size
        orientation = _orientation(image)
        image.load()
        turned = _turn(image)
    except Exception as error:  # as above
        raise _unreadable() from error
    if several and kind in _SEVERAL:
        notes.append("First page of a document." if kind == "TIFF" else "First frame of an animation.")
    if orientation or turned.size != size:
        notes.append("Turned as its EXIF tag asks.")
    try:
        return to_srgb(turned, notes)
    except ProblemError:
        raise
    except Exception as error:  # as above
        raise _unreadable() from error


def _orientation(image: Image.Image) -> bool:
    try:
        return image.getexif().get(0x0112, 1) in range(2, 9)
    except Exception:  # a broken EXIF block: the picture itself may be fine
        return False


def _turn(image: Image.Image) -> Image.Image:
    if image.format == "TIFF":
        return image  # Pillow turns TIFF files while loading them
    profile = image.info.get("icc_profile")
    try:
        turned = ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block must not cost the picture
        return image
    if profile and "icc_profile" not in turned.info:
        turned.info["icc_profile"] = profile
    return turned


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise _too_many_pixels(width * height, max_pixels)
    if min(width, height) < MIN_SIDE:
        raise ProblemError(
            ProblemCode.PICTURE_TOO_SMALL,
            f"This picture has {width} x {height} pixels; each side needs at least {MIN_SIDE}.",
        )


def _too_many_pixels(pixels: int, limit: int) -> ProblemError:
    return ProblemError(
        ProblemCode.PICTURE_TOO_MANY_PIXELS,
        f"This picture has {_millions(pixels)} million pixels; {_millions(limit)} million is the most. "
        "Make it smaller and drop it again.",
    )


def _unreadable() -> ProblemError:
    return ProblemError(
        ProblemCode.PICTURE_UNREADABLE,
        "This file is damaged or incomplete, so it cannot be read as a picture. Save it again and drop it once more.",
    )


def _unknown_format(data: bytes) -> ProblemError:
    if not data:
        return ProblemError(ProblemCode.PICTURE_UNREADABLE, "This file is empty.")
    head = data[:4096]
    foreign = next((words for words, magic in _FOREIGN if magic.match(head)), "not a picture that can be read here")
    return ProblemError(ProblemCode.PICTURE_FORMAT, f"This file is {foreign}. Use JPEG, PNG, WebP, GIF, BMP or TIFF.")


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f}".removesuffix(".0")


def _millions(pixels: int) -> str:
    return f"{pixels / 1_000_000:.1f}".removesuffix(".0") if pixels < 10_000_000 else f"{round(pixels / 1_000_000)}"
