"""Mantine's theme from the tokens of the design; the neutral colours live in ``assets/style.css``."""

from __future__ import annotations

from typing import Any

GLASS = (
    "#F0F7F5",
    "#E2EFEC",
    "#C0DDD8",
    "#9ED0C6",
    "#7CCFC1",
    "#3F9E92",
    "#1B7F74",
    "#0B6B61",
    "#095A52",
    "#0B201C",
)
"""The accent, from a tint to the text on a filled button in the dark."""

FONT = '"Inter Variable", system-ui, -apple-system, "Segoe UI", Roboto, sans-serif'
MONO = '"JetBrains Mono", ui-monospace, SFMono-Regular, Menlo, monospace'


def make_theme() -> dict[str, Any]:
    """Returns the theme for ``MantineProvider``."""
    return {
        "primaryColor": "glass",
        "colors": {"glass": list(GLASS)},
        "primaryShade": {"light": 7, "dark": 4},
        "autoContrast": True,
        "luminanceThreshold": 0.3,
        "defaultRadius": 6,
        "fontFamily": FONT,
        "fontFamilyMonospace": MONO,
        "fontSizes": {"xs": "11px", "sm": "13px", "md": "13px", "lg": "14px", "xl": "16px"},
        "lineHeights": {"xs": "15px", "sm": "18px", "md": "18px", "lg": "20px", "xl": "22px"},
        "headings": {"fontFamily": FONT, "fontWeight": "600"},
        "cursorType": "pointer",
        "focusRing": "auto",
        "respectReducedMotion": True,
        "components": {
            "Button": {"defaultProps": {"size": "sm", "fw": 500}},
            "Select": {"defaultProps": {"size": "sm", "checkIconPosition": "right"}},
            "NumberInput": {"defaultProps": {"size": "sm"}},
            "Switch": {"defaultProps": {"size": "xs"}},
            "Menu": {"defaultProps": {"shadow": "sm"}},
            "Popover": {"defaultProps": {"shadow": "sm"}},
        },
    }
