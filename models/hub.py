"""Files from the model hub: from this machine when they are here, else fetched, and quickly refused when offline."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from timm.models._hub import download_cached_file, get_cache_dir

from backend.contract.problems import ProblemCode, ProblemError

PROBE_TIMEOUT_S = 3.0
ETAG_TIMEOUT_S = 5.0
WEIGHT_FILES = (
    "model.safetensors",
    "pytorch_model.bin",
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.bin",
)
"""Names under which the hub keeps weights, in timm's order."""


def fetch(repository: str, filenames: Sequence[str], *, title: str) -> Path:
    """Returns the first of some files of a hub repository, from the local cache when it is there.

    Args:
        repository: ``organisation/name``, perhaps with ``@revision``.
        filenames: In order of preference.
        title: Of the model, for messages.

    Raises:
        ProblemError: ``weights_missing`` or ``model_unknown``, within seconds when there is no network.
    """
    name, _, revision = repository.partition("@")
    try:
        return _first(name, filenames, revision or None, local_files_only=True)
    except LocalEntryNotFoundError:
        pass
    except HFValidationError as error:
        raise ProblemError(ProblemCode.MODEL_UNKNOWN, f"{title} is not a name the hub could have.") from error
    if not is_reachable(constants.ENDPOINT):
        raise weights_missing(title)
    try:
        return _first(name, filenames, revision or None, local_files_only=False)
    except GatedRepoError as error:
        raise ProblemError(
            ProblemCode.WEIGHTS_MISSING,
            f"The hub gives {title} only to people who accepted its terms. Accept them there and log the worker in.",
        ) from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise ProblemError(ProblemCode.MODEL_UNKNOWN, f"The hub has no public model {title}.") from error
    except LocalEntryNotFoundError as error:
        raise weights_missing(title) from error
    except EntryNotFoundError as error:
        raise ProblemError(
            ProblemCode.MODEL_BROKEN, f"The hub keeps no {' or '.join(filenames[:2])} for {title}."
        ) from error
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise weights_missing(title) from error


def fetch_folder(repository: str, needed: Sequence[Sequence[str]], optional: Sequence[str], *, title: str) -> Path:
    """Returns a directory with files of a hub repository, from the local cache when they are there.

    Args:
        repository: ``organisation/name``, perhaps with ``@revision``.
        needed: For each file that must be there, the names it may have.
        optional: Files that are fetched when the repository has them.
        title: Of the model, for messages.

    Raises:
        ProblemError: As :func:`fetch`.
    """
    paths = [fetch(repository, names, title=title) for names in needed]
    name, _, revision = repository.partition("@")
    missing = [file for file in optional if try_to_load_from_cache(name, file, revision=revision or None) is None]
    if missing and is_reachable(constants.ENDPOINT):
        for file in missing:
            _fetch_if_there(name, file, revision or None, title)
    return paths[0].parent


def fetch_url(url: str, *, title: str) -> Path:
    """Returns a file of timm's that lives outside the hub, from the local cache when it is there.

    Raises:
        ProblemError: ``weights_missing``, within seconds when there is no network.
    """
    parts = urlsplit(url)
    cached = Path(get_cache_dir()) / Path(parts.path).name
    if cached.exists():
        return cached
    if not is_reachable(f"{parts.scheme}://{parts.netloc}"):
        raise weights_missing(title)
    try:
        return Path(download_cached_file(url, check_hash=True))
    except (OSError, RuntimeError) as error:
        raise weights_missing(title) from error


def is_reachable(endpoint: str) -> bool:
    """Returns whether a server answers at all, within about :data:`PROBE_TIMEOUT_S` seconds.

    Asked before anything is downloaded, because the hub's client retries an unreachable server for most of a minute.
    Looking up a name has no time-out of its own, hence the thread.
    """
    if constants.HF_HUB_OFFLINE:
        return False
    answers: list[bool] = []

    def ask() -> None:
        try:
            httpx.head(endpoint, timeout=PROBE_TIMEOUT_S)
        except (httpx.HTTPError, OSError):
            return
        answers.append(True)

    thread = threading.Thread(target=ask, name="hub-probe", daemon=True)
    thread.start()
    thread.join(PROBE_TIMEOUT_S + 1)
    return bool(answers)


def weights_missing(title: str) -> ProblemError:
    """Returns the problem of weights that are neither here nor to be had."""
    return ProblemError(
        ProblemCode.WEIGHTS_MISSING,
        f"The weights of {title} are not on this machine and the model hub cannot be reached. Connect the worker to "
        "the internet once, or copy the model's config.json and weights into a folder of the worker's models folder. "
        "The built-in bird models always work.",
    )


def _fetch_if_there(name: str, filename: str, revision: str | None, title: str) -> None:
    """Fetches a file; that the repository has none is remembered by the cache."""
    try:
        _first(name, (filename,), revision, local_files_only=False)
    except LocalEntryNotFoundError as error:
        raise weights_missing(title) from error
    except EntryNotFoundError:
        pass
    except (HfHubHTTPError, httpx.HTTPError, OSError) as error:
        raise weights_missing(title) from error


def _first(name: str, filenames: Sequence[str], revision: str | None, *, local_files_only: bool) -> Path:
    """Returns the first file that exists; raises what the last attempt raised."""
    for position, filename in enumerate(filenames, start=1):
        try:
            return Path(
                hf_hub_download(
                    name,
                    filename,
                    revision=revision,
                    local_files_only=local_files_only,
                    etag_timeout=ETAG_TIMEOUT_S,
                    library_name="vitrine",
                )
            )
        except EntryNotFoundError as error:
            is_offline = isinstance(error, LocalEntryNotFoundError) and not local_files_only
            if position == len(filenames) or is_offline:
                raise
    raise ValueError("no file name was given")
