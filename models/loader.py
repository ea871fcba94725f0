"""From a name to a network that is ready to run, kept in memory up to a number of bytes."""

from __future__ import annotations

import gc
import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import nn

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelCard
from models import hub
from models.captioners import Captioner
from models.captioners_folder import load_captioner, ready_captioner
from models.catalogue import ModelCatalogue
from models.description import Description, build
from models.layout import Layout
from models.preprocessing import Preprocessing
from models.source import ModelSource
from models.weights import file_digest, load_strictly, read_state, size_bytes

DEFAULT_BUDGET_BYTES = 4 * 1024**3


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network that is ready to run.

    Args:
        card: Description, read off the network (``described`` is true).
        network: In evaluation mode, without gradients for its parameters, on ``device``.
        device: Where it lives.
        dtype: Of its parameters.
        preprocessing: How it wants its pictures.
        class_names: One per class score; empty for encoders.
        weights_digest: sha256 of what was loaded; for own models over checkpoint, architecture and classes.
        size_bytes: Of parameters and buffers.
        layout: Where its spatial blocks are.
        source: Where it came from, so that it can be built again in another form; ``None`` for networks made by hand.
        captioner: What writes sentences with the network; ``None`` for models that do not.
    """

    card: ModelCard
    network: nn.Module
    device: torch.device
    dtype: torch.dtype
    preprocessing: Preprocessing
    class_names: tuple[str, ...]
    weights_digest: str
    size_bytes: int
    layout: Layout
    source: ModelSource | None = None
    captioner: Captioner | None = None

    @property
    def name(self) -> str:
        """Name under which it was asked for."""
        return self.card.name


class ModelLoader:
    """Keeps loaded networks, up to a number of bytes; the least recently used one leaves first. Thread-safe.

    A network that leaves is only forgotten: a run that still holds it can finish, and its memory is free afterwards.

    Args:
        catalogue: What is on offer.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        budget_bytes: Of parameters and buffers to keep. A network larger than that is loaded all the same, alone.
    """

    def __init__(
        self, catalogue: ModelCatalogue, *, device: str = "auto", budget_bytes: int = DEFAULT_BUDGET_BYTES
    ) -> None:
        if budget_bytes < 0:
            raise ValueError(f"budget_bytes is at least 0, not {budget_bytes}")
        self.catalogue = catalogue
        self.device = choose_device(device)
        self.budget_bytes = budget_bytes
        self._models: OrderedDict[str, tuple[ModelSource, LoadedModel]] = OrderedDict()
        self._lock = threading.RLock()

    def load(self, name: str) -> LoadedModel:
        """Returns the network, from memory when it is there and its files have not changed.

        Raises:
            ProblemError: ``model_unknown``, ``weights_missing``, ``model_broken`` or ``out_of_memory``.
        """
        with self._lock:
            source = self.catalogue.resolve(name)
            known = self._models.get(name)
            if known is not None and known[0] == source:
                self._models.move_to_end(name)
                return known[1]
            self.unload(name)
            description = self.catalogue.describe(name)
            model = self._loaded(source, description)
            self._models[name] = (source, model)
            return model

    def describe(self, name: str) -> ModelCard:
        """Returns what is known of a model without loading its weights.

        Raises:
            ProblemError: ``model_unknown``, ``model_broken``, or ``weights_missing`` (hub ids that cannot be reached).
        """
        return self.catalogue.describe(name).card

    def unload(self, name: str) -> None:
        """Forgets a loaded network; nothing happens when it is not there."""
        with self._lock:
            if self._models.pop(name, None) is not None:
                _free_memory(self.device)

    def loaded(self) -> list[LoadedModel]:
        """Returns the networks in memory, the least recently used one first."""
        with self._lock:
            return [model for _, model in self._models.values()]

    def _loaded(self, source: ModelSource, description: Description) -> LoadedModel:
        if not source.is_captioner:
            return self._placed(*_with_weights(source), description, source)
        network, tokenizer, digest = load_captioner(source)
        model = self._placed(network, digest, description, source)
        return replace(model, captioner=ready_captioner(source, network, tokenizer, model.preprocessing))

    def _placed(self, network: nn.Module, digest: str, description: Description, source: ModelSource) -> LoadedModel:
        """Returns the network on the device, after others made room for it."""
        size = size_bytes(network)
        self._make_room(size)
        network.requires_grad_(False)
        try:
            network.to(self.device)
        except torch.OutOfMemoryError:
            self._make_room(self.budget_bytes)
            _to_emptied(network, self.device, description.card.title)
        first = next(network.parameters(), torch.empty(0))
        return LoadedModel(
            card=description.card,
            network=network,
            device=self.device,
            dtype=first.dtype,
            preprocessing=description.preprocessing,
            class_names=description.class_names,
            weights_digest=digest,
            size_bytes=size,
            layout=description.layout,
            source=source,
        )

    def _make_room(self, needed: int) -> None:
        while self._models and sum(model.size_bytes for model in self.loaded()) + needed > self.budget_bytes:
            self.unload(next(iter(self._models)))


def load(name: str, device: str = "cpu") -> LoadedModel:
    """Returns a freshly loaded network; for scripts and tests.

    Raises:
        ProblemError: As :meth:`ModelLoader.load`.
    """
    return ModelLoader(ModelCatalogue(None), device=device).load(name)


def choose_device(device: str) -> torch.device:
    """Returns the device of that name; ``auto`` is a GPU if there is one, else the CPU.

    Raises:
        ValueError: If the machine has no such device.
    """
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise ValueError(f"a device is auto, cpu, cuda or cuda:<number>, not {device!r}") from error
    if chosen.type not in ("cpu", "cuda"):
        raise ValueError(f"a device is auto, cpu, cuda or cuda:<number>, not {device!r}")
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"the device {device!r} was asked for, but this machine has no such GPU")
    return chosen


def _with_weights(source: ModelSource) -> tuple[nn.Module, str]:
    """Returns the network with its weights, on the CPU, and the digest of what was loaded."""
    if source.checkpoint is not None and not source.is_hub_format:
        with torch.random.fork_rng(devices=[]):
            network = build(source)
        load_strictly(network, read_state(source.checkpoint, source.title), source.title)
        return network, source.weights
    file = source.checkpoint or _fetched(source)
    with torch.random.fork_rng(devices=[]):
        network = build(source, weights=str(file))
    is_local = source.checkpoint is not None
    return network, source.weights if is_local else file_digest(file)


def _fetched(source: ModelSource) -> Path:
    if source.repository is not None:
        return hub.fetch(source.repository, hub.WEIGHT_FILES, title=source.title)
    if source.url is not None:
        return hub.fetch_url(source.url, title=source.title)
    raise hub.weights_missing(source.title)


def _to_emptied(network: nn.Module, device: torch.device, title: str) -> None:
    """Moves a network to a device from which everything else was taken."""
    try:
        network.to(device)
    except torch.OutOfMemoryError as error:
        _free_memory(device)
        raise ProblemError(
            ProblemCode.OUT_OF_MEMORY, f"{title} does not fit into the memory of the device. Choose a smaller model."
        ) from error


def _free_memory(device: torch.device) -> None:
    if device.type == "cuda":
        gc.collect()
        with torch.cuda.device(device):
            torch.cuda.empty_cache()
