"""A method in the rail: check box, question, cost; the reason when it cannot run; settings folded."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import dash_mantine_components as dmc
from dash import html
from dash.development.base_component import Component

from backend.contract.schemas import Capability, MethodCard, ModelCard
from backend.contract.trainings import Trainable
from frontend import ids
from frontend.components.method_form import method_form

COMMAND = re.compile(r"[^.`]*`vitrine [^`]*`[^.`]*\.?")
FIRST_METHODS = 2
"""Methods that are checked on the first visit."""


def method_cards(methods: list[MethodCard], saved: dict[str, Any] | None) -> list[Component]:
    """Returns the cards of every explanation method, as they were left.

    Args:
        methods: Methods on offer.
        saved: What the browser kept: ``{"chosen", "params", "seeds"}``; ``None`` on the first visit.
    """
    offered = [card for card in methods if card.role == "explanation"]
    if not offered:
        words = "No worker has said yet what it can do. Start one with “vitrine worker”; this page notices by itself."
        return [html.P(words, className="v-note", role="status")]
    first = [card.name for card in offered[:FIRST_METHODS]]
    chosen = (saved or {}).get("chosen") or first
    params, seeds = (saved or {}).get("params") or {}, (saved or {}).get("seeds") or {}
    return [
        method_card(
            card, chosen=card.name in chosen, params=params.get(card.name) or {}, seed=seeds.get(card.name) or 0
        )
        for card in offered
    ]


def method_card(card: MethodCard, *, chosen: bool, params: dict[str, Any], seed: int = 0) -> Component:
    """Returns the card of a method.

    Args:
        card: The method.
        chosen: Whether its box is checked.
        params: Values that differ from the defaults.
        seed: Seed of everything random.
    """
    head = html.Div(
        [
            dmc.Checkbox(
                id=ids.method_check(card.name),
                checked=chosen,
                label=card.title.split(":")[0],
                description=card.question,
                size="xs",
                radius=4,
                **{"data-testid": f"method-{card.name}"},
            ),
            html.Span(className="v-cost", **{"data-live": f"cost-{card.name}"}),
        ],
        className="v-method-head",
    )
    settings = html.Details(
        [html.Summary("Settings"), method_form(card, params, seed)], className="v-fold v-method-settings"
    )
    return html.Div(
        [
            head,
            html.P(id=ids.method_reason(card.name), className="v-reason"),
            html.P(className="v-note v-method-pictures", **{"data-live": f"pictures-{card.name}"}),
            settings,
        ],
        id=ids.method_box(card.name),
        className="v-method",
    )


def training_offer(
    method: str, models: list[ModelCard], trainable: list[Trainable], reason: str
) -> list[Component | str] | str:
    """Returns the reason with an offer to train what a method lacks; just the reason where nothing can be trained.

    Args:
        method: The method.
        models: The chosen models.
        trainable: For which models an explainer of which kind can be trained; a kind is called like its method.
        reason: Why the method cannot run; empty when it can.
    """
    able = {one.model for one in trainable if one.kind == method and one.possible}
    lacking = [
        card for card in models if card.name in able and not any(one.method == method for one in card.explainers)
    ]
    if not lacking:
        return reason
    query = urlencode({"kind": method, "model": lacking[0].name})
    link = html.A("Train one", href=f"/explainers?{query}", className="v-link", **{"data-spa": ""})
    # The sentence with the command is for a terminal; here the link says the same.
    said = COMMAND.sub("", reason).strip() or f"No explainer was trained for {lacking[0].title} yet."
    return [f"{said} ", link]


def reason_words(capabilities: list[Capability], titles: dict[str, str]) -> str:
    """Returns why a method cannot run on some of the models, and what would help; empty when it can."""
    refused = [item for item in capabilities if not item.possible]
    if not refused:
        return ""
    first = refused[0]
    remedy = f" {first.remedy}" if first.remedy else ""
    if len(refused) == len(capabilities):
        return f"{first.reason}{remedy}"
    names = ", ".join(titles.get(item.model, item.model) for item in refused)
    return f"Not for {names}: {first.reason}{remedy}"
