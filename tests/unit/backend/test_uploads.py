"""Uploaded pictures: what is accepted becomes the same canonical pixels, what is refused says why."""

from __future__ import annotations

import io
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageCms

from backend.contract.keys import picture_id
from backend.contract.problems import ProblemCode, ProblemError
from backend.uploads import clean_name, encode_png, read_picture
from tests.backend_fakes import encode, make_pixels, png_bomb

LIMIT = 1_000_000
HEADS = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"]


def _code(data: bytes, **options: int) -> ProblemCode:
    with pytest.raises(ProblemError) as caught:
        read_picture(data, max_pixels=options.pop("max_pixels", LIMIT), **options)
    return caught.value.code


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("WEBP", {"lossless": True, "exact": True}),
    ],
)
def test_every_lossless_format_gives_the_same_pixels_and_the_same_identity(kind: str, options: dict) -> None:
    pixels = make_pixels()
    record, read = read_picture(encode(pixels, kind, **options), max_pixels=LIMIT)
    assert np.array_equal(read, pixels)
    assert record.id == picture_id(pixels)
    assert (record.width, record.height, record.notes) == (60, 40, ())


def test_jpeg_and_gif_are_read() -> None:
    flat = np.full((40, 60, 3), (200, 30, 90), np.uint8)
    for kind in ("JPEG", "GIF"):
        _, read = read_picture(encode(flat, kind), max_pixels=LIMIT)
        assert np.abs(read.astype(int) - flat).max() <= 3


def test_the_format_is_told_by_content_and_not_by_name() -> None:
    data = encode(make_pixels())
    record, _ = read_picture(data, max_pixels=LIMIT, name="holiday.jpg")
    assert record.name == "holiday.jpg"
    assert _code(b"this is plain text, whatever its name says") is ProblemCode.PICTURE_FORMAT


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"\x00\x00\x00\x18ftypheic" + bytes(40), "HEIC"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04", "ZIP"),
    ],
)
def test_a_well_known_other_format_is_named_in_the_refusal(head: bytes, word: str) -> None:
    with pytest.raises(ProblemError, match=word) as caught:
        read_picture(head, max_pixels=LIMIT)
    assert caught.value.code is ProblemCode.PICTURE_FORMAT


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photograph_is_turned_as_its_exif_tag_asks(orientation: int) -> None:
    upright = make_pixels(48, 32)
    turned_back = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
        8: lambda a: np.rot90(a, -1),
    }[orientation](upright)
    exif = Image.Exif()
    exif[0x0112] = orientation
    record, read = read_picture(encode(np.ascontiguousarray(turned_back), "PNG", exif=exif), max_pixels=LIMIT)
    assert np.array_equal(read, upright)
    assert (record.notes == ()) == (orientation == 1)


def test_a_turned_tiff_is_turned_once() -> None:
    upright = make_pixels(48, 32)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(np.ascontiguousarray(np.rot90(upright, 1)), "TIFF", exif=exif)
    record, read = read_picture(data, max_pixels=LIMIT)
    assert np.array_equal(read, upright)
    assert record.notes == ("Turned as its EXIF tag asks.",)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_a_bomb_is_refused_also_where_warnings_are_not_errors() -> None:
    assert _code(png_bomb(13_000, 13_000), max_pixels=50_000_000) is ProblemCode.PICTURE_TOO_MANY_PIXELS


def test_a_bomb_is_refused_before_a_pixel_is_decoded() -> None:
    bomb = png_bomb(13_000, 13_000)
    assert len(bomb) < 30_000
    tracemalloc.start()
    with pytest.raises(ProblemError, match="169 million pixels; 50 million") as caught:
        read_picture(bomb, max_pixels=50_000_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert caught.value.code is ProblemCode.PICTURE_TOO_MANY_PIXELS
    assert peak < 2_000_000


def test_a_bomb_beyond_the_decoders_own_limit_is_refused_the_same_way() -> None:
    assert _code(png_bomb(20_000, 20_000), max_pixels=50_000_000) is ProblemCode.PICTURE_TOO_MANY_PIXELS


def test_the_limit_of_pixels_is_inclusive() -> None:
    data = encode(make_pixels(60, 40))
    read_picture(data, max_pixels=2400)
    assert _code(data, max_pixels=2399) is ProblemCode.PICTURE_TOO_MANY_PIXELS


def test_too_many_bytes_are_refused_with_both_numbers() -> None:
    with pytest.raises(ProblemError, match=r"2\.5 MB; 1 MB is the most") as caught:
        read_picture(bytes(2_500_000), max_pixels=LIMIT, max_bytes=1_000_000)
    assert caught.value.code is ProblemCode.PICTURE_TOO_LARGE


@pytest.mark.parametrize(("width", "height"), [(15, 40), (40, 15), (1, 1)])
def test_a_side_below_sixteen_pixels_is_refused(width: int, height: int) -> None:
    assert _code(encode(make_pixels(width, height))) is ProblemCode.PICTURE_TOO_SMALL


def test_sixteen_pixels_are_enough() -> None:
    record, _ = read_picture(encode(make_pixels(16, 16)), max_pixels=LIMIT)
    assert (record.width, record.height) == (16, 16)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_a_truncated_file_is_a_problem_and_never_half_a_picture(kind: str, share: float) -> None:
    data = encode(make_pixels(200, 150), kind)
    code = _code(data[: max(12, int(len(data) * share))])
    assert code is ProblemCode.PICTURE_UNREADABLE


def test_an_empty_file_is_a_problem() -> None:
    assert _code(b"") is ProblemCode.PICTURE_UNREADABLE


def test_transparent_parts_lie_on_white() -> None:
    rgba = np.zeros((20, 30, 4), np.uint8)
    rgba[..., 0] = 255
    rgba[:10, :, 3] = 255
    rgba[10:15, :, 3] = 51
    record, read = read_picture(encode(rgba), max_pixels=LIMIT)
    assert np.array_equal(read[0, 0], (255, 0, 0))
    assert np.array_equal(read[12, 0], (255, 204, 204))
    assert np.array_equal(read[19, 0], (255, 255, 255))
    assert record.notes == ("Transparent parts are shown on white.",)


def test_a_palette_with_a_transparent_colour_lies_on_white() -> None:
    image = Image.new("P", (20, 20), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.paste(0, (0, 0, 10, 20))
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", transparency=0)
    _, read = read_picture(buffer.getvalue(), max_pixels=LIMIT)
    assert np.array_equal(read[0, 0], (255, 255, 255))
    assert np.array_equal(read[0, 19], (10, 200, 30))


def test_an_opaque_alpha_channel_changes_nothing() -> None:
    pixels = make_pixels()
    rgba = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    record, read = read_picture(encode(rgba), max_pixels=LIMIT)
    assert np.array_equal(read, pixels)
    assert record.notes == ()


def test_grey_becomes_three_equal_channels() -> None:
    grey = make_pixels()[..., 0].copy()
    _, read = read_picture(encode(grey), max_pixels=LIMIT)
    assert np.array_equal(read, np.repeat(grey[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_and_not_cut_off() -> None:
    deep = np.linspace(0, 65535, 400).astype(np.uint16).reshape(20, 20)
    for kind in ("PNG", "TIFF"):
        record, read = read_picture(encode(deep, kind), max_pixels=LIMIT)
        assert np.abs(read[..., 0].astype(float) - deep / 257).max() <= 0.5 + 1e-9
        assert record.notes == ("Reduced to 8 bits.",)


def test_floating_point_pictures_are_stretched_and_say_so() -> None:
    values = np.linspace(-3, 5, 400, dtype=np.float32).reshape(20, 20)
    record, read = read_picture(encode(values, "TIFF"), max_pixels=LIMIT)
    assert (read.min(), read.max()) == (0, 255)
    assert record.notes == ("Brightness stretched to 8 bits.",)


def test_a_floating_point_picture_with_nan_is_refused() -> None:
    values = np.full((20, 20), np.nan, np.float32)
    assert _code(encode(values, "TIFF")) is ProblemCode.PICTURE_UNREADABLE


def test_cmyk_becomes_rgb_and_says_so() -> None:
    buffer = io.BytesIO()
    Image.new("CMYK", (20, 20), (0, 255, 255, 0)).save(buffer, format="JPEG", quality=100)
    record, read = read_picture(buffer.getvalue(), max_pixels=LIMIT)
    assert record.notes == ("Converted from CMYK.",)
    assert np.abs(read[5, 5].astype(int) - (255, 0, 0)).max() <= 2


def _linear_profile() -> bytes:
    """Returns an RGB profile with sRGB's primaries and a straight tone curve."""
    srgb = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for name in (b"rTRC", b"gTRC", b"bTRC"):
        entry = srgb.index(name, 128)
        offset = int.from_bytes(srgb[entry + 4 : entry + 8], "big")
        srgb[offset : offset + 12] = b"curv" + bytes(8)  # a curve without points is the identity
    return bytes(srgb).replace("sRGB".encode("utf-16-be"), "flat".encode("utf-16-be"))


def test_a_colour_profile_is_applied() -> None:
    linear = np.full((20, 20, 3), 55, np.uint8)
    record, read = read_picture(encode(linear, icc_profile=_linear_profile()), max_pixels=LIMIT)
    expected = 255 * (1.055 * (55 / 255) ** (1 / 2.4) - 0.055)
    assert abs(int(read[0, 0, 0]) - expected) <= 2
    assert "to sRGB" in record.notes[0]


def test_the_srgb_profile_changes_nothing() -> None:
    pixels = make_pixels()
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    record, read = read_picture(encode(pixels, icc_profile=profile), max_pixels=LIMIT)
    assert np.array_equal(read, pixels)
    assert record.notes == ()


def test_a_broken_profile_costs_the_profile_and_not_the_picture() -> None:
    pixels = make_pixels()
    record, read = read_picture(encode(pixels, icc_profile=b"not a profile"), max_pixels=LIMIT)
    assert np.array_equal(read, pixels)
    assert "could not be read" in record.notes[0]


@pytest.mark.parametrize(("kind", "word"), [("GIF", "frame"), ("WEBP", "frame"), ("PNG", "frame"), ("TIFF", "page")])
def test_only_the_first_of_several_pictures_counts(kind: str, word: str) -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in ("#ff0000", "#00ff00")]
    buffer = io.BytesIO()
    options = {"lossless": True} if kind == "WEBP" else {}
    frames[0].save(buffer, format=kind, save_all=True, append_images=frames[1:], **options)
    record, read = read_picture(buffer.getvalue(), max_pixels=LIMIT)
    assert np.array_equal(read[0, 0], (255, 0, 0))
    assert word in record.notes[0]


def test_a_phone_picture_with_a_second_picture_inside_is_a_jpeg() -> None:
    frames = [Image.new("RGB", (32, 32), colour) for colour in ("#ff0000", "#00ff00")]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="MPO", save_all=True, append_images=frames[1:])
    record, read = read_picture(buffer.getvalue(), max_pixels=LIMIT)
    assert record.width == 32
    assert read[0, 0, 0] > 250


def test_location_and_camera_never_reach_the_stored_picture() -> None:
    exif = Image.Exif()
    exif[0x010F] = "SecretCamera"
    _, read = read_picture(encode(make_pixels(), exif=exif), max_pixels=LIMIT)
    assert b"SecretCamera" not in encode_png(read)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\pictures\\bird.jpg", "bird.jpg"),
        ("a\x00b\ncd\u202e.png", "abcd.png"),
        ("x" * 500, "x" * 200),
        ("", ""),
    ],
)
def test_a_file_name_is_shown_and_never_a_path(given: str, shown: str) -> None:
    assert clean_name(given) == shown


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(16, 40), st.integers(16, 40), st.just(3))),
    st.sampled_from(["PNG", "BMP", "TIFF"]),
)
def test_reading_what_was_read_gives_the_same_picture(pixels: np.ndarray, kind: str) -> None:
    first, read = read_picture(encode(pixels, kind), max_pixels=LIMIT)
    second, again = read_picture(encode_png(read), max_pixels=LIMIT)
    assert first.id == second.id == picture_id(pixels)
    assert np.array_equal(read, again)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_damaged_bytes_give_a_problem_or_a_whole_picture(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
    whole = bytearray(encode(make_pixels(32, 24, seed=1), kind))
    for _ in range(data.draw(st.integers(1, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    refusal: ProblemError | None = None
    try:
        record, pixels = read_picture(bytes(whole), max_pixels=LIMIT)
    except ProblemError as error:
        refusal = error
    if refusal is not None:
        assert refusal.code.value.startswith("picture_")
        assert "/" not in refusal.message
    else:
        assert pixels.shape == (record.height, record.width, 3)
        assert pixels.dtype == np.uint8
        assert pixels.shape[0] * pixels.shape[1] <= LIMIT


@settings(max_examples=100, deadline=None)
@given(
    st.binary(max_size=400), st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0"])
)
def test_random_bytes_are_always_a_problem_of_the_list(tail: bytes, head: bytes) -> None:
    assert _code(head + tail) in {
        ProblemCode.PICTURE_FORMAT,
        ProblemCode.PICTURE_UNREADABLE,
        ProblemCode.PICTURE_TOO_SMALL,
        ProblemCode.PICTURE_TOO_MANY_PIXELS,
    }
