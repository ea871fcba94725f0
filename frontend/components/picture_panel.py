"""The picture, with what no model sees of it dimmed."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from backend.contract.results import Box
from backend.contract.schemas import PictureRecord


def picture_panel(record: PictureRecord, seen: Box | None, *, url: str) -> Component:
    """Returns the picture, its name and size, and the unseen margins.

    Args:
        record: The picture.
        seen: Rectangle that the first model saw, in picture pixels; ``None``: not known yet.
        url: Address of the picture's bytes.
    """
    name = record.name or "Picture"
    hides = seen is not None and not covers(seen, record)
    frame = html.Div(
        [html.Img(src=url, alt=name), *(_margins(seen, record) if seen is not None and hides else [])],
        className="v-thumb",
        style={
            "aspectRatio": f"{record.width} / {record.height}",
            "--v-ratio": f"{record.width / record.height:.4f}",
        },
    )
    facts = html.Div(
        [
            html.Span(f"{name}, {record.width} × {record.height}"),
            *([html.Span("dimmed: not seen", className="v-note")] if hides else []),
        ],
        className="v-facts",
    )
    notes = [html.P(note, className="v-note") for note in record.notes]
    return html.Div([frame, facts, *notes])


def covers(seen: Box, record: PictureRecord) -> bool:
    """Whether the model sees all of the picture, to within half a pixel."""
    return (
        seen.left <= 0.5 and seen.top <= 0.5 and seen.right >= record.width - 0.5 and seen.bottom >= record.height - 0.5
    )


def _margins(seen: Box, record: PictureRecord) -> list[Component]:
    left, right = 100 * seen.left / record.width, 100 * (1 - seen.right / record.width)
    top, bottom = 100 * seen.top / record.height, 100 * (1 - seen.bottom / record.height)
    inner = {"left": f"{left:.3f}%", "right": f"{right:.3f}%"}
    boxes = {
        "left": {"left": 0, "top": 0, "bottom": 0, "width": f"{left:.3f}%"},
        "right": {"right": 0, "top": 0, "bottom": 0, "width": f"{right:.3f}%"},
        "top": {**inner, "top": 0, "height": f"{top:.3f}%"},
        "bottom": {**inner, "bottom": 0, "height": f"{bottom:.3f}%"},
    }
    sizes = {"left": left, "right": right, "top": top, "bottom": bottom}
    return [html.I(className=f"v-unseen is-{side}", style=boxes[side]) for side in boxes if sizes[side] > 0.05]
