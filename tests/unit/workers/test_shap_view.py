"""What is hidden is hidden bit for bit, and regions lie where the picture is, whatever its shape and crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from models.preprocessing import Preprocessing
from tests.fakes_engine import make_picture, noise_picture
from workers.masks import Scene
from workers.methods._shap_game import EQUALS_FILLING, NOT_IN_VIEW, find_players
from workers.methods._shap_view import View, filling, make_view, sample
from workers.regions import grid_regions, label_regions

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


def _view(
    size: tuple[int, int], *, mode: str = "squash", crop_pct: float = 1.0, side: tuple[int, int] = (48, 48)
) -> tuple[View, Preprocessing]:
    preprocessing = Preprocessing(input_size=side, mean=MEAN, std=STD, crop_pct=crop_pct, crop_mode=mode)
    return make_view(make_picture(noise_picture(size)), preprocessing), preprocessing


def _scene(view: View, preprocessing: Preprocessing, kind: str) -> tuple[Scene, Tensor]:
    x = preprocessing.normalise(view.pixels)
    inside = torch.from_numpy(view.to_model(np.zeros(view.size, np.int32)) >= 0)
    return Scene(x, filling(kind, x, mean=MEAN, std=STD, inside=inside)), inside


def _compose(scene: Scene, labels: NDArray[np.int32], count: int, coalitions: list[list[bool]]) -> Tensor:
    players = find_players(labels, count, scene)
    assert players.count == count
    out = torch.empty(len(coalitions), *scene.picture.shape)
    scene.show(players.masks(np.array(coalitions)).visible(0, len(coalitions)), out)
    return out


@pytest.mark.parametrize("kind", ["black", "mean", "blur"])
def test_everything_shown_is_the_picture_and_nothing_shown_is_the_filling_bit_for_bit(kind: str) -> None:
    view, preprocessing = _view((60, 90))
    scene, _ = _scene(view, preprocessing, kind)
    labels = view.to_model(grid_regions(2, 3, view.size).labels)
    some = [True, False, True, True, False, False]
    full, empty, part, rest = _compose(scene, labels, 6, [[True] * 6, [False] * 6, some, [not one for one in some]])
    assert torch.equal(full, scene.picture)
    assert torch.equal(empty, scene.substrate)
    shown = torch.from_numpy(np.isin(labels, [0, 2, 3]))
    assert torch.equal(part, torch.where(shown, scene.picture, scene.substrate))
    assert torch.equal(rest, torch.where(shown, scene.substrate, scene.picture))


def test_black_is_black_before_normalisation_and_mean_is_the_mean_of_what_is_seen() -> None:
    view, preprocessing = _view((60, 90))
    black, _ = _scene(view, preprocessing, "black")
    assert torch.allclose(black.substrate[:, 3, 5], -torch.tensor(MEAN) / torch.tensor(STD), atol=1e-7)
    mean, _ = _scene(view, preprocessing, "mean")
    assert torch.allclose(mean.substrate[:, 0, 0], mean.picture.mean(dim=(1, 2)), atol=1e-6)
    assert torch.equal(mean.substrate, mean.substrate[:, :1, :1].expand_as(mean.substrate))


def test_blur_keeps_a_constant_picture_and_equals_the_weighted_mean_of_its_neighbours() -> None:
    flat = torch.full((3, 24, 36), 0.7)
    inside = torch.ones(24, 36, dtype=torch.bool)
    assert torch.allclose(filling("blur", flat, mean=MEAN, std=STD, inside=inside), flat, atol=1e-6)
    spot = torch.zeros(3, 24, 36)
    spot[:, 12, 18] = 1.0
    blurred = filling("blur", spot, mean=MEAN, std=STD, inside=inside)
    steps = np.arange(-6, 7)
    kernel = np.exp(-(steps**2) / (2 * 2.0**2))
    kernel /= kernel.sum()
    assert np.allclose(blurred[0, 6:19, 12:25].numpy(), np.outer(kernel, kernel), atol=1e-7)


def test_an_unknown_filling_is_refused() -> None:
    with pytest.raises(ValueError, match="fog"):
        filling("fog", torch.zeros(3, 8, 8), mean=MEAN, std=STD, inside=torch.ones(8, 8, dtype=torch.bool))


@pytest.mark.parametrize(
    ("size", "mode", "crop_pct"),
    [((37, 91), "squash", 1.0), ((91, 37), "center", 0.875), ((50, 80), "center", 1.0), ((30, 70), "border", 1.0),
     ((1400, 600), "squash", 1.0)],
)  # fmt: skip
def test_every_pixel_of_the_input_takes_the_region_below_its_centre(
    size: tuple[int, int], mode: str, crop_pct: float
) -> None:
    view, preprocessing = _view(size, mode=mode, crop_pct=crop_pct)
    regions = grid_regions(3, 4, view.size)
    labels = view.to_model(regions.labels)
    assert max(view.size) <= 1024
    assert view.seen == preprocessing.seen(size[1], size[0])
    for row, column in [(0, 0), (10, 40), (24, 24), (47, 47), (5, 30)]:
        x = view.frame.left + (column + 0.5) * (view.frame.right - view.frame.left) / 48
        y = view.frame.top + (row + 0.5) * (view.frame.bottom - view.frame.top) / 48
        if not (0 <= x < size[1] and 0 <= y < size[0]):
            assert labels[row, column] == -1
            continue
        across = int((x - view.seen.left) / (view.seen.right - view.seen.left) * view.size[1])
        down = int((y - view.seen.top) / (view.seen.bottom - view.seen.top) * view.size[0])
        assert labels[row, column] == regions.labels[down, across]
    boxes = [view.box(box) for box in regions.boxes]
    assert min(box.left for box in boxes) == pytest.approx(view.seen.left)
    assert max(box.bottom for box in boxes) == pytest.approx(view.seen.bottom)


def test_padding_is_never_hidden_and_never_plays() -> None:
    view, preprocessing = _view((30, 60), mode="border")
    scene, inside = _scene(view, preprocessing, "black")
    assert not inside.all()
    labels = view.to_model(grid_regions(1, 2, view.size).labels)
    empty = _compose(scene, labels, 2, [[False, False]])[0]
    assert torch.equal(empty[:, ~inside], scene.picture[:, ~inside])
    assert torch.equal(empty, scene.substrate)


def test_regions_out_of_view_or_already_like_the_filling_do_not_play() -> None:
    pixels = noise_picture((48, 48))
    pixels[:24] = 0
    preprocessing = Preprocessing(input_size=(48, 48), mean=MEAN, std=STD, crop_pct=1.0, crop_mode="squash")
    view = make_view(make_picture(pixels), preprocessing)
    scene, _ = _scene(view, preprocessing, "black")
    labels = grid_regions(2, 2, view.size).labels
    players = find_players(view.to_model(labels), 5, scene)
    assert players.flags == [EQUALS_FILLING, EQUALS_FILLING, "", "", NOT_IN_VIEW]
    assert players.ids == [2, 3]
    assert np.array_equal(players.spread(np.array([0.5, -1.0])), [0, 0, 0.5, -1.0, 0])


def test_hiding_in_the_input_agrees_with_hiding_in_the_picture_away_from_borders() -> None:
    size = (96, 120)
    view, preprocessing = _view(size)
    scene, _ = _scene(view, preprocessing, "black")
    regions = label_regions(np.arange(96)[:, None] // 40 * 2 + np.arange(120)[None] // 50, view.picture, source="test")
    labels = view.to_model(regions.labels)
    shown = [index % 2 == 0 for index in range(regions.count)]
    fast = _compose(scene, labels, regions.count, [shown])[0]
    picture = noise_picture(size).copy()
    picture[~np.array(shown)[regions.labels]] = 0
    exact = preprocessing.normalise(preprocessing.prepare(picture).pixels)
    near = np.zeros(labels.shape, bool)
    for row in range(48):
        for column in range(48):
            around = labels[max(0, row - 3) : row + 4, max(0, column - 3) : column + 4]
            near[row, column] = bool((around != labels[row, column]).any())
    far = torch.from_numpy(~near)
    assert far.float().mean() > 0.4
    assert (fast - exact).abs()[:, far].max() < 1e-5


def test_sampling_labels_onto_their_own_grid_changes_nothing() -> None:
    labels = np.arange(35, dtype=np.int32).reshape(5, 7)
    view, _ = _view((5, 7))
    assert np.array_equal(sample(labels, view.seen, view.seen, (5, 7)), labels)
