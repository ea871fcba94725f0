"""What the workers offer, read from where they publish it; nothing here knows a method's or a model's name."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

import redis
import structlog
from pydantic import TypeAdapter, ValidationError

from backend.contract import names
from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.results import ResultKind
from backend.contract.schemas import Capability, Catalogue, MethodCard, ModelCard, ModelKind

FRESH_S = 2.0
"""How long a read catalogue is used before it is read again; it changes when a worker starts."""
_CAPABILITIES = TypeAdapter(tuple[Capability, ...])
_PREFIXES = ("hf-hub:", "local-dir:")
_log = structlog.get_logger()


@dataclass(frozen=True)
class ModelPage:
    """Part of a list of models and how long the whole list is."""

    total: int
    items: tuple[ModelCard, ...]


class CatalogueReader:
    """Reads the published catalogue, the models described on demand, and the measured rates.

    Args:
        queue: Connection to the queue server, answering bytes.
        local_dirs: Whether ``local-dir:`` models may be named by visitors.
    """

    def __init__(self, queue: redis.Redis, *, local_dirs: bool = True) -> None:
        self._queue = queue
        self._local_dirs = local_dirs
        self._lock = threading.Lock()
        self._read: tuple[float, bytes, Catalogue | None] = (float("-inf"), b"", None)

    def published(self) -> Catalogue | None:
        """Returns the catalogue, or ``None`` when no worker has ever published one."""
        with self._lock:
            at, raw, catalogue = self._read
            if time.monotonic() - at > FRESH_S:
                data = _to_bytes(self._queue.get(names.CATALOGUE))
                if data != raw:
                    catalogue = _read_catalogue(data)
                self._read = (time.monotonic(), data, catalogue)
            return catalogue

    def methods(self) -> tuple[MethodCard, ...]:
        """Returns the description of every method."""
        catalogue = self.published()
        return () if catalogue is None else catalogue.methods

    def method(self, name: str) -> MethodCard:
        """Returns the description of one method.

        Raises:
            ProblemError: ``method_unknown``, or ``no_worker`` when nothing was published yet.
        """
        catalogue = self._need()
        for card in catalogue.methods:
            if card.name == name:
                return card
        known = ", ".join(card.name for card in catalogue.methods)
        raise ProblemError(ProblemCode.METHOD_UNKNOWN, f"There is no method {name!r}. There are: {known}.")

    def model(self, name: str) -> ModelCard:
        """Returns what is known of a model.

        Raises:
            ProblemError: ``model_unknown``, or ``no_worker`` when nothing was published yet.
        """
        known = self._described().get(name)
        if known is not None:
            return known
        if name in self._need().timm_names:
            return bare_card(name, "timm")
        raise ProblemError(
            ProblemCode.MODEL_UNKNOWN,
            f"There is no model {name!r} here. Search the list, or add it on the page Models.",
        )

    def nameable(self, name: str) -> ModelCard:
        """Returns the card of a model that a person wants to add; hub and directory names count as known.

        Raises:
            ProblemError: ``model_unknown`` or ``forbidden``.
        """
        if name.startswith("local-dir:") and not self._local_dirs:
            raise ProblemError(ProblemCode.FORBIDDEN, "Directories of the server cannot be named as models here.")
        known = self._described().get(name)
        if known is not None and known.problem is None:
            return known
        if name.startswith(_PREFIXES):
            if not name.split(":", 1)[1].strip():
                raise ProblemError(ProblemCode.MODEL_UNKNOWN, f"After {name!r} a name is missing.")
            return bare_card(name, "hub" if name.startswith("hf-hub:") else "own")
        return known.model_copy(update={"problem": None}) if known is not None else self.model(name)

    def forget_problem(self, name: str) -> None:
        """Removes the card of a model that could not be described, so that it can be tried again."""
        data = self._queue.hget(names.CARDS, name)
        card = None if data is None else _read_card(data)
        if card is None or card.problem is not None:
            self._queue.hdel(names.CARDS, name)

    def models(self, *, search: str = "", limit: int = 50, offset: int = 0) -> ModelPage:
        """Returns the models whose name or title has every word of the search, described ones first."""
        described = self._described()
        catalogue = self.published()
        names_left = () if catalogue is None else tuple(name for name in catalogue.timm_names if name not in described)
        words = search.lower().split()
        first = [card for card in described.values() if _matches(words, f"{card.name} {card.title} {card.family}")]
        rest = sorted(
            (name for name in names_left if _matches(words, name)), key=lambda name: (not _leads(words, name), name)
        )
        page = [*first[offset : offset + limit]]
        start = max(0, offset - len(first))
        page += [bare_card(name, "timm") for name in rest[start : start + limit - len(page)]]
        return ModelPage(total=len(first) + len(rest), items=tuple(page))

    def capabilities(self, models: list[str]) -> list[Capability]:
        """Returns for every model and explanation method whether it can run and what it costs.

        Raises:
            ProblemError: ``model_unknown`` for the first model that nobody knows.
        """
        catalogue = self._need()
        explanations = [card for card in catalogue.methods if card.role == "explanation"]
        answers = []
        for name in models:
            card = self.model(name)
            known = self._capabilities_of(catalogue, name)
            rate = self._rate(card)
            answers += [_with_seconds(known.get(m.name) or _undecided(card, m), rate) for m in explanations]
        return answers

    def capability(self, model: str, method: str) -> Capability | None:
        """Returns what the workers said about one pair, or ``None`` when they have not looked at the model yet."""
        return self._capabilities_of(self._need(), model).get(method)

    def prediction_method(self, model: ModelCard) -> MethodCard:
        """Returns the method that answers what a model predicts.

        Raises:
            ProblemError: ``not_supported`` when no method does.
        """
        candidates = [card for card in self._need().methods if card.kind is ResultKind.PREDICTION]
        for card in candidates:
            verdict = self.capability(model.name, card.name)
            if verdict is None or verdict.possible:
                return card
        raise ProblemError(ProblemCode.NOT_SUPPORTED, f"{model.title} gives no answer that could be shown here.")

    def _need(self) -> Catalogue:
        catalogue = self.published()
        if catalogue is None:
            raise ProblemError(
                ProblemCode.NO_WORKER, "No worker has announced what it can do yet. Start one with `vitrine worker`."
            )
        return catalogue

    def _described(self) -> dict[str, ModelCard]:
        catalogue = self.published()
        cards = {} if catalogue is None else {card.name: card for card in catalogue.models}
        for data in self._queue.hvals(names.CARDS):
            card = _read_card(data)
            if card is not None:
                cards.setdefault(card.name, card)
        return cards

    def _capabilities_of(self, catalogue: Catalogue, model: str) -> dict[str, Capability]:
        found = {item.method: item for item in catalogue.capabilities if item.model == model}
        if not found:
            data = self._queue.hget(names.CAPABILITIES, model)
            found = {item.method: item for item in _read_capabilities(data)} if data else {}
        return found

    def _rate(self, card: ModelCard) -> float | None:
        data = self._queue.hget(names.RATES, card.name)
        try:
            return float(data) if data is not None else card.passes_per_second
        except ValueError:
            return card.passes_per_second


def bare_card(name: str, source: str) -> ModelCard:
    """Returns the card of a model of which only the name is known."""
    return ModelCard(
        name=name,
        title=name,
        kind=ModelKind.CLASSIFIER,
        source=source,
        architecture=name.split(".")[0] if source == "timm" else "",
        weights=f"hub:{name}",
    )


def _read_catalogue(data: bytes) -> Catalogue | None:
    """Returns the catalogue, or ``None`` while workers of another version have the say."""
    try:
        return Catalogue.model_validate_json(data) if data else None
    except ValidationError:
        _log.warning("catalogue.unreadable")
        return None


def _read_card(data: bytes | str) -> ModelCard | None:
    """Returns a stored card, or ``None`` for one of another version's shape: it is made again when asked for."""
    try:
        return ModelCard.model_validate_json(data)
    except ValidationError:
        return None


def _read_capabilities(data: bytes | str) -> tuple[Capability, ...]:
    try:
        return _CAPABILITIES.validate_json(data)
    except ValidationError:
        return ()


def _to_bytes(data: bytes | str | None) -> bytes:
    return data.encode() if isinstance(data, str) else (data or b"")


def _matches(words: list[str], text: str) -> bool:
    lowered = text.lower()
    return all(word in lowered for word in words)


def _leads(words: list[str], name: str) -> bool:
    return bool(words) and name.lower().startswith(words[0])


def _undecided(card: ModelCard, method: MethodCard) -> Capability:
    if card.problem is not None:
        reason, remedy = card.problem.message, ""
    else:
        reason, remedy = "This model has not been looked at yet.", "Choose it once; a worker then reads what it offers."
    return Capability(model=card.name, method=method.name, possible=False, reason=reason, remedy=remedy)


def _with_seconds(capability: Capability, rate: float | None) -> Capability:
    if capability.passes is None or not rate or rate <= 0:
        return capability
    return capability.model_copy(update={"seconds": capability.passes / rate})
