"""Ranks, consensus and pairs of maps that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from backend.contract.problems import ProblemError
from backend.contract.results import Box, Encoding, Layer
from tests.fakes_engine import Constant, make_context, make_model
from workers.method import MapArray, Result, Stored
from workers.methods.map_agreement import MapAgreement, MapAgreementParams, to_ranks

WHOLE = Box(0, 0, 40, 30)


def kept(data: np.ndarray[Any, Any], *, frame: Box = WHOLE, method: str = "A", model: str = "M") -> Stored:
    layer = Layer(name="heat", title="Heat", array="heat", encoding=Encoding.SIGNED)
    return Stored({"heat": MapArray(data.astype(np.float32), frame)}, (layer,), (), titles=(method, model))


def compare(*stored: Stored, **params: Any) -> Result:
    keys = [f"run{number}" for number in range(len(stored))]
    wanted = MapAgreementParams(results=tuple(keys), **params)
    pixels = np.zeros((30, 40, 3), np.uint8)
    context, _ = make_context(
        make_model(Constant([1.0, 0.0])), pixels, wanted, stored=dict(zip(keys, stored, strict=True))
    )
    return MapAgreement().explain(context)


def noise(seed: int, shape: tuple[int, int] = (84, 112)) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=shape)


def test_maps_of_one_order_agree_whatever_their_units() -> None:
    base = noise(0)
    result = compare(kept(base), kept(2 * np.exp(base / 2) + 7), kept(-base))
    rows = {(row[0], row[1]): row[2:] for row in result.tables[0].rows}
    assert rows[2, 1] == pytest.approx((1.0, 1.0), abs=1e-3)
    assert rows[3, 1] == pytest.approx((-1.0, 0.0), abs=1e-3)
    np.testing.assert_allclose(result.arrays["ranks"].data[0], result.arrays["ranks"].data[1], atol=5e-3)
    np.testing.assert_allclose(result.arrays["ranks"].data[0] + result.arrays["ranks"].data[2], 1, atol=5e-3)


def test_the_correlation_is_scipys() -> None:
    one, other = noise(1), noise(1) + noise(2)
    result = compare(kept(one), kept(other))
    expected = spearmanr(one.ravel(), other.ravel()).statistic
    assert result.tables[0].rows[0][2] == pytest.approx(expected, abs=1e-5)


def test_consensus_and_disagreement_are_mean_and_spread_of_the_ranks() -> None:
    result = compare(kept(noise(1)), kept(noise(2)), kept(noise(3)))
    ranks = result.arrays["ranks"].data
    np.testing.assert_allclose(result.arrays["consensus"].data, ranks.mean(0), atol=1e-6)
    np.testing.assert_allclose(result.arrays["spread"].data, ranks.std(0), atol=1e-6)
    assert result.layers[0].name == "consensus"
    assert [layer.title for layer in result.layers[2:]] == ["A, M"] * 3


def test_ranks_share_ties_and_a_flat_map_lies_in_the_middle() -> None:
    torch.testing.assert_close(
        to_ranks(torch.tensor([[5.0, 1.0], [1.0, 9.0]])).flatten(), torch.tensor([2 / 3, 1 / 6, 1 / 6, 1.0])
    )
    torch.testing.assert_close(to_ranks(torch.zeros(3, 3)), torch.full((3, 3), 0.5))


def test_only_what_all_maps_cover_is_compared() -> None:
    result = compare(kept(noise(0), frame=Box(0, 0, 30, 30)), kept(noise(1), frame=Box(10, -5, 60, 40)))
    assert result.arrays["ranks"].frame == Box(10, 0, 30, 30)
    with pytest.raises(ProblemError, match="no common part"):
        compare(kept(noise(0), frame=Box(0, 0, 10, 30)), kept(noise(1), frame=Box(20, 0, 40, 30)))


def test_a_flat_map_has_no_correlation_and_no_number_is_invented() -> None:
    result = compare(kept(noise(0)), kept(np.zeros((8, 8))))
    assert result.tables[0].rows[0][2] is None
    assert "same everywhere" in result.texts.reading


def test_one_map_alone_and_maps_of_two_pictures_are_refused() -> None:
    with pytest.raises(ProblemError, match="at least two"):
        compare(kept(noise(0)))
    other = kept(noise(1))
    foreign = Stored(other.arrays, other.layers, (), image_ids=("f" * 64,))
    with pytest.raises(ProblemError, match="same picture"):
        compare(kept(noise(0)), foreign)
