"""The words of a command line become settings and classes, or a refusal that names what there is."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import Field

from backend.contract.problems import ProblemCode, ProblemError
from tests.fakes_engine import Constant, make_model
from tests.queue_fakes import Counting, OneModelLoader
from workers.asking import find_target, read_settings_of
from workers.method import Params


class PaintParams(Params):
    strength: float = Field(default=0.5, title="Strength", description="How strong.")
    colour: str = Field(default="red", title="Colour", description="Which colour.")


class Painting(Counting):
    """Another method."""

    name = "painting"
    title = "Painting"
    has_target = False
    Params = PaintParams
    presets = ()


METHODS = {"counting": Counting(), "painting": Painting()}


def read(*given: str, names: tuple[str, ...] = ("counting",), preset: str | None = None) -> dict[str, dict[str, Any]]:
    return read_settings_of(names, METHODS, given=given, preset=preset)


def test_numbers_words_and_lists_are_read_as_what_they_are() -> None:
    assert read("steps=3") == {"counting": {"steps": 3}}
    assert read("strength=0.25") == {"counting": {"strength": 0.25}}
    assert read("colour=blue", names=("painting",)) == {"painting": {"colour": "blue"}}
    assert read("colour=[1, 2]", names=("painting",)) == {"painting": {"colour": [1, 2]}}


def test_a_setting_goes_to_every_chosen_method_that_has_it() -> None:
    both = read("strength=2", "colour=blue", names=("counting", "painting"))
    assert both == {"counting": {"strength": 2}, "painting": {"strength": 2, "colour": "blue"}}


def test_a_setting_can_be_meant_for_one_method() -> None:
    both = read("painting.strength=2", names=("counting", "painting"))
    assert both == {"counting": {}, "painting": {"strength": 2}}


def test_what_is_given_goes_before_the_preset() -> None:
    assert read(preset="long") == {"counting": {"steps": 9}}
    assert read("steps=2", preset="long") == {"counting": {"steps": 2}}


def test_a_preset_goes_to_the_chosen_methods_that_have_it() -> None:
    both = read(preset="long", names=("counting", "painting"))
    assert both == {"counting": {"steps": 9}, "painting": {}}


@pytest.mark.parametrize(
    ("given", "names", "preset", "code", "words"),
    [
        (["speed=1"], ["counting"], None, ProblemCode.PARAMS_INVALID, "steps, strength"),
        (["painting.strength=1"], ["counting"], None, ProblemCode.PARAMS_INVALID, "steps"),
        (["steps"], ["counting"], None, ProblemCode.PARAMS_INVALID, "name=value"),
        (["=1"], ["counting"], None, ProblemCode.PARAMS_INVALID, "name=value"),
        ([], ["magic"], None, ProblemCode.METHOD_UNKNOWN, "counting, painting"),
        ([], ["counting"], "short", ProblemCode.PARAMS_INVALID, "long"),
        ([], ["painting"], "long", ProblemCode.PARAMS_INVALID, "none"),
    ],
)
def test_what_does_not_exist_is_refused_with_what_does(
    given: list[str], names: list[str], preset: str | None, code: ProblemCode, words: str
) -> None:
    with pytest.raises(ProblemError) as caught:
        read_settings_of(names, METHODS, given=given, preset=preset)
    assert caught.value.code is code
    assert words in caught.value.message


LOADER = OneModelLoader(make_model(Constant([1.0, 0.0]), class_names=("Left hand", "right hand")))


@pytest.mark.parametrize(("wanted", "target"), [("1", 1), ("left HAND", 0), ("right hand", 1), (None, None)])
def test_a_class_is_meant_by_number_or_name(wanted: str | None, target: int | None) -> None:
    assert find_target(wanted, METHODS["counting"], LOADER, "tiny") == target  # type: ignore[arg-type]


def test_a_method_without_targets_ignores_the_class() -> None:
    assert find_target("left hand", METHODS["painting"], LOADER, "tiny") is None  # type: ignore[arg-type]


def test_an_unknown_class_is_refused() -> None:
    with pytest.raises(ProblemError) as caught:
        find_target("foot", METHODS["counting"], LOADER, "tiny")  # type: ignore[arg-type]
    assert caught.value.code is ProblemCode.TARGET_UNKNOWN
