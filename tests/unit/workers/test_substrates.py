"""Substrates: what hides a picture."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workers.substrates import Substrate, blur_width, box_blur, make_substrate


def random_picture(size: tuple[int, int] = (40, 56)) -> Tensor:
    return torch.rand(3, *size, generator=torch.Generator().manual_seed(0))


def blur_directly(picture: Tensor, width: int) -> Tensor:
    """The definition, pixel by pixel: mean over a square of the mirrored picture."""
    radius = width // 2
    height, length = picture.shape[1:]

    def mirror(index: int, side: int) -> int:
        return -index if index < 0 else (2 * (side - 1) - index if index >= side else index)

    blurred = torch.zeros_like(picture, dtype=torch.float64)
    for row in range(height):
        rows = [mirror(row + step, height) for step in range(-radius, radius + 1)]
        for column in range(length):
            columns = [mirror(column + step, length) for step in range(-radius, radius + 1)]
            blurred[:, row, column] = picture.double()[:, rows][:, :, columns].mean(dim=(1, 2))
    return blurred.float()


def test_the_box_blur_equals_its_definition() -> None:
    picture = random_picture((20, 26))
    torch.testing.assert_close(box_blur(picture, 7), blur_directly(picture, 7), rtol=0, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 0.7, 1.0])
def test_a_constant_picture_stays_what_it_is_rim_included(value: float) -> None:
    picture = torch.full((3, 64, 48), value)
    assert torch.equal(make_substrate("blur", picture), picture)


@pytest.mark.parametrize(
    ("size", "width"),
    [((224, 224), 49), ((448, 448), 99), ((16, 16), 3), ((160, 256), 35), ((256, 160), 35), ((8, 8), 3)],
)
def test_the_blur_is_49_pixels_at_224_and_follows_the_shorter_side(size: tuple[int, int], width: int) -> None:
    assert blur_width(size) == width


@pytest.mark.parametrize("width", [0, 2, 10, -3])
def test_an_even_width_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match="odd"):
        box_blur(random_picture(), width)


def test_plain_colours_are_what_their_names_say() -> None:
    picture = random_picture()
    assert not make_substrate("black", picture).any()
    assert bool((make_substrate("white", picture) == 1).all())
    torch.testing.assert_close(make_substrate("mean", picture)[:, 3, 5], picture.mean(dim=(1, 2)))
    mean = make_substrate("dataset_mean", picture, dataset_mean=(0.4, 0.5, 0.6))
    assert mean[:, 1, 1].tolist() == pytest.approx([0.4, 0.5, 0.6])


def test_noise_depends_on_the_seed_alone() -> None:
    one, same, other = (make_substrate("noise", random_picture(), seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert 0 <= float(one.min()) < float(one.max()) <= 1


def test_every_substrate_has_the_pictures_shape_and_stays_within_0_and_1() -> None:
    picture = random_picture()
    for kind in Substrate:
        substrate = make_substrate(kind, picture, dataset_mean=(0.4, 0.5, 0.6), other=picture.flip(2))
        assert substrate.shape == picture.shape
        assert float(substrate.min()) >= 0
        assert float(substrate.max()) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("kind", "material", "words"),
    [
        ("picture", {}, "needs a picture"),
        ("picture", {"other": torch.zeros(3, 8, 8)}, r"\[3, 8, 8\]"),
        ("dataset_mean", {}, "one mean per channel"),
        ("fog", {}, "fog"),
    ],
)
def test_missing_material_is_named(kind: str, material: dict[str, Tensor], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_substrate(kind, random_picture(), **material)
