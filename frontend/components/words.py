"""Numbers as people read them: units, a real minus, no false digits."""

from __future__ import annotations

import re

from backend.contract.results import Column, Scalar

MINUS = "−"
THIN = " "
FOLDER_LIKE = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)+")


def number(value: float, digits: int = 2) -> str:
    """Returns a number with a fixed count of decimals and a real minus sign."""
    text = f"{value:,.{digits}f}"
    if float(text.replace(",", "")) == 0:
        text = text.lstrip("-")
    return text.replace("-", MINUS)


def percent(share: float, digits: int = 0) -> str:
    """Returns a share (0-1) as "12 %"."""
    return f"{number(100 * share, digits)} %"


def seconds(value: float) -> str:
    """Returns a duration without false digits: "under 1 s", "18 s", "4 min"."""
    if value < 1:
        return "under 1 s"
    if value < 100:
        return f"{round(value)} s"
    if value < 5400:
        return f"{round(value / 60)} min"
    return f"{number(value / 3600, 1)} h"


def passes(count: int) -> str:
    """Returns a number of forward passes: "1 pass", "2,270 passes"."""
    return f"{count:,} {'pass' if count == 1 else 'passes'}"


def cost(count: int | None, duration: float | None) -> str:
    """Returns a cost as on the method card: "420 passes, 18 s"; empty when nothing is known."""
    parts = [] if count is None else [passes(count)]
    if duration is not None:
        parts.append(seconds(duration))
    return ", ".join(parts)


def size(count: int) -> str:
    """Returns a number of bytes: "6 KB", "1.8 MB"."""
    if count < 1_000_000:
        return f"{max(1, round(count / 1000))} KB"
    millions = count / 1_000_000
    return f"{millions:.0f} MB" if millions >= 10 else f"{millions:.1f} MB"


def scalar(value: Scalar, column: Column | None = None) -> str:
    """Returns a table entry; shares with the unit "%" are multiplied by a hundred."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return value
    unit = column.unit if column else ""
    digits = column.digits if column else None
    if unit == "%":
        return percent(value, digits or 0)
    whole = isinstance(value, int) or float(value).is_integer()
    shown = (
        f"{int(value):,}".replace("-", MINUS)
        if whole and not digits
        else number(value, 2 if digits is None else digits)
    )
    return f"{shown} {unit}".rstrip()


def plural(count: int, one: str, many: str = "") -> str:
    """Returns "1 map" or "3 maps"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def signed(value: float, digits: int = 2) -> str:
    """Returns a number with its sign in front, also when it is positive: "+0.21"."""
    text = number(value, digits)
    return f"+{text}" if value > 0 and not text.startswith(MINUS) and text.strip("0.") else text


def class_name(label: str) -> str:
    """Returns a class name as people read it: "crested-tam" and "crested_tam" are "crested tam".

    Names that already are words ("three-toed sloth", "T-shirt") stay as they are.
    """
    return re.sub(r"[-_]", " ", label) if FOLDER_LIKE.fullmatch(label) else label
