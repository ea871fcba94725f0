"""The dialog that pins the grid and answers with a link."""

from __future__ import annotations

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from frontend import ids

EXPIRIES = (("7", "One week"), ("30", "One month"), ("365", "One year"), ("3650", "Ten years"))


def share_dialog() -> Component:
    """Returns the dialog, closed."""
    return dmc.Modal(
        id=ids.SHARE_DIALOG,
        title="Share these maps",
        opened=False,
        centered=True,
        size=460,
        shadow="sm",
        keepMounted=True,
        closeButtonProps={"aria-label": "Close"},
        children=[
            html.P(
                "The picture, the maps and how they were made are pinned. The link opens for anybody who has it, "
                "read only, also when the model is gone.",
                className="v-text",
            ),
            dmc.TextInput(
                id=ids.SHARE_TITLE,
                label="Title",
                description="Shown on top of the page",
                attributes={"input": {"maxLength": 120}},
            ),
            dmc.Select(
                id=ids.SHARE_DAYS,
                name=ids.SHARE_DAYS,
                label="Opens for",
                value="365",
                data=[{"value": value, "label": label} for value, label in EXPIRIES],
                allowDeselect=False,
            ),
            html.Div(id=ids.SHARE_ANSWER, className="v-share-answer", role="status"),
            _buttons(),
        ],
    )


def _buttons() -> Component:
    close = html.Button("Close", className="v-button", **{"data-action": "share-close"})
    create = html.Button(
        "Create link",
        className="v-button v-button-filled v-share-make",
        **{"data-action": "share-create", "data-testid": "share-create"},
    )
    return html.Div([close, create], className="v-actions v-actions-end", id="share-buttons")
