"""Parameters by JSON schema: checked and completed without importing the method that owns them."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ExplainerCard

OPEN = (None, "auto")
"""Values of a parameter that leave it to us which explainer is used."""


def fill_params(schema: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Returns every parameter of the schema, with defaults where nothing was given.

    Whole numbers given for number-typed parameters become floats and 5.0 for a whole-number parameter
    becomes 5, so that the same question always has the same key.

    Raises:
        ProblemError: ``params_invalid`` for an unknown name or a missing value without default.
    """
    properties: dict[str, Any] = schema.get("properties", {})
    unknown = sorted(set(given) - set(properties))
    if unknown:
        allowed = ", ".join(sorted(properties)) or "none"
        raise ProblemError(ProblemCode.PARAMS_INVALID, f"Unknown setting {unknown[0]!r}. Known settings: {allowed}.")
    filled: dict[str, Any] = {}
    for name, description in properties.items():
        if name in given:
            filled[name] = _to_declared_number(description, given[name])
        elif "default" in description:
            filled[name] = copy.deepcopy(description["default"])
        else:
            raise ProblemError(ProblemCode.PARAMS_INVALID, f"The setting {name!r} is needed.")
    return filled


def resolve_explainer(
    schema: dict[str, Any], params: dict[str, Any], method: str, explainers: Sequence[ExplainerCard]
) -> dict[str, Any]:
    """Returns parameters in which an explainer left open is named, so that the question says what was asked.

    A parameter with ``explainer: true`` in its schema holds an explainer's id; ``None`` and ``auto`` mean the newest.
    One with ``when_explainer`` and ``otherwise`` says whether an explainer is used; its ``auto`` becomes the first when
    there is one and the second when not. Where none is used, the id stays open: the answer does not depend on it.

    Args:
        schema: JSON schema of the method's parameters.
        params: All of them, from :func:`fill_params`.
        method: Name of the method.
        explainers: Of the model, of any method, the newest first.
    """
    own = [card.id for card in explainers if card.method == method]
    resolved = dict(params)
    properties: dict[str, dict[str, Any]] = schema.get("properties", {})
    ids = [name for name, description in properties.items() if description.get("explainer") is True]
    is_named = any(params.get(name) not in OPEN for name in ids)
    is_used = True
    for name, description in properties.items():
        if "when_explainer" not in description:
            continue
        if resolved.get(name) == "auto":
            resolved[name] = description["when_explainer"] if own or is_named else description["otherwise"]
        is_used = resolved.get(name) != description["otherwise"]
    for name in ids:
        if not is_used:
            resolved[name] = copy.deepcopy(properties[name].get("default"))
        elif resolved.get(name) in OPEN and own:
            resolved[name] = own[0]
    return resolved


def _to_declared_number(description: dict[str, Any], value: Any) -> Any:
    types = {description.get("type")} | {option.get("type") for option in description.get("anyOf", ())}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if "number" in types and "integer" not in types:
        return float(value)
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
