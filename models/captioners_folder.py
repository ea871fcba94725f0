"""Captioners in transformers' own directory format: telling them from other models, describing and loading them.

A hub name is the same thing once its files are here. Nothing is ever unpickled, and code that a directory brings
along is never run.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ModelCard, ModelKind
from models import hub
from models.captioners_kinds import Blip, Blip2, EncoderDecoder, Family, Git
from models.captioners_processed import AnyFamily
from models.captioners_processor import load_image_processor, read_preprocessing
from models.captioners_transformers import TransformersCaptioner
from models.preprocessing import Preprocessing
from models.source import ModelSource
from models.transformers_log import quiet
from models.weights import broken, file_digest

CONFIG_FILE = "config.json"
SINGLE_WEIGHTS = "model.safetensors"
SHARDED_WEIGHTS = "model.safetensors.index.json"
PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
SMALL_FILES = ("*.json", "*.txt", "*.model", "*.jinja")
"""Everything of a hub repository but its weights."""
OPTIONAL_FILES = (
    "generation_config.json",
    *PROCESSOR_FILES,
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "chat_template.jinja",
    "chat_template.json",
)
NO_SAFETENSORS = (
    "{title} keeps its weights in a format that can hold program code, and Vitrine reads captioners from safetensors "
    "only. Save it anew with save_pretrained, or name a revision that holds model.safetensors."
)
FAMILIES: Mapping[str, type[Family]] = {
    "vision-encoder-decoder": EncoderDecoder,
    "blip": Blip,
    "git": Git,
    "blip-2": Blip2,
}


def is_transformers_config(config: Mapping[str, Any]) -> bool:
    """Returns whether a ``config.json`` is written for transformers rather than for timm."""
    return isinstance(config.get("model_type"), str) and "architecture" not in config


def read_source(
    name: str,
    config: Mapping[str, Any],
    *,
    title: str,
    source: str,
    folder: Path | None = None,
    repository: str | None = None,
) -> ModelSource:
    """Returns the captioner that a ``config.json`` of transformers describes.

    Args:
        name: As asked for.
        config: The content of the file.
        title: For people.
        source: ``demo``, ``own`` or ``hub``.
        folder: Local directory; ``None`` for hub names.
        repository: On the hub.

    Raises:
        ProblemError: ``model_broken``, in words, when Vitrine cannot use it.
    """
    _require_library(title)
    _require_known(config, title)
    if folder is not None:
        _require_safetensors(folder, title)
    return ModelSource(
        name=name,
        title=title,
        source=source,
        architecture=str(config["model_type"]),
        weights=_folder_digest(folder) if folder is not None else f"hub:{title}",
        config=dict(config),
        repository=repository,
        captioner_folder=folder,
        is_captioner=True,
        note=str(config.get("vitrine_note", "")),
    )


def describe_captioner(source: ModelSource) -> tuple[ModelCard, Preprocessing]:
    """Returns what can be read off a captioner without its weights.

    Raises:
        ProblemError: ``model_broken``, or ``weights_missing`` when the hub cannot be reached.
    """
    folder = source.captioner_folder or _small_folder(source)
    preprocessing = _preprocessing(folder, source.title)
    config = _config(folder, source.title)
    card = ModelCard(
        name=source.name,
        title=_title(source),
        kind=ModelKind.CAPTIONER,
        source=source.source,
        family=source.architecture,
        architecture=_architecture(config, source.architecture),
        described=True,
        input_size=preprocessing.input_size,
        preprocessing=preprocessing.describe(),
        weights=source.weights,
        parameter_count=_parameter_count(config),
        note=source.note,
    )
    return card, preprocessing


def load_captioner(source: ModelSource) -> tuple[nn.Module, Any, str]:
    """Returns the network with its weights on the CPU, its tokenizer, and the digest of everything that was read.

    Raises:
        ProblemError: ``weights_missing`` or ``model_broken``.
    """
    folder = source.captioner_folder or _whole_folder(source)
    _require_safetensors(folder, source.title)
    return _network(folder, source.title), _tokenizer(folder, source.title), _folder_digest(folder)


def ready_captioner(
    source: ModelSource, network: nn.Module, tokenizer: Any, preprocessing: Preprocessing
) -> TransformersCaptioner:
    """Returns the captioner around a network that is where it shall run, after trying it on noise.

    Raises:
        ProblemError: ``model_broken`` when it cannot write.
    """
    folder = source.captioner_folder or _whole_folder(source)
    kind = FAMILIES.get(source.architecture)
    try:
        family = kind(network, tokenizer) if kind else AnyFamily(network, tokenizer, folder, preprocessing.input_size)
        captioner = TransformersCaptioner(family, preprocessing)
        height, width = preprocessing.input_size
        captioner.caption(torch.zeros(1, 3, height, width))
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, IndexError, OSError) as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        detail = f": {error}" if isinstance(error, ValueError) and len(str(error)) < 120 else ""
        raise broken(
            f"{source.title} was loaded but cannot write a caption{detail} ({type(error).__name__})."
        ) from error
    return captioner.checked()


def _require_library(title: str) -> None:
    if importlib.util.find_spec("transformers") is None:
        raise broken(
            f"{title} writes captions, for which the worker needs the transformers library. "
            "Install Vitrine with its captions extra."
        )


def _require_known(config: Mapping[str, Any], title: str) -> None:
    """Raises when the model is none that transformers itself knows as one that writes about pictures."""
    import transformers
    from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

    kind = config["model_type"]
    known = MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES.get(kind)
    if known is None:
        if config.get("auto_map"):
            raise broken(
                f"{title} brings its own program code (trust_remote_code), and Vitrine never runs code from a model. "
                f"transformers {transformers.__version__} itself does not know its kind, {kind!r}."
            )
        raise broken(
            f"{title} is a transformers model of the kind {kind!r}, which does not write about pictures. Vitrine reads "
            "timm models and transformers' image-to-text models."
        )
    wanted = {known} if isinstance(known, str) else set(known)
    made_for = config.get("architectures")
    if made_for and not wanted & set(made_for):
        raise broken(f"{title} was made as {made_for[0]}; as a captioner Vitrine reads {min(wanted)}.")


def _require_safetensors(folder: Path, title: str) -> None:
    if any((folder / name).is_file() for name in (SINGLE_WEIGHTS, SHARDED_WEIGHTS)):
        return
    if any(folder.glob("*.bin")) or any(folder.glob("*.h5")) or any(folder.glob("*.msgpack")):
        raise broken(NO_SAFETENSORS.format(title=title))
    raise broken(f"The folder of {title} holds no {SINGLE_WEIGHTS}.")


def _folder_digest(folder: Path) -> str:
    """Returns a sha256 over all files that decide what is written: weights, configurations, tokenizer."""
    files = [path for pattern in (*SMALL_FILES, "*.safetensors") for path in folder.glob(pattern)]
    parts = sorted(f"{path.name}={file_digest(path.resolve())}" for path in files if path.name != "metrics.json")
    return hashlib.sha256(f"vitrine-captioner:1:{';'.join(parts)}".encode()).hexdigest()


def _small_folder(source: ModelSource) -> Path:
    """Returns the snapshot of a hub repository with everything but the weights."""
    repository = str(source.repository)
    hub.fetch(repository, PROCESSOR_FILES, title=source.title)
    return hub.fetch(repository, (CONFIG_FILE,), title=source.title).parent


def _whole_folder(source: ModelSource) -> Path:
    """Returns the snapshot of a hub repository with its weights, which may be in several pieces."""
    repository, title = str(source.repository), source.title
    try:
        weights = hub.fetch(repository, (SINGLE_WEIGHTS, SHARDED_WEIGHTS), title=title)
    except ProblemError as error:
        if error.code is ProblemCode.MODEL_BROKEN:
            raise broken(NO_SAFETENSORS.format(title=title)) from error
        raise
    pieces = _pieces(weights, title) if weights.name == SHARDED_WEIGHTS else ()
    needed = [(CONFIG_FILE,), PROCESSOR_FILES, (weights.name,), *((piece,) for piece in pieces)]
    return hub.fetch_folder(repository, needed, OPTIONAL_FILES, title=title)


def _pieces(index: Path, title: str) -> tuple[str, ...]:
    """Returns the names of the weight files that an index lists."""
    try:
        names = {str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()}
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise broken(f"The list of the weight files of {title} cannot be read.") from error
    if not all(re.fullmatch(r"[A-Za-z0-9._-]+\.safetensors", name) for name in names):
        raise broken(NO_SAFETENSORS.format(title=title))
    return tuple(sorted(names))


def _preprocessing(folder: Path, title: str) -> Preprocessing:
    try:
        with quiet():
            return read_preprocessing(load_image_processor(folder))
    except ProblemError:
        raise
    except Exception as error:
        detail = str(error) if type(error) is ValueError and len(str(error)) < 160 else type(error).__name__
        raise broken(f"How {title} wants its pictures cannot be used: {detail}.") from error


def _config(folder: Path, title: str) -> Any:
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise broken(f"The config.json of {title} cannot be read by transformers ({type(error).__name__}).") from error


def _network(folder: Path, title: str) -> nn.Module:
    from transformers import AutoModelForImageTextToText

    try:
        with quiet(), torch.random.fork_rng(devices=[]):
            network, report = AutoModelForImageTextToText.from_pretrained(
                str(folder),
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except Exception as error:
        raise broken(f"{title} cannot be loaded by transformers ({type(error).__name__}).") from error
    missing = sorted(str(name) for name in (*report["missing_keys"], *report["mismatched_keys"]))
    if missing:
        raise broken(
            f"The checkpoint of {title} does not fit its architecture: {len(missing)} weights are missing or of "
            f"another shape (the first: {missing[0]})."
        )
    module: nn.Module = network.eval()
    return module


def _tokenizer(folder: Path, title: str) -> Any:
    """Returns the tokenizer by itself.

    transformers' AutoProcessor answers, for directories with a separate image processor, with the tokenizer alone and
    without an error; image processor and tokenizer are therefore always read one by one.
    """
    from transformers import AutoTokenizer

    try:
        with quiet():
            return AutoTokenizer.from_pretrained(str(folder), local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise broken(f"The tokenizer of {title} cannot be read ({type(error).__name__}).") from error


def _parameter_count(config: Any) -> int | None:
    """Returns how many parameters the network has, from its shapes alone; ``None`` when these cannot be had."""
    from transformers import AutoModelForImageTextToText

    try:
        with quiet(), torch.device("meta"):
            network = AutoModelForImageTextToText.from_config(config)
    except Exception:
        return None
    return sum(int(parameter.numel()) for parameter in network.parameters())


def _architecture(config: Any, fallback: str) -> str:
    """Returns what the network is made of: ``swin and gpt2``, or its kind."""
    parts = [getattr(getattr(config, part, None), "model_type", "") for part in ("encoder", "decoder")]
    return " and ".join(parts) if all(parts) else fallback


def _title(source: ModelSource) -> str:
    """Returns a title for people: as given in the configuration, else the name."""
    given = source.config.get("vitrine_title")
    return given if isinstance(given, str) and re.fullmatch(r"[^\n]{1,100}", given) else source.title
