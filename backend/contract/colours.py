"""Colour handling: any mode, depth or profile that Pillow decodes becomes 8-bit sRGB.

A change here changes what a picture is: raise ``backend.contract.keys.COLOUR_VERSION`` with it.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms

from backend.contract.problems import ProblemCode, ProblemError

_PROFILE_MODES = {"RGB", "CMYK", "L", "LAB"}
_DEEP_GREY = {"I;16", "I;16L", "I;16B", "I;16N", "I", "F"}


def to_srgb(image: Image.Image, notes: list[str]) -> NDArray[np.uint8]:
    """Returns the pixels as ``[H, W, 3]`` uint8 sRGB and adds a note for each change a person may see.

    Args:
        image: A loaded picture of any mode, already turned.
        notes: Gets one sentence per conversion.

    Raises:
        ProblemError: ``picture_unreadable`` if the numbers are not finite.
    """
    if image.mode in _DEEP_GREY:
        image = _to_eight_bits(image, notes)
    colour, alpha = _split_alpha(image)
    colour = _apply_profile(colour, image.info.get("icc_profile"), notes)
    if colour.mode == "CMYK":
        notes.append("Converted from CMYK.")
    rgb = np.array(colour if colour.mode == "RGB" else colour.convert("RGB"), dtype=np.uint8)
    if alpha is None:
        return rgb
    opacity = np.asarray(alpha, dtype=np.uint8)
    if opacity.min() == 255:
        return rgb
    notes.append("Transparent parts are shown on white.")
    return _lay_on_white(rgb, opacity)


def _split_alpha(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    if image.mode in ("RGBa", "La"):
        image = image.convert("RGBA" if image.mode == "RGBa" else "LA")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA" if image.mode == "PA" or "transparency" in image.info else "RGB")
    if "transparency" in image.info and image.mode in ("1", "L", "RGB"):
        image = image.convert("RGBA")
    if image.mode in ("RGBA", "LA"):
        alpha = image.getchannel("A")
        return image.convert("RGB" if image.mode == "RGBA" else "L"), alpha
    if image.mode in ("1", "HSV", "YCbCr", "RGBX"):
        return image.convert("L" if image.mode == "1" else "RGB"), None
    return image, None


def _lay_on_white(rgb: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # In rows, so that a large picture never needs a second copy in 32 bits.
    for row, opacity in zip(rgb, alpha, strict=True):
        a = opacity[:, None].astype(np.uint16)
        row[:] = ((row * a + 255 * (255 - a) + 127) // 255).astype(np.uint8)
    return rgb


def _to_eight_bits(image: Image.Image, notes: list[str]) -> Image.Image:
    values = np.asarray(image)
    if image.mode == "F":
        values = values.astype(np.float64)
        if not np.isfinite(values).all():
            raise ProblemError(ProblemCode.PICTURE_UNREADABLE, "This picture holds values that are not numbers.")
    low, high = _depth_range(image.mode, values)
    notes.append("Reduced to 8 bits." if (low, high) in ((0, 65535), (0, 1)) else "Brightness stretched to 8 bits.")
    scaled = (values.astype(np.float64) - low) * (255.0 / max(high - low, 1e-12))
    grey = Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
    if image.mode.startswith("I;16") and "icc_profile" in image.info:
        grey.info["icc_profile"] = image.info["icc_profile"]
    return grey


def _depth_range(mode: str, values: NDArray[np.generic]) -> tuple[float, float]:
    """Returns the values that become black and white: the full depth where it is known, else the picture's own."""
    if mode.startswith("I;16"):
        return 0, 65535
    low, high = float(np.min(values)), float(np.max(values))
    if mode == "I" and low >= 0 and 255 < high <= 65535:
        return 0, 65535
    if mode == "F" and low >= 0 and high <= 1:
        return 0, 1
    return low, high


def _apply_profile(image: Image.Image, profile: bytes | None, notes: list[str]) -> Image.Image:
    if not profile or image.mode not in _PROFILE_MODES:
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        description = ImageCms.getProfileDescription(source).strip()
        if "sRGB" in description and image.mode == "RGB":
            return image
        converted = ImageCms.profileToProfile(
            image,
            source,
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        notes.append("Its colour profile could not be read, so its numbers were taken as sRGB.")
        return image
    if converted is None:
        return image
    notes.append(f"Colours converted from {_short(description)} to sRGB.")
    return converted


def _short(description: str) -> str:
    words = " ".join("".join(letter if letter.isprintable() else " " for letter in description).split())
    return f"the profile {words[:60]!r}" if words else "its own profile"
