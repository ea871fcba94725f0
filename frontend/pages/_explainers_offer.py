"""What the page Explainers asks the API, in one go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from backend.contract.schemas import ExplainerCard, ModelCard, ModelKind
from backend.contract.trainings import Trainable, TrainingCard, TrainingView
from frontend.api import ApiClient, ApiError

T = TypeVar("T")
LISTED = 100
AT_ONCE = 50


@dataclass(frozen=True)
class Offer:
    """What there is: kinds of training, models, pictures, explainers, trainings."""

    kinds: list[TrainingCard] = field(default_factory=list)
    trainable: list[Trainable] = field(default_factory=list)
    models: list[ModelCard] = field(default_factory=list)
    datasets: list[dict[str, Any]] = field(default_factory=list)
    explainers: list[ExplainerCard] = field(default_factory=list)
    trainings: list[TrainingView] = field(default_factory=list)

    def kind_title(self, name: str) -> str:
        """Returns the title of a kind, or its name when no worker offers it now."""
        return next((one.title for one in self.kinds if one.name == name), name)

    def model_title(self, name: str) -> str:
        """Returns the title of a model, or its name when it is not here."""
        return next((one.title for one in self.models if one.name == name), name)


async def read_shelf(api: ApiClient) -> Offer:
    """Returns explainers and trainings, with the titles that are needed to show them.

    Raises:
        ApiError: When the API cannot say what there is.
    """
    (_total, cards), kinds, explainers, trainings = await asyncio.gather(
        api.models(limit=LISTED),
        _or(api.get("/trainings/kinds"), {"kinds": []}),
        api.get("/explainers"),
        _or(api.get("/trainings"), []),
    )
    return Offer(
        kinds=[TrainingCard.model_validate(one) for one in kinds["kinds"]],
        models=_usable(cards),
        explainers=[ExplainerCard.model_validate(one) for one in explainers],
        trainings=[TrainingView.model_validate(one) for one in trainings],
    )


async def read_form(api: ApiClient) -> Offer:
    """Returns kinds, models that fit them, and pictures; empty kinds when no worker has said what it can train."""
    (_total, cards), datasets = await asyncio.gather(api.models(limit=LISTED), _or(api.get("/datasets"), []))
    models = _usable(cards)
    kinds, trainable = await read_kinds(api, [card.name for card in models])
    return Offer(kinds=kinds, trainable=trainable, models=models, datasets=datasets)


async def read_kinds(api: ApiClient, models: list[str]) -> tuple[list[TrainingCard], list[Trainable]]:
    """Returns what can be trained, and for which of some models; nothing while no worker says."""
    parts = [models[start : start + AT_ONCE] for start in range(0, len(models), AT_ONCE)] or [[]]
    nothing: dict[str, Any] = {"kinds": [], "trainable": []}
    answers = await asyncio.gather(*(_or(api.get("/trainings/kinds", model=part), nothing) for part in parts))
    kinds = [TrainingCard.model_validate(one) for one in answers[0]["kinds"]]
    return kinds, [Trainable.model_validate(one) for answer in answers for one in answer["trainable"]]


def _usable(cards: list[ModelCard]) -> list[ModelCard]:
    return [card for card in cards if card.described and card.problem is None and card.kind is not ModelKind.CAPTIONER]


async def _or(answer: Awaitable[T], otherwise: T) -> T:
    try:
        return await answer
    except ApiError:
        # The rest of the page still says what it can when the queue cannot be reached.
        return otherwise
