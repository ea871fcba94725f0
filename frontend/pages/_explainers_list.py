"""The three lists of the page Explainers: trainings that run, explainers on the shelf, trainings that are over."""

from __future__ import annotations

from dash import html
from dash.development.base_component import Component

from backend.contract.trainings import TrainingView
from frontend.components.explainer_card import explainer_card
from frontend.components.explainer_training import past_line, running_card
from frontend.pages._explainers_offer import Offer


def shelf_parts(offer: Offer) -> tuple[Component | None, Component, Component | None]:
    """Returns trainings that wait or run, explainers by model, and trainings that are over."""
    return _now(offer), _shelf(offer), _past(offer)


def _now(offer: Offer) -> Component | None:
    active = [view for view in offer.trainings if not view.state.is_final]
    if not active:
        return None
    cards = [
        running_card(view, kind=offer.kind_title(view.spec.kind), model=offer.model_title(view.spec.model))
        for view in active
    ]
    return html.Section([html.H2("Training now"), *cards], className="v-library-part v-now")


def _shelf(offer: Offer) -> Component:
    if not offer.explainers:
        return html.P(
            "Nothing yet. What you train appears here, for everybody who uses this Vitrine.", className="v-note"
        )
    cards = [
        explainer_card(card, kind=offer.kind_title(card.method), model=offer.model_title(card.base))
        for card in sorted(offer.explainers, key=lambda card: (card.base, card.method, -card.created))
    ]
    return html.Div(cards, className="v-explainer-grid")


def _past(offer: Offer) -> Component | None:
    over: list[TrainingView] = [view for view in offer.trainings if view.state.is_final]
    if not over:
        return None
    lines = [
        past_line(view, kind=offer.kind_title(view.spec.kind), model=offer.model_title(view.spec.model))
        for view in over
    ]
    return html.Section([html.H2("Past trainings"), html.Ul(lines, className="v-pasts")], className="v-library-part")
