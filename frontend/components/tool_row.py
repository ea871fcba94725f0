"""The one row of tools that rules how all maps are drawn; nothing in it costs a request."""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from frontend import ids
from frontend.components.icons import icon

MODES = (("overlay", "Overlay"), ("side", "Side by side"), ("swipe", "Swipe"))
PALETTES = (("magma", "Magma"), ("viridis", "Viridis"), ("cividis", "Cividis"), ("grey", "Grey"))
RANGES = (
    ("common", "Common"),
    ("own", "Own"),
    ("symmetric", "Symmetric"),
    ("positive", "Positive only"),
    ("negative", "Negative only"),
    ("custom", "Custom"),
)
SHOWS = (("all", "All values"), ("value", "Above a value"), ("top", "Top share"))


def tool_row(*, code: bool = True) -> Component:
    """Returns the row: how maps lie on the picture, opacity, colours, range, what is shown; linked, PNG, code.

    Args:
        code: Whether to offer the code that makes the same maps (a share has its recipe instead).
    """
    right: list[Component] = [
        html.Button(
            [icon("link"), html.Span("Linked")],
            id=ids.LOOK_LINKED,
            className="v-tool is-on",
            **{"aria-pressed": "true", "data-action": "linked", "title": "Zoom, pan and crosshair move together"},
        ),
        html.Button(
            [icon("download"), html.Span("PNG")],
            className="v-tool",
            **{"data-action": "png", "title": "Save every map as it is drawn"},
        ),
    ]
    if code:
        right.append(html.Button([icon("code"), html.Span("Code")], className="v-tool", **{"data-action": "code"}))
    return html.Div(
        [*_left(), html.Div(className="v-grow"), html.Div(right, className="v-tools-right")],
        className="v-tools",
        role="toolbar",
        **{"aria-label": "How maps are drawn"},
    )


def _left() -> list[Component]:
    mode = dmc.SegmentedControl(
        id=ids.LOOK_MODE,
        data=_options(MODES),
        value="overlay",
        size="xs",
        className="v-segments",
        **{"aria-label": "How maps lie on the picture"},
    )
    opacity = html.Div(
        [
            html.Span("Opacity", className="v-tool-label"),
            dmc.Slider(
                id=ids.LOOK_OPACITY,
                min=0,
                max=100,
                value=86,
                size=4,
                thumbSize=14,
                label=None,
                w=72,
                updatemode="drag",
                thumbLabel="Opacity",
            ),
        ],
        className="v-tool-group v-tool-opacity",
    )
    return [
        mode,
        opacity,
        _quiet_select("Colours", ids.LOOK_PALETTE, PALETTES, "magma"),
        _quiet_select("Range", ids.LOOK_RANGE, RANGES, "common"),
        _custom_range(),
        _quiet_select("Show", ids.LOOK_SHOW, SHOWS, "all"),
        _thresholds(),
        _more(),
    ]


def _quiet_select(label: str, name: str, options: tuple[tuple[str, str], ...], value: str) -> Component:
    control = dmc.Select(
        id=name,
        data=_options(options),
        value=value,
        size="xs",
        variant="unstyled",
        allowDeselect=False,
        rightSection=icon("chevron", size=12),
        rightSectionWidth=16,
        rightSectionPointerEvents="none",
        comboboxProps={"shadow": "sm", "width": 150, "position": "bottom-start"},
        className="v-quiet-select",
        **{"aria-label": label},
    )
    return html.Div(
        [html.Span(label, className="v-tool-label"), control], className=f"v-tool-group v-tool-{label.lower()}"
    )


def _custom_range() -> Component:
    return html.Div(
        [
            dmc.NumberInput(
                id=ids.LOOK_LOW,
                value=0,
                size="xs",
                w=64,
                step=0.05,
                hideControls=True,
                **{"aria-label": "Lowest value"},
            ),
            html.Span("to"),
            dmc.NumberInput(
                id=ids.LOOK_HIGH,
                value=1,
                size="xs",
                w=64,
                step=0.05,
                hideControls=True,
                **{"aria-label": "Highest value"},
            ),
        ],
        id="look-custom",
        className="v-tool-group is-off",
    )


def _thresholds() -> Component:
    return html.Div(
        [
            dmc.NumberInput(
                id=ids.LOOK_VALUE,
                value=0.5,
                size="xs",
                w=56,
                hideControls=True,
                step=0.05,
                className="v-when-value",
                **{"aria-label": "Least value shown"},
            ),
            dmc.NumberInput(
                id=ids.LOOK_TOP,
                value=10,
                min=1,
                max=100,
                suffix=" %",
                size="xs",
                w=56,
                hideControls=True,
                className="v-when-top",
                **{"aria-label": "Share of the picture shown"},
            ),
        ],
        id="look-threshold",
        className="v-tool-group is-off",
    )


def _more() -> Component:
    switches = html.Div(
        [
            dmc.Switch(id=ids.LOOK_SMOOTH, checked=True, label="Smooth", description="Off: the map's own cells"),
            dmc.Switch(
                id=ids.LOOK_CONTOUR,
                checked=True,
                label="Outline",
                description="Around what is marked, or around groups",
            ),
            dmc.Switch(
                id=ids.LOOK_MATCH,
                checked=True,
                label="Match colours",
                description="Groups of two maps that overlap most get one colour",
            ),
        ],
        className="v-more-switches",
    )
    summary = html.Summary([icon("sliders"), html.Span("More")], className="v-tool")
    return html.Details([summary, switches], className="v-more")


def _options(pairs: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"value": value, "label": label} for value, label in pairs]
