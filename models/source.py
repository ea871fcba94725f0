"""Where a model comes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.own_model import PreprocessingTable


@dataclass(frozen=True)
class ModelSource:
    """Everything that is known of a model before its network is built.

    Args:
        name: As asked for.
        title: For people.
        source: ``demo``, ``own``, ``timm`` or ``hub`` (hub ids and directories in the hub's format).
        architecture: timm's name of the network, with the tag of its pretrained configuration where it has one.
        weights: Identity of the weights: sha256 for local files, ``hub:<name>`` otherwise.
        arguments: For ``timm.create_model``.
        checkpoint: Local file with the weights; ``None`` while it is not on this machine.
        repository: On the hub, where the weights are fetched from.
        url: Outside the hub, where the weights are fetched from.
        config: timm's pretrained configuration.
        class_names: Given by the person who made the model.
        preprocessing: What differs from the architecture's own.
        taps: Blocks given by the person who made the model.
        note: One sentence about the model.
        is_captioner: Whether it is a transformers model that writes sentences; ``config`` is then its ``config.json``.
        captioner_folder: Its local directory; ``None`` for hub names.
    """

    name: str
    title: str
    source: str
    architecture: str
    weights: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Path | None = None
    repository: str | None = None
    url: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    class_names: tuple[str, ...] | None = None
    preprocessing: PreprocessingTable = field(default_factory=PreprocessingTable)
    taps: tuple[str, ...] | None = None
    note: str = ""
    is_captioner: bool = False
    captioner_folder: Path | None = None

    @property
    def is_hub_format(self) -> bool:
        """Whether configuration and arguments come from a ``config.json`` rather than from timm's own list."""
        return bool(self.config) and self.source != "timm"
