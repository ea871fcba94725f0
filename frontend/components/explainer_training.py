"""A training: how far it is and what it shows while it runs; afterwards one line with what came out of it."""

from __future__ import annotations

from urllib.parse import quote

from dash import html
from dash.development.base_component import Component

from backend.contract.trainings import TrainingState, TrainingView, Wish
from frontend.components.explainer_card import metrics
from frontend.components.explainer_curves import curve_charts
from frontend.components.explainer_words import (
    STATES,
    address_of,
    day,
    figure_name,
    figure_value,
    left_words,
    share_done,
    state_words,
)
from frontend.components.icons import icon
from frontend.components.problem_notice import problem_notice
from frontend.components.words import percent


def running_card(view: TrainingView, *, kind: str, model: str) -> Component:
    """Returns a training that waits or runs; ``assets/explainers.js`` keeps it up to date.

    Args:
        view: How it stands.
        kind: Title of its kind.
        model: Title of the model.
    """
    children = [
        html.Div([_title(view, kind, model), _controls(view)], className="v-training-head"),
        _progress(view),
        html.P(view.message, className="v-text", **{"data-part": "message"}),
        curve_charts(view.curves, owner=view.id),
        html.Dl(_values(view), className="v-training-values", **{"data-part": "values"}),
        _pictures(view),
    ]
    return html.Article(
        children,
        className="v-training",
        **{"data-training": view.id, "data-state": view.state.value, "data-testid": "training"},
    )


def past_line(view: TrainingView, *, kind: str, model: str) -> Component:
    """Returns a training that is over: what came of it, why it failed, how it goes on."""
    facts = [view.spec.data, f"{STATES[view.state].lower()} on {day(view.finished or view.submitted)}"]
    if view.progress is not None and view.state is not TrainingState.DONE:
        facts.append(f"{percent(share_done(view.progress))} of it done")
    parts = [
        html.Div(
            [_title(view, kind, model), html.P(", ".join(facts), className="v-note")],
        ),
        html.Div(_past_actions(view), className="v-explainer-actions"),
    ]
    told = [problem_notice(view.problem)] if view.problem is not None else []
    if view.curves:
        told.append(
            html.Details([html.Summary("Curves"), _kept(view)], className="v-fold v-training-curves"),
        )
    return html.Li(
        [html.Div(parts, className="v-training-head"), *told],
        className="v-past",
        **{"data-past": view.id, "data-state": view.state.value, "data-testid": "past-training"},
    )


def _kept(view: TrainingView) -> Component:
    figures = [metrics(view.explainer.metrics)] if view.explainer is not None else []
    return html.Div([curve_charts(view.curves), *figures])


def _title(view: TrainingView, kind: str, model: str) -> Component:
    named = view.spec.title or f"{kind} for {model}"
    second = f"{kind} for {model}, from {view.spec.data}" if view.spec.title else f"from {view.spec.data}"
    return html.Div([html.H3(named), html.P(second, className="v-text")])


def _progress(view: TrainingView) -> Component:
    words = [
        html.Strong(state_words(view), **{"data-part": "state"}),
        html.Span(left_words(view.progress), className="v-note", **{"data-part": "left"}),
    ]
    fill = html.I(style={"width": f"{100 * share_done(view.progress):.1f}%"}, **{"data-part": "bar"})
    return html.Div(
        [
            html.Div(words, className="v-training-line v-state-line"),
            html.Div(
                fill,
                className="v-meter",
                role="progressbar",
                **{
                    "aria-label": "How far the training is",
                    "aria-valuemin": "0",
                    "aria-valuemax": "100",
                    "aria-valuenow": f"{100 * share_done(view.progress):.0f}",
                    "data-part": "meter",
                },
            ),
        ]
    )


def _controls(view: TrainingView) -> Component:
    data = {"data-training": view.id}
    is_asked = view.wish is not None
    finish = html.Button(
        "Finish early",
        className="v-button v-button-small",
        disabled=is_asked or view.state is not TrainingState.RUNNING,
        title="Ends now and keeps what it has learned so far",
        **{"data-action": "training-finish", "data-part": "finish", **data},
    )
    stop = html.Button(
        "Stop",
        className="v-button v-button-small",
        disabled=view.wish is Wish.STOP,
        title="Keeps its checkpoint; it can go on later",
        **{"data-action": "training-stop", "data-part": "stop", **data},
    )
    return html.Div([finish, stop], className="v-explainer-actions")


def _values(view: TrainingView) -> list[Component]:
    return [
        html.Div([html.Dt(figure_name(name)), html.Dd(figure_value(name, value))], **{"data-value": name})
        for name, value in view.values.items()
    ]


def _pictures(view: TrainingView) -> Component:
    shown = [
        html.Figure(
            [
                html.Img(src=f"/api/v1/trainings/{view.id}/pictures/{quote(name)}", alt=""),
                html.Figcaption(name.rsplit(".", 1)[0]),
            ]
        )
        for name in view.pictures
    ]
    return html.Div(shown, className="v-training-pictures", **{"data-part": "pictures"})


def _past_actions(view: TrainingView) -> list[Component]:
    data = {"data-training": view.id}
    actions: list[Component] = []
    if view.explainer is not None:
        address = address_of(view.explainer)
        actions.append(
            html.A("Look inside", href=f"/explainers?open={address}", className="v-link", **{"data-spa": ""})
        )
    if view.state.can_resume:
        actions.append(
            html.Button("Resume", className="v-button v-button-small", **{"data-action": "training-resume", **data})
        )
    label = f"Remove from the list: {view.spec.title or view.spec.data}"
    sure = html.Span(
        [
            html.Span("Remove it with its checkpoint?", className="v-text"),
            html.Button("Remove", className="v-button v-button-small", **{"data-action": "training-delete", **data}),
            html.Button("Keep", className="v-button v-button-small", **{"data-action": "confirm-keep"}),
        ],
        className="v-confirm",
        hidden=True,
    )
    ask = html.Button(
        [icon("trash", size=14), "Remove"],
        className="v-plain v-link v-explainer-ask",
        **{"data-action": "confirm-ask", "aria-label": label},
    )
    actions.append(html.Span([ask, sure], className="v-explainer-delete"))
    return actions
