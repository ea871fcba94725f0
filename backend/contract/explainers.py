"""Where trained explainers live: a shelf of folders, one for each explainer, complete as soon as it has a manifest.

Layout: ``<shelf>/<method>/<first 16 digits of the base model's digest>/<id>/manifest.json`` beside the files that the
manifest names. An explainer is written into a temporary folder, its manifest last, and moved into its place in one
step; whatever has no valid manifest does not exist.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import structlog
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from backend.contract.problems import ProblemCode, ProblemError
from backend.contract.schemas import ExplainerCard, ModelCard, Sha256

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
BUILTIN = Path(__file__).parents[2] / "models" / "demo" / "explainers"
"""The explainers that come with Vitrine, on a shelf of the same layout."""
PREFIX_DIGITS = 16
CHUNK_BYTES = 1 << 20
ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}){0,2}")
_DIGEST = re.compile(Sha256)
_log = structlog.get_logger()


class BaseModelEntry(BaseModel):
    """Which model an explainer was trained for."""

    model_config = ConfigDict(frozen=True, extra="allow")

    name: str
    weights_digest: str = Field(pattern=Sha256)
    preprocessing: str


class ExplainerManifest(BaseModel):
    """What every explainer says of itself; methods add entries of their own, which are kept as they are.

    ``files`` names every file beside the manifest with its sha256; ``data`` has at least ``name`` and ``digest``.
    """

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    schema_version: int = Field(ge=SCHEMA_VERSION, le=SCHEMA_VERSION)
    method: str = Field(pattern=rf"^{ID.pattern}$")
    id: str = Field(pattern=rf"^{ID.pattern}$")
    title: str = ""
    created: float
    base: BaseModelEntry
    classes: tuple[str, ...]
    data: dict[str, Any]
    metrics: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str]

    @field_validator("files")
    @classmethod
    def _validate_files(cls, files: dict[str, str]) -> dict[str, str]:
        for name, digest in files.items():
            if not is_safe_name(name) or name == MANIFEST:
                raise ValueError(f"{name!r} cannot be the name of a file of an explainer")
            if not _DIGEST.fullmatch(digest):
                raise ValueError(f"the digest of {name!r} is no sha256")
        return files


@dataclass(frozen=True, eq=False)
class ExplainerRecord:
    """A complete explainer.

    Args:
        folder: Where its files are.
        manifest: What every explainer says of itself.
        content: The whole manifest as written, with the entries of its own method.
        is_builtin: Whether it came with Vitrine; such explainers cannot be deleted.
    """

    folder: Path
    manifest: ExplainerManifest
    content: dict[str, Any] = field(repr=False)
    is_builtin: bool = False

    @property
    def method(self) -> str:
        """Name of the method that explains with it."""
        return self.manifest.method

    @property
    def id(self) -> str:
        """Unique among the explainers of one method and base model."""
        return self.manifest.id

    @property
    def base_digest(self) -> str:
        """Digest of the weights of the model that it was trained for: 64 hexadecimal digits."""
        return self.manifest.base.weights_digest

    def path(self, name: str) -> Path:
        """Returns the place of one of its files.

        Raises:
            ProblemError: ``not_found`` when the manifest names no such file.
        """
        if name not in self.manifest.files:
            raise ProblemError(ProblemCode.NOT_FOUND, "This explainer has no such file.")
        return self.folder / name

    def damage(self) -> str:
        """Returns what is wrong with its files in a few words; empty when every digest is right."""
        for name, digest in self.manifest.files.items():
            try:
                state = (self.folder / name).stat()
                if _digest(self.folder / name, state.st_mtime_ns, state.st_size) != digest:
                    return f"its file {name} has changed"
            except OSError:
                return f"its file {name} is missing"
        return ""

    def card(self) -> ExplainerCard:
        """Returns what the catalogue says about it."""
        manifest = self.manifest
        return ExplainerCard(
            method=manifest.method,
            id=manifest.id,
            title=manifest.title or manifest.id,
            created=manifest.created,
            base=manifest.base.name,
            base_digest=manifest.base.weights_digest,
            preprocessing=manifest.base.preprocessing,
            data=str(manifest.data.get("name", "")),
            class_count=len(manifest.classes),
            is_builtin=self.is_builtin,
            metrics={name: value for name, value in manifest.metrics.items() if _is_scalar(value)},
        )


class ExplainerShelf:
    """The explainers of this machine: those that came with Vitrine and those that were trained here.

    Args:
        folder: Where trained explainers are put; ``None``: nothing can be published.
        builtin: Shelf of the explainers that came with Vitrine.
    """

    def __init__(self, folder: Path | None = None, builtin: Path | None = BUILTIN) -> None:
        self.folder = folder
        self.builtin = builtin

    def find(self, method: str, base_digest: str, id: str | None = None) -> ExplainerRecord | None:
        """Returns an explainer whose files are all there and unchanged.

        Args:
            method: Name of the method.
            base_digest: Digest of the base model's weights, 64 hexadecimal digits.
            id: Which one; ``None`` or ``auto``: the newest (of equally new ones the lowest id). Damaged ones are
                then skipped and logged.

        Returns:
            The explainer, or ``None`` when there is none and no id was given.

        Raises:
            ProblemError: ``not_found`` if there is none of this id, ``model_broken`` if it is damaged.
        """
        if id is not None and id != "auto":
            return self._named(method, base_digest, id)
        for record in self.list(method, base_digest):
            damage = record.damage()
            if not damage:
                return record
            _log.warning("explainer.skipped", method=method, explainer=record.id, reason=damage)
        return None

    def list(self, method: str | None = None, base_digest: str | None = None) -> list[ExplainerRecord]:
        """Returns the explainers with a valid manifest, the newest first; files are not read.

        Args:
            method: Only of this method.
            base_digest: Only for these weights.
        """
        found: dict[tuple[str, str, str], ExplainerRecord] = {}
        for root, is_builtin in ((self.folder, False), (self.builtin, True)):
            for folder in _folders(root, method, base_digest):
                record = _read(folder, is_builtin=is_builtin)
                if record is not None and base_digest in (None, record.base_digest):
                    found.setdefault((record.method, record.base_digest, record.id), record)
        return sorted(found.values(), key=lambda one: (-one.manifest.created, one.id))

    def on_card(self, card: ModelCard, digest: str | None = None) -> ModelCard:
        """Returns a model's card with the explainers that were trained for it.

        A model of the hub has no digest before it was loaded; until then the explainers that were trained under its
        name count as its own.

        Args:
            card: Of the model.
            digest: Of its weights, when they were loaded.
        """
        known = digest or (card.weights if _DIGEST.fullmatch(card.weights) else None)
        if known is not None:
            records = self.list(base_digest=known)
        else:
            records = [record for record in self.list() if record.manifest.base.name == card.name]
        cards = tuple(record.card() for record in records if not record.damage())
        return card if cards == card.explainers else card.model_copy(update={"explainers": cards})

    def temporary(self) -> Path:
        """Returns a new, empty folder on the same file system as the shelf, to write an explainer into.

        Raises:
            RuntimeError: If nothing can be published here.
        """
        if self.folder is None:
            raise RuntimeError("this shelf takes no explainers: it has no folder of its own")
        self.folder.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=".part-", dir=self.folder))

    def publish(self, written: Path, content: dict[str, Any]) -> ExplainerRecord:
        """Writes the manifest last and moves a folder to its place, in one step.

        Args:
            written: Folder with every file of the explainer, best from :meth:`temporary`. It is gone afterwards.
            content: The manifest. ``files`` and ``schema_version`` are filled in when they are missing.

        Returns:
            The explainer on the shelf. If it is there already, that one stays and the new folder is removed.

        Raises:
            ValueError: If the manifest lacks something or names a file that is not there.
            RuntimeError: If nothing can be published here.
        """
        if self.folder is None:
            raise RuntimeError("this shelf takes no explainers: it has no folder of its own")
        content = {"schema_version": SCHEMA_VERSION, "files": file_digests(written), **content}
        manifest = ExplainerManifest.model_validate(content)
        _write_manifest(written, content)
        record = ExplainerRecord(written, manifest, content)
        damage = record.damage()
        if damage:
            raise ValueError(f"the explainer cannot be published: {damage}")
        target = self._place(manifest.method, manifest.base.weights_digest, manifest.id)
        target.parent.mkdir(parents=True, exist_ok=True)
        if _read(target, is_builtin=False) is None:
            shutil.rmtree(target, ignore_errors=True)
            Path(written).chmod(0o755)
            Path(written).replace(target)
        else:
            shutil.rmtree(written, ignore_errors=True)
        _log.info("explainer.published", method=manifest.method, explainer=manifest.id)
        return ExplainerRecord(target, manifest, content)

    def delete(self, method: str, base_digest: str, id: str) -> None:
        """Removes an explainer that was trained here; its manifest goes first, so that no half of it can be found.

        Raises:
            ProblemError: ``not_found``, or ``forbidden`` for those that came with Vitrine.
        """
        if self.folder is not None and is_id(method) and is_id(id) and _DIGEST.fullmatch(base_digest):
            target = self._place(method, base_digest, id)
            if (target / MANIFEST).is_file():
                (target / MANIFEST).unlink()
                shutil.rmtree(target)
                return
        if any(record.id == id for record in self.list(method, base_digest)):
            raise ProblemError(ProblemCode.FORBIDDEN, "This explainer came with Vitrine; it cannot be deleted.")
        raise _unknown(id)

    def _named(self, method: str, base_digest: str, id: str) -> ExplainerRecord:
        found = next((one for one in self.list(method, base_digest) if one.id == id), None)
        if found is None:
            raise _unknown(id)
        damage = found.damage()
        if damage:
            raise ProblemError(
                ProblemCode.MODEL_BROKEN, f"The explainer {id} cannot be used: {damage}. Train it again."
            )
        return found

    def _place(self, method: str, base_digest: str, id: str) -> Path:
        if self.folder is None:
            raise RuntimeError("this shelf takes no explainers: it has no folder of its own")
        return self.folder / method / base_digest[:PREFIX_DIGITS] / id


def is_id(text: str) -> bool:
    """Whether a text can be the id of an explainer or the name of a method, and so the name of a folder."""
    return ID.fullmatch(text) is not None


def is_safe_name(name: str) -> bool:
    """Whether a text can be the name of a file below an explainer's folder: plain, relative, without ``..``."""
    return _FILE.fullmatch(name) is not None and ".." not in name


def file_digests(folder: Path) -> dict[str, str]:
    """Returns the sha256 of every file below a folder but the manifest, by relative name."""
    digests = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != MANIFEST:
            state = path.stat()
            digests[name] = _digest(path, state.st_mtime_ns, state.st_size)
    return digests


def _write_manifest(folder: Path, content: dict[str, Any]) -> None:
    with (folder / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2, ensure_ascii=False, allow_nan=False)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())


def _folders(root: Path | None, method: str | None, base_digest: str | None) -> Iterator[Path]:
    """Yields the folders that may hold an explainer; names that could not be given by us are passed over."""
    if root is None or (method is not None and not is_id(method)):
        return
    if base_digest is not None and not _DIGEST.fullmatch(base_digest):
        return
    pattern = f"{method or '*'}/{(base_digest or '*')[:PREFIX_DIGITS]}/*/{MANIFEST}"
    for manifest in sorted(root.glob(pattern)):
        folder = manifest.parent
        if is_id(folder.name) and is_id(folder.parent.parent.name):
            yield folder


def _read(folder: Path, *, is_builtin: bool) -> ExplainerRecord | None:
    """Returns the explainer of a folder, or ``None`` (with a logged reason) when its manifest is no good."""
    try:
        state = (folder / MANIFEST).stat()
        manifest, content = _parsed(folder / MANIFEST, state.st_mtime_ns, state.st_size)
    except OSError:
        return None
    except ValidationError as error:
        _log.warning("explainer.skipped", explainer=folder.name, reason=str(error.errors()[0]["msg"]))
        return None
    except ValueError as error:
        _log.warning("explainer.skipped", explainer=folder.name, reason=type(error).__name__)
        return None
    fits = (manifest.method, manifest.base.weights_digest[:PREFIX_DIGITS], manifest.id)
    if fits != (folder.parent.parent.name, folder.parent.name, folder.name):
        _log.warning("explainer.skipped", explainer=folder.name, reason="its manifest belongs elsewhere")
        return None
    return ExplainerRecord(folder, manifest, content, is_builtin)


@lru_cache(maxsize=512)
def _parsed(path: Path, _changed: int, _size: int) -> tuple[ExplainerManifest, dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    return ExplainerManifest.model_validate(content), content


@lru_cache(maxsize=8192)
def _digest(path: Path, _changed: int, _size: int) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _is_scalar(value: object) -> bool:
    return isinstance(value, bool | int | float | str)


def _unknown(id: str) -> ProblemError:
    shown = id if is_id(id) else "of this id"
    return ProblemError(ProblemCode.NOT_FOUND, f"There is no explainer {shown} for this model and method.")
