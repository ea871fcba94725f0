"""Under a map: does it beat chance? A link before it was checked, a strip of two small curves afterwards."""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import dcc, html
from dash.development.base_component import Component

from backend.contract.results import Encoding, Manifest, Table
from frontend import ids
from frontend.components.spark import Points, spark
from frontend.components.tables import data_table
from frontend.components.words import number

ORDERED = (Encoding.SEQUENTIAL, Encoding.SIGNED)
LARGE = (300, 150)
HALVES = (("deletion", "Removed", "lower is better"), ("insertion", "Shown", "higher is better"))
SMALL = (46, 28)


def can_be_checked(manifest: Manifest) -> bool:
    """Returns whether a result has a map whose places have an order, of a model with class scores."""
    return manifest.caption is None and any(layer.encoding in ORDERED for layer in manifest.layers)


def trust_place(run: str, check: Manifest | None = None) -> Component:
    """Returns the place of the check under a finished map, with its result when it is known."""
    body = trust_strip(check) if check is not None else unchecked(run)
    return html.Div(
        [html.Div(body, id=ids.trust(run), className="v-trust-body"), dcc.Store(id=ids.trust_run(run))],
        className="v-trust",
        **{"data-trust": run},
    )


def unchecked(run: str, problem: str = "") -> Component:
    """Returns the link that starts the check, and the words beside it."""
    words = html.Span(problem, id=ids.trust_text(run), className="v-note", role="status")
    button = html.Button(
        "Check against chance",
        className="v-plain v-link",
        title="Removes and shows the places of this map, strongest first, beside three orders that know nothing",
        **{"data-action": "check", "data-run": run, "data-testid": "check"},
    )
    return html.Div([button, words], className="v-trust-line")


def trust_strip(check: Manifest) -> Component:
    """Returns the two small curves with their numbers; a click shows them large, with every floor."""
    is_strong = check.scalars.get("beats_random") is True
    halves = [_half(check, name, title, is_strong) for name, title, _ in HALVES]
    target = html.Button(
        halves,
        className="v-trust-strip" + ("" if is_strong else " is-weak"),
        type="button",
        **{"data-testid": "trust-strip", "aria-label": f"Check against chance: {check.texts.reading}"},
    )
    large = html.Div(
        [
            html.Strong(_verdict(check)),
            html.P(check.texts.reading),
            html.Div([_large(check, *half, is_strong) for half in HALVES], className="v-trust-large"),
            data_table(_table(check, "orders")),
            html.P(check.texts.notes[0] if check.texts.notes else "", className="v-note"),
        ],
        className="v-trust-card",
    )
    return html.Div(
        [
            dmc.Popover(
                [dmc.PopoverTarget(target), dmc.PopoverDropdown(large)],
                width=680,
                position="bottom-start",
                shadow="md",
                trapFocus=True,
                returnFocus=True,
            ),
            *_badge(check),
        ],
        className="v-trust-line",
    )


def _badge(check: Manifest) -> list[Component]:
    """Returns the words beside the curves; a map that beats every floor needs none."""
    if check.scalars.get("beats_all") is True:
        return []
    is_weak = check.scalars.get("beats_random") is not True
    return [html.Span(check.texts.badge, className="v-trust-badge" + (" is-weak" if is_weak else ""))]


def _half(check: Manifest, name: str, title: str, is_strong: bool) -> Component:
    own, floor = _value(check, name), _value(check, f"{name}_random")
    label = f"{title} first: {number(own)}, random {number(floor)}"
    return html.Span(
        [
            spark(*_curves(check, name), label=label, size=SMALL, strong=is_strong),
            html.Span(
                [html.Span([f"{title} ", html.B(number(own))]), html.Span(f"random {number(floor)}")],
                className="v-trust-words",
            ),
        ],
        className="v-trust-half",
    )


def _large(check: Manifest, name: str, title: str, hint: str, is_strong: bool) -> Component:
    drawing = spark(*_curves(check, name), label=title, size=LARGE, strong=is_strong, stroke=2.2)
    return html.Figure([drawing, html.Figcaption(f"{title} first: probability over the share of places; {hint}")])


def _curves(check: Manifest, name: str) -> tuple[Points, Points]:
    table = _table(check, "curves")
    at = {column.key: place for place, column in enumerate(table.columns)}

    def points(key: str) -> Points:
        return [(float(row[at["share"]] or 0), float(row[at[key]] or 0)) for row in table.rows]

    return points(f"{name}_map"), points(f"{name}_random")


def _table(check: Manifest, name: str) -> Table:
    return next(table for table in check.tables if table.name == name)


def _value(check: Manifest, name: str) -> float:
    value = check.scalars.get(name)
    return float(value) if isinstance(value, int | float) else 0.0


def _verdict(check: Manifest) -> str:
    words = check.texts.badge
    return words[:1].upper() + words[1:] + "."
