"""The dialog with the code that reproduces the maps in view."""

from __future__ import annotations

from typing import Any

from dash import html
from dash.development.base_component import Component

from frontend.components.code_snippet import command_line, file_names, python_snippet


def code_body(
    address: str,
    picture: str,
    cells: list[dict[str, Any]],
    words: str,
    *,
    url: str = "",
    further: list[dict[str, str]] | None = None,
) -> Component:
    """Returns both ways to the same maps, each with a button that copies it.

    Args:
        address: Where this Vitrine answers.
        picture: File name of the picture.
        cells: Requests in view.
        words: How many maps ("4 maps").
        url: Address of the picture, when it is not a file of the person's own.
        further: Name and address (the same way) of the pictures that some methods look at beside the first.
    """
    several = any(cell.get("more_image_ids") for cell in cells)
    others = (further or []) if several else []
    names = file_names([picture, *(item["name"] for item in others)])
    urls = [url, *(item.get("url") or "" for item in others)]
    links = [
        html.A(name, href=address_of, download=name, className="v-link")
        for name, address_of in zip(names, urls, strict=True)
        if address_of
    ]
    between = [part for link in links for part in (", ", link)][1:]
    save = [" Save ", *between, " first."] if links else []
    sentence = f"Both make the {words} in view. The first needs no browser and no queue."
    return html.Div(
        [
            html.P([sentence, *save], className="v-text"),
            code_block("From a terminal", command_line(names, cells)),
            code_block("Python, over HTTP", python_snippet(address, names, cells)),
        ],
        className="v-code-body",
    )


def code_block(title: str, text: str) -> Component:
    """Returns code with its title and a button that copies it."""
    head = html.Div(
        [html.H3(title), html.Button("Copy", className="v-plain v-link", **{"data-action": "copy-code"})],
        className="v-section-head",
    )
    return html.Div([head, html.Pre(text, tabIndex="0", **{"aria-label": title})], className="v-code-block")
