"""The guide: what each method asks, how to read its maps, what it cannot show; drawn from the methods themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dash import dcc, html
from dash.development.base_component import Component

from backend.contract.schemas import MethodCard
from frontend.components.words import plural
from frontend.pages import Page, Visit

PICTURES = Path(__file__).parents[1] / "assets" / "guide"
READING = (
    (
        "A picture is not what the model sees",
        "Every model resizes and crops first. What the crop removed is drawn veiled: it was never seen, "
        "which is not the same as a value of zero.",
    ),
    (
        "Every legend has words",
        "The words at its ends say what low and high mean for this method, with the numbers beside them. "
        "Two maps of different methods rarely mean the same thing.",
    ),
    (
        "Colours say values, not importance",
        "Overlays lie on the grey picture, because a coloured photograph under a colour map lies. Signed "
        "maps are neutral at zero. Group colours have no order.",
    ),
    (
        "A common range makes maps comparable",
        "As soon as two cells show the same kind, they share one range. Choose Own to see the structure "
        "of one map, and expect it to exaggerate.",
    ),
    (
        "Pointing links everything",
        "The crosshair shows the raw value under the same point in every cell of the picture; a chosen "
        "region lights up wherever it exists.",
    ),
)


async def layout(visit: Visit) -> Component:
    """Returns the guide for the methods on offer."""
    methods = [card for card in await visit.api.methods() if card.role == "explanation"]
    contents = html.Nav(
        [
            html.H2("Contents"),
            html.A("Reading a map", href="#reading", className="v-link"),
            *(html.A(card.title.split(":")[0], href=f"#{card.name}", className="v-link") for card in methods),
            html.A("Keys", href="#keys", className="v-link"),
        ],
        className="v-guide-contents",
        **{"aria-label": "Contents of the guide"},
    )
    text = [
        html.H1("What the maps can and cannot show", className="v-title"),
        html.P(_promise(methods), className="v-lead"),
        _reading(),
        *(_method(card) for card in methods),
        _keys(),
    ]
    return html.Div([html.Article(text, className="v-guide"), contents], className="v-guide-page")


def _promise(methods: list[MethodCard]) -> str:
    if not methods:
        return "The methods describe themselves as soon as a worker is running."
    count = plural(len(methods), "method")
    return f"{count}, each with its own question. Where two disagree, they were asked different things."


def _reading() -> Component:
    items = [html.Div([html.H3(title), html.P(text)]) for title, text in READING]
    return html.Section(
        [html.H2("Reading a map"), html.Div(items, className="v-guide-points")], id="reading", className="v-guide-part"
    )


def _method(card: MethodCard) -> Component:
    return html.Section(
        [
            html.Div([html.H2(card.title), html.P(card.question, className="v-lead")]),
            *_picture(card),
            dcc.Markdown(card.help, className="v-prose", link_target="_blank"),
            *([html.P(f"Source: {card.source}", className="v-note")] if card.source else []),
            _settings(card),
        ],
        id=card.name,
        className="v-guide-part",
    )


def _picture(card: MethodCard) -> list[Component]:
    """A picture that the program itself made for this method, if one was drawn (``make screenshots``)."""
    if not (PICTURES / f"{card.name}.png").exists():
        return []
    alt = f"{card.title} on a drawn bird, as Vitrine shows it"
    return [html.Img(src=f"/assets/guide/{card.name}.png", alt=alt, className="v-guide-picture")]


def _settings(card: MethodCard) -> Component:
    rows = [_setting(name, node, card.params_schema) for name, node in card.params_schema.get("properties", {}).items()]
    head = html.Thead(
        html.Tr([html.Th(title, scope="col") for title in ("Setting", "What it does", "If you do nothing")])
    )
    table = html.Table(
        [html.Caption(f"Settings of {card.title}", className="v-hidden"), head, html.Tbody(rows)], className="v-table"
    )
    return html.Details(
        [
            html.Summary(plural(len(rows), "setting"), className="v-link"),
            html.Div(
                table,
                className="v-table-box",
                tabIndex="0",
                role="region",
                **{"aria-label": f"Settings of {card.title}"},
            ),
        ],
        className="v-guide-settings",
    )


def _setting(name: str, node: dict[str, Any], schema: dict[str, Any]) -> Component:
    meaning = node.get("description") or schema.get("description", "")
    return html.Tr(
        [
            html.Th([html.Span(node.get("title") or name), html.Code(name)], scope="row", className="v-named"),
            html.Td(meaning),
            html.Td(_default_words(node.get("default"))),
        ]
    )


def _default_words(value: Any) -> str:
    if value is None or value in ("", []):
        return "chosen for you"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def _keys() -> Component:
    keys = (
        ("Arrow keys", "move a zoomed picture, or the crosshair"),
        ("+ and −", "zoom all linked cells"),
        ("0", "back to the whole picture"),
        ("Esc", "forget the chosen region"),
    )
    rows = [html.Div([html.Dt(key), html.Dd(meaning)]) for key, meaning in keys]
    return html.Section([html.H2("Keys"), html.Dl(rows, className="v-keys")], id="keys", className="v-guide-part")


PAGE = Page(path="/guide", title="Guide", nav=50, layout=layout)
