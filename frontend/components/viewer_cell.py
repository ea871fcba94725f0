"""One cell of the grid: the same parts at the same heights in every state, so that nothing jumps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from backend.contract.problems import Problem
from backend.contract.results import Manifest
from backend.contract.schemas import Progress, RunState
from frontend import ids
from frontend.components import words
from frontend.components.icons import icon
from frontend.components.trust import can_be_checked, trust_place
from frontend.renderers import render
from frontend.renderers.spec import Addresses, bare_spec


@dataclass(frozen=True)
class CellView:
    """All that a cell shows.

    Attributes:
        model: Model name.
        model_title: Its title for people.
        method: Method name.
        method_title: Its title for people.
        picture: ``{"url", "width", "height"}``.
        seen: What the model sees of the picture, if that is known.
        key: Run key; empty before anything was asked.
        state: A :class:`RunState` value, ``idle`` (not asked yet) or ``refused`` (cannot be combined).
        progress: How far, while running.
        position: Place in the queue, while waiting; 0 is next.
        cached: Whether the answer was there before it was asked for.
        problem: Why it failed.
        passes: Expected forward passes.
        seconds: Expected duration.
        waiting_for: Title of the method that runs on the same model meanwhile.
        attempt: Which try this is.
        manifest: The result, or the latest partial one.
        look: Layer and number of groups chosen before.
        addresses: Where arrays are fetched.
        named: Whether the reading begins with the method's name (a share has no column heads).
        kind: What kind of result the method gives, for the room that the result will need.
    """

    model: str
    model_title: str
    method: str
    method_title: str
    picture: dict[str, Any]
    seen: list[float] | None = None
    key: str = ""
    state: str = "idle"
    progress: Progress | None = None
    position: int | None = None
    cached: bool = False
    problem: Problem | None = None
    passes: int | None = None
    seconds: float | None = None
    waiting_for: str = ""
    attempt: int = 1
    manifest: Manifest | None = None
    look: dict[str, Any] = field(default_factory=dict)
    addresses: Addresses = field(default_factory=Addresses)
    named: bool = False
    kind: str = ""
    check: Manifest | None = None
    """The check of the map against chance, when there is one."""


def viewer_cell(view: CellView) -> Component:
    """Returns the cell in the state it is in."""
    if view.state == RunState.DONE and view.manifest is not None:
        parts = _done(view, view.manifest)
    elif view.state == RunState.RUNNING:
        parts = _running(view)
    else:
        parts = _veiled(view)
    return html.Article(
        parts,
        className="v-cell",
        **{
            "data-testid": "cell",
            "data-state": view.state,
            "data-model": view.model,
            "data-method": view.method,
            "data-run": view.key,
            "data-partial": "true" if view.state == RunState.RUNNING and view.manifest else "false",
            "aria-label": f"{view.method_title}, {view.model_title}",
        },
    )


def viewer(view: CellView, spec: dict[str, Any], *, veil: Sequence[Component] | None = None) -> Component:
    """Returns the picture's place: the canvas, and a veil with words over it when there is no map."""
    picture = spec["picture"]
    picture_ratio = picture["width"] / picture["height"]
    ratio = f"{picture['width']} / {picture['height']}"
    name = f"viewer-{view.model}-{view.method}"
    children = [
        html.Div(className="v-viewer", id=_dom_id(name), **{"data-viewer": json.dumps(spec, separators=(",", ":"))})
    ]
    if veil is not None:
        children.append(html.Div(list(veil), className="v-veil", style={"aspectRatio": ratio}))
    return html.Div(
        children,
        className="v-case" + (" is-veiled" if veil is not None else ""),
        style={"--v-ratio": f"{picture_ratio:.4f}"},
    )


def _done(view: CellView, manifest: Manifest) -> list[Component]:
    look = render(manifest, view.addresses, view.look)
    badge = "from cache" if view.cached and not look.viewer["badge"] else look.viewer["badge"]
    trust = _trust(view, manifest)
    parts: list[Component | None] = [
        viewer(view, {**look.viewer, "badge": badge}),
        look.strip,
        trust,
        _named(view, look.reading) if view.named else look.reading,
        look.cautions,
        look.pictures,
        look.controls,
        look.details,
        _room() if look.strip is None and trust is None and not view.named else None,
    ]
    return [part for part in parts if part is not None]


def _trust(view: CellView, manifest: Manifest) -> Component | None:
    """Returns the check of a map; what is only read later (a share) shows it, but cannot start it."""
    if view.named and view.check is None:
        return None
    return trust_place(view.key, view.check) if can_be_checked(manifest) else None


def _named(view: CellView, reading: Component) -> Component:
    words = reading.children if isinstance(reading.children, list) else [reading.children]
    return html.P([html.Strong(f"{view.method_title}. "), *words], className="v-reading")


def _running(view: CellView) -> list[Component]:
    progress = view.progress
    share = 100 * progress.done / progress.total if progress and progress.total else 0
    line = html.Div(
        [
            html.Span(running_words(progress), id=ids.cell_text(view.model, view.method), className="v-state-words"),
            html.Span(left_words(progress), id=ids.cell_left(view.model, view.method), className="v-note"),
            _cancel(view, "v-plain v-link"),
        ],
        className="v-state-line",
        role="status",
    )
    meter = dmc.Progress(id=ids.cell_bar(view.model, view.method), value=share, size=4, **{"aria-label": "Progress"})
    if view.manifest is not None:
        look = render(view.manifest, view.addresses, view.look)
        note = view.manifest.texts.reading or "Coarse first: the map sharpens as more parts are shown."
        return [viewer(view, look.viewer), line, meter, html.P(note, className="v-reading"), _reserve(view)]
    veil = [icon("clock", size=22), html.Strong("Running"), html.P("The first map comes soon.")]
    return [
        viewer(view, _bare(view), veil=veil),
        line,
        meter,
        html.P(" ", className="v-reading"),
        _reserve(view),
    ]


def _veiled(view: CellView) -> list[Component]:
    veil, state, right, note = _WORDS[view.state](view) if view.state in _WORDS else _idle(view)
    line = html.Div(
        [html.Span(state, className="v-state-words"), html.Span(right, className="v-note")], className="v-state-line"
    )
    words = html.P(note, className="v-reading v-quiet")
    return [viewer(view, _bare(view), veil=veil), line, words, _reserve(view)]


def _room() -> Component:
    """Returns as much room as a strip takes, for results that have none (yet)."""
    return html.Div(className="v-strip-room", **{"aria-hidden": "true"})


def _reserve(view: CellView) -> Component:
    """Returns as much room as the controls of the coming result take, so that the rows below stay where they are."""
    return html.Div(className="v-reserve", **{"data-kind": view.kind, "aria-hidden": "true"})


Words = tuple[list[Component], str, str, str]


def _idle(view: CellView) -> Words:
    price = words.cost(view.passes, view.seconds)
    veil = [html.Strong("Not run yet"), html.P(price or "Cost not measured yet"), _act("Run", "run-cell", view)]
    return veil, "Ready", price, " "


def _queued(view: CellView) -> Words:
    place = "Queued, next in line" if not view.position else f"Queued, {view.position} before it"
    veil = [icon("clock", size=22), html.Strong(place), _cancel(view, "v-button v-button-small")]
    if view.seconds is not None and not view.position:
        about = "" if view.seconds < 1 else "about "
        veil.insert(2, html.P(f"Takes {about}{words.seconds(view.seconds)}"))
    waiting = f"Waiting for {view.waiting_for} on the same model." if view.waiting_for else "Waiting for a worker."
    return veil, "Queued", words.cost(view.passes, view.seconds), waiting


def _cancelled(view: CellView) -> Words:
    veil = [html.Strong("Stopped"), html.P("You stopped this map."), _act("Run again", "retry", view)]
    return veil, "Stopped", "", "The other maps are not affected."


def _failed(view: CellView) -> Words:
    problem = view.problem
    title = problem.title if problem else "Failed"
    message = problem.message if problem else ""
    actions = [_act("Try again", "retry" if view.key else "run-cell", view)] if problem and problem.retry else []
    veil = [
        html.Span(icon("warning", size=22), className="v-failed-icon"),
        html.Strong(title),
        html.P(message),
        html.Div(actions, className="v-actions"),
    ]
    tries = f"after {words.plural(view.attempt, 'try', 'tries')}" if view.attempt > 1 else ""
    return veil, "Failed", tries, "The other maps are not affected."


def _refused(view: CellView) -> Words:
    message = view.problem.message if view.problem else "This method cannot run on this model."
    return [html.Strong("Cannot be combined"), html.P(message)], "Not possible", "", " "


def _lost(view: CellView) -> Words:
    veil = [
        html.Strong("No longer here"),
        html.P("Results are kept for a week. Run it again."),
        _act("Run again", "run-cell", view),
    ]
    return veil, "Gone", words.cost(view.passes, view.seconds), " "


_WORDS = {
    "idle": _idle,
    "refused": _refused,
    "lost": _lost,
    RunState.QUEUED.value: _queued,
    RunState.CANCELLED.value: _cancelled,
    RunState.FAILED.value: _failed,
}


def running_words(progress: Progress | None) -> str:
    """Returns "Running, 212 / 420 passes", or the stage while nothing can be counted."""
    if progress is None or not progress.total:
        stage = (progress.stage if progress else "") or "loading the model"
        return f"Running, {stage}"
    return f"Running, {progress.done:,} / {progress.total:,} passes"


def left_words(progress: Progress | None) -> str:
    """Returns "9 s left"; empty when nothing is known."""
    if progress is None or progress.seconds_left is None:
        return ""
    return f"{words.seconds(progress.seconds_left)} left"


def _bare(view: CellView) -> dict[str, Any]:
    title = f"{view.method_title}, {view.model_title}"
    return bare_spec(title=title, picture=view.picture, seen=view.seen, group="")


def _cancel(view: CellView, style: str) -> Component:
    attributes = {"data-action": "cancel", "data-run": view.key, "data-testid": "cancel"}
    return html.Button("Cancel", className=style, **attributes)


def _act(label: str, action: str, view: CellView) -> Component:
    attributes = {"data-action": action, "data-run": view.key, "data-model": view.model, "data-method": view.method}
    return html.Button(label, className="v-button v-button-small", **attributes)


def _dom_id(name: str) -> str:
    # Dash refuses "." and "{" in a plain id; model names have dots.
    return name.replace(".", "-").replace("{", "(").replace("}", ")")
