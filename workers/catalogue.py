"""Finds the methods by looking into the folders where they live, and publishes what this worker offers."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import redis
from pydantic import TypeAdapter, ValidationError

import workers.methods
from backend.contract import names
from backend.contract.explainers import ExplainerShelf
from backend.contract.schemas import Capability, Catalogue, ModelCard
from models.plugins import files_of
from workers.measure import library_versions
from workers.method import Method

if TYPE_CHECKING:
    from models.catalogue import ModelCatalogue

CAPABILITIES = TypeAdapter(tuple[Capability, ...])
CARDS_KEPT = 500
"""Models described because somebody named them; anybody can name anything, and the queue's Redis never evicts."""
OnError = Callable[[str, Exception], None]


def find_methods(extra_dir: Path | None = None, *, on_error: OnError | None = None) -> dict[str, Method]:
    """Returns every explanation method by name: one file in ``workers/methods`` or in the extra folder each.

    Args:
        extra_dir: Folder with further method files; files that begin with ``_`` are not methods.
        on_error: Told of a file that cannot be used, which is then left out; without it the error is raised.

    Raises:
        ValueError: If a file holds not exactly one method of its own name, or a name occurs twice.
    """
    methods: dict[str, Method] = {}
    for name, load in [*_own_files(), *files_of(extra_dir, "vitrine_methods")]:
        try:
            if name in methods:
                raise ValueError(f"there are two methods called {name!r}")
            methods[name] = _find_method(load(), name)
        except Exception as error:
            if on_error is None:
                raise
            on_error(name, error)
    return methods


def build_catalogue(
    methods: Mapping[str, Method], models: ModelCatalogue, explainers: ExplainerShelf | None = None
) -> Catalogue:
    """Returns what can be asked here: methods, models with their explainers, and which go together."""
    shelf = explainers or ExplainerShelf()
    cards = tuple(shelf.on_card(card) for card in models.cards())
    return Catalogue(
        methods=tuple(method.card() for method in sorted(methods.values(), key=lambda one: (one.place, one.name))),
        models=cards,
        timm_names=tuple(models.timm_names()),
        capabilities=tuple(capability for card in cards for capability in find_capabilities(methods, card)),
        versions=library_versions(),
        published=time.time(),
    )


def find_capabilities(methods: Mapping[str, Method], card: ModelCard) -> Sequence[Capability]:
    """Returns for each method whether it can run on the model, and how many passes it would take."""
    return [_capability(method, card) for method in methods.values()]


def publish(queue: redis.Redis, catalogue: Catalogue) -> None:
    """Writes the catalogue where the backend reads it."""
    queue.set(names.CATALOGUE, catalogue.model_dump_json())


def publish_card(queue: redis.Redis, card: ModelCard, capabilities: Sequence[Capability]) -> None:
    """Writes the description of a model that somebody asked for by name; too many make room for it."""
    if queue.hlen(names.CARDS) >= CARDS_KEPT:
        _drop_cards(queue)
    with queue.pipeline() as pipeline:
        pipeline.hset(names.CAPABILITIES, card.name, CAPABILITIES.dump_json(tuple(capabilities)).decode())
        pipeline.hset(names.CARDS, card.name, card.model_dump_json())
        pipeline.execute()


def refresh_cards(
    queue: redis.Redis, methods: Mapping[str, Method], explainers: ExplainerShelf, loaded: Mapping[str, str]
) -> None:
    """Writes the descriptions of named models again whose explainers came or went.

    Args:
        queue: Connection to the queue server.
        methods: Explanation methods by name.
        explainers: Where trained explainers are.
        loaded: Digests of the weights in memory, by the model's name.
    """
    for data in queue.hgetall(names.CARDS).values():
        if _is_broken(data):
            continue
        card = ModelCard.model_validate_json(data)
        now = explainers.on_card(card, loaded.get(card.name))
        if now != card:
            publish_card(queue, now, find_capabilities(methods, now))


def _drop_cards(queue: redis.Redis) -> None:
    """Removes the models that could not be described, and all others where these were too few to matter.

    A model that is asked for again is described again.
    """
    cards = queue.hgetall(names.CARDS)
    broken = [name for name, data in cards.items() if _is_broken(data)]
    dropped = broken if len(broken) > CARDS_KEPT // 10 else list(cards)
    queue.hdel(names.CARDS, *dropped)
    queue.hdel(names.CAPABILITIES, *dropped)


def _is_broken(data: bytes | str) -> bool:
    try:
        return ModelCard.model_validate_json(data).problem is not None
    except ValidationError:
        return True


def _own_files() -> Iterator[tuple[str, Callable[[], ModuleType]]]:
    for item in sorted(pkgutil.iter_modules(workers.methods.__path__), key=lambda item: item.name):
        if not item.name.startswith("_"):
            yield item.name, _importer(f"{workers.methods.__name__}.{item.name}")


def _importer(module_name: str) -> Callable[[], ModuleType]:
    return lambda: importlib.import_module(module_name)


def _find_method(module: ModuleType, name: str) -> Method:
    found = [
        value
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, Method)
        and not inspect.isabstract(value)
        and value.__module__ == module.__name__
    ]
    if len(found) != 1:
        raise ValueError(f"the file {name}.py holds {len(found)} methods; it must hold one")
    method: Method = found[0]()
    if method.name != name:
        raise ValueError(f"the method in {name}.py calls itself {method.name!r}")
    method.card()
    return method


def _capability(method: Method, card: ModelCard) -> Capability:
    reason = card.problem.message if card.problem else method.supports(card)
    if reason is not None:
        return Capability(
            model=card.name, method=method.name, possible=False, reason=reason, remedy=method.remedy(card)
        )
    presets = {item.name: method.cost(card, method.Params.model_validate(item.params)) for item in method.presets}
    return Capability(
        model=card.name,
        method=method.name,
        possible=True,
        passes=method.cost(card, _defaults(method)),
        preset_passes=presets,
    )


def _defaults(method: Method) -> Any:
    return method.Params.model_validate({})
