"""Reads arrays from a safetensors file: a length, a JSON head, then the bytes. The page needs no library for that."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray

_KINDS = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}


def tensors_to_arrays(data: bytes) -> dict[str, NDArray[Any]]:
    """Returns the arrays of a file by name; those of a kind that NumPy does not know are left out.

    Raises:
        ValueError: If it is no such file.
    """
    if len(data) < 8:
        raise ValueError("these bytes are no safetensors file")
    start = 8 + int.from_bytes(data[:8], "little")
    try:
        head = json.loads(data[8:start])
        return {
            name: _array(data, start, entry)
            for name, entry in head.items()
            if name != "__metadata__" and entry["dtype"] in _KINDS
        }
    except (KeyError, TypeError, UnicodeDecodeError) as error:
        raise ValueError("these bytes are no safetensors file") from error


def _array(data: bytes, start: int, entry: dict[str, Any]) -> NDArray[Any]:
    first, last = entry["data_offsets"]
    return np.frombuffer(data[start + first : start + last], _KINDS[entry["dtype"]]).reshape(entry["shape"])
