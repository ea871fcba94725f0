"""Reading weights without running anybody's code, and telling one set of weights from another."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from backend.contract.problems import ProblemCode, ProblemError

CHUNK_BYTES = 1 << 22
INNER_KEYS = ("state_dict_ema", "model_ema", "state_dict", "model")
"""Where training scripts put the weights inside their checkpoints, most wanted first."""
WRAPPER_PREFIXES = ("module.", "_orig_mod.")
"""What parallel training and compilation put in front of every name."""


def broken(message: str) -> ProblemError:
    """Returns the problem of a model that is there but cannot be used."""
    return ProblemError(ProblemCode.MODEL_BROKEN, message)


def read_state(path: Path, title: str) -> dict[str, Tensor]:
    """Returns the named tensors of a checkpoint, on the CPU; pickled code is never run.

    Args:
        path: A ``.safetensors`` file, or a torch file that holds nothing but tensors and plain values.
        title: Of the model, for messages.

    Raises:
        ProblemError: ``model_broken`` when the file is damaged or would need to run code.
    """
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise broken(
            f"The checkpoint of {title} holds more than weights, and Vitrine runs no code from checkpoints. "
            "Save its state_dict alone, best as safetensors."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, safetensors.SafetensorError) as error:
        raise broken(f"The checkpoint of {title} cannot be read; it is damaged or of an unknown format.") from error
    return _unwrapped(content, title)


def load_strictly(network: nn.Module, state: Mapping[str, Tensor], title: str) -> None:
    """Puts weights into a network; every name and shape must fit.

    Raises:
        ProblemError: ``model_broken``, naming the first weight that does not fit.
    """
    wanted = network.state_dict()
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    if missing or unknown:
        lacks = f"{len(missing)} weights are missing (the first: {missing[0]})" if missing else ""
        extra = f"{len(unknown)} are not part of it (the first: {unknown[0]})" if unknown else ""
        raise broken(
            f"The checkpoint of {title} does not fit its architecture: {' and '.join(filter(None, (lacks, extra)))}."
        )
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise broken(
                f"The checkpoint of {title} does not fit its architecture: {name} has the shape "
                f"{list(state[name].shape)}, the architecture needs {list(tensor.shape)}."
            )
    network.load_state_dict(state)


def file_digest(path: Path) -> str:
    """Returns the sha256 of a file's bytes; read again only when the file changed."""
    state = path.stat()
    return _file_digest(path, state.st_mtime_ns, state.st_size)


def state_digest(network: nn.Module) -> str:
    """Returns a sha256 over names, types, shapes and values of parameters and buffers, wherever they live."""
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name}:{tensor.dtype}:{list(tensor.shape)};".encode())
        flat = tensor.detach().cpu().contiguous().view(-1)
        digest.update(flat.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def size_bytes(network: nn.Module) -> int:
    """Returns the bytes of all parameters and buffers."""
    tensors = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


@lru_cache(maxsize=256)
def _file_digest(path: Path, _changed: int, _size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _unwrapped(content: Any, title: str) -> dict[str, Tensor]:
    """Returns the weights inside a training checkpoint, with the names that the bare network has."""
    if isinstance(content, Mapping):
        inner = next((content[key] for key in INNER_KEYS if isinstance(content.get(key), Mapping)), content)
        if inner and all(isinstance(value, Tensor) for value in inner.values()):
            return {_bare(str(name)): value for name, value in inner.items()}
    raise broken(f"The checkpoint of {title} is not a state_dict (names with tensors).")


def _bare(name: str) -> str:
    while name.startswith(WRAPPER_PREFIXES):
        name = name.partition(".")[2]
    return name
