from __future__ import annotations

import dash_mantine_components as dmc
import pytest

from frontend import ids
from frontend.components.method_form import SEED, method_form, readable, resolve
from tests.fakes_page import every, find, method_card, props, words_of


def control(form: object, name: str) -> object:
    wanted = (ids.param("probe", name), ids.param_switch("probe", name))
    found = find(form, lambda one: getattr(one, "id", None) in wanted)
    assert len(found) == 1, name
    return found[0]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("mode", dmc.Select),
        ("count", dmc.NumberInput),
        ("share", dmc.NumberInput),
        ("limit", dmc.NumberInput),
        ("nested", dmc.Switch),
        ("blocks", dmc.TagsInput),
        ("floors", dmc.MultiSelect),
        ("name", dmc.TextInput),
        (SEED, dmc.NumberInput),
    ],
)
def test_every_kind_of_parameter_gets_the_control_that_fits(name: str, kind: type) -> None:
    assert isinstance(control(method_form(method_card(), {}), name), kind)


def test_every_control_has_a_label() -> None:
    form = method_form(method_card(), {})
    controls = find(form, lambda one: isinstance(getattr(one, "id", None), dict))
    assert len(controls) == 10
    for one in controls:
        assert props(one).get("label") or props(one).get("aria-label"), props(one)["id"]


def test_a_reference_brings_its_choices_and_keeps_its_own_words() -> None:
    select = props(control(method_form(method_card(), {}), "mode"))
    assert [item["value"] for item in select["data"]] == ["soft", "hard"]
    assert (select["label"], select["description"], select["value"]) == ("Mode", "How.", "soft")


def test_bounds_of_the_schema_bound_the_field() -> None:
    field = props(control(method_form(method_card(), {}), "count"))
    assert (field["min"], field["max"], field["allowDecimal"]) == (2, 20, False)


def test_none_is_an_empty_field() -> None:
    assert props(control(method_form(method_card(), {}), "limit"))["value"] == ""


def test_given_values_are_shown_instead_of_defaults() -> None:
    form = method_form(method_card(), {"count": 9, "nested": False}, seed=4)
    assert props(control(form, "count"))["value"] == 9
    assert props(control(form, "nested"))["checked"] is False
    assert props(control(form, SEED))["value"] == 4


@pytest.mark.parametrize(("given", "preset"), [({"count": 2}, "fast"), ({}, "plain"), ({"count": 3}, "")])
def test_the_preset_that_equals_the_values_is_marked(given: dict[str, int], preset: str) -> None:
    form = method_form(method_card(), given)
    choice = find(form, lambda one: getattr(one, "id", None) == ids.preset("probe"))[0]
    assert props(choice)["value"] == preset


def test_a_method_without_parameters_says_so() -> None:
    form = method_form(method_card(params_schema={}, presets=(), has_seed=False), {})
    assert "no settings" in words_of(form)
    assert not [one for one in every(form) if isinstance(one, dmc.NumberInput)]


def test_a_nullable_node_keeps_its_type_and_says_that_it_may_be_empty() -> None:
    node = resolve({}, {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "title": "T"})
    assert (node["type"], node["minimum"], node["nullable"], node["title"]) == ("integer", 1, True, "T")


def test_names_are_told_in_words() -> None:
    assert readable("top_k") == "Top k"
