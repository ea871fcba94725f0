"""What is on offer: any timm name, hub ids, own checkpoints and the built-in demo models."""

from __future__ import annotations

import difflib
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import timm
from timm.models import PretrainedCfg, get_pretrained_cfg

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelCard, ModelKind
from models import hub, hub_folder
from models.description import Description, describe
from models.own_model import MODEL_FILE, OwnModel, checkpoint_path, own_digest, read_own_model
from models.source import ModelSource

__all__ = ["ModelCatalogue", "ModelSource"]

DEMO_DIR = Path(__file__).parent / "demo" / "weights"
DIRECTORY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
HUB_PREFIXES = ("hf-hub:", "hf_hub:")
LOCAL_PREFIX = "local-dir:"


@dataclass
class _Known:
    """Descriptions made so far; a description is good as long as its source is the same."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    by_name: dict[str, tuple[ModelSource, Description]] = field(default_factory=dict)


class ModelCatalogue:
    """Names of models and what stands behind them.

    Args:
        models_dir: Folder with own models, one directory each; ``None``: there are none.
        demo_dir: Folder with the built-in models.
    """

    def __init__(self, models_dir: Path | None = None, *, demo_dir: Path = DEMO_DIR) -> None:
        self.models_dir = models_dir
        self.demo_dir = demo_dir
        self._known = _Known()

    def timm_names(self) -> tuple[str, ...]:
        """Returns every name with pretrained weights that timm knows, sorted."""
        return _timm_names()

    def own(self) -> tuple[str, ...]:
        """Returns the names of the models in the folder of own models, broken ones included, sorted."""
        return _directories(self.models_dir)

    def demo(self) -> tuple[str, ...]:
        """Returns the names of the built-in models, sorted."""
        return _directories(self.demo_dir)

    def cards(self) -> tuple[ModelCard, ...]:
        """Returns demo models, then own models, described; one that is broken carries its problem."""
        names = dict.fromkeys((*self.demo(), *self.own()))
        return tuple(self._card(name) for name in names)

    def resolve(self, name: str) -> ModelSource:
        """Returns where a model comes from; own models go before demo models, both before timm's.

        Raises:
            ProblemError: ``model_unknown``, ``weights_missing`` or ``model_broken``.
        """
        for folder, source in ((self.models_dir, "own"), (self.demo_dir, "demo")):
            if folder is not None and name in _directories(folder):
                return _directory_source(name, folder / name, source)
        if name.startswith(LOCAL_PREFIX):
            return hub_folder.open_folder(name, self._folder(name.removeprefix(LOCAL_PREFIX)), source="hub")
        if name.startswith(HUB_PREFIXES):
            return _hub_source(name)
        return _timm_source(name)

    def describe(self, name: str) -> Description:
        """Returns what can be read off a model without its weights; read once per content of its files.

        Raises:
            ProblemError: ``model_unknown``, ``weights_missing`` or ``model_broken``.
        """
        source = self.resolve(name)
        with self._known.lock:
            known = self._known.by_name.get(name)
            if known is None or known[0] != source:
                known = (source, describe(source))
                self._known.by_name[name] = known
        return known[1]

    def _card(self, name: str) -> ModelCard:
        try:
            return self.describe(name).card
        except ProblemError as error:
            is_own = name in self.own()
            return ModelCard(
                name=name,
                title=name,
                kind=ModelKind.CLASSIFIER,
                source="own" if is_own else "demo",
                weights="",
                problem=error.to_problem(),
            )

    def _folder(self, given: str) -> Path:
        """Returns the directory that a ``local-dir:`` name means; relative ones lie in the folder of own models."""
        path = Path(given).expanduser()
        if not path.is_absolute() and self.models_dir is not None and (self.models_dir / path).is_dir():
            return self.models_dir / path
        return path


def _directory_source(name: str, directory: Path, source: str) -> ModelSource:
    if not (directory / MODEL_FILE).exists():
        return hub_folder.open_folder(name, directory, source=source)
    own = read_own_model(directory)
    checkpoint = checkpoint_path(own, directory)
    return ModelSource(
        name=name,
        title=own.title or name,
        source=source,
        architecture=own.architecture,
        weights=own_digest(own, checkpoint),
        arguments=_own_arguments(own),
        checkpoint=checkpoint,
        class_names=own.classes,
        preprocessing=own.preprocessing,
        taps=own.taps.blocks if own.taps else None,
        note=own.note,
    )


def _own_arguments(own: OwnModel) -> Mapping[str, Any]:
    """Returns the arguments of ``timm.create_model``; class count and input size follow from the other entries."""
    arguments = dict(own.architecture_args)
    if own.classes is not None:
        arguments["num_classes"] = len(own.classes)
    config = _pretrained_config(own.architecture)
    is_fixed = config is not None and config.fixed_input_size
    if is_fixed and own.preprocessing.input_size is not None:
        arguments.setdefault("img_size", own.preprocessing.input_size)
    return arguments


def _hub_source(name: str) -> ModelSource:
    repository = name.partition(":")[2]
    if not repository:
        raise ProblemError(ProblemCode.MODEL_UNKNOWN, "After hf-hub: stands the name of a model, as organisation/name.")
    config = hub.fetch(repository, ("config.json",), title=repository)
    return hub_folder.read_config(name, config, title=repository, source="hub", repository=repository)


def _timm_source(name: str) -> ModelSource:
    architecture, _, tag = name.partition(".")
    config = _pretrained_config(name) if timm.is_model(architecture) else None
    if config is None:
        raise ProblemError(ProblemCode.MODEL_UNKNOWN, f"No model is called {name!r}.{_suggestion(name)}")
    if not (config.hf_hub_id or config.url):
        raise ProblemError(
            ProblemCode.WEIGHTS_MISSING,
            f"timm has no trained weights for {architecture}. Use a name with a tag, or your own checkpoint.",
        )
    full = name if tag else ".".join(filter(None, (architecture, config.tag)))
    return ModelSource(
        name=name,
        title=" ".join(filter(None, (architecture, config.tag and f"({config.tag})"))),
        source="timm",
        architecture=full,
        weights=f"hub:{full}",
        repository=config.hf_hub_id,
        url=None if config.hf_hub_id else str(config.url),
        config=config.to_dict(),
    )


def _pretrained_config(name: str) -> PretrainedCfg | None:
    """Returns timm's pretrained configuration; ``None`` when the architecture has no such tag."""
    try:
        return get_pretrained_cfg(name)
    except RuntimeError:
        return None


def _suggestion(name: str) -> str:
    architecture = name.partition(".")[0]
    near = difflib.get_close_matches(name, _timm_names(), n=3, cutoff=0.75)
    near = near or [other for other in _timm_names() if other.partition(".")[0] == architecture][:3]
    near = near or difflib.get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.75)
    return f" Did you mean {' or '.join(near)}?" if near else ""


@lru_cache(maxsize=1)
def _timm_names() -> tuple[str, ...]:
    return tuple(sorted(timm.list_models(pretrained=True)))


def _directories(folder: Path | None) -> tuple[str, ...]:
    if folder is None or not folder.is_dir():
        return ()
    names = (path.name for path in folder.iterdir() if hub_folder.is_model(path))
    return tuple(sorted(name for name in names if DIRECTORY_NAME.fullmatch(name)))
