"""The place of a panel that the browser builds and changes by itself: its facts, as JSON, and its name."""

from __future__ import annotations

import json
from typing import Any

from dash import html
from dash.development.base_component import Component


def panel(kind: str, facts: dict[str, Any], *, label: str) -> Component:
    """Returns the place; ``assets/panel_*.js`` fills it, so that its choices cost neither a request nor a new drawing.

    Args:
        kind: Which panel (the name under which its script is registered).
        facts: What it shows; must survive JSON.
        label: Its name for those who do not see it.
    """
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False)
    return html.Div(
        className=f"v-panel is-{kind.replace('_', '-')}",
        role="group",
        **{"data-panel": kind, "data-facts": text, "aria-label": label, "data-testid": f"panel-{kind}"},
    )
