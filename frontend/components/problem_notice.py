"""A stored failure, in words, where it happened."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from backend.contract.problems import Problem
from frontend.components.icons import icon


def problem_notice(problem: Problem, actions: list[Component] | None = None) -> Component:
    """Returns a failure as icon, title, sentence and the actions that would help."""
    children = [
        html.Span(icon("warning", size=20), className="v-failed-icon"),
        html.Div(
            [
                html.Strong(problem.title),
                html.P(problem.message),
                *([html.Div(actions, className="v-actions")] if actions else []),
            ]
        ),
    ]
    return html.Div(children, className="v-notice", role="alert", **{"data-code": problem.code.value})
