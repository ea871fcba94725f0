"""Publishes which kinds of training there are and which models they fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import redis
from pydantic import TypeAdapter

from backend.contract import names
from backend.contract.schemas import ModelCard
from backend.contract.trainings import Trainable, TrainingCard
from models.training.job import TrainingKind
from models.training.kinds import choose_preset

CARDS = TypeAdapter(tuple[TrainingCard, ...])
TRAINABLES = TypeAdapter(tuple[Trainable, ...])


def publish_kinds(queue: redis.Redis, kinds: Mapping[str, TrainingKind], *, has_gpu: bool) -> None:
    """Writes the descriptions of all kinds of training where the backend reads them."""
    cards = tuple(to_card(kind, has_gpu=has_gpu) for kind in kinds.values())
    queue.set(names.TRAINING_KINDS, CARDS.dump_json(cards))


def publish_trainable(queue: redis.Redis, kinds: Mapping[str, TrainingKind], models: Iterable[ModelCard]) -> None:
    """Writes for each model which explainers can be trained for it."""
    found = {card.name: TRAINABLES.dump_json(tuple(judge(kind, card) for kind in kinds.values())) for card in models}
    if found:
        queue.hset(names.TRAINABLE, mapping={name: data.decode() for name, data in found.items()})


def to_card(kind: TrainingKind, *, has_gpu: bool) -> TrainingCard:
    """Returns the description of a kind of training."""
    return TrainingCard(
        name=kind.name,
        title=kind.title,
        summary=kind.summary,
        recipe_schema=kind.recipe.model_json_schema(),
        presets=tuple(kind.presets),
        default_preset=choose_preset(kind, None, has_gpu=has_gpu),
        pictures=dict(kind.pictures),
    )


def judge(kind: TrainingKind, card: ModelCard) -> Trainable:
    """Returns whether an explainer of this kind can be trained for a model."""
    reason = card.problem.message if card.problem else kind.supports(card)
    return Trainable(model=card.name, kind=kind.name, possible=reason is None, reason=reason or "")
