"""Parameters by JSON schema: checked and completed without importing the method that owns them."""

from __future__ import annotations

import copy
from typing import Any

from backend.contract.problems import ProblemCode, ProblemError


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


def _to_declared_number(description: dict[str, Any], value: Any) -> Any:
    types = {description.get("type")} | {option.get("type") for option in description.get("anyOf", ())}
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if "number" in types and "integer" not in types:
        return float(value)
    if "integer" in types and isinstance(value, float) and value.is_integer():
        return int(value)
    return value
