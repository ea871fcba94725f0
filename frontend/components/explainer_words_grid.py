"""The words of an explainer as a grid that can be sorted and filtered, one of them opened, and who uses which."""

from __future__ import annotations

import numpy as np
from dash import html
from dash.development.base_component import Component

from frontend.components.bars import labelled_bar
from frontend.components.chart import chart
from frontend.components.explainer_book import Book, Neighbour, Word
from frontend.components.icons import icon
from frontend.components.words import number, percent, plural

WORD_VIEW = "explainers-word-view"
ORDERS = {
    "number": "Number",
    "prevalence": "How often",
    "entropy": "Entropy",
    "classes": "Number of classes",
    "purity": "Part purity",
}
ROW_PX = 15
MOST_NAMED = 60


def words_section(book: Book, base: str) -> Component:
    """Returns the grid with its controls, and the place where a chosen word is shown.

    Args:
        book: The words.
        base: Address of the explainer's files.
    """
    has_parts = any(word.purity is not None for word in book.words)
    return html.Section(
        [
            html.Div(
                [
                    html.H2("Words"),
                    html.Span(
                        f"{len(book.words)} words, distinct patches {book.distinct} of {len(book.words)}",
                        className="v-note",
                        **{"data-testid": "distinct-words"},
                    ),
                ],
                className="v-section-head v-book-head",
            ),
            html.P(
                "Each word is a real patch of a training picture, drawn with its surroundings. A word has no name, and "
                "its crop does not tell whether colour, shape or texture matched.",
                className="v-text",
            ),
            _controls(book, has_parts=has_parts),
            html.Div(
                [
                    html.Div([_card(word, base) for word in book.words], className="v-book-grid", id="word-grid"),
                    html.Aside(
                        html.P("Choose a word to see where it comes from and who uses it.", className="v-note"),
                        id=WORD_VIEW,
                        className="v-book-view",
                        **{"aria-label": "The chosen word", "aria-live": "polite"},
                    ),
                ],
                className="v-book-body",
            ),
        ],
        className="v-book",
        **{"data-testid": "word-book"},
    )


def _controls(book: Book, *, has_parts: bool) -> Component:
    orders = [html.Option(text, value=name) for name, text in ORDERS.items() if name != "purity" or has_parts]
    classes = [html.Option("All classes", value="")]
    classes += [html.Option(name, value=str(index)) for index, name in enumerate(book.classes)]
    return html.Div(
        [
            html.Label(["Order ", html.Select(orders, id="word-order", className="v-book-select")]),
            html.Label(["Used by ", html.Select(classes, id="word-class", className="v-book-select")]),
            html.Span(
                plural(len(book.words), "word"), className="v-note", role="status", **{"data-live": "word-count"}
            ),
        ],
        className="v-book-controls",
    )


def _card(word: Word, base: str) -> Component:
    # The browser fetches a crop when it comes into view: a book may have a thousand.
    picture = html.Img(alt="", **{"data-lazy": f"{base}/{word.crop}"}) if word.crop else html.Span("no crop")
    facts = f"{percent(word.prevalence)} of pictures, {plural(len(word.used_by), 'class', 'classes')}"
    label = f"Word {word.number}, from {word.source}, {facts}"
    children = [
        html.Span(picture, className="v-book-crop"),
        html.Strong(f"word {word.number}"),
        html.Span(word.source, className="v-text"),
        html.Span(facts, className="v-note"),
    ]
    if word.flags:
        children.append(html.Span([icon("warning", size=12), " ", ", ".join(word.flags)], className="v-book-flag"))
    return html.Button(
        children,
        className="v-book-word",
        **{
            "aria-label": label,
            "aria-pressed": "false",
            "data-action": "explainer-word",
            "data-number": word.number,
            "data-prevalence": f"{word.prevalence:.6f}",
            "data-entropy": f"{word.entropy:.6f}",
            "data-classes": len(word.used_by),
            "data-purity": "" if word.purity is None else f"{word.purity:.6f}",
            "data-used": " ".join(map(str, word.used_by)),
            "data-testid": f"word-{word.number}",
        },
    )


def word_view(book: Book, index: int, base: str) -> list[Component]:
    """Returns everything known of one word."""
    word = book.words[index]
    facts = [
        ("Taken from", word.source),
        ("In", f"{percent(word.prevalence, 1)} of the training pictures"),
        ("Entropy of its nearest patches", f"{number(word.entropy)} bits"),
    ]
    if word.purity is not None:
        facts.append(("Part among its nearest patches", f"{word.part}, {percent(word.purity)}"))
    picture = (
        [html.Img(src=f"{base}/{word.crop}", alt=f"Source of word {index}", className="v-book-source")]
        if word.crop
        else []
    )
    parts: list[Component] = [
        html.H3(f"Word {index}"),
        *picture,
        html.Dl([html.Div([html.Dt(name), html.Dd(value)]) for name, value in facts], className="v-book-facts"),
    ]
    if word.flags:
        parts.append(html.P([icon("warning", size=14), " ", ", ".join(word.flags)], className="v-book-flag"))
    parts += [_nearest(book.neighbours(index), base), _histogram(book, index), _classes(book, word)]
    return parts


def _nearest(neighbours: tuple[Neighbour, ...], base: str) -> Component:
    shown = [
        html.Figure(
            [
                html.Img(src=f"{base}/{one.crop}", alt=""),
                html.Figcaption([one.label, html.Span(f"distance {number(one.distance)}", className="v-note")]),
            ]
        )
        for one in neighbours
        if one.crop
    ]
    words = "Nearest patches of other training pictures"
    return html.Div(
        [html.H4(words), html.Div(shown, className="v-book-near") if shown else html.P("None.", className="v-note")]
    )


def _histogram(book: Book, index: int) -> Component:
    counts = book.histogram[index]
    total = max(1, int(counts.sum()))
    order = [int(place) for place in np.argsort(-counts, kind="stable") if counts[place] > 0]
    rows = [labelled_bar(book.classes[place], float(counts[place]) / total) for place in order]
    return html.Div([html.H4(f"Classes of its {total} nearest patches"), *rows])


def _classes(book: Book, word: Word) -> Component:
    measures = (
        ("Used by", "a quarter of their pictures have it", word.used_by),
        ("Near in", "two or more of the nearest patches", word.near_in),
        ("Speaks for", "positive weight", word.speaks_for),
    )
    rows = [
        html.Div(
            [
                html.Dt([title, " ", html.Span(f"({hint})", className="v-note")]),
                html.Dd(", ".join(book.classes[index] for index in found) or "no class"),
            ]
        )
        for title, hint, found in measures
    ]
    return html.Div([html.H4("Classes, by three measures"), html.Dl(rows, className="v-book-facts is-stacked")])


def usage_map(book: Book) -> Component:
    """Returns which share of each class's pictures has which word, as a chart of cells."""
    percents = (100 * np.asarray(book.usage, dtype=float)).round(1)
    has_names = len(book.classes) <= MOST_NAMED
    figure = {
        "data": [
            {
                "type": "heatmap",
                "z": percents.tolist(),
                "x": [str(word.number) for word in book.words],
                "y": list(book.classes),
                "zmin": 0,
                "zmax": 100,
                "xgap": 1,
                "ygap": 1,
                "colorscale": [[0, "rgba(134,134,128,0.10)"], [1, "#0B6B61"]],
                "colorbar": {"title": {"text": "% of pictures"}, "thickness": 8, "outlinewidth": 0},
                "hovertemplate": "word %{x} in %{z} % of the pictures of %{y}<extra></extra>",
            }
        ],
        "layout": {
            "xaxis": {"title": {"text": "word"}, "type": "category", "fixedrange": True, "showgrid": False},
            "yaxis": {
                "autorange": "reversed",
                "type": "category",
                "fixedrange": True,
                "showgrid": False,
                "showticklabels": has_names,
                "automargin": True,
            },
            "margin": {"l": 8, "r": 8, "t": 8, "b": 40},
            "paper_bgcolor": "rgba(0,0,0,0)",
            "plot_bgcolor": "rgba(0,0,0,0)",
            "font": {"family": "Inter Variable, system-ui, sans-serif", "size": 11},
        },
    }
    height = min(760, max(220, ROW_PX * len(book.classes) + 80))
    words = f"Share of each of {len(book.classes)} classes' pictures that has each of {len(book.words)} words"
    return html.Section(
        [
            html.H2("Who uses which word"),
            html.P("A column with several filled cells is a word that classes share.", className="v-text"),
            html.Div(chart(figure, label=words, height=height), className="v-usage"),
        ]
    )
