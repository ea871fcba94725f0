from __future__ import annotations

import pytest

from backend.contract.results import Column
from frontend.components import words


def test_a_negative_number_has_a_real_minus() -> None:
    assert words.number(-0.58) == "−0.58"


def test_a_number_that_rounds_to_zero_has_no_minus() -> None:
    assert words.number(-0.001) == "0.00"


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "under 1 s"), (18.4, "18 s"), (240, "4 min"), (7200, "2.0 h")])
def test_a_duration_has_no_false_digits(seconds: float, text: str) -> None:
    assert words.seconds(seconds) == text


def test_one_pass_is_not_plural() -> None:
    assert words.cost(1, None) == "1 pass"
    assert words.cost(2270, 18.0) == "2,270 passes, 18 s"
    assert words.cost(None, None) == ""


def test_bytes_are_told_in_kilobytes_and_megabytes() -> None:
    assert (words.size(6000), words.size(1_800_000), words.size(20_000_000)) == ("6 KB", "1.8 MB", "20 MB")


def test_shares_are_told_in_percent() -> None:
    assert words.scalar(0.078, Column(key="area", title="Area", unit="%", digits=1)) == "7.8 %"


def test_a_missing_entry_is_a_dash_and_a_truth_is_a_word() -> None:
    assert (words.scalar(None), words.scalar(True), words.scalar("x")) == ("–", "yes", "x")


def test_a_unit_follows_its_number() -> None:
    assert words.scalar(14.0, Column(key="w", title="Width", unit="px")) == "14 px"
