"""A map that marks the only evidence beats every order that knows nothing; its opposite beats none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import Box, Encoding, Layer
from tests.fakes_engine import make_context
from tests.fakes_models import BlockEvidence, as_loaded
from workers.method import MapArray, Result, Stored
from workers.methods._faithfulness_conventions import CONVENTIONS
from workers.methods._stored_maps import choose_layer
from workers.methods.faithfulness_check import FaithfulnessCheck, FaithfulnessCheckParams

EVIDENCE = (8, 40, 24, 56)
WHOLE = Box(0, 0, 64, 64)


def picture() -> np.ndarray[Any, Any]:
    """Noise with a bright block on the evidence, so that blurring it lowers the score."""
    pixels = np.random.default_rng(0).integers(0, 60, (64, 64, 3), dtype=np.uint8)
    left, top, right, bottom = EVIDENCE
    pixels[top:bottom, left:right] = 250
    return pixels


def marked(grid: int = 64) -> np.ndarray[Any, Any]:
    heat = np.zeros((grid, grid), dtype=np.float32)
    left, top, right, bottom = (side * grid // 64 for side in EVIDENCE)
    heat[top:bottom, left:right] = 1
    return heat


def stored(heat: np.ndarray[Any, Any], *, frame: Box = WHOLE, encoding: Encoding = Encoding.SEQUENTIAL) -> Stored:
    layer = Layer(name="heat", title="Heat", array="heat", encoding=encoding, target=0)
    return Stored(arrays={"heat": MapArray(heat, frame)}, layers=(layer,), regions=())


def check(kept: Stored, **params: Any) -> Result:
    model = as_loaded(BlockEvidence(EVIDENCE, gain=6.0))
    wanted = FaithfulnessCheckParams(result="kept", **params)
    context, _ = make_context(model, picture(), wanted, stored={"kept": kept})
    result = FaithfulnessCheck().explain(context)
    assert context.engine.passes <= FaithfulnessCheck().cost(model.card, wanted)
    return result


@pytest.mark.parametrize("convention", CONVENTIONS)
def test_a_map_of_the_evidence_beats_every_floor_under_every_convention(convention: str) -> None:
    result = check(stored(marked(16)), convention=convention)
    assert result.scalars["beats_all"] is True
    assert result.texts.badge == "beats chance"
    assert result.arrays["deletion"].data.shape == result.arrays["insertion"].data.shape
    assert len(result.arrays["deletion"].data) == 4
    assert result.arrays["fractions"].data[0] == 0
    assert result.arrays["fractions"].data[-1] == 1


def test_the_opposite_map_is_no_better_than_random_and_the_badge_says_so() -> None:
    result = check(stored(1 - marked()))
    assert result.scalars["beats_random"] is False
    assert result.texts.badge == "no better than random"


def test_both_ends_of_the_curves_are_the_intact_and_the_hidden_picture() -> None:
    result = check(stored(marked()))
    deletion, insertion = (result.arrays[name].data for name in ("deletion", "insertion"))
    np.testing.assert_allclose(deletion[:, 0], result.scalars["p_intact"], atol=1e-6)
    np.testing.assert_allclose(insertion[:, -1], result.scalars["p_intact"], atol=1e-6)
    np.testing.assert_allclose(deletion[:, -1], insertion[:, 0], atol=1e-6)


def test_the_area_is_the_trapezoid_over_the_stored_curve() -> None:
    result = check(stored(marked()))
    area = np.trapezoid(result.arrays["deletion"].data[0].astype(np.float64), result.arrays["fractions"].data)
    assert result.scalars["deletion"] == pytest.approx(float(area), abs=1e-6)
    assert result.tables[0].rows[0][1] == result.scalars["deletion"]


def test_a_map_on_part_of_the_picture_is_ranked_where_it_lies() -> None:
    left, top, right, bottom = EVIDENCE
    inside = check(stored(np.ones((4, 4), np.float32), frame=Box(left, top, right, bottom)))
    elsewhere = check(stored(np.ones((4, 4), np.float32), frame=Box(40, 0, 56, 16)))
    assert inside.scalars["deletion"] < elsewhere.scalars["deletion"]
    assert inside.scalars["beats_all"] is True
    assert elsewhere.scalars["beats_random"] is False


def test_groups_without_order_cannot_be_checked() -> None:
    with pytest.raises(ProblemError, match="no order of places") as caught:
        check(stored(marked().astype(np.int32), encoding=Encoding.LABELS))
    assert caught.value.code is ProblemCode.PARAMS_INVALID


def test_an_unknown_layer_and_a_foreign_map_are_clear_problems() -> None:
    with pytest.raises(ProblemError, match="no map named 'attic'"):
        check(stored(marked()), layer="attic")
    kept = stored(marked())
    foreign = Stored(arrays=kept.arrays, layers=kept.layers, regions=(), model="somebody-else")
    with pytest.raises(ProblemError, match="another model"):
        check(foreign)
    other = Stored(arrays=kept.arrays, layers=kept.layers, regions=(), image_ids=("f" * 64,))
    with pytest.raises(ProblemError, match="another picture"):
        check(other)


def test_the_first_main_layer_with_an_order_is_taken() -> None:
    kept = stored(marked())
    groups = Layer(name="groups", title="Groups", array="heat", encoding=Encoding.LABELS)
    detail = Layer(name="detail", title="Detail", array="heat", encoding=Encoding.SIGNED, role="detail")
    layers = (groups, detail, *kept.layers)
    assert choose_layer(Stored(kept.arrays, layers, ()), "").name == "heat"
    assert choose_layer(Stored(kept.arrays, layers, ()), "detail").name == "detail"
    assert choose_layer(Stored(kept.arrays, layers, ()), "groups").name == "heat"


def test_a_score_that_does_not_fall_is_said_to_stay() -> None:
    kept = stored(marked())
    model = as_loaded(BlockEvidence(EVIDENCE, gain=0.0))
    context, _ = make_context(model, picture(), FaithfulnessCheckParams(result="kept", steps=5), stored={"kept": kept})
    result = FaithfulnessCheck().explain(context)
    assert "never falls to half" in result.texts.reading
    assert result.scalars["half_gone"] is None
    assert result.texts.badge == "no better than random"
