"""Controls drawn from a method's JSON schema: the page knows no parameter by name."""

from __future__ import annotations

from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from backend.contract.schemas import MethodCard
from frontend import ids

SEED = "__seed"
"""Name of the control for the seed, which is not a parameter of the schema."""


def method_form(card: MethodCard, given: dict[str, Any], seed: int = 0) -> Component:
    """Returns presets first and every parameter folded below.

    Args:
        card: The method.
        given: Values that differ from the defaults.
        seed: Seed of everything random, for methods that have one.
    """
    schema = card.params_schema
    fields = [
        parameter_control(card.name, name, resolve(schema, node), given.get(name, node.get("default")))
        for name, node in schema.get("properties", {}).items()
    ]
    if card.has_seed:
        fields.append(
            _number(
                card.name,
                SEED,
                {"title": "Seed", "description": "Of everything random", "minimum": 0},
                seed,
                whole=True,
            )
        )
    if not fields:
        return html.P("This method has no settings.", className="v-note")
    presets = _preset_choice(card, given)
    return html.Div(
        [
            *([presets] if presets is not None else []),
            html.Details([html.Summary("All settings"), html.Div(fields, className="v-fields")], className="v-fold"),
        ],
        className="v-form",
    )


def resolve(schema: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """Returns a node with ``$ref`` and ``anyOf [..., null]`` folded into one description; ``nullable`` says which."""
    if "$ref" in node:
        target = schema.get("$defs", {}).get(node["$ref"].rsplit("/", 1)[-1], {})
        node = {**target, **{key: value for key, value in node.items() if key != "$ref"}}
    options = node.get("anyOf")
    if options:
        kinds = [resolve(schema, option) for option in options if option.get("type") != "null"]
        rest = {key: value for key, value in node.items() if key != "anyOf"}
        node = {**(kinds[0] if kinds else {}), **rest, "nullable": len(kinds) < len(options)}
    if isinstance(node.get("items"), dict):
        node = {**node, "items": resolve(schema, node["items"])}
    return node


def parameter_control(method: str, name: str, node: dict[str, Any], value: Any) -> Component:
    """Returns the control that fits a resolved schema node, labelled and with its hint."""
    kind = node.get("type")
    if kind == "boolean":
        return dmc.Switch(
            id=ids.param_switch(method, name),
            checked=bool(value),
            label=_label(name, node),
            description=node.get("description"),
        )
    if "enum" in node:
        return _choice(method, name, node, value)
    if kind in ("integer", "number"):
        return _number(method, name, node, value, whole=kind == "integer")
    if kind == "array":
        return _several(method, name, node, value)
    return dmc.TextInput(id=ids.param(method, name), value=value or "", debounce=400, **_words(name, node))


def defaults(card: MethodCard) -> dict[str, Any]:
    """Returns the defaults of a method's parameters."""
    properties = card.params_schema.get("properties", {})
    return {name: node.get("default") for name, node in properties.items()}


def _choice(method: str, name: str, node: dict[str, Any], value: Any) -> Component:
    data = [{"value": str(item), "label": readable(str(item))} for item in node["enum"]]
    nullable = bool(node.get("nullable"))
    shown = None if value is None else str(value)
    return dmc.Select(
        id=ids.param(method, name),
        data=data,
        value=shown,
        allowDeselect=nullable,
        clearable=nullable,
        **_words(name, node),
    )


def _number(method: str, name: str, node: dict[str, Any], value: Any, *, whole: bool) -> Component:
    low = node.get("minimum", node.get("exclusiveMinimum"))
    high = node.get("maximum", node.get("exclusiveMaximum"))
    return dmc.NumberInput(
        id=ids.param(method, name),
        value="" if value is None else value,
        min=low,
        max=high,
        step=1 if whole else _step(low, high),
        allowDecimal=not whole,
        debounce=400,
        placeholder="Chosen by itself" if node.get("nullable") else None,
        **_words(name, node),
    )


def _several(method: str, name: str, node: dict[str, Any], value: Any) -> Component:
    items = node.get("items") or {}
    chosen = [str(item) for item in value or []]
    if "enum" in items:
        data = [{"value": str(item), "label": readable(str(item))} for item in items["enum"]]
        return dmc.MultiSelect(id=ids.param(method, name), data=data, value=chosen, **_words(name, node))
    return dmc.TagsInput(id=ids.param(method, name), value=chosen, clearable=True, **_words(name, node))


def _preset_choice(card: MethodCard, given: dict[str, Any]) -> Component | None:
    if len(card.presets) < 2:
        return None
    wanted = {**defaults(card), **given}
    current = next((item.name for item in card.presets if {**defaults(card), **item.params} == wanted), None)
    data = [{"value": item.name, "label": item.title} for item in card.presets]
    return html.Div(
        [
            dmc.SegmentedControl(
                id=ids.preset(card.name),
                data=data,
                value=current or "",
                size="xs",
                fullWidth=True,
                **{"aria-label": f"Preset of {card.title}"},
            ),
            html.Ul(
                [html.Li([html.B(item.title), " ", item.hint]) for item in card.presets if item.hint],
                className="v-hints",
            ),
        ]
    )


def _label(name: str, node: dict[str, Any]) -> str:
    return str(node.get("title") or readable(name))


def _words(name: str, node: dict[str, Any]) -> dict[str, Any]:
    return {"label": _label(name, node), "description": node.get("description")}


def readable(name: str) -> str:
    """Returns a parameter's or option's name in words."""
    return name.replace("_", " ").strip().capitalize()


def _step(low: float | None, high: float | None) -> float:
    if low is None or high is None:
        return 0.1
    return 0.001 if high - low <= 0.2 else 0.01 if high - low <= 2 else 0.1
